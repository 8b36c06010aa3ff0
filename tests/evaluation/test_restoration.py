"""Restoration by posterior sampling, against exact conditionals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vaejax import Example, VaejaxError
from vaejax.evaluation import (
    bit_flips,
    denoise,
    gaussian_noise,
    metropolis_within_gibbs,
    pseudo_gibbs,
)
from vaejax.models import gaussian_mlp, linear_gaussian
from vaejax.models.linear_gaussian import exact_posterior

KEY = jax.random.key(0)
MODEL = linear_gaussian((4,), latent_dim=2)
MISSING = np.array([False, True, False, True])
MASK = jnp.asarray(MISSING)
X = jnp.array([1.5, 0.0, -1.0, 0.0])
CHAINS = 20_000


def exact_params(widen=1.0, shift=0.0):
    """q has the exact posterior's mean plus `shift`, and `widen` times its scale.

    The columns of W are orthogonal: the exact posterior is diagonal.
    """
    params = MODEL.init(KEY)
    weight = jnp.asarray([[1.0, 0.5], [1.0, -0.5], [0.5, 1.0], [0.5, -1.0]])
    decoder = {
        "weight": weight,
        "bias": jnp.array([0.3, -0.2, 0.1, 0.4]),
        "log_scale": jnp.log(0.8),
    }
    params = params._replace(decoder=decoder)
    at_zero = exact_posterior(params, jnp.zeros(4))
    columns = [exact_posterior(params, x).mean - at_zero.mean for x in jnp.eye(4)]
    scale = jnp.sqrt(jnp.diagonal(at_zero.covariance))
    encoder = {
        "weight": jnp.stack(columns, 1),
        "bias": at_zero.mean + shift,
        "log_scale": jnp.log(widen * scale),
    }
    return params._replace(encoder=encoder)


EXACT = exact_params()
WRONG = exact_params(widen=1.3, shift=0.3)


def marginal(noise_variance=0.0):
    """Mean and covariance of x, or of x with noise."""
    weight, bias = EXACT.decoder["weight"], EXACT.decoder["bias"]
    variance = 0.8**2 + noise_variance
    return np.asarray(bias, float), np.asarray(
        weight @ weight.T + variance * np.eye(4), float
    )


def deviations(sampler, params, steps=60):
    """z-scores of mean, variances and covariance of the last draws of many chains."""

    def last(key):
        found = sampler(
            MODEL, params, Example(X), MASK, key, num_draws=1, warm_up=steps
        )
        return found.x[0]

    x = np.asarray(jax.jit(jax.vmap(last))(jax.random.split(KEY, CHAINS)), float)
    np.testing.assert_array_equal(x[:, ~MISSING], np.tile(X[~MISSING], (CHAINS, 1)))
    draws = x[:, MISSING]
    mean, covariance = marginal()
    gain = covariance[np.ix_(MISSING, ~MISSING)] @ np.linalg.inv(
        covariance[np.ix_(~MISSING, ~MISSING)]
    )
    expected = mean[MISSING] + gain @ (np.asarray(X)[~MISSING] - mean[~MISSING])
    spread = (
        covariance[np.ix_(MISSING, MISSING)]
        - gain @ covariance[np.ix_(~MISSING, MISSING)]
    )
    centred = draws - expected
    scores = list(centred.mean(0) / np.sqrt(np.diag(spread) / CHAINS))
    for i, j in ((0, 0), (1, 1), (0, 1)):
        # Of a product of jointly normal deviations from the known mean.
        error = np.sqrt((spread[i, i] * spread[j, j] + spread[i, j] ** 2) / CHAINS)
        scores.append(((centred[:, i] * centred[:, j]).mean() - spread[i, j]) / error)
    return np.abs(scores)


# Two-sided at 1e-4 over the five scores.
LIMIT = scipy.stats.norm.isf(1e-4 / 2 / 5)


def test_metropolis_within_gibbs_draws_the_exact_conditional_whatever_the_encoder():
    assert deviations(metropolis_within_gibbs, WRONG).max() < LIMIT
    # The plain chain does where the encoder is exact, and only there.
    assert deviations(pseudo_gibbs, EXACT).max() < LIMIT
    assert deviations(pseudo_gibbs, WRONG).max() > 2 * LIMIT


def test_the_exact_posterior_is_always_accepted():
    @jax.jit
    def chain(params):
        return metropolis_within_gibbs(
            MODEL, params, Example(X), MASK, KEY, num_draws=200
        )

    assert chain(EXACT).accepted.all()
    found = chain(WRONG)
    assert 0.3 < found.accepted.mean() < 0.95
    np.testing.assert_array_equal(found.mean[:, ~MISSING], found.x[:, ~MISSING])


def test_the_denoised_mean_is_exact_for_gaussian_noise():
    scale, count, num_samples = 0.7, 400, 2000
    mean, clean = marginal()
    _, noisy = marginal(scale**2)
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal(mean, noisy, count)
    expected = mean + (x - mean) @ np.linalg.solve(noisy, clean)

    def z_scores(noise):
        def one(key, x):
            return denoise(
                MODEL, WRONG, Example(x), noise, key, num_samples=num_samples, rounds=2
            )

        keys = jax.random.split(KEY, count)
        found = jax.jit(jax.vmap(one))(keys, jnp.asarray(x, jnp.float32))
        assert (found.effective_sample_size > 100).all()
        return (np.asarray(found.mean) - expected) / np.asarray(found.monte_carlo_error)

    z = z_scores(gaussian_noise(scale))
    # Of every coordinate: the mean over examples, and the spread that the errors tell.
    assert np.abs(z.mean(0)).max() < 5 / np.sqrt(count)
    assert np.abs(z.std(0) - 1).max() < 5 / np.sqrt(2 * count)
    assert np.abs(z_scores(gaussian_noise(0.5 * scale))).mean() > 5  # another noise


def test_the_denoised_bits_are_those_of_all_images_summed():
    """E[x | x'] = sum_x x p(x'|x) p(x) / sum_x p(x'|x) p(x), p(x) by quadrature."""
    model = gaussian_mlp((3,), latent_dim=1, hidden=(8,))
    params = model.init(KEY)
    params = params._replace(decoder=jax.tree.map(lambda w: 3 * w, params.decoder))
    flip, noisy = 0.2, jnp.array([1.0, 0.0, 1.0])
    nodes = jnp.linspace(-8, 8, 2001)[:, None]
    logits = jax.jit(jax.vmap(lambda z: model.decode(params, z, None)))(nodes)
    means = scipy.special.expit(np.asarray(logits, float))
    density = scipy.stats.norm.pdf(np.asarray(nodes[:, 0]))
    weights, total = np.zeros(3), 0.0
    for bits in itertools.product([0, 1], repeat=3):
        of_z = np.where(np.array(bits), means, 1 - means).prod(1)
        of_noise = np.where(np.array(bits) == noisy, 1 - flip, flip).prod()
        weight = (of_z * density).sum() * of_noise
        weights += np.array(bits) * weight
        total += weight

    @jax.jit
    def estimate(key):
        return denoise(
            model, params, Example(noisy), bit_flips(flip), key, num_samples=50_000
        )

    found = estimate(KEY)
    z = (np.asarray(found.mean) - weights / total) / np.asarray(found.monte_carlo_error)
    assert np.abs(z).max() < scipy.stats.norm.isf(1e-4 / 2 / 3)
    # Or the test could not fail: what it would be with the bits taken one by one.
    prior = (means * density[:, None]).sum(0) / density.sum()
    apart = bit_flips(flip).clean(jnp.log(prior / (1 - prior)), noisy)
    assert np.abs(found.mean - apart).max() > 10 * found.monte_carlo_error.max()


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: bit_flips(1.0), "between 0 and 1"),
        (lambda: gaussian_noise(0.0), "above 0"),
        (
            lambda: denoise(
                MODEL, EXACT, Example(X), bit_flips(0.1), KEY, num_samples=2
            ),
            "needs the likelihood bernoulli",
        ),
        (
            lambda: denoise(
                MODEL, EXACT, Example(X), gaussian_noise(1.0), KEY, num_samples=0
            ),
            "num_samples is 0: give an integer from 1",
        ),
        (
            lambda: pseudo_gibbs(MODEL, EXACT, Example(X), MASK, KEY, num_draws=0),
            "num_draws is 0: give an integer from 1",
        ),
        (
            lambda: pseudo_gibbs(MODEL, EXACT, Example(X), MASK[:1], KEY, num_draws=1),
            "every coordinate",
        ),
        (
            lambda: pseudo_gibbs(
                gaussian_mlp((4,), likelihood="multinomial"),
                EXACT,
                Example(X),
                MASK,
                KEY,
                num_draws=1,
            ),
            "independent coordinates",
        ),
        (
            lambda: metropolis_within_gibbs(
                gaussian_mlp((4,), posterior="point_mass"),
                EXACT,
                Example(X),
                MASK,
                KEY,
                num_draws=1,
            ),
            "no density",
        ),
    ],
)
def test_what_cannot_be_restored_is_refused(refused, message):
    with pytest.raises(VaejaxError, match=message):
        refused()
