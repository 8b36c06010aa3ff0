"""`advise`: the estimator, K, M and batch size of most signal a second, in one call.

Every candidate's gradient is timed. Gradients of candidates within the budget are drawn
on minibatches from one pool, with the same keys, and compared with the gradient of the
whole pool (see `vaejax.benchmark.ranking`, also for the certainty). After the first
pass, only candidates that may still be the best are drawn.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.benchmark.advice import SIGNAL, Advice, AdviceRow
from vaejax.benchmark.candidates import (
    Bar,
    Candidate,
    Record,
    costs_of,
    draw,
    make_candidates,
)
from vaejax.benchmark.cells import Keys, Point
from vaejax.benchmark.cost import CostReport
from vaejax.benchmark.moments import fold_count
from vaejax.benchmark.ranking import SURE
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    Example,
    Key,
    Model,
    Params,
    VaejaxError,
    check_data,
    unknown,
)
from vaejax.core.build import answered
from vaejax.core.doors import (
    expect,
    expect_all,
    expect_counts,
    expect_distinct_counts,
    expect_key,
    expect_params,
)
from vaejax.core.ranges import Range, mismatch, shown
from vaejax.progress import bar

BUDGETS = {
    "max_seconds": Annotated[float, Range(0, 1e9, above=True)],
    "max_bytes": Annotated[int, Range(1, 2**60)],
}


@answered
def advise(
    model: Model,
    params: Params,
    pool: Batch | Example,
    *,
    bound: Bound,
    estimators: Sequence[Estimator],
    num_samples: Sequence[int] | int,
    batch_size: Sequence[int] | int,
    num_outer: Sequence[int] | int = 1,
    draws: int = 400,
    passes: int = 4,
    key: Key,
    max_seconds: float | None = None,
    max_bytes: int | None = None,
    allow_bias: bool = False,
    group: str = "encoder",
    progress: bool = False,
) -> Advice:
    """Recommend the estimator, K, M and batch size of most gradient signal a second.

    The signal is S / sqrt(seconds), S = E g_par / sqrt(E ||g_orth||^2), of a gradient's
    parts along and across that of the whole pool. A larger K is a different, tighter
    bound with its own gradient; tightness does not count here. The time is that of a
    gradient, without the optimizer. A candidate whose estimator is not valid, or raises
    a `VaejaxError` when it is checked or traced, is a row with the reason, and one that
    is over the budget is a row with its cost.

    Args:
        model: any, registered or not.
        params: where the gradients are taken.
        pool: the observations to draw minibatches from, every leaf [N, ...].
        bound: to differentiate.
        estimators: to be told apart by name; also your own. Parameters of an estimator
            itself, as of a learned baseline, are as initialised.
        num_samples: K, importance samples per observation; one, or several.
        batch_size: observations that a gradient averages, drawn with replacement.
        num_outer: M, independent estimates that a gradient averages.
        draws: gradients per candidate in one pass; a number that has a divisor between
            8 and 40.
        passes: the largest number of passes for candidates that may be the best.
        key: of all draws.
        max_seconds: the largest time of a gradient; None for no limit.
        max_bytes: the largest memory of its program; None for no limit.
        allow_bias: recommend biased estimators, too.
        group: of parameters: all, encoder, decoder or prior.
        progress: show a bar of the passes.

    Returns:
        The advice, which shows itself. The recommended candidate is the best with at
        least 95% probability; otherwise it is None, and `best` is the one in front.

    Raises:
        VaejaxError: names, arrays or numbers in the place of objects; two estimators of
            one name; draws that cannot be folded; data that the model cannot take; no
            candidate that is valid, unbiased and within the budget; or more numbers
            than the memory holds.

    Examples:
        >>> model = linear_gaussian(data_shape=(2,), latent_dim=1)
        >>> advice = vaejax.benchmark.advise(
        ...     model,
        ...     model.init(jax.random.key(0)),
        ...     Example(jnp.ones((3, 2))),
        ...     bound=iwae(),
        ...     estimators=[dreg(), stl(), rloo()],
        ...     num_samples=[4],
        ...     batch_size=[2],
        ...     draws=40,
        ...     key=jax.random.key(1),
        ... )
        >>> {row.estimator: row.verdict for row in advice.rows}
        {'dreg': 'recommended', 'stl': 'biased', 'rloo': 'refused'}
        >>> answer = advice.sentence()  # in words
    """
    expect(Model, "model", model)
    examples = check_data(model, pool, name="pool")
    counts = expect_distinct_counts("num_samples", num_samples)
    sizes = expect_distinct_counts("batch_size", batch_size)
    outer = expect_distinct_counts("num_outer", num_outer)
    expect_counts(passes=passes)
    for name, given in (("max_seconds", max_seconds), ("max_bytes", max_bytes)):
        if given is not None and (expected := mismatch(BUDGETS[name], given)):
            raise VaejaxError(f"{name} is {shown(given)}: give {expected}, or None")
    check_group(group)
    fold_count(draws)
    *keys, of_ranking = jax.random.split(expect_key(key), len(Keys._fields) + 1)
    point = Point(
        model=model,
        params=expect_params(params, model),
        batch=Batch(examples, jnp.arange(len(examples.x))),
        keys=Keys(*keys),
        draws=draws,
    )
    candidates = make_candidates(
        point,
        expect(Bound, "bound", bound),
        expect_all(Estimator, "estimators", estimators),
        counts,
        outer,
        sizes,
    )
    check_recommendable(candidates, allow_bias, "allow_bias=True")
    return decide(
        candidates,
        Record(),
        partial(bar, shown=progress),
        passes=passes,
        seed=int(jax.random.bits(of_ranking)),
        max_seconds=max_seconds,
        max_bytes=max_bytes,
        allow_bias=allow_bias,
        group=group,
    )


def check_group(group: str) -> None:
    """Refuse a group of parameters that no model has.

    Raises:
        VaejaxError: naming the groups.
    """
    allowed = ("all", *(name for name in Params._fields if name != "auxiliary"))
    if group not in allowed:
        raise unknown("group", group, allowed)


def check_recommendable(
    candidates: Sequence[Candidate], allow_bias: bool, flag: str
) -> None:
    """Refuse candidates of which none may be recommended; `flag` allows biased ones.

    Raises:
        VaejaxError: with the reasons.
    """
    if not any(c.may_be_recommended(allow_bias) for c in candidates):
        raise VaejaxError(
            "no candidate can be recommended: "
            + "; ".join(sorted({f"{c.name}: {c.verdict.reason}" for c in candidates}))
            + f"; use other estimators, or {flag} for biased ones"
        )


def decide(
    candidates: Sequence[Candidate],
    record: Record,
    progress: Bar,
    *,
    passes: int,
    seed: int,
    max_seconds: float | None,
    max_bytes: int | None,
    allow_bias: bool,
    group: str,
) -> Advice:
    """Measure what is not in the record, and rank the candidates.

    Raises:
        VaejaxError: no candidate that may be recommended is within the budget.
    """
    measured = [c for c in candidates if c.verdict.status != "refused"]
    known = [record.read(c.choice, "cost") for c in measured]
    is_measured = None not in known
    found = (
        [CostReport(**cost) for cost in known] if is_measured else costs_of(measured)
    )
    costs = dict(zip(measured, found, strict=True))
    seconds, size = max_seconds or np.inf, max_bytes or np.inf
    fitting = [
        c
        for c, cost in costs.items()
        if cost.seconds_per_gradient <= seconds and cost.peak_bytes <= size
    ]
    may_win = [c.may_be_recommended(allow_bias) for c in fitting]
    if not any(may_win):
        eligible = [costs[c] for c in measured if c.may_be_recommended(allow_bias)]
        fastest = min(cost.seconds_per_gradient for cost in eligible)
        smallest = min(cost.peak_bytes for cost in eligible)
        raise VaejaxError(
            f"no candidate fits the budget: the fastest takes {fastest:.2g} s, the "
            f"smallest {smallest:.0f} bytes; raise the budget, or use smaller K, M or "
            "batch sizes"
        )
    if not is_measured:  # written once a candidate fits the budget
        for candidate, cost in costs.items():
            record.write(candidate.choice, cost=cost._asdict())
    ranking, drawn = draw(
        fitting, costs, may_win, record, progress, passes=passes, group=group, seed=seed
    )
    rows = {c: _undrawn(c, costs.get(c)) for c in candidates}
    leader = ranking.per_second.best
    won = ranking.per_second.chance[leader] >= SURE
    for at, candidate in enumerate(fitting):
        if not may_win[at]:
            verdict = "biased"
        elif at == leader:
            verdict = "recommended" if won else "in front"
        else:
            tied = ranking.per_second.tied[at]
            verdict = "cannot be told apart" if tied else "behind"
        signal: dict[str, Any] = {}
        for name, comparison in zip(SIGNAL, ranking, strict=True):
            signal[name] = float(comparison.value[at])
            signal[f"{name}_stderr"] = float(comparison.stderr[at])
            signal[f"{name}_chance_best"] = float(comparison.chance[at])
        rows[candidate] = rows[candidate]._replace(
            verdict=verdict,
            draws=candidate.point.draws * drawn[at],
            reference=record.read((*candidate.choice, 0), "reference"),
            **signal,
        )
    best, step_best = (rows[fitting[comparison.best]] for comparison in ranking)
    return Advice(tuple(rows.values()), best, step_best)


def _undrawn(candidate: Candidate, cost: CostReport | None) -> AdviceRow:
    """The row of a candidate whose gradient is not drawn, or not valid (no cost)."""
    cell = candidate.cell._asdict()
    del cell["step"]
    return AdviceRow(
        **cell,
        **candidate.verdict._asdict(),
        verdict="refused" if cost is None else "over budget",
        **({} if cost is None else cost._asdict()),
    )
