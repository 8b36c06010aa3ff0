"""The programs that `experiments.cost` times: steps, moments and evaluations."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.benchmark.choice import choose_estimators
from vaejax.benchmark import gradient_moments
from vaejax.bounds import BOUNDS
from vaejax.core import Batch, Example, Model, Objective, build
from vaejax.core.memory import check_fits, check_product
from vaejax.evaluation import log_likelihood
from vaejax.models import gaussian_mlp
from vaejax.objective import make_objective
from vaejax.training import (
    TrainState,
    default_micro_batch_size,
    init_state,
    make_step,
    run_steps,
    several_seeds,
    zero_totals,
)

PIXELS = (28, 28, 1)
DECODINGS_PER_CALL = 5000  # roughly enough steps that the start of a call costs little


class Point(NamedTuple):
    """A place on a curve; `seeds` is None for a program of a single state."""

    work: str  # "training step", "evaluation" or "gradient moments"
    axis: str
    value: int | str
    num_samples: int
    batch_size: int
    width: int
    seeds: int | None = None


class Program(NamedTuple):
    """A timed program: a call, the number of its images, and its memory if known."""

    call: Callable[[], Any]
    images: int
    peak_bytes: int | None


def check_point(point: Point) -> None:
    """Refuse a point whose program the memory cannot hold.

    Raises:
        VaejaxError: it takes too much.
    """
    seeds = point.seeds or 1
    model = gaussian_mlp(hidden=(point.width, point.width))
    # The parameters, their gradient and Adam's two moments.
    make = partial(model.init, jax.random.key(0))
    check_fits(f"networks of width {point.width:,}", make, copies=4 * seeds)
    asked = {"num_samples": point.num_samples, "num_seeds": seeds}
    size = max(point.width, math.prod(PIXELS))
    if point.work == "gradient moments":  # on all examples at once
        check_product(asked | {"batch_size": point.batch_size}, size)
    parts = default_micro_batch_size(point.batch_size, point.num_samples)
    check_product(asked, size * parts)
    check_product({"batch_size": point.batch_size}, math.prod(PIXELS))


def program_of(
    point: Point, bound: str, default_estimator: str
) -> Callable[[], Program]:
    """Check a point; return a function that compiles its program."""
    model = gaussian_mlp(hidden=(point.width, point.width))
    if point.work == "evaluation":
        return partial(_evaluation, model, point)
    name = point.value if isinstance(point.value, str) else default_estimator
    (estimator,) = choose_estimators([name])
    objective = make_objective(
        model,
        build(BOUNDS, bound),
        estimator,
        num_samples=point.num_samples,
        allow_bias=True,
    )
    if point.work == "gradient moments":
        return partial(_moments, objective, point)
    return partial(_training, objective, point)


def _examples(count: int) -> Example:
    """Images that are half black: neither time nor memory depends on them."""
    x = np.random.default_rng(0).integers(0, 2, (count, *PIXELS))
    return Example(jnp.asarray(x, float))


def _training(objective: Objective, point: Point) -> Program:
    """A program of training steps in one dispatch, of one state or of several."""
    if point.seeds is not None:
        objective = several_seeds(objective, point.seeds)
    optimizer = optax.adam(1e-3)
    step = make_step(
        objective,
        optimizer,
        micro_batch_size=default_micro_batch_size(point.batch_size, point.num_samples),
    )
    seeds = point.seeds or 1
    rows = point.batch_size * point.num_samples * seeds
    num_steps = max(1, DECODINGS_PER_CALL // rows)
    data = _examples(point.batch_size)
    shape = (num_steps, point.batch_size)
    indices = jnp.broadcast_to(jnp.arange(point.batch_size), shape)
    state = init_state(objective, optimizer, jax.random.key(0))

    def update(state: TrainState, data: Example, indices: Array) -> Any:
        totals = zero_totals(step, state, data, indices)
        return run_steps(step, state, totals, data, indices, 0, num_steps)

    compiled = jax.jit(update, donate_argnums=0).lower(state, data, indices).compile()

    def call() -> None:
        nonlocal state
        state, totals = compiled(state, data, indices)
        jax.block_until_ready(totals)

    memory = compiled.memory_analysis()
    assert memory is not None  # None only on exotic backends
    peak = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    return Program(call, num_steps * point.batch_size * seeds, peak)


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
        )

    return Program(call, point.batch_size, None)
