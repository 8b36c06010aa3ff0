"""The programs that `experiments.cost` times: steps, moments and evaluations."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmark.choice import choose
from vaejax.benchmark import gradient_moments
from vaejax.bounds import BOUNDS
from vaejax.core import Batch, Example, Model, Objective, VaejaxError
from vaejax.core.memory import check_fits, check_product
from vaejax.estimators import ESTIMATORS
from vaejax.evaluation import log_likelihood
from vaejax.models import gaussian_mlp
from vaejax.objective import make_objective
from vaejax.sharding import DATA, put, training_mesh
from vaejax.training import (
    default_micro_batch_size,
    init_state,
    make_step,
    run_steps,
    several_seeds,
    zero_totals,
)
from vaejax.training.batches import batch_indices

PIXELS = (28, 28, 1)
DECODINGS_PER_CALL = 5000  # roughly enough steps that the start of a call costs little


class Point(NamedTuple):
    """A place on a curve; `num_seeds` is None for a program of a single state."""

    work: str  # "training step", "evaluation" or "gradient moments"
    axis: str
    value: int | str
    num_samples: int
    batch_size: int
    width: int
    latent_dim: int = 50
    num_seeds: int | None = None
    num_devices: int = 1
    num_examples: int | None = None  # of the data set; None stands for one batch

    def make_model(self) -> Model:
        """The network of this point."""
        return gaussian_mlp(latent_dim=self.latent_dim, hidden=(self.width, self.width))


class Program(NamedTuple):
    """A timed program: a call, the number of its images, and its memory if known."""

    call: Callable[[], Any]
    images: int
    peak_bytes: int | None


def check_point(point: Point) -> None:
    """Refuse a point whose program the memory or the devices cannot hold.

    Raises:
        VaejaxError: it takes too much, or devices that are not there.
    """
    there, devices = jax.device_count(), point.num_devices
    if devices > there or point.batch_size % devices:
        raise VaejaxError(
            f"a batch of {point.batch_size} examples cannot be divided over {devices} "
            f"of {there} devices: use divisors of the batch size up to the number of "
            "devices (a CPU's is set before the command, as in XLA_FLAGS="
            "--xla_force_host_platform_device_count=4)"
        )
    seeds = point.num_seeds or 1
    # The parameters, their gradient and Adam's two moments.
    make = partial(point.make_model().init, jax.random.key(0))
    what = f"networks of width {point.width:,} and {point.latent_dim:,} latents"
    check_fits(what, make, copies=4 * seeds)
    asked = {"num_samples": point.num_samples, "num_seeds": seeds}
    size = max(point.width, point.latent_dim, math.prod(PIXELS))
    if point.work == "gradient moments":  # on all examples at once
        check_product(asked | {"batch_size": point.batch_size}, size)
    parts = default_micro_batch_size(point.batch_size, point.num_samples)
    check_product(asked, size * parts)
    check_product({"batch_size": point.batch_size}, math.prod(PIXELS))
    check_product({"num_examples": point.num_examples or 1}, math.prod(PIXELS))


def program_of(
    point: Point, bound: str, default_estimator: str
) -> Callable[[], Program]:
    """Check a point; return a function that compiles its program."""
    model = point.make_model()
    if point.work == "evaluation":
        return partial(_evaluation, model, point)
    name = point.value if isinstance(point.value, str) else default_estimator
    objective = make_objective(
        model,
        choose(BOUNDS, bound),
        choose(ESTIMATORS, name),
        num_samples=point.num_samples,
        allow_bias=True,
    )
    if point.work == "gradient moments":
        return partial(_moments, objective, point)
    return partial(_training, objective, point)


def _examples(count: int) -> Example:
    """Images that are half black: neither time nor memory depends on them."""
    x = np.random.default_rng(0).integers(0, 2, (count, *PIXELS), np.uint8)
    return Example(jnp.asarray(x, float))


def _training(objective: Objective, point: Point) -> Program:
    """A program of training steps in one dispatch, of one state or of several."""
    if point.num_seeds is not None:
        objective = several_seeds(objective, point.num_seeds)
    optimizer = optax.adam(1e-3)
    size, devices, seeds = point.batch_size, point.num_devices, point.num_seeds or 1
    share = default_micro_batch_size(size // devices, point.num_samples)
    step = make_step(objective, optimizer, micro_batch_size=devices * share)
    num_steps = max(1, DECODINGS_PER_CALL // (size * point.num_samples * seeds))
    data = _examples(point.num_examples or size)
    indices = jnp.asarray(batch_indices(len(data.x), size, 0, num_steps, seed=0))
    state = init_state(objective, optimizer, jax.random.key(0))
    totals = zero_totals(step, state, data, indices)
    mesh = training_mesh(devices * share, devices=jax.devices()[:devices])
    state, totals, data = put((state, totals, data), mesh)
    rest = data, put(indices, mesh, None, DATA), np.int32(0), np.int32(num_steps)
    with jax.set_mesh(mesh):
        compiled = run_steps.lower(step, state, totals, *rest).compile()

    def call() -> None:
        nonlocal state, totals
        state, totals = jax.block_until_ready(compiled(state, totals, *rest))

    memory = compiled.memory_analysis()
    assert memory is not None  # None only on exotic backends
    peak = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    return Program(call, num_steps * size * seeds, peak)


def _moments(objective: Objective, point: Point) -> Program:
    """A program of streamed moments, of enough gradients to outweigh a call's start."""
    params, state = objective.init(jax.random.key(0))
    batch = Batch(_examples(point.batch_size), jnp.arange(point.batch_size))
    draws = 8 * max(1, DECODINGS_PER_CALL // (8 * point.batch_size * point.num_samples))

    def call() -> None:
        at = objective, params, state, jax.random.key(1), batch
        jax.block_until_ready(gradient_moments(*at, draws=draws, folds=8))

    return Program(call, draws * point.batch_size, None)


def _evaluation(model: Model, point: Point) -> Program:
    """A program of a batch's log-likelihood, by the function that users call."""
    params = model.init(jax.random.key(0))
    examples = _examples(point.batch_size)

    def call() -> None:
        log_likelihood(
            model,
            params,
            examples,
            jax.random.key(1),
            num_samples=point.num_samples,
            devices=jax.devices()[: point.num_devices],
        )

    return Program(call, point.batch_size, None)
