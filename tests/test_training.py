"""Training: it reaches known optima, and how steps are dispatched changes nothing."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from vaejax import (
    BOUNDS,
    ESTIMATORS,
    Batch,
    Example,
    Objective,
    Params,
    VaejaxError,
    fit,
    make_objective,
    make_step,
    run_epoch,
)
from vaejax.models import gaussian_mlp, linear_gaussian
from vaejax.models.linear_gaussian import exact_log_px, maximum_likelihood
from vaejax.training import (
    NonFiniteError,
    default_micro_batch_size,
    init_state,
    steps_per_epoch,
)
from vaejax.training.checkpoints import CheckpointError, latest, restore, save
from vaejax.training.fit import batch_indices
from vaejax.training.memory import example_bytes

KEY = jax.random.key(0)


def objective_of(model, bound="elbo", estimator="pathwise", num_samples=1):
    return make_objective(
        model, BOUNDS[bound](), ESTIMATORS[estimator](), num_samples=num_samples
    )


def recorder(observed, shape):
    """An objective of which a step of `optax.sgd(1.0)` adds `observed` to the decoder.

    `observed(key, batch)` is any array of `shape` that the loss can see.
    """

    def loss(params, state, key, batch):
        return -(params.decoder * observed(key, batch)).sum(), (state, {})

    def init(key):
        return Params(encoder=(), decoder=jnp.zeros(shape), prior=()), ()

    return Objective(init=init, loss=loss)


def grey_images(count=23):
    return np.random.default_rng(0).integers(0, 256, (count, 4, 3, 1), dtype=np.uint8)


def dim(key, image):
    """Stands for a binarization: a random observation of a stored image."""
    return (image / 255 > jax.random.uniform(key, image.shape)).astype(jnp.float32)


def small_vae():
    return objective_of(
        gaussian_mlp((4, 3, 1), latent_dim=2, hidden=(5,)), "iwae", "dreg", 3
    )


def assert_same_bits(a, b):
    def plain(state):
        return jax.device_get(state._replace(key=jax.random.key_data(state.key)))

    chex.assert_trees_all_equal(plain(a), plain(b))
    chex.assert_trees_all_equal_dtypes(plain(a), plain(b))
    assert jax.random.key_impl(a.key) == jax.random.key_impl(b.key)


def train_small(epochs, batch_size=5, data=None, **settings):
    """Train on 23 images, which batches of 5 do not divide."""
    data = Example(grey_images()) if data is None else data
    return fit(
        small_vae(),
        optax.adam(1e-2),
        data,
        epochs=epochs,
        batch_size=batch_size,
        key=jax.random.key(3),
        observe=dim,
        **settings,
    )


# Optima


@pytest.fixture(scope="module")
def linear_data():
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(5, 2)) @ np.diag([1.5, 1.0])
    x = rng.normal(size=(400, 2)) @ weight.T + 0.5 * rng.normal(size=(400, 5)) + 2.0
    return jnp.asarray(x, jnp.float32)


@pytest.mark.parametrize(
    ("bound", "estimator", "num_samples"),
    [("elbo_analytic_kl", "pathwise", 1), ("iwae", "dreg", 4)],
)
def test_training_reaches_the_closed_form_optimum(
    linear_data, bound, estimator, num_samples
):
    model = linear_gaussian((5,), latent_dim=2)
    epochs = 300
    steps = epochs * steps_per_epoch(400, 100)
    state = fit(
        objective_of(model, bound, estimator, num_samples),
        optax.adam(optax.cosine_decay_schedule(3e-2, steps)),
        Example(linear_data),
        epochs=epochs,
        batch_size=100,
        key=KEY,
    )
    reached = jax.vmap(lambda x: exact_log_px(state.params, x))(linear_data).mean()
    best = maximum_likelihood(linear_data, 2)
    assert best - 2e-3 < reached < best + 1e-4
    _, directions = np.linalg.eigh(np.cov(linear_data, rowvar=False))
    angles = scipy.linalg.subspace_angles(
        np.asarray(state.params.decoder["weight"]), directions[:, -2:]
    )
    assert np.degrees(angles).max() < 3


# What a step sees


@given(
    num_examples=st.integers(1, 40),
    batch_size=st.integers(1, 60),
    start=st.integers(0, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_pass_sees_every_example_once(num_examples, batch_size, start, seed):
    steps = math.lcm(num_examples, batch_size) // batch_size
    stream = batch_indices(num_examples, batch_size, 0, start + steps, seed)
    passes = stream.reshape(-1)[: stream.size // num_examples * num_examples]
    for order in passes.reshape(-1, num_examples):
        assert sorted(order) == list(range(num_examples))
    tail = batch_indices(num_examples, batch_size, start, steps, seed)
    assert np.array_equal(tail, stream[start:])


def test_passes_are_shuffled_anew():
    first, second = batch_indices(100, 100, 0, 2, seed=0)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, batch_indices(100, 100, 0, 1, seed=1)[0])


@pytest.mark.parametrize(("batch_size", "epochs", "passes"), [(5, 3, 3), (4, 5, 6)])
def test_fit_shows_every_example_equally_often(batch_size, epochs, passes):
    def counts(key, batch):
        return jax.nn.one_hot(batch.example.x, 10).sum(0)

    state = fit(
        recorder(counts, 10),
        optax.sgd(1.0),
        Example(jnp.arange(10)),
        epochs=epochs,
        batch_size=batch_size,
        key=KEY,
    )
    assert np.array_equal(state.params.decoder, np.full(10, passes))


def observations(key, batch):
    return batch.example.x


def noise_of_the_loss(key, batch):
    return jax.random.normal(key, (2, 3))


def add_noise(key, x):
    return x + jax.random.normal(key, x.shape)


@pytest.mark.parametrize("observed", [observations, noise_of_the_loss])
def test_noise_is_fresh_at_every_step_and_a_function_of_the_seed(observed):
    objective, optimizer = recorder(observed, (2, 3)), optax.sgd(1.0)
    step = make_step(objective, optimizer, observe=add_noise)

    def run(seed):
        """The noise of three steps on one example, which fills the batch of two."""
        state = init_state(objective, optimizer, jax.random.key(seed))
        seen = [np.zeros((2, 3))]
        for _ in range(3):
            data = Example(jnp.zeros((4, 3)))
            state, _ = run_epoch(step, state, data, jnp.asarray([[1, 1]]))
            seen.append(np.array(state.params.decoder))
        return np.diff(seen, axis=0).reshape(-1, 3)

    draws = run(0)
    assert len(np.unique(draws.round(4), axis=0)) == 6
    assert np.array_equal(draws, run(0))
    assert not np.any(np.isclose(draws, run(1)))


# How the work is cut up


@pytest.fixture(scope="module")
def small_step():
    """A model, its optimizer, and updates from one start by rows of indices."""
    objective, optimizer = objective_of(linear_gaussian((4, 3, 1))), optax.adam(1e-2)
    data = Example(jnp.asarray(grey_images() / 255.0, jnp.float32))

    def run(dispatches, micro_batch_size=None):
        step = make_step(objective, optimizer, micro_batch_size=micro_batch_size)
        state = init_state(objective, optimizer, KEY)
        for indices in dispatches:
            state, metrics = run_epoch(step, state, data, indices)
        return state, metrics

    return run


def test_results_do_not_depend_on_the_steps_a_dispatch_holds(small_step):
    indices = batch_indices(23, 5, 0, 12, seed=0)
    whole, _ = small_step([indices])
    assert whole.step == 12
    for cuts in ([6], list(range(1, 12))):
        parts, _ = small_step(np.split(indices, cuts))
        chex.assert_trees_all_close(parts.params, whole.params, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("micro_batch_size", [1, 3])
def test_micro_batches_give_the_gradient_of_the_whole_batch(
    small_step, micro_batch_size
):
    indices = np.arange(6)[None]
    expected, expected_metrics = small_step([indices])
    state, metrics = small_step([indices], micro_batch_size)
    gradient = state.opt_state[0].mu  # after one step of Adam, a tenth of it
    expected_gradient = expected.opt_state[0].mu
    chex.assert_trees_all_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(metrics, expected_metrics, rtol=1e-5)


def test_a_micro_batch_that_does_not_divide_the_batch_is_refused():
    with pytest.raises(VaejaxError, match="5 examples has no equal parts of 2"):
        train_small(1, micro_batch_size=2)


@given(st.integers(1, 2000), st.integers(1, 5000), st.integers(1, 5000))
def test_default_micro_batches_divide_and_are_bounded(batch_size, num_samples, rows):
    size = default_micro_batch_size(batch_size, num_samples, rows)
    assert batch_size % size == 0
    assert size == 1 or size * num_samples <= rows
    larger = [s for s in range(size + 1, batch_size + 1) if batch_size % s == 0]
    assert all(s * num_samples > rows for s in larger)


@given(st.integers(1, 2000), st.integers(1, 50), st.integers(1, 5000))
def test_default_micro_batches_fit_the_memory(batch_size, num_samples, example_bytes):
    budget = 10_000
    size = default_micro_batch_size(
        batch_size, num_samples, example_bytes=example_bytes, max_bytes=budget
    )
    assert size * example_bytes <= budget
    assert batch_size % size == 0
    unbounded = default_micro_batch_size(batch_size, num_samples)
    larger = [s for s in range(size + 1, unbounded + 1) if batch_size % s == 0]
    assert all(s * example_bytes > budget for s in larger)


def test_an_example_that_does_not_fit_is_refused():
    with pytest.raises(VaejaxError, match=r"50 samples .* 3 MiB.* 2 MiB: raise it"):
        default_micro_batch_size(10, 50, example_bytes=3 * 2**20, max_bytes=2 * 2**20)


@pytest.mark.parametrize("estimator", ["pathwise", "dreg"])
def test_the_memory_of_an_example_is_about_what_xla_allocates(estimator):
    model = gaussian_mlp((4, 3, 1), latent_dim=2, hidden=(5,))
    objective = objective_of(model, "iwae", estimator, num_samples=1000)
    example = Example(jnp.zeros((4, 3, 1)))
    params, state = objective.init(KEY)
    batch = Batch(jax.tree.map(lambda leaf: leaf[None], example), jnp.arange(1))
    gradient = jax.jit(jax.grad(objective.loss, has_aux=True))
    compiled = gradient.lower(params, state, KEY, batch).compile()
    allocated = compiled.memory_analysis().temp_size_in_bytes
    assert allocated / 2 < example_bytes(objective, example) < 2 * allocated


def test_a_run_is_traced_once():
    objective = small_vae()
    traced = chex.assert_max_traces(objective.loss, n=1)
    reports = []
    fit(
        Objective(init=objective.init, loss=traced),
        optax.adam(1e-2),
        Example(grey_images()),
        epochs=4,
        batch_size=5,
        key=KEY,
        observe=dim,
        on_epoch=reports.append,
    )
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert len({report.compile_seconds for report in reports}) == 1
    assert all(np.isfinite(list(report.metrics.values())).all() for report in reports)


def test_the_state_is_donated():
    objective, optimizer = small_vae(), optax.adam(1e-2)
    state = init_state(objective, optimizer, KEY)
    step = make_step(objective, optimizer, observe=dim)
    run_epoch(step, state, Example(jnp.asarray(grey_images())), jnp.arange(6)[None])
    leaves = jax.tree.leaves((state.params, state.opt_state))
    assert all(leaf.is_deleted() for leaf in leaves)


@pytest.mark.parametrize("factory", [gaussian_mlp, linear_gaussian])
def test_a_model_outlives_the_state_it_is_trained_in(factory):
    model = factory((4, 3, 1), data_mean=np.full((4, 3, 1), 0.25), latent_dim=2)
    before = jax.tree.map(jnp.copy, model.init(KEY))
    consume = jax.jit(
        lambda params: jax.tree.map(jnp.negative, params), donate_argnums=0
    )
    consume(model.init(KEY))
    chex.assert_trees_all_equal(model.init(KEY), before)


# What is not finite


class _Counted:
    """The linear model's ELBO, with the number of losses as the estimator's state."""

    def __init__(self):
        base = objective_of(linear_gaussian((4,)))

        def loss(params, count, key, batch):
            value, (_, stats) = base.loss(params, (), key, batch)
            return value, (count + 1, stats)

        def init(key):
            return base.init(key)[0], jnp.zeros((), jnp.int32)

        self.objective = Objective(init=init, loss=loss)


def poisoned(row, count=8):
    x = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    x[row] = np.nan
    return x


def test_a_step_that_is_not_finite_is_not_applied_nor_are_later_ones():
    objective, optimizer = _Counted().objective, optax.adam(1e-2)
    step = make_step(objective, optimizer)
    data = Example(jnp.asarray(poisoned(7)))

    def run(indices):
        state = init_state(objective, optimizer, KEY)
        return run_epoch(step, state, data, jnp.asarray(indices))[0]

    failed = run([[0, 1], [2, 3], [7, 4], [5, 6], [0, 1]])
    assert (failed.failed_step, failed.step, failed.est_state) == (2, 2, 2)
    good = run([[0, 1], [2, 3]])
    chex.assert_trees_all_close(failed.params, good.params, rtol=1e-6)
    chex.assert_trees_all_close(failed.opt_state, good.opt_state, rtol=1e-6)


def test_a_gradient_that_is_not_finite_counts_though_the_loss_is():
    def loss(params, state, key, batch):
        return jnp.sqrt(params.decoder).sum(), (state, {})

    def init(key):
        return Params(encoder=(), decoder=jnp.zeros(3), prior=()), ()

    with pytest.raises(NonFiniteError, match="step 0") as caught:
        fit(
            Objective(init=init, loss=loss),
            optax.sgd(0.1),
            Example(jnp.zeros((4, 1))),
            epochs=1,
            batch_size=2,
            key=KEY,
        )
    assert np.array_equal(caught.value.state.params.decoder, np.zeros(3))


def test_fit_names_the_step_and_its_state_goes_on_once_the_cause_is_gone():
    objective, optimizer = _Counted().objective, optax.adam(1e-2)

    def train(x, **settings):
        return fit(objective, optimizer, Example(x), batch_size=2, key=KEY, **settings)

    with pytest.raises(NonFiniteError) as caught:
        train(poisoned(5), epochs=3)
    error = caught.value
    assert f"step {error.step}," in str(error)
    assert error.step == error.state.step < 4
    chex.assert_tree_all_finite(error.state.params)

    mended = np.nan_to_num(poisoned(5))
    resumed = train(mended, epochs=3, state=error.state)
    assert (resumed.step, resumed.failed_step) == (12, -1)


@pytest.mark.parametrize(
    ("epochs", "batch_size", "count"), [(0, 5, 5), (1, 0, 5), (1, 5, 0), (-1, 5, 5)]
)
def test_impossible_runs_are_refused(epochs, batch_size, count):
    with pytest.raises(VaejaxError, match="must be at least 1"):
        train_small(epochs, batch_size, data=Example(grey_images(count)))


# Checkpoints


@pytest.fixture(scope="module")
def small_state():
    state = init_state(small_vae(), optax.adam(1e-2), KEY)
    # What cannot be compressed, so that orbax gives the arrays a file of their own.
    noise = jnp.asarray(np.random.default_rng(0).normal(size=5000), jnp.float32)
    return state._replace(params=state.params._replace(auxiliary=noise))


def test_an_interrupted_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    def save_half(report):
        if report.epoch == 2:
            save(tmp_path, report.state, {"epoch": 2, "seconds": report.seconds})

    whole = train_small(4, on_epoch=save_half)
    like = init_state(small_vae(), optax.adam(1e-2), KEY)
    restored, extra = restore(tmp_path, like)
    assert (restored.step, extra["epoch"]) == (2 * steps_per_epoch(23, 5), 2)
    assert_same_bits(train_small(4, state=restored), whole)


def test_every_kind_of_array_survives(tmp_path, small_state):
    params = small_state.params._replace(
        auxiliary={
            0: jnp.asarray([jnp.nan, -0.0, jnp.inf], jnp.float32),
            1: jnp.asarray([1.1, 2.2, 3.3], jnp.bfloat16),
            2: jnp.zeros((0, 3)),
            10: jnp.asarray(True),
        }
    )
    state = small_state._replace(params=params, key=jax.random.key(5, impl="rbg"))
    save(tmp_path, state, {})
    restored, _ = restore(tmp_path, state)
    assert_same_bits(restored, state)
    assert list(restored.params.encoder["layers"]) == [0, 1]
    assert np.signbit(restored.params.auxiliary[0][1])


def at_step(state, step):
    return state._replace(step=jnp.asarray(step, jnp.int32))


def test_the_last_two_are_kept_and_nothing_unfinished(tmp_path, small_state):
    assert latest(tmp_path) is None
    (tmp_path / "7.orbax-checkpoint-tmp").mkdir()  # left by a run that was killed
    for step in (8, 9, 10, 10):
        save(tmp_path, at_step(small_state, step), {"step": step})
        assert latest(tmp_path) == step
    assert sorted(p.name for p in tmp_path.iterdir()) == ["10", "9"]


def damage(path, how):
    files = [f for f in path.rglob("*") if f.is_file()]
    for file in files if how == "removed" else []:
        file.unlink()
    for file in files if how == "truncated" else []:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    if how == "one bit flipped":
        arrays = max(path.glob("ocdbt.process_0/d/*"), key=lambda f: f.stat().st_size)
        content = bytearray(arrays.read_bytes())
        content[len(content) // 2] ^= 1
        arrays.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "removed", "one bit flipped"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, small_state, how):
    for step in (8, 9):
        save(tmp_path, at_step(small_state, step), {"step": step})
    damage(tmp_path / "9", how)
    with pytest.warns(UserWarning, match=r"9 is damaged"):
        restored, extra = restore(tmp_path, small_state)
    assert extra == {"step": 8}
    assert_same_bits(restored, at_step(small_state, 8))

    damage(tmp_path / "8", how)
    with pytest.warns(match="is damaged"), pytest.raises(CheckpointError) as caught:
        restore(tmp_path, small_state)
    assert str(tmp_path) in str(caught.value)
    assert "delete it and start" in str(caught.value)


@pytest.mark.parametrize("folder", ["", "absent"])
def test_a_missing_checkpoint_is_named(tmp_path, small_state, folder):
    with pytest.raises(CheckpointError, match="start the run anew") as caught:
        restore(tmp_path / folder, small_state)
    assert str(tmp_path / folder) in str(caught.value)


def test_a_checkpoint_of_another_run_is_refused(tmp_path, small_state):
    save(tmp_path, small_state, {})
    wider = objective_of(gaussian_mlp((4, 3, 1), latent_dim=2, hidden=(6,)))
    for objective, optimizer, difference in [
        (
            wider,
            optax.adam(1e-2),
            r"layers.0.bias is float32\[5\] there and float32\[6\]",
        ),
        (small_vae(), optax.sgd(1e-2), r"opt_state\S+ is \S+ there and absent here"),
    ]:
        with pytest.raises(CheckpointError, match=difference):
            restore(tmp_path, init_state(objective, optimizer, KEY))
