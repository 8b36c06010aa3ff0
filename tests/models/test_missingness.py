"""A model of what is missing: exact on a linear model, and better where it holds."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from sklearn.datasets import load_wine

from vaejax import (
    ESTIMATORS,
    Example,
    IncompatibleError,
    VaejaxError,
    check_unbiased,
    fit,
    log_likelihood,
    make_objective,
)
from vaejax.bounds import iwae
from vaejax.estimators import pathwise
from vaejax.evaluation import impute
from vaejax.families import diagonal_normal
from vaejax.models import from_networks, gaussian_mlp, with_missingness
from vaejax.models.missingness import MECHANISMS
from vaejax.models.parts import LIKELIHOODS
from vaejax.nets import mlp
from vaejax.priors import standard_normal

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
NAN = np.nan
SCALE = 0.6
BASE = from_networks(
    "linear",
    encoder=mlp(2, (), 2),
    decoder=mlp(1, (), 2),
    prior=standard_normal(1),
    posterior=diagonal_normal(),
    likelihood=LIKELIHOODS["shared_normal"](initial_scale=SCALE, missing=True),
    data_shape=(2,),
    latent_dim=1,
)
X = np.array([[0.3, NAN], [NAN, -0.8], [NAN, NAN], [1.1, 0.4]])
every_mechanism = pytest.mark.parametrize("mechanism", MECHANISMS)


def small(mechanism: str):
    """The linear model with this mechanism, off its start but for its scale."""
    model = with_missingness(BASE, mechanism, signs=(1, -1))
    start = model.init(KEY)
    params = jax.tree.map(
        lambda leaf: leaf + 0.5 * jax.random.normal(KEY, leaf.shape), start
    )
    values = params.decoder["values"] | {"family": start.decoder["values"]["family"]}
    return model, params._replace(decoder=params.decoder | {"values": values})


def missing_logits(mechanism: str, weights: dict, x: np.ndarray) -> np.ndarray:
    slope, shift = (np.asarray(weights[name], float) for name in ("slope", "shift"))
    if mechanism == "linear":
        return x @ slope.T + shift
    if mechanism == "self_masking":
        slope = np.array([1, -1]) * np.logaddexp(0, slope)
    return slope * (x - shift)


def exact_log_px(mechanism: str, params, x: np.ndarray, blind: bool) -> float:
    """log p(x_o, s), or log p(x_o), by a sum over a grid of what is missing."""
    layer = params.decoder["values"]["network"]["layers"][0]
    weight, bias = (np.asarray(layer[name], float) for name in ("kernel", "bias"))
    law = scipy.stats.multivariate_normal(
        bias, weight.T @ weight + SCALE**2 * np.eye(2)
    )
    seen, nodes = ~np.isnan(x), np.linspace(-9, 9, 401)
    axes = [x[d : d + 1] if seen[d] else nodes for d in range(2)]
    grid = np.array(list(itertools.product(*axes)))
    signs = np.where(seen, -1, 1)
    logits = missing_logits(mechanism, params.decoder["mechanism"], grid)
    of_pattern = scipy.special.log_expit(signs * logits).sum(1)
    step = (nodes[1] - nodes[0]) ** (2 - seen.sum())
    return scipy.special.logsumexp(law.logpdf(grid) + (0 if blind else of_pattern)) + (
        np.log(step)
    )


@every_mechanism
def test_log_likelihood_is_that_of_values_and_pattern(mechanism):
    """Against a sum over a grid; log p(x_o) alone is another number."""
    model, params = small(mechanism)
    found = log_likelihood(
        model, params, Example(jnp.asarray(X)), KEY, num_samples=40_000
    )
    exact, blind = (
        np.array([exact_log_px(mechanism, params, x, blind) for x in X])
        for blind in (False, True)
    )
    error = found.monte_carlo_error
    assert np.abs((found.log_px - exact) / error).max() < 4.5
    assert np.abs((found.log_px - blind) / error).min() > 10


@pytest.mark.parametrize(
    ("estimator", "unbiased"),
    [("dreg", True), ("vimco", True), ("stl", False)],
)
def test_estimators_take_the_noise_as_a_latent(estimator, unbiased):
    model, params = small("self_masking")
    found = check_unbiased(
        *(ESTIMATORS[estimator](), iwae(), model, params, Example(jnp.asarray(X))),
        num_samples=3,
        draws=60_000,
        key=KEY,
    )
    assert found.unbiased is unbiased, found


def test_a_model_of_what_is_missing_imputes_better_where_large_values_are():
    """Half of the columns of wine lack every value above their mean."""
    table = load_wine().data
    table = (table - table.mean(0)) / table.std(0)
    gaps = (table > 0) & (np.arange(13) < 6)[None]
    x = Example(jnp.asarray(np.where(gaps, NAN, table)))
    blind = gaussian_mlp(
        (13,),
        latent_dim=5,
        hidden=(64,),
        likelihood="shared_normal",
        likelihood_settings={"missing": True, "initial_scale": 0.7},
    )
    errors = []
    for model in (blind, with_missingness(blind)):
        trained = fit(
            *(make_objective(model, iwae(), pathwise(), num_samples=20),),
            *(optax.adam(3e-3), x),
            epochs=200,
            batch_size=89,
            key=KEY,
        )
        filled = impute(model, trained.params, x, KEY, 1000, num_draws=1)
        errors.append(np.sqrt(np.mean((filled.x - table)[gaps] ** 2)))
    assert errors[1] < 0.8 * errors[0], errors


def test_a_draw_fills_what_is_missing_alone():
    model, params = small("logistic")
    filled = impute(model, params, Example(X), KEY, 500, num_draws=30)
    observed = ~np.isnan(X)
    np.testing.assert_allclose(filled.x[observed], X[observed], rtol=1e-6)
    assert filled.draws[2].std(0).min() > 0.1


@pytest.mark.parametrize(
    ("likelihood", "missing"), [("bernoulli", True), ("diagonal_normal", False)]
)
def test_other_likelihoods_are_refused(likelihood, missing):
    model = gaussian_mlp(
        (2,), likelihood=likelihood, likelihood_settings={"missing": missing}
    )
    with pytest.raises(IncompatibleError, match=f"has the likelihood {likelihood}"):
        with_missingness(model)


def test_a_prior_with_regularizers_is_refused():
    model = gaussian_mlp(
        (2,),
        prior="implicit_optimal",
        likelihood="diagonal_normal",
        likelihood_settings={"missing": True},
    )
    with pytest.raises(IncompatibleError, match="use another prior"):
        with_missingness(model)


@pytest.mark.parametrize("signs", [(1, 0), (1, 1, -1), ()])
def test_signs_that_cannot_be_are_refused(signs):
    with pytest.raises(VaejaxError, match="give 1 or -1 for each of the 2"):
        with_missingness(BASE, signs=signs)


def test_an_unknown_mechanism_lists_the_known():
    with pytest.raises(VaejaxError, match="one of self_masking, logistic, linear"):
        with_missingness(BASE, "random")
