"""Likelihoods: they sum to one, stay finite, learn, and are told in bits."""

import decimal
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from experiments.training.evaluate import bits
from vaejax.core import Family, VaejaxError
from vaejax.evaluation import bits_per_dim, perplexity
from vaejax.families import (
    BetaParams,
    continuous_bernoulli,
    multinomial,
    negative_binomial,
    optimal_normal,
    pixel_beta,
    shared_normal,
)
from vaejax.families.continuous_bernoulli import log_normalizer
from vaejax.models import gaussian_conv, gaussian_mlp
from vaejax.models.parts import LIKELIHOODS

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
every_likelihood = pytest.mark.parametrize("name", LIKELIHOODS)
of_levels = pytest.mark.parametrize(
    "name", [name for name, make in LIKELIHOODS.items() if make().space.levels]
)


def read(family: Family, outputs) -> object:
    own = () if family.head.weights is None else family.head.weights(KEY)
    return family.head.read(jnp.asarray(outputs), own)


# Every likelihood.


@of_levels
def test_the_levels_probabilities_sum_to_one(name):
    """The sum is one at any location, at scales from exp(-10) to exp(10)."""
    family = LIKELIHOODS[name]()
    levels = jnp.linspace(0, 1, 256)[:, None]

    @jax.jit
    def log_probs(outputs):
        return jax.vmap(lambda x: family.log_prob(read(family, outputs), x))(levels)

    for location, log_scale in [(0.4, -3), (0.4, -10), (0.4, 10), (-3, -1), (9, -4)]:
        outputs = jax.random.normal(KEY, (family.head.outputs_per_coordinate, 1))
        if name != "categorical_levels":
            size = len(outputs) // (2 if name == "discretized_logistic" else 3)
            locs, log_scales = slice(-2 * size, -size), slice(-size, None)
            outputs = outputs.at[locs].add(location).at[log_scales].set(log_scale)
        else:
            outputs *= np.exp(log_scale / 3)
        log_p = np.asarray(log_probs(outputs), float)
        assert np.isfinite(log_p).all()
        np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=2e-4)


@every_likelihood
def test_values_and_gradients_are_finite_at_extreme_outputs(name):
    """Logits, as lone outputs, of +-50, others of +-10, at data of 0, 1/2 and 1."""
    family = LIKELIHOODS[name]()
    count = family.head.outputs_per_coordinate
    size = 50.0 if count == 1 or name == "categorical_levels" else 10.0
    signs = (
        np.array(list(itertools.product((-1, 0, 1), repeat=count)))
        if count < 3
        else np.random.default_rng(0).choice([-1, 0, 1], (9, count))
    )
    data = np.array([[0.0, 0.5, 1.0], [1.0, 0.0, 1.0]])
    if family.space.kind == "counts":
        data = np.rint(data)

    @jax.jit
    @jax.vmap
    def value_and_slope(outputs):
        def log_prob(outputs):
            params = read(family, outputs)
            return jax.vmap(family.log_prob, (None, 0))(params, jnp.asarray(data)).sum()

        spread = jnp.broadcast_to(outputs[:, None], (count, 3))
        return jax.value_and_grad(log_prob)(spread)

    value, slope = value_and_slope(jnp.asarray(size * signs, jnp.float32))
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()


@every_likelihood
def test_gradients_are_those_of_finite_differences(name):
    with jax.enable_x64(True):
        family = LIKELIHOODS[name]()
        rng = np.random.default_rng(1)
        outputs, direction = rng.normal(size=(2, family.head.outputs_per_coordinate, 3))
        x = jnp.array(
            [1.0, 0.0, 3.0] if family.space.kind == "counts" else [1.0, 0.0, 0.8]
        )

        @jax.jit
        def log_prob(step):
            return family.log_prob(read(family, outputs + step * direction), x)

        difference = (log_prob(1e-5) - log_prob(-1e-5)) / 2e-5
        slope = jax.grad(log_prob)(0.0)
        np.testing.assert_allclose(slope, difference, rtol=1e-6)
        assert abs(slope) > 1e-3


@pytest.mark.parametrize(
    "name",
    ["shared_normal", "mixture_of_discretized_logistics", "continuous_bernoulli"],
)
def test_networks_start_at_the_datas_mean(name):
    """The order of the channels, which differs between the networks, is kept."""
    mean = np.random.default_rng(0).uniform(0.1, 0.9, size=(4, 3, 2))
    settings = (
        {"likelihood_settings": {"channels": 2}} if name == "shared_normal" else {}
    )
    given = {"data_mean": mean, "latent_dim": 2, "likelihood": name, **settings}
    mlp = gaussian_mlp((4, 3, 2), hidden=(3,), **given)
    conv = gaussian_conv((4, 3, 2), channels=(3,), **given)
    for model, expected in [
        (mlp, mean),
        (conv, np.broadcast_to(mean.mean((0, 1)), mean.shape)),
    ]:
        params = model.init(KEY)
        zeros = jax.tree.map(
            lambda leaf: 0 * leaf if leaf.ndim > 1 else leaf, params.decoder
        )  # only the biases speak
        p = model.decode(params._replace(decoder=zeros), jnp.ones(2), None)
        np.testing.assert_allclose(model.likelihood.mean(p), expected, rtol=1e-4)


# The continuous Bernoulli distribution.


def exact_normalizer(logit: float) -> tuple[float, float, float]:
    """A, A' and A'' from 120 digits."""
    with decimal.localcontext() as context:
        context.prec = 120
        t = decimal.Decimal(logit)
        grown = t.exp()
        value = ((grown - 1) / t).ln()
        mean = grown / (grown - 1) - 1 / t
        variance = 1 / t**2 - grown / (grown - 1) ** 2
        return float(value), float(mean), float(variance)


NEAR = (1e-30, 1e-6, 1e-3, 0.1, 0.49, 0.51, 1.0, 7.0, 50.0, 1e3)


@pytest.mark.parametrize(("x64", "tolerance"), [(True, 1e-13), (False, 2e-6)])
def test_the_continuous_bernoulli_normalizer_is_exact_at_any_logit(x64, tolerance):
    with jax.enable_x64(x64):
        logits = jnp.array([*NEAR, *(-t for t in NEAR)], float)
        slopes = (
            jax.grad(log_normalizer),
            jax.grad(jax.grad(log_normalizer)),
        )
        ours = (log_normalizer(logits), *(jax.vmap(f)(logits) for f in slopes))
        at_half = [log_normalizer(jnp.zeros(())), *(f(0.0) for f in slopes)]
    truth = np.array([exact_normalizer(float(t)) for t in logits]).T
    for mine, exact in zip(ours[:2], truth[:2], strict=True):
        np.testing.assert_allclose(mine, exact, rtol=tolerance, atol=1e-30)
    np.testing.assert_allclose(ours[2], truth[2], rtol=3e-4 if x64 else 1, atol=1e-6)
    np.testing.assert_allclose(at_half, [0, 1 / 2, 1 / 12], rtol=1e-6)


@pytest.mark.parametrize("logit", [-300.0, -3.0, -1e-4, 0.0, 1e-4, 3.0, 300.0])
def test_a_continuous_bernoulli_sample_has_the_derivative_of_its_quantile(logit):
    family = continuous_bernoulli()
    with jax.enable_x64(True):
        logits = jnp.full(50, logit)
        z, slope = jax.jvp(
            lambda logits: family.sample(KEY, logits), (logits,), (jnp.ones(50),)
        )
        step = 1e-5
        above, below = (family.sample(KEY, logits + s) for s in (step, -step))
        np.testing.assert_allclose(slope, (above - below) / (2 * step), rtol=1e-4)
    assert ((np.asarray(z) >= 0) & (np.asarray(z) <= 1)).all()
    # In float32 too.
    single = jax.grad(lambda t: continuous_bernoulli().sample(KEY, t).sum())
    assert np.isfinite(single(jnp.full(50, logit, jnp.float32))).all()


# Scales that no network puts out.


def test_the_optimal_scale_is_the_best_one():
    rng = np.random.default_rng(0)
    x, loc = rng.normal(size=(2, 7))
    family = optimal_normal()
    value, slope = jax.value_and_grad(family.log_prob)(jnp.asarray(loc), jnp.asarray(x))
    best = np.sqrt(np.mean((x - loc) ** 2))
    at = [scipy.stats.norm(loc, best * s).logpdf(x).sum() for s in (0.9, 1.0, 1.1)]
    np.testing.assert_allclose(value, at[1], rtol=1e-5)
    assert value > max(at[0], at[2])
    np.testing.assert_allclose(slope, (x - loc) / best**2, rtol=1e-4)
    assert not family.normalized
    perfect = jax.value_and_grad(family.log_prob)(jnp.zeros(3), jnp.zeros(3))
    assert all(np.isfinite(leaf).all() for leaf in perfect)
    with pytest.raises(VaejaxError, match="use its mean, or shared_normal"):
        family.sample(KEY, jnp.zeros(3))


def test_a_shared_scale_is_learned_for_each_channel():
    family = shared_normal(channels=2)
    outputs = jnp.zeros((1, 4, 3, 2))
    x = jnp.broadcast_to(jnp.array([2.0, 0.5]), (4, 3, 2))

    def log_prob(log_scales):
        return family.log_prob(family.head.read(outputs, log_scales), x)

    slope = jax.grad(log_prob)(jnp.log(jnp.array([2.0, 0.7])))
    np.testing.assert_allclose(slope, [0, 12 * ((0.5 / 0.7) ** 2 - 1)], atol=1e-4)
    params = gaussian_mlp((4, 3, 2), likelihood="shared_normal").init(KEY)
    np.testing.assert_allclose(params.decoder["family"], [np.log(0.1)], rtol=1e-6)


# Counts.


def test_multinomial_probabilities_sum_to_one_given_the_length():
    counts = [c for c in itertools.product(range(6), repeat=3) if sum(c) == 5]
    logits = jnp.array([0.3, -1.0, 2.0])
    log_p = jax.vmap(multinomial().log_prob, (None, 0))(
        logits, jnp.array(counts, float)
    )
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-5)


@pytest.mark.parametrize("log_dispersion", [-10.0, -3.0, 0.0, 10.0])
def test_negative_binomial_is_exact_at_any_dispersion(log_dispersion):
    """Near the Poisson distribution the gamma functions of r would cancel."""
    family, r = negative_binomial(), np.exp(-log_dispersion)
    for x, mean in itertools.product((0.0, 3.0, 150.0), (0.5, 90.0)):
        params = family.head.read(jnp.log(jnp.array([[mean], [0.0]])), ())
        params = params._replace(log_dispersion=jnp.array([log_dispersion]))
        value, slope = jax.value_and_grad(family.log_prob)(params, jnp.array([x]))
        p = r / (r + mean)
        truth = scipy.stats.nbinom.logpmf(x, r, p)
        np.testing.assert_allclose(value, truth, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(slope.log_mean, [(x - mean) * p], 1e-4, atol=1e-5)
        harmonic = scipy.special.digamma(x + r) - scipy.special.digamma(r)
        by_r = harmonic + np.log(p) + (mean - x) / (r + mean)
        np.testing.assert_allclose(
            slope.log_dispersion, [-r * by_r], rtol=1e-2, atol=1e-2
        )


# Bits and perplexity.


def test_bits_count_levels_and_their_cells():
    """Uniform grey levels take 8 bits, as a uniform density of dequantised ones."""
    uniform = LIKELIHOODS["categorical_levels"]()
    x = jnp.array([0.0, 0.2, 1.0])
    log_px = float(uniform.log_prob(jnp.zeros((256, 3)), x))
    assert bits_per_dim(log_px, 3) == pytest.approx(8)
    log_px = float(continuous_bernoulli().log_prob(jnp.zeros(3), x))
    assert bits_per_dim(log_px, 3, 256) == pytest.approx(8)


def test_dequantized_bits_are_those_of_the_cells_and_more():
    """The mean over the noise exceeds the bits of the cells' probabilities."""
    params = BetaParams(jnp.full(1, 2.0), jnp.full(1, 2.5))
    twin = scipy.stats.beta(*np.exp(params), -0.5 / 255, 256 / 255)
    noise = (np.arange(1000) + 0.5) / 1000
    for level in (2, 70, 130):
        y = jnp.asarray((level + noise)[:, None] / 256, jnp.float32)
        log_density = jax.vmap(pixel_beta().log_prob, (None, 0))(params, y)
        dequantized = bits_per_dim(float(log_density.mean()), 1, 256)
        cell = twin.cdf((level + 1) / 256) - twin.cdf(level / 256)
        exact = -np.log2(cell)[0]
        assert exact <= dequantized + 1e-5
        assert dequantized - exact < (0.3 if level == 2 else 1e-3)
    # Without the levels' share it would be another number.
    assert bits_per_dim(float(log_density.mean()), 1) < exact - 7


@pytest.mark.parametrize(
    ("likelihood", "settings", "protocol", "told"),
    [
        ("discretized_logistic", {}, "none", True),
        ("discretized_logistic", {"levels": 16}, "none", False),
        ("fixed_normal", {}, "none", False),
        ("fixed_normal", {}, "dequantized", True),
        ("optimal_normal", {}, "dequantized", False),
        ("bernoulli", {}, "dynamic", False),
    ],
)
def test_bits_are_told_where_they_mean_something(likelihood, settings, protocol, told):
    model = gaussian_mlp((2, 3, 1), likelihood=likelihood, likelihood_settings=settings)
    found = bits(model, protocol, -6 * np.log(2))
    assert found == (
        {"bits_per_dim": pytest.approx(1 + 8 * (protocol != "none"))} if told else {}
    )


def test_perplexity_of_words_that_are_equally_likely_is_their_number():
    counts = np.array([[1, 0, 2, 0], [3, 3, 3, 3], [0, 7, 0, 0]], float)
    log_prob = jax.vmap(multinomial().log_prob, (None, 0))
    log_px = np.asarray(log_prob(jnp.zeros(4), jnp.asarray(counts)))
    assert perplexity(log_px, counts) == pytest.approx(4, rel=1e-5)
    with pytest.raises(VaejaxError, match="document 1 has no words"):
        perplexity(log_px[:2], counts[:2] * [[1], [0]])
    with pytest.raises(VaejaxError, match="give both of the same documents"):
        perplexity(log_px[:1], counts)
