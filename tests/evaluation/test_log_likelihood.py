"""The importance-sampled log p(x): exact, with an error that can be trusted."""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import known_weights
import numpy as np
import pytest
import scipy.stats

from vaejax import Example, VaejaxError, log_likelihood
from vaejax.core import fold_examples
from vaejax.evaluation import log_normalizer
from vaejax.evaluation.log_likelihood import (
    EXAMPLES_PER_CALL,
    _estimate,
    effective_sample_size,
)
from vaejax.evaluation.psis import pareto_shapes, tail_size
from vaejax.families import NormalParams
from vaejax.models import gaussian_mlp, linear_gaussian, sigmoid_belief_network
from vaejax.models.linear_gaussian import exact_log_px, exact_posterior
from vaejax.sharding import evaluation_mesh
from vaejax.terms import log_terms

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
MODEL = linear_gaussian((4,), latent_dim=2)


def near_posterior(widen: float):
    """Parameters whose q has the exact mean and `widen` times the standard deviation.

    The columns of W are orthogonal, so that the exact posterior is diagonal and q at
    `widen = 1` is it.
    """
    params = MODEL.init(KEY)
    weight = jnp.asarray([[1.0, 0.5], [1.0, -0.5], [0.5, 1.0], [0.5, -1.0]])
    decoder = {**params.decoder, "weight": weight, "log_scale": jnp.log(0.8)}
    params = params._replace(decoder=decoder)
    columns = [exact_posterior(params, x).mean for x in jnp.eye(4)]
    scale = jnp.sqrt(jnp.diagonal(exact_posterior(params, jnp.zeros(4)).covariance))
    encoder = {
        "weight": jnp.stack(columns, 1),
        "bias": jnp.zeros(2),
        "log_scale": jnp.log(widen * scale),
    }
    return params._replace(encoder=encoder)


WIDE = near_posterior(1.5)


def observations(count):
    rng = np.random.default_rng(0)
    return jnp.asarray(1.2 * rng.normal(size=(count, 4)), jnp.float32)


def estimate(count, num_samples, chunk_size=1000, params=WIDE, key=KEY):
    return log_likelihood(
        MODEL,
        params,
        Example(observations(count)),
        key,
        num_samples=num_samples,
        chunk_size=chunk_size,
    )


def log_weights(count, num_samples, params=WIDE):
    """The log-weights of the same keys, all at once."""

    def one(key, x):
        q = MODEL.encode(params, Example(x))
        keys = fold_examples(key, jnp.arange(num_samples))
        z = jax.vmap(MODEL.posterior.sample, (0, None))(keys, q)
        terms = log_terms(MODEL, params, q, z, Example(x))
        return terms.log_px_z + terms.log_pz - terms.log_qz

    keys = fold_examples(KEY, jnp.arange(count))
    return np.asarray(jax.jit(jax.vmap(one))(keys, observations(count)), np.float64)


def test_it_is_exact_within_its_own_error():
    count = 400
    result = estimate(count, 500)
    exact = jax.vmap(lambda x: exact_log_px(WIDE, x))(observations(count))
    z = (result.log_px - np.asarray(exact)) / result.monte_carlo_error
    assert abs(z.mean()) < 5 / math.sqrt(count)
    # A standard normal's standard deviation, to within 5 of its standard errors.
    assert abs(z.std() - 1) < 5 / math.sqrt(2 * count)
    assert scipy.stats.kstest(z, "norm").pvalue > 1e-4
    summary = result.summary()
    total = (summary["log_likelihood"] - exact.mean()) / summary["monte_carlo_error"]
    assert abs(total) < 5
    assert (summary["num_samples"], summary["num_examples"]) == (500, count)


@pytest.mark.parametrize(
    ("num_samples", "chunk_size"), [(1, 1), (2, 1000), (130, 50), (130, 130), (130, 7)]
)
def test_it_is_the_plain_mean_of_exactly_the_samples_asked_for(num_samples, chunk_size):
    log_w = log_weights(3, num_samples)
    w = np.exp(log_w - log_w.max(1, keepdims=True))
    result = estimate(3, num_samples, chunk_size)
    expected = log_w.max(1) + np.log(w.mean(1))
    np.testing.assert_allclose(result.log_px, expected, rtol=2e-6)
    ess = w.sum(1) ** 2 / (w**2).sum(1)
    np.testing.assert_allclose(result.effective_sample_size, ess, rtol=1e-4)
    np.testing.assert_allclose(result.elbo, log_w.mean(1), rtol=2e-6)
    if num_samples > 1:
        error = w.std(1, ddof=1) / w.mean(1) / math.sqrt(num_samples)
        np.testing.assert_allclose(result.monte_carlo_error, error, rtol=2e-3)
        error = log_w.std(1, ddof=1) / math.sqrt(num_samples)
        np.testing.assert_allclose(result.elbo_error, error, rtol=2e-3)


@pytest.mark.parametrize(
    ("num_samples", "chunk_size"),
    [(1, 1), (2, 1), (2, 1000), (10, 3), (5000, 1000), (5000, 77)],
)
def test_errors_keep_their_digits_however_equal_the_weights(num_samples, chunk_size):
    result = known_weights.estimate(num_samples, chunk_size=chunk_size)
    expected = known_weights.expected(num_samples)
    for name, figures in expected.items():
        # log p(x) is a difference of logarithms; the errors are sums of differences.
        atol = 3e-5 if name == "log_px" else 1e-12
        np.testing.assert_allclose(
            getattr(result, name), figures, rtol=1e-4, atol=atol, err_msg=name
        )
    assert result.effective_sample_size.min() >= 1
    assert result.effective_sample_size.max() <= num_samples


@pytest.mark.parametrize("spread", [0, 1e-6, 1e-3, 1, 50])
def test_the_effective_sample_size_is_from_one_to_all(spread):
    z = np.random.default_rng(0).normal(size=(20, 1000)) * spread - 100
    log_w = z.astype(np.float32)
    found = np.asarray(jax.vmap(effective_sample_size)(jnp.asarray(log_w)))
    w = np.exp(log_w.astype(float) - log_w.max(1, keepdims=True))
    np.testing.assert_allclose(found, w.sum(1) ** 2 / (w**2).sum(1), rtol=1e-5)
    assert found.min() >= 1
    assert found.max() <= 1000


def test_every_example_counts_whatever_the_size_of_a_call():
    count = EXAMPLES_PER_CALL + 7
    done = []
    whole = log_likelihood(
        MODEL,
        WIDE,
        Example(observations(count)),
        KEY,
        num_samples=20,
        progress=done.append,
    )
    assert done == [(count + 1) // 2, count]  # equal calls, the last one filled up
    assert all(len(column) == count for column in whole[:4])
    w = log_weights(count, 20)
    expected = np.logaddexp.reduce(w, axis=1) - math.log(20)
    np.testing.assert_allclose(whole.log_px, expected, rtol=2e-6)
    assert whole.summary()["log_likelihood"] == pytest.approx(expected.mean(), rel=1e-6)


def test_at_the_exact_posterior_every_weight_is_the_likelihood():
    exact = near_posterior(1.0)
    result = estimate(20, 1000, params=exact)
    expected = jax.vmap(lambda x: exact_log_px(exact, x))(observations(20))
    np.testing.assert_allclose(result.log_px, expected, rtol=1e-5)
    np.testing.assert_allclose(result.effective_sample_size, 1000, rtol=1e-3)
    assert result.monte_carlo_error.max() < 1e-3
    assert result.pareto_k.max() < 0.7


def test_more_samples_are_higher_on_average():
    means = [
        estimate(400, s, params=near_posterior(2.0)).log_px.mean() for s in (1, 4, 64)
    ]
    exact = jax.vmap(lambda x: exact_log_px(WIDE, x))(observations(400)).mean()
    assert means[0] < means[1] < means[2] < exact + 0.01


def test_a_proposal_that_misses_the_posterior_is_seen():
    narrow = estimate(50, 1000, params=near_posterior(0.35)).summary()
    wide = estimate(50, 1000).summary()
    assert narrow["pareto_k_above_0.7"] > 0.5 > wide["pareto_k_above_0.7"] + 0.4
    assert narrow["effective_sample_size"] < wide["effective_sample_size"]


def test_memory_does_not_grow_with_the_number_of_samples():
    def temporary_bytes(num_samples):
        examples = Example(observations(2))
        mesh = evaluation_mesh(2, jax.devices()[:1])
        lowered = _estimate.lower(
            MODEL, num_samples, 1000, mesh, WIDE, KEY, jnp.arange(2), examples
        )
        return lowered.compile().memory_analysis().temp_size_in_bytes

    # What grows is the tail that the Pareto fit keeps: 3 sqrt(S) numbers.
    tail = 3 * 4 * (tail_size(100_000) - tail_size(1000))
    grown = temporary_bytes(100_000) - temporary_bytes(1000)
    assert grown < 0.05 * temporary_bytes(1000) + 5 * tail
    assert temporary_bytes(1000) > 5 * temporary_bytes(100)  # the chunk is what counts


@pytest.mark.parametrize(
    ("num_samples", "chunk_size", "count"), [(0, 10, 3), (10, 0, 3), (10, 10, 0)]
)
def test_impossible_requests_are_refused(num_samples, chunk_size, count):
    with pytest.raises(VaejaxError, match=r"from 1 to|at least one example"):
        estimate(count, num_samples, chunk_size)


# The Pareto shape


def plain_shape(exceedances):
    """Zhang and Stephens 2009 with the prior of Vehtari et al. 2024, in plain NumPy."""
    x = np.sort(exceedances)
    n = len(x)
    m = 30 + int(math.sqrt(n))
    theta = np.array(
        [
            1 / x[-1] + (1 - math.sqrt(m / (j - 0.5))) / (3 * x[int(n / 4 + 0.5) - 1])
            for j in range(1, m + 1)
        ]
    )
    k = np.array([np.mean(np.log1p(-t * x)) for t in theta])
    log_profile = n * (np.log(-theta / k) - k - 1)
    weights = np.exp(log_profile - log_profile.max())
    weights /= weights.sum()
    k_hat = np.mean(np.log1p(-np.dot(weights, theta) * x))
    return (n * k_hat + 5) / (n + 10)


def replicate(k, size, replications, seed=0):
    """Fits to samples of a generalised Pareto tail of shape k, and the plain ones."""
    rng = np.random.default_rng(seed)
    x = scipy.stats.genpareto.rvs(k, size=(replications, size), random_state=rng)
    # In falling order, above a threshold of 1, as log-weights.
    log_tail = np.log1p(np.sort(np.pad(x, [(0, 0), (1, 0)]), axis=1)[:, ::-1])
    return pareto_shapes(log_tail.astype(np.float32)), x


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_the_pareto_shape_of_a_pareto_tail_is_found(k):
    size, replications = 2000, 200
    fits, x = replicate(k, size, replications)
    # The prior pulls towards 1/2 by 10 draws in `size`; the fit's own bias is O(1/n).
    expected = (size * k + 5) / (size + 10)
    stderr = fits.std() / math.sqrt(replications)
    assert abs(fits.mean() - expected) < 5 * stderr + 2 / size
    # The asymptotic standard deviation of the maximum-likelihood estimate.
    assert fits.std() == pytest.approx((1 + k) / math.sqrt(size), rel=0.3)
    np.testing.assert_allclose(
        fits[:20], [plain_shape(row) for row in x[:20]], atol=3e-4
    )


def test_the_scale_of_the_weights_is_of_no_account():
    fits, x = replicate(0.7, 100, 1)
    log_tail = np.log1p(np.sort(np.append(x, 0))[::-1]).astype(np.float32)
    (shifted,) = pareto_shapes(log_tail[None] - 500.0)
    assert shifted == pytest.approx(float(fits[0]), abs=0.01)


def test_a_tail_of_equal_weights_is_light_and_one_too_short_is_unknown():
    assert pareto_shapes(np.full((1, 101), -90.0)) == 0
    assert np.isnan(pareto_shapes(np.zeros((1, 5))))


@pytest.mark.parametrize("spread", [5.0, 40.0, 120.0])
def test_tails_of_hundreds_of_nats_are_fitted(spread):
    """Single-precision weights would be nothing but the largest."""
    rng = np.random.default_rng(0)
    log_w = np.sort(rng.normal(0, spread, 5000))[::-1][: tail_size(5000) + 1]
    weights = np.exp(log_w - log_w[0])
    (fit,) = pareto_shapes(log_w.astype(np.float32)[None])
    assert fit == pytest.approx(plain_shape(weights[:-1] - weights[-1]), rel=1e-3)
    assert fit > 0.7


def test_a_weight_that_is_all_there_is_has_no_shape():
    log_tail = np.concatenate([[0.0], np.full(100, -1e4)])
    assert pareto_shapes(log_tail[None]) == np.inf


def test_one_sample_tells_nothing_of_its_error():
    summary = estimate(3, 1).summary()
    assert summary["monte_carlo_error"] is None
    assert summary["expected_shortfall"] is None
    assert summary["pareto_k_above_0.7"] is None


def test_a_shape_that_is_unknown_counts_as_unreliable():
    found = estimate(3, 50)._replace(pareto_k=np.array([np.nan, 0.1, np.inf]))
    assert found.summary()["pareto_k_above_0.7"] == pytest.approx(2 / 3)


def test_the_tail_is_a_fifth_or_three_square_roots():
    assert [tail_size(s) for s in (10, 100, 5000)] == [2, 20, 213]


def test_conditions_reach_the_encoder():
    """An example's y travels with its x through the calls."""

    def encode(params, example):
        q = MODEL.encode(params, example)
        return q._replace(loc=q.loc + 0 * example.y)

    conditional = dataclasses.replace(MODEL, encode=encode)
    examples = Example(observations(3), jnp.zeros((3, 2)))
    result = log_likelihood(conditional, WIDE, examples, KEY, num_samples=50)
    np.testing.assert_allclose(result.log_px, estimate(3, 50).log_px, rtol=1e-5)


def test_observations_and_conditions_of_different_lengths_are_refused():
    """Gathered out of bounds, the last condition would serve silently."""
    examples = Example(observations(3), jnp.zeros((2, 2)))
    with pytest.raises(VaejaxError, match="give a numeric y for every example"):
        log_likelihood(MODEL, WIDE, examples, KEY, num_samples=5)


# The normaliser of a prior that is known up to a factor.


def scaled_prior_model(factor: float, scale: float = 1.0):
    """A trained-like model whose prior is `factor` times a normal of this scale."""
    model = gaussian_mlp(data_shape=(3,), latent_dim=2, hidden=(4,))

    def log_prob(params, z):
        wide = NormalParams(params.loc, jnp.full_like(params.loc, jnp.log(scale)))
        return jnp.log(factor) + model.latent_prior.log_prob(wide, z)

    prior = dataclasses.replace(model.latent_prior, log_prob=log_prob, normalized=False)
    return dataclasses.replace(model, latent_prior=prior)


@pytest.mark.parametrize(("factor", "scale"), [(1.0, 1.0), (20.0, 0.8), (1e-3, 1.2)])
def test_the_normalizer_is_found_within_its_error(factor, scale):
    model = scaled_prior_model(factor, scale)
    x = jax.random.bernoulli(jax.random.key(1), 0.5, (300, 3)).astype(jnp.float32)
    params = model.init(jax.random.key(2))
    z = [
        (found.value - np.log(factor)) / found.error
        for seed in range(8)
        for found in [
            log_normalizer(
                model, params, Example(x), jax.random.key(seed), num_steps=50
            )
        ]
    ]
    assert np.abs(z).max() < 4
    assert np.sqrt(np.mean(np.square(z))) < 1.8


def test_a_posterior_that_misses_the_prior_still_finds_its_mass():
    """The chains move on to where the prior has its mass."""
    model = scaled_prior_model(5.0, 3.0)
    params = model.init(jax.random.key(0))
    narrow = params._replace(encoder=jax.tree.map(jnp.zeros_like, params.encoder))
    x = jnp.zeros((10, 3))
    found = log_normalizer(model, narrow, Example(x), jax.random.key(1))
    assert abs(found.value - np.log(5.0)) < 4 * found.error
    assert found.error < 0.1
    hasty = log_normalizer(model, narrow, Example(x), jax.random.key(1), num_steps=1)
    assert hasty.effective_sample_size < found.effective_sample_size / 2


def test_latents_that_are_not_real_have_no_such_normalizer():
    model = sigmoid_belief_network(data_shape=(3,), latent_dim=2)
    params = model.init(jax.random.key(0))
    with pytest.raises(VaejaxError, match="one layer of real latents"):
        log_normalizer(model, params, Example(jnp.zeros((5, 3))), jax.random.key(0))


def test_an_estimate_prints_as_one_line():
    found = estimate(3, 50)
    shown = re.fullmatch(
        r"LogLikelihood\(3 examples, S = 50, mean log p\(x\) (\S+) \+- (\S+)\)",
        repr(found),
    )
    summary = found.summary()
    for text, name in zip(
        shown.groups(), ("log_likelihood", "monte_carlo_error"), strict=True
    ):
        assert float(text) == pytest.approx(summary[name], rel=0.06)
