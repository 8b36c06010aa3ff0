"""Missing values: the masked likelihood, what the encoder sees, and log p(x_o)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vaejax import (
    ESTIMATORS,
    MODELS,
    Example,
    UnknownNameError,
    VaejaxError,
    build,
    check_data,
    check_unbiased,
    evaluation,
    log_likelihood,
)
from vaejax.bounds import BOUNDS
from vaejax.core import log_probs, settings_of
from vaejax.families import categorical, fixed_normal, multinomial
from vaejax.families.masked import masked
from vaejax.models import from_networks, gaussian_mlp
from vaejax.models.parts import LIKELIHOODS
from vaejax.nets import mlp
from vaejax.priors import standard_normal

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
NAN = jnp.nan
MASKABLE = [name for name in LIKELIHOODS if "missing" in settings_of(LIKELIHOODS[name])]
of_every_kind = pytest.mark.parametrize("name", MASKABLE)


def model_of(name: str, missing: bool = True):
    return gaussian_mlp(
        (5,),
        latent_dim=2,
        hidden=(4,),
        likelihood=name,
        likelihood_settings={"missing": missing},
    )


@of_every_kind
def test_only_observed_coordinates_count(name):
    """The value is the sum of theirs, whatever the parameters of others; no NaN."""
    model, whole = model_of(name), model_of(name, missing=False)
    x = jnp.array([0.0, NAN, 1.0, NAN, 1.0])
    params = model.init(KEY)

    def outputs(z):
        return model.decode(params, z, None)

    z = jnp.array([0.4, -1.3])
    each = log_probs(whole.likelihood, outputs(z), jnp.nan_to_num(x))
    np.testing.assert_allclose(
        each.sum(),
        whole.likelihood.log_prob(outputs(z), jnp.nan_to_num(x)),
        rtol=1e-5,
    )
    value, slope = jax.value_and_grad(
        lambda given: model.likelihood.log_prob(given, x)
    )(outputs(z))
    np.testing.assert_allclose(value, each[jnp.array([0, 2, 4])].sum(), rtol=1e-5)
    for leaf in jax.tree.leaves(slope):  # the last axis is the event's
        assert np.isfinite(leaf).all()
        assert not leaf[..., jnp.array([1, 3])].any()
    assert any(leaf.any() for leaf in jax.tree.leaves(slope))
    assert model.likelihood.log_prob(outputs(z), jnp.full(5, NAN)) == 0


@of_every_kind
def test_missing_values_are_admitted_where_they_are_asked_for_alone(name):
    x = jnp.array([[0.0, NAN, 1.0, NAN, 1.0]])
    np.testing.assert_array_equal(check_data(model_of(name), Example(x)).x, x)
    with pytest.raises(VaejaxError, match=r"2 of 5 .* likelihood\.missing=true"):
        check_data(model_of(name, missing=False), Example(x))
    with pytest.raises(VaejaxError, match="1 of 5 values of x are not finite"):
        check_data(model_of(name), Example(x.at[0, 0].set(jnp.inf)))


MEAN = np.array([0.1, 0.9, 0.4, 0.3, 0.6])


@pytest.mark.parametrize("name", ["gaussian_mlp", "conditional_vae", "autoencoder"])
def test_the_encoder_sees_the_mean_of_the_data_for_what_is_missing(name):
    model = build(
        MODELS,
        name,
        ["likelihood=bernoulli", "likelihood.missing=true", "hidden=4", "data_shape=5"],
        data_mean=MEAN,
    )
    params, y = model.init(KEY), jnp.array(1)
    x = jnp.array([0.0, NAN, 1.0, NAN, 1.0])
    filled = jnp.where(jnp.isnan(x), MEAN, x)
    found, expected, other = (
        model.encode(params, Example(one, y)) for one in (x, filled, filled + 1)
    )
    assert all(map(np.allclose, jax.tree.leaves(found), jax.tree.leaves(expected)))
    assert not any(map(np.allclose, jax.tree.leaves(found), jax.tree.leaves(other)))


def test_convolutions_see_zeros():
    model = build(
        MODELS,
        "gaussian_conv",
        ["data_shape=4,4,1", "channels=2", "latent_dim=2", "likelihood.missing=true"],
    )
    x = jnp.ones((4, 4, 1)).at[0].set(NAN)
    found = model.encode(model.init(KEY), Example(x))
    assert all(np.isfinite(leaf).all() for leaf in found)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("m2", [], "m2 cannot encode what is missing.*use gaussian_mlp"),
        ("ladder_mlp", [], "ladder_mlp cannot encode what is missing"),
        ("hierarchical_mlp", [], "hierarchical_mlp cannot encode what is missing"),
    ],
)
def test_other_models_refuse_missing_values(name, words, message):
    with pytest.raises(VaejaxError, match=message):
        build(MODELS, name, [*words, "likelihood.missing=true"])


@pytest.mark.parametrize("name", ["multinomial", "optimal_normal"])
def test_joint_likelihoods_refuse_missing_values(name):
    with pytest.raises(UnknownNameError, match="no setting 'missing'"):
        build(LIKELIHOODS, name, ["missing=true"])


@pytest.mark.parametrize("family", [multinomial(), categorical(3)])
def test_masking_refuses_coordinates_that_depend_on_each_other(family):
    with pytest.raises(VaejaxError, match=f"{family.name} is not known to have"):
        masked(family)


# The linear model, whose log p(x_o) is known: x = W z + b + scale noise.

SCALE, WIDTH = 1.0, 4
LINEAR = from_networks(
    "linear",
    encoder=mlp(WIDTH, (), 2),
    decoder=mlp(1, (), WIDTH),
    prior=standard_normal(1),
    posterior=LIKELIHOODS["diagonal_normal"](),
    likelihood=masked(fixed_normal(SCALE)),
    data_shape=(WIDTH,),
    latent_dim=1,
)
PARAMS = jax.tree.map(
    lambda leaf: leaf / 2 + 0.1 * jax.random.normal(KEY, leaf.shape), LINEAR.init(KEY)
)
X = np.random.default_rng(0).normal(size=(6, WIDTH))
X[[0, 0, 1, 2, 2, 2, 3, 3, 3, 3, 5], [0, 1, 2, 0, 1, 3, 0, 1, 2, 3, 3]] = np.nan


def exact_log_px(x: np.ndarray, drop: bool = True) -> np.ndarray:
    layer = PARAMS.decoder["layers"][0]
    weight, bias = (np.asarray(layer[name], float) for name in ("kernel", "bias"))
    covariance = weight.T @ weight + SCALE**2 * np.eye(WIDTH)

    def one(x):
        seen = ~np.isnan(x) if drop else np.full(WIDTH, True)
        if not seen.any():
            return 0.0
        x = np.nan_to_num(x)[seen]
        return scipy.stats.multivariate_normal.logpdf(
            x, bias[seen], covariance[np.ix_(seen, seen)]
        )

    return np.array([one(row) for row in x])


def test_log_likelihood_is_that_of_the_observed_part():
    """Against the marginal in closed form; not that of zeros in the gaps."""
    found = log_likelihood(
        LINEAR, PARAMS, Example(jnp.asarray(X)), KEY, num_samples=20_000
    )
    error = np.maximum(found.monte_carlo_error, 1e-5)
    z = (found.log_px - exact_log_px(X)) / error
    assert np.abs(z).max() < 4, z
    gaps = [0, 1, 2, 3, 5]
    wrong = (found.log_px - exact_log_px(X, drop=False)) / error
    assert np.abs(wrong[gaps]).min() > 10, wrong


BITS = build(
    MODELS,
    "family_mlp",
    [
        *("posterior=bernoulli", "latent_dim=2", "hidden=3", "data_shape=4"),
        *("likelihood=bernoulli", "likelihood.missing=true"),
    ],
)
HALF = [[0.0, NAN, 1, 1], [NAN, NAN, 0, 1], [1, 1, 0, 0]]


@pytest.mark.parametrize(
    ("model", "estimator", "bound", "unbiased"),
    [
        (LINEAR, "pathwise", "elbo", True),
        (LINEAR, "pathwise", "iwae", True),
        (LINEAR, "stl", "elbo", True),
        (LINEAR, "dreg", "iwae", True),
        (LINEAR, "pathwise", "miwae", True),
        (LINEAR, "stl", "iwae", False),
        (BITS, "disarm", "elbo", True),
        (BITS, "rloo", "elbo", True),
        (BITS, "vimco", "iwae", True),
        (BITS, "straight_through", "elbo", False),
    ],
)
def test_estimators_are_unbiased_on_the_observed_part(
    model, estimator, bound, unbiased
):
    """Against the exact gradient; two estimators that are known to be biased are."""
    x = X[:2] if model is LINEAR else HALF
    params = jax.tree.map(
        lambda leaf: leaf + 0.3 * jax.random.normal(KEY, leaf.shape), model.init(KEY)
    )
    found = check_unbiased(
        *(ESTIMATORS[estimator](), BOUNDS[bound](), model),
        PARAMS if model is LINEAR else params,
        Example(jnp.asarray(x)),
        num_samples=2,
        draws=4000,
        key=KEY,
    )
    assert "exact" in found.reference
    assert found.unbiased is unbiased, found


def test_reconstruction_errors_are_of_what_is_observed():
    found = evaluation.reconstruction(LINEAR, PARAMS, Example(jnp.asarray(X)))
    assert np.isfinite(found.squared_error).all()
    assert found.squared_error[3] == 0
    other = np.where(np.isnan(X), 0.0, X)
    whole = dataclasses.replace(LINEAR, likelihood=fixed_normal(SCALE))
    more = evaluation.reconstruction(whole, PARAMS, Example(jnp.asarray(other)))
    assert (found.squared_error <= more.squared_error + 1e-5).all()


def test_inpainting_of_a_masked_model_starts_at_what_the_encoder_sees():
    draws = evaluation.metropolis_within_gibbs(
        *(LINEAR, PARAMS, Example(jnp.asarray(X[0])), jnp.isnan(X[0]), KEY),
        num_draws=50,
    )
    assert np.isfinite(draws.x).all()
    np.testing.assert_allclose(draws.x[:, 2:], np.tile(X[0, 2:], (50, 1)), rtol=1e-6)


def test_scores_of_whole_observations_refuse_missing_values():
    model = model_of("bernoulli")
    x = Example(jnp.zeros((2, 5)))
    with pytest.raises(VaejaxError, match="anomaly_scores compresses whole"):
        evaluation.anomaly_scores(
            *(model, model.init(KEY), x, KEY), background=(model, model.init(KEY))
        )
