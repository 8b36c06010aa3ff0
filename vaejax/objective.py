"""From (model, bound, estimator, K) to the two functions that a trainer needs."""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp

from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    EstState,
    IncompatibleError,
    Key,
    Model,
    Objective,
    Params,
    Problem,
    Regularizer,
    Scalar,
    Stats,
    Verdict,
    fold_examples,
)


def make_objective(
    model: Model,
    bound: Bound,
    estimator: Estimator,
    *,
    num_samples: int,
    allow_bias: bool = False,
    regularizers: Sequence[Regularizer] = (),
) -> Objective:
    """The negative bound, mean over the batch, whose gradient is the estimator's.

    loss(params, state, key, batch) = mean_b -surrogate(example_b) + sum_r penalty_r

    Args:
        model: encoder, decoder and prior, per example.
        bound: a scalar function of `num_samples` log-weights.
        estimator: how to differentiate it.
        num_samples: K, a positive integer.
        allow_bias: accept a pair whose gradient is known to be biased.
        regularizers: batch-level terms, added to the loss.

    Returns:
        An `Objective`: `loss` is a scalar whose value is minus the bound (plus the
        penalties) and whose gradient is minus the estimate (plus theirs).

    Raises:
        IncompatibleError: naming the requirement and the remedy, before any tracing.
    """
    problem = Problem(model=model, bound=bound, num_samples=num_samples)
    verdict = check(problem, estimator)
    if verdict.status == "refused":
        raise IncompatibleError(
            f"{estimator.name} refuses {bound.name} on {model.name}: {verdict.reason}"
        )
    if verdict.status == "biased" and not allow_bias:
        raise IncompatibleError(
            f"{estimator.name} is biased for {bound.name} with K = {num_samples}: "
            f"{verdict.reason}, or accept the bias with allow_bias"
        )

    for regularizer in regularizers:
        if reason := regularizer.needs(model):
            raise IncompatibleError(
                f"{regularizer.name} refuses {model.name}: {reason}"
            )

    def init(key: Key) -> tuple[Params, EstState]:
        model_key, estimator_key = jax.random.split(key)
        auxiliary, state = estimator.init(problem, estimator_key)
        return model.init(model_key)._replace(auxiliary=auxiliary), state

    def loss(
        params: Params, state: EstState, key: Key, batch: Batch
    ) -> tuple[Scalar, tuple[EstState, Stats]]:
        examples_key, batch_key = jax.random.split(key)
        keys = fold_examples(examples_key, batch.global_index)
        surrogates, stats = jax.vmap(
            lambda k, example: estimator.surrogate(problem, params, state, k, example)
        )(keys, batch.example)
        metrics = jax.tree.map(jnp.mean, stats)
        total = -surrogates.mean()
        for i, regularizer in enumerate(regularizers):
            term = regularizer.penalty(
                model, params, jax.random.fold_in(batch_key, i), batch
            )
            metrics[regularizer.name] = term
            total += term
        return total, (estimator.update(problem, state, metrics), metrics)

    return Objective(init=init, loss=loss)


def check(problem: Problem, estimator: Estimator) -> Verdict:
    """The estimator's verdict on the problem, once the problem itself makes sense."""
    num_samples = problem.num_samples
    # A bool is an int to Python, but counts nothing.
    if type(num_samples) is not int or num_samples < 1:
        return Verdict(
            "refused",
            f"num_samples is {num_samples!r}, but it counts importance samples: use an "
            "integer of at least 1",
        )
    if reason := problem.bound.needs(problem.model):
        return Verdict("refused", reason)
    return estimator.check(problem)


def compatibility_table(
    models: Iterable[Model],
    bounds: Iterable[Bound],
    estimators: Iterable[Estimator],
    num_samples: int = 2,
) -> str:
    """The verdict on every combination, as a Markdown table (the README's)."""
    bounds = list(bounds)
    lines = [
        "| latents | estimator | " + " | ".join(bound.name for bound in bounds) + " |",
        "|---" * (len(bounds) + 2) + "|",
    ]
    estimators = list(estimators)
    for model in models:
        for estimator in estimators:
            cells = [
                check(
                    Problem(model=model, bound=bound, num_samples=num_samples),
                    estimator,
                ).status
                for bound in bounds
            ]
            row = [model.posterior.name, estimator.name, *cells]
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)
