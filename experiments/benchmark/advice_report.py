"""The output of the advice on estimators: a sentence, a table, a report and files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.candidates import CHOICE
from experiments.harness import run_folder
from experiments.harness.result_row import ResultRow
from experiments.harness.result_table import columns_of, print_rows, write_csv
from vaejax.benchmark.numbers import number_of
from vaejax.benchmark.ranking import SURE
from vaejax.benchmark.statistics import Line
from vaejax.plotting import Section, Table, write_report

SIGNAL = ("signal_per_root_second", "directional_snr")
EXCLUDED = ("estimator", "status", "reason")
EXPLAINED = (
    "`signal/√s` is the signal of all gradients that are computed in a second: their "
    "mean part along the reference, over the root mean square of their part across it. "
    "`SNR a step` is the directional SNR of one gradient. `best` is the probability "
    "that the candidate has the most signal per second. Parameters: {group}."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdviceRow(ResultRow):
    """A candidate: whether it is valid, its place among the others, signal and cost."""

    model: str
    bound: str
    estimator: str
    num_samples: int
    num_outer: int
    batch_size: int
    status: str
    reason: str
    verdict: str  # refused, over budget, biased, or the place
    draws: int | None = None
    signal_per_root_second: float = np.nan
    signal_per_root_second_stderr: float = np.nan
    signal_per_root_second_chance_best: float = np.nan
    directional_snr: float = np.nan
    directional_snr_stderr: float = np.nan
    directional_snr_chance_best: float = np.nan
    decoder_evaluations: int | None = None
    seconds_per_gradient: float = np.nan
    seconds_stderr: float = np.nan
    flops: float = np.nan
    peak_bytes: float = np.nan
    reference: str | None = None


def write(
    out: Path,
    rows: Sequence[AdviceRow],
    best: AdviceRow,
    step_best: AdviceRow,
    group: str,
    command: str,
) -> str:
    """Write and print the tables, report and summary; return the advice."""
    advice = sentence(rows, best, step_best)
    lines = [row.line() for row in rows]
    write_csv(out / "results.csv", lines, AdviceRow.columns())
    shown = [_shown(row) for row in rows]
    excluded = sorted(
        {(row.estimator, row.status, row.reason) for row in rows}
        - {(row.estimator, "unbiased", row.reason) for row in rows}
    )
    columns = columns_of(shown)
    candidates = Table(columns, [[row.get(c) for c in columns] for row in shown])
    write_report(
        out / "report.html",
        title=f"Gradients of {best.bound} on {best.model}",
        lead=[advice],
        sections=[
            Section("Candidates", EXPLAINED.format(group=group), [candidates]),
            *[Section("Biased or refused", tables=[Table(EXCLUDED, excluded)])]
            * bool(excluded),
            Section("Command", command=command),
        ],
    )
    run_folder.write_json(
        out / "results.json",
        {
            "advice": advice,
            "recommended": _choice(best) if _won(best) else None,
            "chance_best": best.signal_per_root_second_chance_best,
            "best_per_step": _choice(step_best),
            "references": sorted({row.reference for row in rows if row.reference}),
            "versions": run_folder.versions(),
        },
    )
    print_rows(
        f"gradients of {best.bound} on {best.model}, parameters: {group}",
        shown,
        ("estimator", "K", "M", "batch", "verdict", "signal/√s", "best"),
        ("SNR a step", "ms", "MB", "draws"),
    )
    for name, status, reason in excluded:
        print(f"{name} is {status}: {reason}")
    print(f"{advice}\nreport: {out}")
    return advice


def sentence(rows: Sequence[AdviceRow], best: AdviceRow, step_best: AdviceRow) -> str:
    """The advice: the choice, its probability and its ties; or no winner."""
    contenders = [
        row
        for row in rows
        if row.verdict in ("recommended", "in front", "cannot be told apart", "behind")
    ]
    tied = [r for r in contenders if r.verdict == "cannot be told apart"]
    lead = f"Use {_words(best)}: the"
    if not _won(best):
        lead = (
            f"No winner: none of the candidates is the best with {SURE:.0%} "
            f"probability or more. In front is {_words(best)}, with the"
        )
    return (
        f"{lead} most signal per second of "
        f"{number_of(len(contenders), 'candidate')} with probability {_percent(best)}"
        + "".join(f"; it cannot be told apart from {_words(row)}" for row in tied)
        + (
            "; it has the highest directional SNR per step, too."
            if step_best is best
            else f"; {_words(step_best)} has the highest directional SNR per step."
        )
    )


def _won(best: AdviceRow) -> bool:
    return best.verdict == "recommended"


def _choice(row: AdviceRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in CHOICE}


def _percent(row: AdviceRow) -> str:
    """The probability of being the best, rounded down so as not to overstate it."""
    percent = (
        100 * row.signal_per_root_second_chance_best + 1e-9
    )  # 28.999... stands for 29
    return f"{int(percent)}%" if percent < 100 else "over 99%"


def _words(row: AdviceRow) -> str:
    biased = ", biased" if row.status == "biased" else ""
    return (
        f"{row.estimator} (K = {row.num_samples}, M = {row.num_outer}, "
        f"batch size {row.batch_size}{biased})"
    )


def _shown(row: AdviceRow) -> Line:
    """A row of the table; unmeasured values are empty."""
    names = ("estimator", "K", "M", "batch", "verdict")
    values = (*_choice(row).values(), row.verdict)
    shown: dict[str, Any] = dict(zip(names, values, strict=True))
    if row.decoder_evaluations is not None:
        shown["ms"] = f"{1e3 * row.seconds_per_gradient:.3g}"
        shown["MB"] = f"{1e-6 * row.peak_bytes:.3g}"
    if row.draws is not None:
        signal, snr = (
            f"{row.get(n):.3g} ± {row.get(f'{n}_stderr'):.1g}" for n in SIGNAL
        )
        shown |= {"signal/√s": signal, "SNR a step": snr, "draws": row.draws}
        shown["best"] = _percent(row)
    return shown
