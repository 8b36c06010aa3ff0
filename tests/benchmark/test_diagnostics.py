"""The instruments that judge estimators: unbiased, calibrated, and not fooled.

Their objective is a toy whose gradient is known in law: its parameters plus noise of
known covariance, and a bias on demand.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted_moments import report_on
from scipy.stats import t

from vaejax.benchmark import (
    Moments,
    combine,
    cosine_of_means,
    cost_report,
    counted,
    decoder_evaluations,
    fold_count,
    grad_report,
    gradient_moments,
    squared_norm_of_mean,
    summarize,
    variance_split,
)
from vaejax.benchmark import moments as moments_module
from vaejax.bounds import elbo
from vaejax.core import Batch, Example, Objective, Params, VaejaxError
from vaejax.estimators import dreg, measure_valued, pathwise
from vaejax.families import fixed_normal
from vaejax.models import linear_gaussian
from vaejax.objective import make_objective

pytestmark = pytest.mark.slow

# ||E v||^2 from n vectors, in numpy alone.

SEEDS = 400


def samples(n: int, dim: int, norm: float, seed: int) -> np.ndarray:
    """Vectors of mean norm `norm` and covariance diag(0.2 to 2)."""
    scale = np.sqrt(np.linspace(0.2, 2.0, dim))
    mean = np.full(dim, norm / np.sqrt(dim))
    return mean + scale * np.random.default_rng(seed).normal(size=(n, dim))


@functools.cache
def estimates(n: int, dim: int, norm: float) -> np.ndarray:
    """The values found with every seed: [SEEDS, fields of SquaredNorm]."""
    return np.array(
        [squared_norm_of_mean(samples(n, dim, norm, seed)) for seed in range(SEEDS)]
    )


SIZES = [(8, 50), (40, 50), (40, 5)]  # vectors (the folds of a report), coordinates
CASES = [(*size, norm) for size in SIZES for norm in (0.0, 0.3, 3.0)]


@pytest.mark.parametrize("case", CASES)
def test_the_squared_norm_is_unbiased(case):
    n, dim, norm = case
    values, *_ = estimates(*case).T
    stderr = values.std(ddof=1) / np.sqrt(SEEDS)
    assert abs(values.mean() - norm**2) < 4 * stderr
    # The plug-in is too large by tr(Sigma) / n, and that shows.
    plug_in = np.array(
        [np.square(samples(n, dim, norm, seed).mean(0)).sum() for seed in range(SEEDS)]
    )
    off = np.linspace(0.2, 2.0, dim).sum() / n
    stderr = plug_in.std(ddof=1) / np.sqrt(SEEDS)
    assert abs(plug_in.mean() - norm**2 - off) < 4 * stderr
    assert off > 8 * stderr or norm == 3.0  # where the norm's own noise hides it


@pytest.mark.parametrize("case", CASES)
def test_its_interval_covers_as_often_as_it_says(case):
    *_, norm = case
    values, stderrs, _, _, low, high = estimates(*case).T
    covered = np.mean((low <= norm**2) & (norm**2 <= high))
    assert 0.90 <= covered <= 0.985
    # Few directions and no bias: the standard error is on the safe side.
    spread = np.sqrt(np.mean(stderrs**2)) / values.std(ddof=1)
    assert 0.95 < spread < 1.45
    if norm == 3.0:
        assert spread < 1.06


def test_the_squared_norm_is_the_mean_over_pairs():
    vectors = samples(9, 4, 1.0, seed=0)
    pairs = [a @ b for i, a in enumerate(vectors) for b in np.delete(vectors, i, 0)]
    value, *_ = squared_norm_of_mean(vectors)
    np.testing.assert_allclose(value, np.mean(pairs), rtol=1e-12)


def test_without_noise_it_is_exact():
    found = squared_norm_of_mean(np.ones((8, 3)))
    assert found == pytest.approx((3.0, 0.0, 0.0, 0.0, 3.0, 3.0), abs=1e-7)
    found = squared_norm_of_mean(np.ones((8, 3)), floor=0.1)
    once, twice = (0.1 * t.isf(level, 7) for level in (0.05, 0.025))
    ends = 2 * once, 3 - twice, 3 + twice
    assert found == pytest.approx((3.0, 0.1, 0.1, *ends), abs=1e-6)


def test_what_is_planted_hardly_changes_what_is_called_detectable():
    detectable = squared_norm_of_mean(samples(40, 50, 0.0, seed=0)).detectable
    norm = np.sqrt(detectable)
    planted = [
        squared_norm_of_mean(samples(40, 50, norm, 1000 + seed)) for seed in range(100)
    ]
    said = np.median([found.detectable for found in planted])
    assert said == pytest.approx(detectable, rel=0.2)


# An objective whose gradient is known.

NOISE = np.random.default_rng(0).normal(size=(20, 20)) * 0.03  # Sigma = N N'
COVARIANCE = NOISE @ NOISE.T
THETA = np.random.default_rng(1).normal(size=20)
THETA /= np.linalg.norm(THETA)
BATCH = Batch(Example(jnp.zeros((1, 1))), jnp.arange(1))


@functools.cache
def toy(bias: float = 0.0) -> Objective:
    """Gradient: theta + noise for the encoder, less a bias; its own for the decoder."""

    def init(key):
        encoder = {
            "weight": jnp.asarray(THETA[:15], jnp.float32).reshape(3, 5),
            "bias": jnp.asarray(THETA[15:], jnp.float32),
        }
        return Params(encoder, decoder={"shift": jnp.array([2.0, -1.0])}, prior=()), ()

    def loss(params, state, key, batch):
        theta = jnp.concatenate(
            [params.encoder["weight"].reshape(-1), params.encoder["bias"]]
        )
        noise = jnp.asarray(NOISE, jnp.float32) @ jax.random.normal(key, (20,))
        push = noise + bias * theta / jnp.linalg.norm(theta)
        quadratic = 0.5 * (theta @ theta + jnp.sum(params.decoder["shift"] ** 2))
        return quadratic + theta @ jax.lax.stop_gradient(push), (state, {})

    return Objective(init=init, loss=loss)


PARAMS, STATE = toy().init(jax.random.key(0))
TRUTH = PARAMS  # the gradient of 1/2 ||theta||^2


def flat(tree, lead: int = 0) -> np.ndarray:
    """All leaves side by side, in float64; the first `lead` axes are kept."""
    leaves = [np.asarray(leaf, float) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([x.reshape(*x.shape[:lead], -1) for x in leaves], lead)


def moments_of(objective, draws: int, seed: int = 0, **settings) -> Moments:
    key = jax.random.key(seed)
    return gradient_moments(
        objective, PARAMS, STATE, key, BATCH, draws=draws, **settings
    )


def stacked(objective, draws: int, seed: int = 0, params: Params = PARAMS):
    """The same draws side by side: [draws, number of parameters]."""

    def draw(i):
        key = jax.random.fold_in(jax.random.key(seed), i)
        return jax.grad(objective.loss, has_aux=True)(params, STATE, key, BATCH)[0]

    return flat(jax.jit(jax.vmap(draw))(jnp.arange(draws)), lead=1)


@pytest.mark.parametrize(("draws", "folds"), [(2000, None), (90, 9), (64, 1)])
def test_streamed_moments_are_those_of_the_stacked_draws(draws, folds):
    moments = moments_of(toy(), draws, folds=folds)
    draws_side_by_side = stacked(toy(), draws)
    folds = folds or fold_count(draws)
    fold_means = draws_side_by_side.reshape(folds, draws // folds, -1).mean(1)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    close(flat(moments.mean), draws_side_by_side.mean(0))
    close(flat(moments.variance), draws_side_by_side.var(0, ddof=1))
    close(flat(moments.fold_means, lead=1), fold_means)
    assert moments.draws == draws


def test_a_large_mean_does_not_drown_the_variance():
    far = jax.tree.map(lambda leaf: leaf + 1e4, PARAMS)
    key = jax.random.key(0)
    moments = gradient_moments(toy(), far, STATE, key, BATCH, draws=2000)
    draws = stacked(toy(), 2000, params=far)
    np.testing.assert_allclose(
        flat(moments.variance), draws.var(0, ddof=1), rtol=0.02, atol=1e-5
    )
    # The sum of squares less the square of the sum would lose all of it.
    single = draws.astype(np.float32)
    naive = np.mean(single**2, 0) - np.mean(single, 0) ** 2
    assert np.abs(naive - draws.var(0)).max() > 1


def test_the_chunk_changes_nothing(monkeypatch):
    whole = moments_of(toy(), 1600)
    size = moments_module._chunk_size
    chunks = set()
    for budget in (1, 22 * 5, 22 * 8):  # 22 parameters
        chunks.add(size(40, 22, 256, budget))
        monkeypatch.setattr(
            moments_module, "_chunk_size", functools.partial(size, budget=budget)
        )
        other = moments_of(toy(), 1600)
        close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
        close(flat(other.mean), flat(whole.mean))
        close(flat(other.variance), flat(whole.variance))
        close(flat(other.fold_means), flat(whole.fold_means))
        close(flat(other.fold_squares), flat(whole.fold_squares))
    assert chunks == {1, 5, 8}
    assert size(40, 22, 5) == 5


def test_several_passes_are_one():
    parts = [
        moments_of(toy(), n, seed, reference=TRUTH)
        for n, seed in ((400, 0), (400, 3), (800, 1))
    ]
    whole = combine([combine(parts[:2]), parts[2]])
    side_by_side = np.concatenate(
        [stacked(toy(), n, seed) for n, seed in ((400, 0), (400, 3), (800, 1))]
    )
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    close(flat(whole.mean), side_by_side.mean(0))
    close(flat(whole.variance), side_by_side.var(0, ddof=1))
    assert whole.draws == len(whole.products.decoder["shift"]) == 1600
    report, direct = (
        summarize(moments, TRUTH)["encoder"]
        for moments in (whole, moments_of(toy(), 1600, seed=2, reference=TRUTH))
    )
    assert report.bias_squared_stderr == pytest.approx(
        direct.bias_squared_stderr, rel=0.5
    )
    assert report.variance_stderr == pytest.approx(direct.variance_stderr, rel=0.5)


def test_the_variance_is_the_closed_form():
    draws = 8000
    report = summarize(moments_of(toy(), draws), TRUTH)
    stderr = np.sqrt(2 * np.trace(COVARIANCE @ COVARIANCE) / (draws - 1))
    assert abs(report["encoder"].variance - np.trace(COVARIANCE)) < 4 * stderr
    assert report["encoder"].variance > 50 * stderr  # it is seen to 2%
    assert report["decoder"].variance == 0


# Bias: planted, and absent.


def z_of_bias(report) -> float:
    return report.bias_squared / report.bias_squared_stderr


def test_a_planted_bias_of_one_percent_is_found():
    key = jax.random.key(0)
    report = grad_report(
        toy(0.01), PARAMS, STATE, key, BATCH, draws=80_000, reference=TRUTH
    )["encoder"]
    assert z_of_bias(report) > 5
    assert report.bias_squared > report.bias_squared_detectable
    assert abs(report.bias_squared - 0.01**2) < 4 * report.bias_squared_stderr


def test_an_unbiased_gradient_is_cleared():
    z = [
        z_of_bias(summarize(moments_of(toy(), 2000, seed), TRUTH)["encoder"])
        for seed in range(20)
    ]
    assert np.abs(z).max() < 5
    assert np.min(z) < 0  # around zero, where the plug-in is above it always


@pytest.mark.parametrize(("bias", "found"), [(0.02, True), (0.0, False)])
def test_moments_of_an_unbiased_objective_are_a_reference(bias, found):
    reference = moments_of(toy(), 20_000, seed=1)
    report = summarize(moments_of(toy(bias), 20_000), reference)["encoder"]
    assert (z_of_bias(report) > 5) == found
    assert abs(report.bias_squared - bias**2) < 4 * report.bias_squared_stderr
    # Its noise counts: the interval is wider than against the truth itself.
    certain = summarize(moments_of(toy(bias), 20_000), TRUTH)["encoder"]
    assert report.bias_squared_stderr > certain.bias_squared_stderr


# The other columns.


def test_snr_is_its_definition():
    report = summarize(moments_of(toy(0.3), 400), TRUTH)["encoder"]
    encoder = flat(TRUTH.encoder)
    draws = stacked(toy(0.3), 400)[:, : encoder.size]
    mean, deviation = draws.mean(0), draws.std(0, ddof=1)
    np.testing.assert_allclose(report.snr, np.mean(np.abs(mean) / deviation), rtol=1e-4)


def test_an_exact_gradient_has_no_noise_and_the_right_direction():
    moments = moments_of(toy(), 80, reference=TRUTH)
    report = summarize(moments, TRUTH)["decoder"]
    assert report.bias_squared == pytest.approx(0, abs=1e-12)
    assert (report.variance, report.variance_stderr, report.variance_q95) == (0, 0, 0)
    assert (report.snr, report.norm_snr, report.directional_snr) == (np.inf,) * 3
    assert (report.cosine, report.draw_cosine) == pytest.approx((1, 1))


@pytest.mark.parametrize(("off", "biased"), [(1e-6, False), (1e-3, True)])
def test_rounding_is_no_bias(off, biased):
    """An exact gradient is off by what float32 rounds, of either sign."""
    moments = moments_of(toy(), 80)
    near = jax.tree.map(lambda leaf: leaf * (1 + off), TRUTH)
    report = summarize(moments, near)["decoder"]
    assert report.variance == 0
    assert report.bias_squared > 0
    assert (z_of_bias(report) > 1.645) == biased


def test_groups_without_parameters_are_left_out():
    assert set(summarize(moments_of(toy(), 80), TRUTH)) == {"encoder", "decoder"}


def test_a_cosine_to_nothing_is_not_a_number():
    nothing = jax.tree.map(jnp.zeros_like, TRUTH)
    assert np.isnan(summarize(moments_of(toy(), 80), nothing)["encoder"].cosine)


def test_single_draws_are_held_against_the_reference():
    report = grad_report(
        toy(0.3), PARAMS, STATE, jax.random.key(0), BATCH, draws=400, reference=TRUTH
    )["encoder"]
    encoder = flat(TRUTH.encoder)
    draws = stacked(toy(0.3), 400)[:, : encoder.size]
    along = draws @ encoder / np.linalg.norm(encoder)
    across = np.linalg.norm(
        draws - along[:, None] * encoder / np.linalg.norm(encoder), axis=1
    )
    cosines, ratios = along / np.linalg.norm(draws, axis=1), np.abs(along) / across
    for name, values in (("draw_cosine", cosines), ("directional_snr", ratios)):
        np.testing.assert_allclose(getattr(report, name), values.mean(), rtol=1e-4)
        stderr = values.std(ddof=1) / np.sqrt(400)
        np.testing.assert_allclose(getattr(report, f"{name}_stderr"), stderr, rtol=1e-3)


def test_every_array_of_parameters_is_reported_on_by_itself():
    moments = moments_of(toy(), 400, reference=TRUTH)
    whole, parts = (summarize(moments, TRUTH, per_layer=x) for x in (False, True))
    assert set(parts) == {"encoder/bias", "encoder/weight", "decoder/shift"}
    total = parts["encoder/bias"].variance + parts["encoder/weight"].variance
    assert total == pytest.approx(whole["encoder"].variance)
    assert parts["encoder/bias"].draw_cosine != whole["encoder"].draw_cosine


DIM, DRAWS = 30, 400
MEAN = np.linspace(-0.2, 0.4, DIM)
SCALE = np.linspace(0.5, 1.5, DIM)


@functools.cache
def reports_of_known_draws(signal: float = 1.0) -> list:
    """Reports of normal draws, seed by seed: of the mean signal MEAN, and spread SCALE.

    The reference is MEAN.
    """
    found = []
    for seed in range(200):
        draws = signal * MEAN + SCALE * np.random.default_rng(seed).normal(
            size=(DRAWS, DIM)
        )
        found.append(report_on(draws, MEAN))
    return found


def test_the_intervals_of_every_statistic_cover_as_often_as_they_say():
    reports = reports_of_known_draws()
    many = MEAN + SCALE * np.random.default_rng(1).normal(size=(400_000, DIM))
    along = many @ MEAN / np.linalg.norm(MEAN)
    norms = np.linalg.norm(many, axis=1)
    truths = {
        "bias_squared": 0.0,
        "variance": np.sum(SCALE**2),
        "rms_snr": np.sqrt(np.mean((MEAN / SCALE) ** 2)),
        "norm_snr": np.linalg.norm(MEAN) / np.linalg.norm(SCALE),
        "draw_cosine": np.mean(along / norms),
        "directional_snr": np.mean(np.abs(along) / np.sqrt(norms**2 - along**2)),
    }
    for name, truth in truths.items():
        values = np.array([getattr(report, name) for report in reports])
        stderrs = np.array([getattr(report, f"{name}_stderr") for report in reports])
        covered = np.mean(np.abs(values - truth) <= 1.96 * stderrs)
        assert 0.90 <= covered <= 0.985, (name, covered)
    # The plug-in snr is off by its noise, which its error does not hold: that is of the
    # spread over runs.
    values = np.array([report.snr for report in reports])
    stderrs = np.array([report.snr_stderr for report in reports])
    assert 0.8 < np.median(stderrs) / values.std(ddof=1) < 1.25


def test_the_rms_snr_covers_near_the_floor_where_the_plug_in_does_not():
    reports = reports_of_known_draws(0.25)
    ratios = np.abs(0.25 * MEAN / SCALE)
    floor = np.sqrt(2 / (np.pi * DRAWS))
    assert np.sqrt(np.mean(ratios**2)) < 1.3 * floor
    covered = {}
    for name, truth in (
        ("rms_snr", np.sqrt(np.mean(ratios**2))),
        ("snr", ratios.mean()),
    ):
        values, stderrs = np.array(
            [(getattr(r, name), getattr(r, f"{name}_stderr")) for r in reports]
        ).T
        covered[name] = np.mean(np.abs(values - truth) <= 1.96 * stderrs)
    assert covered["rms_snr"] > 0.90
    assert covered["snr"] < 0.75


@pytest.mark.parametrize("drawn", [False, True])
@pytest.mark.parametrize("truth", [1.0, 0.5])
@pytest.mark.parametrize("length", [2.0, 4.0])
def test_the_cosine_covers_where_noise_is_half_as_long_as_the_mean(
    length, truth, drawn
):
    """At least 90% of 300 intervals hold it: 95%, less 4 standard errors.

    Along E v they are on the safe side. The plug-in cosine with its error over folds,
    the negative control, holds the truth hardly ever where the noise is half as long.
    """
    other, key = np.zeros(DIM), np.random.default_rng(0)
    other[0] = length
    mean = np.r_[truth, np.sqrt(1 - truth**2), np.zeros(DIM - 2)] * length
    noise = np.sqrt(40 / DIM)  # of the mean of 40 folds then has the length 1
    covered, plug_in = [], []
    for _ in range(300):
        folds = mean + noise * key.normal(size=(40, DIM))
        others = other[None]
        if drawn:
            others = other + noise / 2 * key.normal(size=(40, DIM))
        found = cosine_of_means(folds, others)
        if np.isfinite(found.value):
            covered.append(found.low <= truth <= found.high)
        target = others.mean(0) / np.linalg.norm(others.mean(0))
        left_out = (folds.sum(0) - folds) / 39
        cosines = left_out @ target / np.linalg.norm(left_out, axis=1)
        error = np.sqrt(39 * np.var(cosines))
        plug_in.append(abs(cosines.mean() - truth) <= 1.96 * error)
    # Squared lengths of 5.2 times their error are below 4 times in some runs.
    assert len(covered) > (280 if length > 2 else 200)
    assert np.mean(covered) > 0.90
    if truth == 1.0 and length == 2.0:
        assert np.mean(plug_in) < 0.5


def test_a_drawn_reference_counts_with_its_noise():
    own, theirs = (moments_of(toy(), 400, seed) for seed in (0, 1))
    found = summarize(own, theirs)["encoder"]
    known = summarize(own, TRUTH)["encoder"]
    assert found.cosine_stderr > 1.2 * known.cosine_stderr
    assert abs(found.cosine - 1) < 4 * found.cosine_stderr


def test_a_length_that_the_noise_hides_has_no_cosine():
    noise = np.random.default_rng(0).normal(size=(40, DIM))
    noise -= noise.mean(0)  # so that the products of different ones are below 0
    assert np.isnan(cosine_of_means(noise, np.ones((1, DIM)))).all()
    assert np.isnan(cosine_of_means(np.ones((40, DIM)), noise)).all()


# The parts of the variance.


def noisy_mean() -> Objective:
    """Gradient: the mean of the observations, and noise that they do not share."""

    def loss(params, state, key, batch):
        noise = 0.3 * jax.random.normal(key, (2,))
        push = batch.example.x.mean(0) + noise
        return params.decoder @ jax.lax.stop_gradient(push), (state, {})

    return Objective(init=lambda key: (Params((), jnp.zeros(2), ()), ()), loss=loss)


X = np.random.default_rng(3).normal(size=(50, 2)) * np.array([1.0, 0.5])


@pytest.mark.parametrize("batch_size", [1, 5])
def test_the_variance_is_split_into_that_of_the_data_and_the_rest(batch_size):
    objective = noisy_mean()
    params, state = objective.init(jax.random.key(0))
    batch = Batch(Example(jnp.asarray(X, jnp.float32)), jnp.arange(50))
    at = objective, params, state, jax.random.key(1), batch
    found = variance_split(*at, draws=20_000, batch_size=batch_size)["decoder"]
    data = X.var(0).sum() / batch_size
    for value, stderr, truth in (
        (found.data, found.data_stderr, data),
        (found.latents, found.latents_stderr, 2 * 0.3**2),
    ):
        assert abs(value - truth) < 4 * stderr
        assert stderr < 0.05 * truth
    whole = gradient_moments(*at, draws=20_000, batch_size=batch_size)
    assert flat(whole.variance).sum() == pytest.approx(data + 0.18, rel=0.05)
    fixed = gradient_moments(*at, draws=20_000)
    assert flat(fixed.variance).sum() == pytest.approx(0.18, rel=0.05)


# Folds.


def test_draws_are_split_into_as_many_equal_folds_as_possible():
    assert fold_count(8) == 8
    assert fold_count(13) == 13
    assert fold_count(2000) == 40
    assert fold_count(2 * 39) == 39


@pytest.mark.parametrize("draws", [0, -40, 1, 7, 82, 10_007])
def test_draws_that_cannot_be_folded_are_refused(draws):
    message = f"^{draws} draws cannot be split.*use a rou"
    if draws < 1:
        message = f"^draws is {draws}: give an integer from 1"
    with pytest.raises(VaejaxError, match=message):
        moments_of(toy(), draws)


@pytest.mark.parametrize("folds", [7, 200, -4])
def test_folds_that_do_not_divide_the_draws_are_refused(folds):
    message = f"100 draws .*{folds} equal folds"
    if folds < 1:
        message = f"^folds is {folds}: give an integer from 1"
    with pytest.raises(VaejaxError, match=message):
        moments_of(toy(), 100, folds=folds)


# Cost.


@pytest.mark.parametrize(
    ("estimator", "samples", "by_xla"),
    [
        (pathwise(), 6, 6),
        (dreg(), 6, 6),
        # A pair for each of 2 parameters, in a loop over 2 coordinates: XLA counts one.
        (measure_valued(), 6 * (1 + 2 * 2 * 2), 6 * (1 + 2 * 2)),
    ],
)
def test_the_decoder_evaluations_are_those_that_run(estimator, samples, by_xla):
    """XLA's count agrees where decoding is all the work."""
    width = 64
    matrix = jnp.full((width, width), 0.01)

    def decode(params, z, y):
        hidden = jnp.concatenate([z, jnp.zeros(width - 2)])
        for _ in range(8):
            hidden = matrix @ hidden
        return hidden[:3]

    model = linear_gaussian(data_shape=(3,), latent_dim=2)
    model = dataclasses.replace(model, decode=decode, likelihood=fixed_normal(1.0))
    model = counted(model)
    objective = make_objective(model, elbo(), estimator, num_samples=6)
    params, state = objective.init(jax.random.key(0))
    batch = Batch(Example(jnp.ones((5, 3))), jnp.arange(5))
    traced = jax.jit(objective.loss).trace(params, state, jax.random.key(0), batch)
    assert decoder_evaluations(traced.jaxpr) == 5 * samples
    work = traced.lower().compile().cost_analysis()["flops"]
    assert work / (8 * 2 * width**2) == pytest.approx(5 * by_xla, rel=0.05)


def test_the_cost_is_that_of_the_work():
    n = 96
    data = jnp.ones((n, n))

    def loss(params, state, key, batch):
        return 0.5 * jnp.sum((data @ params.encoder) ** 2), (state, {})

    objective = Objective(init=lambda key: (PARAMS, ()), loss=loss)
    params = Params(encoder=jnp.ones((n, n)), decoder=(), prior=())
    key = jax.random.key(0)
    report = cost_report(objective, params, (), key, BATCH, calls=3)
    products = 2 * 2 * n**3  # data @ w on the way there, data' @ (data @ w) back
    assert products <= report.flops < 1.1 * products
    assert report.peak_bytes >= 2 * 4 * n * n  # the parameters and their gradient
    assert report.seconds_per_gradient > 0
