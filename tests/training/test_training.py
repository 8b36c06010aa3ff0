"""Training: it reaches known optima, and how steps are dispatched changes nothing."""

import math
import warnings

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
)
from vaejax.models import gaussian_mlp, linear_gaussian
from vaejax.models.linear_gaussian import exact_log_px
from vaejax.training import (
    default_micro_batch_size,
    init_state,
    run_steps,
    steps_per_epoch,
    zero_totals,
)
from vaejax.training.batches import batch_indices
from vaejax.training.checkpoints import CheckpointError, latest, restore, save
from vaejax.training.memory import gradient_bytes

pytestmark = pytest.mark.slow

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


def take(step, state, data, indices, dispatches=None):
    """The state after a step per row of indices, and the metrics' means."""
    indices = jnp.asarray(indices)
    totals = zero_totals(step, state, data, indices)
    for start, stop in dispatches or [(0, len(indices))]:
        state, totals = run_steps(step, state, totals, data, indices, start, stop)
    return state, {name: float(mean) for name, mean in totals.means().items()}


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


def test_a_state_that_has_its_epochs_is_refused_and_one_that_has_not_goes_on():
    state = train_small(epochs=2)
    with pytest.raises(VaejaxError, match="10 steps, 5 an epoch: use epochs = 4 to tr"):
        train_small(epochs=2, state=copied(state))
    more = train_small(epochs=3, state=copied(state))
    whole = train_small(epochs=3)
    jax.tree.map(np.testing.assert_array_equal, more.params, whole.params)


def test_a_bar_shows_the_steps_and_changes_nothing(capsys):
    quiet = train_small(epochs=2)
    assert capsys.readouterr().out == ""
    assert_same_bits(quiet, train_small(epochs=2, progress=True))
    shown = capsys.readouterr().out
    assert "training" in shown
    assert "10/10" in shown
    assert "epoch 2" in shown


def test_a_state_shows_itself_in_a_line():
    assert repr(train_small(epochs=2)).startswith("TrainState(step=10, skipped=0; enc")
    assert len(repr(train_small(epochs=1))) < 100


def copied(state):
    """Copy the state, because `fit` takes over what it is given."""
    return jax.tree.map(jnp.copy, state)


# Optima


@pytest.fixture(scope="module")
def linear_data():
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(5, 2)) @ np.diag([1.5, 1.0])
    x = rng.normal(size=(400, 2)) @ weight.T + 0.5 * rng.normal(size=(400, 5)) + 2.0
    return jnp.asarray(x, jnp.float32)


def maximum_likelihood(x: jax.Array, latent_dim: int) -> jax.Array:
    """The greatest mean log p(x) that `linear_gaussian` can reach on x, [N, D].

    With the eigenvalues `l_i` of the sample covariance in falling order, sigma^2 is the
    mean of those beyond `latent_dim`, and

        max mean log p(x) = -(D log(2 pi) + sum_{i <= Z} log l_i + (D - Z) log sigma^2
                              + D) / 2.
    """
    size = x.shape[1]
    eigenvalues = jnp.linalg.eigvalsh(jnp.cov(x, rowvar=False, bias=True))[::-1]
    noise = eigenvalues[latent_dim:].mean()
    logdet = jnp.log(eigenvalues[:latent_dim]).sum() + (size - latent_dim) * jnp.log(
        noise
    )
    return -0.5 * (size * jnp.log(2 * jnp.pi) + logdet + size)


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
            state, _ = take(step, state, data, [[1, 1]])
            seen.append(np.array(state.params.decoder))
        return np.diff(seen, axis=0).reshape(-1, 3)

    draws = run(0)
    assert len(np.unique(draws.round(4), axis=0)) == 6
    assert np.array_equal(draws, run(0))
    assert not np.any(np.isclose(draws, run(1)))


# How the work is cut up


@pytest.fixture(scope="module")
def small_step():
    """A model, its optimizer, and updates from one start by some rows of indices."""
    objective, optimizer = objective_of(linear_gaussian((4, 3, 1))), optax.adam(1e-2)
    data = Example(jnp.asarray(grey_images() / 255.0, jnp.float32))

    def run(dispatches, indices, micro_batch_size=None):
        step = make_step(objective, optimizer, micro_batch_size=micro_batch_size)
        state = init_state(objective, optimizer, KEY)
        return take(step, state, data, indices, dispatches)

    return run


def test_results_do_not_depend_on_the_steps_a_dispatch_holds(small_step):
    indices = batch_indices(23, 5, 0, 12, seed=0)
    whole, metrics = small_step([(0, 12)], indices)
    assert whole.step == 12
    for cuts in (
        [(0, 6), (6, 12)],
        [(i, i + 1) for i in range(12)],
        [(0, 11), (11, 12)],
    ):
        parts, same_metrics = small_step(cuts, indices)
        assert_same_bits(parts, whole)
        assert metrics == same_metrics


@pytest.mark.parametrize("micro_batch_size", [1, 3])
def test_micro_batches_give_the_gradient_of_the_whole_batch(
    small_step, micro_batch_size
):
    indices = np.arange(6)[None]
    expected, expected_metrics = small_step([(0, 1)], indices)
    state, metrics = small_step([(0, 1)], indices, micro_batch_size)
    gradient = state.opt_state[0].mu  # after one step of Adam, a tenth of it
    expected_gradient = expected.opt_state[0].mu
    chex.assert_trees_all_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(metrics, expected_metrics, rtol=1e-5)


def test_a_micro_batch_takes_its_share_of_every_part_of_the_batch():
    """Each of several devices that share a batch then has work all the time."""
    seen = []

    def loss(params, state, key, batch):
        jax.debug.callback(seen.append, batch.global_index)
        return params.decoder.sum(), (state, {})

    objective = Objective(init=recorder(None, 1).init, loss=loss)
    step = make_step(objective, optax.sgd(1.0), micro_batch_size=3)
    state = init_state(objective, optax.sgd(1.0), KEY)
    take(step, state, Example(jnp.zeros((6, 1))), np.arange(6)[None])
    jax.effects_barrier()
    assert sorted(map(list, seen)) == [[0, 2, 4], [1, 3, 5]]


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
    with pytest.raises(
        VaejaxError, match=r"50 samples .* 3 MiB.* 2 MiB: raise the budget"
    ):
        default_micro_batch_size(10, 50, example_bytes=3 * 2**20, max_bytes=2 * 2**20)


@pytest.mark.parametrize("estimator", ["pathwise", "dreg", "vimco"])
def test_the_memory_of_an_example_is_about_what_xla_allocates(estimator):
    model = gaussian_mlp((4, 3, 1), latent_dim=2, hidden=(5,))
    objective = objective_of(model, "iwae", estimator, num_samples=1000)
    batch = Batch(Example(jnp.zeros((1, 4, 3, 1))), jnp.arange(1))
    params, state = objective.init(KEY)
    gradient = jax.jit(jax.grad(objective.loss, has_aux=True))
    compiled = gradient.lower(params, state, KEY, batch).compile()
    allocated = compiled.memory_analysis().temp_size_in_bytes
    assert allocated / 2 < gradient_bytes(objective, batch.example) < 2 * allocated


def test_the_memory_of_training_does_not_grow_with_k_above_the_micro_batch():
    """From K = 20 on, a micro-batch of the 100 examples is 1000 samples."""
    model = gaussian_mlp((6, 6, 1), latent_dim=4, hidden=(20,))
    optimizer, data = optax.adam(1e-3), Example(jnp.zeros((100, 6, 6, 1)))
    indices = jnp.zeros((1, 100), int)

    def temporary_bytes(num_samples, size):
        objective = objective_of(model, "iwae", "dreg", num_samples=num_samples)
        step = make_step(objective, optimizer, micro_batch_size=size)
        state = init_state(objective, optimizer, KEY)
        totals = zero_totals(step, state, data, indices)
        lowered = run_steps.lower(step, state, totals, data, indices, 0, 1)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    ks = (20, 100, 1000)
    sizes = [default_micro_batch_size(100, k) for k in ks]
    assert sizes == [50, 10, 1]
    bounded = [temporary_bytes(k, size) for k, size in zip(ks, sizes, strict=True)]
    assert max(bounded) < 1.05 * min(bounded)
    whole = [temporary_bytes(k, None) for k in ks]
    assert whole[1] > 4 * whole[0]
    assert whole[2] > 40 * whole[0]


def test_a_run_is_traced_once_however_it_is_cut_and_wherever_it_goes_on():
    objective = small_vae()
    saved, reports = [], []

    def fit_traced_once(**settings):
        chex.clear_trace_counter()
        traced = chex.assert_max_traces(objective.loss, n=1)
        return fit(
            Objective(init=objective.init, loss=traced),
            optax.adam(1e-2),
            Example(grey_images()),
            epochs=4,
            batch_size=5,
            key=KEY,
            observe=dim,
            **settings,
        )

    whole = fit_traced_once(
        on_epoch=reports.append,
        steps_per_dispatch=3,
        on_dispatch=lambda *carry: saved.append(jax.tree.map(jnp.copy, carry)),
    )
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert len({report.compile_seconds for report in reports}) == 1
    assert all(np.isfinite(list(report.metrics.values())).all() for report in reports)
    assert [state.step for state, _ in saved if state.step % 3 == 0] == list(
        range(3, 21, 3)
    )
    state, totals = next(carry for carry in saved if carry[0].step == 12)
    assert totals.steps == 2  # of the third epoch
    again = []
    assert_same_bits(
        fit_traced_once(state=state, totals=totals, on_epoch=again.append), whole
    )
    assert [report.metrics for report in again] == [r.metrics for r in reports[2:]]


def test_the_state_is_donated():
    objective, optimizer = small_vae(), optax.adam(1e-2)
    state = init_state(objective, optimizer, KEY)
    step = make_step(objective, optimizer, observe=dim)
    take(step, state, Example(jnp.asarray(grey_images())), jnp.arange(6)[None])
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


@pytest.mark.parametrize(
    ("epochs", "batch_size", "count"), [(0, 5, 5), (1, 0, 5), (1, 5, 0), (-1, 5, 5)]
)
def test_impossible_runs_are_refused(epochs, batch_size, count):
    with pytest.raises(VaejaxError, match=r"from 1 to|at least one"):
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


def damage(file, how):
    content = bytearray(file.read_bytes())
    if how == "removed":
        file.unlink()
        return
    if how == "truncated":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "removed", "one bit flipped"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, small_state, how):
    """The checkpoint of a damaged file loads unchanged, or the damage is named."""
    for step in (8, 9):
        save(tmp_path, at_step(small_state, step), {"step": step, "sum": 0.1})
    files = [f for f in (tmp_path / "9").rglob("*") if f.is_file()]
    whole = {file: file.read_bytes() for file in files}
    noticed = []
    for file in files:
        damage(file, how)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            restored, extra = restore(tmp_path, small_state)
        assert_same_bits(restored, at_step(small_state, extra["step"]))
        assert extra["sum"] == 0.1
        if extra["step"] == 8:
            noticed.append(file)
            assert f"{tmp_path / '9'} is damaged: " in str(caught[0].message)
        file.write_bytes(whole[file])
    arrays = max(files, key=lambda file: len(whole[file]))
    assert {arrays, tmp_path / "9" / "_CHECKPOINT_METADATA"} <= set(noticed)

    for file in files:
        for path in (file, tmp_path / "8" / file.relative_to(tmp_path / "9")):
            if path.exists():
                damage(path, how)
    with pytest.warns(match="is damaged"), pytest.raises(CheckpointError) as error:
        restore(tmp_path, small_state)
    assert str(tmp_path) in str(error.value)
    assert "delete it and start" in str(error.value)


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
            r"layers.0.bias is float\d+\[5\] there and float\d+\[6\]",
        ),
        (small_vae(), optax.sgd(1e-2), r"opt_state\S+ is \S+ there and absent here"),
    ]:
        with pytest.raises(CheckpointError, match=difference):
            restore(tmp_path, init_state(objective, optimizer, KEY))


def test_a_checkpoint_of_another_precision_is_refused(tmp_path):
    def state_in(x64):
        with jax.enable_x64(x64):
            return init_state(small_vae(), optax.adam(1e-2), KEY)

    for x64, name in [(True, "float64"), (False, "float32")]:
        save(tmp_path / name, state_in(x64), {})
        with pytest.raises(
            CheckpointError, match=f"a run in {name}.* JAX_ENABLE_X64={int(x64)}"
        ):
            restore(tmp_path / name, state_in(not x64))
        like = state_in(x64)
        with jax.enable_x64(x64):
            assert_same_bits(restore(tmp_path / name, like)[0], like)
