"""Imputation against conditional normal distributions in closed form, and on tables."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import MODELS, Example, Params, VaejaxError, build, evaluation
from vaejax.evaluation import impute
from vaejax.families import diagonal_normal, fixed_normal
from vaejax.families.masked import masked
from vaejax.models import from_networks, gaussian_mlp
from vaejax.nets import mlp
from vaejax.priors import standard_normal

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
WIDTH, SCALE, N = 5, 0.5, 40
RNG = np.random.default_rng(0)
WEIGHT, BIAS = RNG.normal(size=(2, WIDTH)), RNG.normal(size=WIDTH)
COVARIANCE = WEIGHT.T @ WEIGHT + SCALE**2 * np.eye(WIDTH)


def data() -> tuple[np.ndarray, np.ndarray]:
    """Draws of the model; the last two are missing at random, as the first says."""
    x = RNG.multivariate_normal(BIAS, COVARIANCE, N)
    gaps = np.zeros((N, WIDTH), bool)
    gaps[:, 3:] = (x[:, :1] > BIAS[0]) | (RNG.random((N, 2)) < 0.3)
    return x, gaps


X, GAPS = data()
HOLES = np.where(GAPS, np.nan, X)

# The encoder is no exact posterior, but covers it.
LINEAR = from_networks(
    "linear",
    encoder=mlp(WIDTH, (), 4),
    decoder=mlp(2, (), WIDTH),
    prior=standard_normal(2),
    posterior=diagonal_normal(),
    likelihood=masked(fixed_normal(SCALE)),
    data_shape=(WIDTH,),
    latent_dim=2,
)


def linear_params() -> Params:
    params = LINEAR.init(KEY)
    zeros = jax.tree.map(jnp.zeros_like, params.encoder)  # q is the prior
    decoder = {"layers": [{"kernel": jnp.asarray(WEIGHT), "bias": jnp.asarray(BIAS)}]}
    decoder = jax.tree.map(
        lambda like, leaf: jnp.asarray(leaf, like.dtype).reshape(like.shape),
        params.decoder,
        jax.tree.unflatten(
            jax.tree.structure(params.decoder), jax.tree.leaves(decoder)
        ),
    )
    return params._replace(encoder=zeros, decoder=decoder)


def conditional(x: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and covariance of the missing part given the observed, in NumPy."""
    seen = ~gap
    gain = np.linalg.solve(
        COVARIANCE[np.ix_(seen, seen)], COVARIANCE[np.ix_(seen, gap)]
    )
    mean = BIAS[gap] + (x[seen] - BIAS[seen]) @ gain
    return mean, COVARIANCE[np.ix_(gap, gap)] - COVARIANCE[np.ix_(gap, seen)] @ gain


def standardised(imputed: np.ndarray, ess: np.ndarray) -> np.ndarray:
    """Z-scores of imputed means, by the spread of E[x_m | z], below that of x_m."""
    scores = []
    for n in np.flatnonzero(GAPS.any(1)):
        mean, covariance = conditional(X[n], GAPS[n])
        spread = np.sqrt(np.diag(covariance) - SCALE**2)
        scores.extend((imputed[n, GAPS[n]] - mean) / (spread / np.sqrt(ess[n])))
    return np.array(scores)


@pytest.fixture(scope="module")
def filled():
    return impute(LINEAR, linear_params(), Example(HOLES), KEY, 20_000, num_draws=200)


def test_single_imputation_is_the_conditional_mean(filled):
    z = standardised(filled.x, filled.effective_sample_size)
    assert len(z) > 30
    assert np.abs(z).max() < 5, z
    assert 0.5 < z.std() < 1.6
    np.testing.assert_array_equal(filled.x[~GAPS], np.float32(X)[~GAPS])


def test_the_marginal_mean_is_not_the_conditional_one(filled):
    """The negative control: without weights, samples tell E x_m."""
    z = standardised(np.broadcast_to(BIAS, X.shape), filled.effective_sample_size)
    assert np.abs(z).max() > 20


def test_multiple_imputations_follow_the_conditional_law(filled):
    """Their means and variances, in z-scores; observed values stay."""
    means, variances = [], []
    for n in np.flatnonzero(GAPS.any(1)):
        mean, covariance = conditional(X[n], GAPS[n])
        whitened = np.linalg.solve(
            np.linalg.cholesky(covariance), (filled.draws[n][:, GAPS[n]] - mean).T
        )
        count = whitened.shape[1]
        means.extend(whitened.mean(1) * np.sqrt(count))
        variances.extend((whitened.var(1) - 1) / np.sqrt(2 / count))
    assert np.abs(means).max() < 4.5, means
    assert np.abs(variances).max() < 4.5, variances
    assert abs(np.mean(variances)) < 4 / np.sqrt(len(variances))
    given = np.broadcast_to(np.float32(X)[:, None], filled.draws.shape)
    observed = np.broadcast_to(~GAPS[:, None], given.shape)
    np.testing.assert_array_equal(filled.draws[observed], given[observed])


def test_the_effective_sample_size_is_whole_where_nothing_is_observed():
    x = Example(np.full((1, WIDTH), np.nan))
    found = impute(LINEAR, linear_params(), x, KEY, 500)
    np.testing.assert_allclose(found.effective_sample_size, 500, rtol=1e-5)


def test_columns_are_imputed_by_values_of_their_kind():
    """Means of numbers, whole counts, bits, and the likeliest class."""
    model = build(
        MODELS,
        "gaussian_mlp",
        [
            "likelihood=columns",
            "likelihood.columns=normal,poisson,bernoulli,categorical:3",
            *("data_shape=4", "hidden=3", "latent_dim=1"),
        ],
    )
    params = jax.tree.map(jnp.zeros_like, model.init(KEY))
    bias = jnp.zeros((3, 4)).at[0, 0].set(1.5).at[0, 1].set(jnp.log(3.2))
    bias = bias.at[0, 2].set(1.0).at[1, 3].set(2.0)  # a likely 1, the class 1
    layers = params.decoder["layers"]
    last = max(layers) if isinstance(layers, dict) else len(layers) - 1
    layers[last]["bias"] = bias.reshape(layers[last]["bias"].shape)
    found = impute(model, params, Example(np.full((1, 4), np.nan)), KEY, 2000)
    np.testing.assert_allclose(found.x, [[1.5, 3.0, 1.0, 1.0]], rtol=1e-5)
    evaluation.log_likelihood(
        model, params, Example(found.draws[0]), KEY, num_samples=2
    )


def test_a_likelihood_without_missing_values_is_refused():
    model = gaussian_mlp((2,), latent_dim=1, hidden=(2,))
    with pytest.raises(VaejaxError, match="takes no missing values: build the model"):
        impute(model, model.init(KEY), Example(np.zeros((1, 2))), KEY)


@pytest.mark.parametrize(
    ("num_samples", "num_draws", "message"),
    [(0, 1, "num_samples is 0"), (1, 0, "num_draws is 0")],
)
def test_numbers_below_one_are_refused(num_samples, num_draws, message):
    with pytest.raises(VaejaxError, match=message):
        impute(
            *(LINEAR, linear_params(), Example(HOLES), KEY, num_samples),
            num_draws=num_draws,
        )


def test_a_posterior_without_a_density_is_refused():
    family = dataclasses.replace(LINEAR.posterior, has_density=False)
    model = dataclasses.replace(LINEAR, posterior=family)
    with pytest.raises(VaejaxError, match="gives no density"):
        impute(model, linear_params(), Example(HOLES), KEY)
