"""Checks of what the functions of a user's records return; an error is one sentence."""

from typing import Any

import jax
import jax.numpy as jnp

from vaejax.core import (
    Bound,
    Estimator,
    EstState,
    Example,
    Key,
    LogTerms,
    Params,
    Problem,
    Scalar,
    Stats,
    VaejaxError,
    Verdict,
)
from vaejax.core.factories import takes
from vaejax.core.ranges import shown
from vaejax.terms import COMMON_STATS

SEVERITY = ("unbiased", "biased", "refused")


def check_value(bound: Bound, num_samples: int) -> None:
    """Refuse a bound whose value for `num_samples` log-weights is no scalar.

    Raises:
        VaejaxError: naming the bound and what it returns.
    """
    log_p: Any = jax.ShapeDtypeStruct((num_samples,), jnp.result_type(float))
    terms = LogTerms(log_p, log_p, log_p)
    value = jax.eval_shape(
        lambda given: bound.aggregate(bound.log_weight(given)), terms
    )
    if not _is_scalar(value):
        raise VaejaxError(
            f"bound {bound.name!r}: its aggregate returns {_described(value)} for "
            f"K = {num_samples}: return a scalar"
        )


def surrogate_of(
    estimator: Estimator,
    problem: Problem,
    params: Params,
    state: EstState,
    key: Key,
    example: Example,
) -> tuple[Scalar, Stats]:
    """The estimator's surrogate of one example, which is traced here.

    Raises:
        VaejaxError: a surrogate of other arguments, or one that returns anything but a
            scalar with the statistics of `make_stats`.
    """
    given = problem, params, state, key, example
    who = f"estimator {estimator.name!r}: its surrogate"
    if not takes(estimator.surrogate, *given):
        raise VaejaxError(f"{who} must take problem, params, state, key, example")
    returned = estimator.surrogate(*given)
    match returned:
        case (value, dict(stats)) if stats.keys() >= set(COMMON_STATS) and all(
            map(_is_scalar, stats.values())
        ):
            if _is_scalar(value):
                return value, stats
            raise VaejaxError(f"{who} returns {_described(value)}: return a scalar")
    raise VaejaxError(
        f"{who} must return (scalar, stats), as vaejax.terms.make_stats makes them, "
        f"and returns {_described(returned)}"
    )


def check_verdict(estimator: Estimator, verdict: Any) -> None:
    """Refuse what an estimator's check returned if it is no `Verdict`.

    Raises:
        VaejaxError: naming the estimator and what its check returned.
    """
    if not isinstance(verdict, Verdict) or verdict.status not in SEVERITY:
        raise VaejaxError(
            f"estimator {estimator.name!r}: its check must return a Verdict, whose "
            f"status is one of {', '.join(SEVERITY)}, and returns {shown(verdict)}"
        )


def _is_scalar(value: Any) -> bool:
    return isinstance(value, float) or getattr(value, "shape", None) == ()


def _described(value: Any) -> str:
    if type(value) is tuple:
        return f"({', '.join(map(_described, value))})"
    if _is_scalar(value):
        return "a scalar"
    if hasattr(value, "shape"):
        return f"an array of shape {value.shape}"
    return "None" if value is None else f"a {type(value).__name__}"
