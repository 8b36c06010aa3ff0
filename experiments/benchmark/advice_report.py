"""The output of the advice on estimators: a sentence, a table, a report and files."""

from collections.abc import Sequence
from pathlib import Path

from experiments.harness import run_folder
from experiments.harness.result_table import columns_of, print_rows, write_csv
from vaejax.benchmark.cost import CostReport
from vaejax.benchmark.ranking import SURE
from vaejax.benchmark.statistics import Line
from vaejax.plotting import Section, Table, write_report

CHOICE = ("estimator", "num_samples", "num_outer", "batch_size")
SIGNAL = ("signal_per_root_second", "directional_snr")
COLUMNS = (
    *("model", "bound", *CHOICE, "status", "reason", "verdict", "draws"),
    *(name + end for name in SIGNAL for end in ("", "_stderr", "_chance_best")),
    *CostReport._fields,
    "reference",
)

EXCLUDED = ("estimator", "status", "reason")
EXPLAINED = (
    "`signal/√s` is a gradient's mean part along the reference over the root mean "
    "square of that across it, for the gradients of a second; `SNR a step` the "
    "directional SNR of a single one; `best` the probability of having the most signal "
    "per second. Parameters: {group}."
)


def write(
    out: Path,
    rows: Sequence[Line],
    best: Line,
    step_best: Line,
    group: str,
    command: str,
) -> str:
    """Write and print the tables, report and summary; return the advice."""
    advice = sentence(rows, best, step_best)
    write_csv(out / "results.csv", rows, COLUMNS)
    shown = [_shown(row) for row in rows]
    excluded = sorted(
        {(row["estimator"], row["status"], row["reason"]) for row in rows}
        - {(row["estimator"], "unbiased", row["reason"]) for row in rows}
    )
    columns = columns_of(shown)
    candidates = Table(columns, [[row.get(c) for c in columns] for row in shown])
    write_report(
        out / "report.html",
        title=f"Gradients of {best['bound']} on {best['model']}",
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
            "recommended": {name: best[name] for name in CHOICE}
            if _won(best)
            else None,
            "chance_best": best[f"{SIGNAL[0]}_chance_best"],
            "best_per_step": {name: step_best[name] for name in CHOICE},
            "references": sorted({row["reference"] for row in rows if row["draws"]}),
            "versions": run_folder.versions(),
        },
    )
    print_rows(
        f"gradients of {best['bound']} on {best['model']}, parameters: {group}",
        shown,
        ("estimator", "K", "M", "batch", "verdict", "signal/√s", "best"),
        ("SNR a step", "ms", "MB", "draws"),
    )
    for name, status, reason in excluded:
        print(f"{name} is {status}: {reason}")
    print(f"{advice}\nreport: {out}")
    return advice


def sentence(rows: Sequence[Line], best: Line, step_best: Line) -> str:
    """The advice: the choice, its probability and its ties; or no winner."""
    contenders = [
        row
        for row in rows
        if row["verdict"]
        in ("recommended", "in front", "cannot be told apart", "behind")
    ]
    tied = [r for r in contenders if r["verdict"] == "cannot be told apart"]
    lead = f"Use {_words(best)}: the"
    if not _won(best):
        lead = (
            f"No winner: none of the candidates is the best with {SURE:.0%} "
            f"probability or more. In front is {_words(best)}, with the"
        )
    return (
        f"{lead} most signal per second of {len(contenders)} candidates with "
        f"probability {_percent(best)}"
        + "".join(f"; it cannot be told apart from {_words(row)}" for row in tied)
        + (
            "; it has the highest directional SNR per step, too."
            if step_best is best
            else f"; {_words(step_best)} has the highest directional SNR per step."
        )
    )


def _won(best: Line) -> bool:
    return bool(best["verdict"] == "recommended")


def _percent(row: Line) -> str:
    """The probability of being the best, rounded down so as not to overstate it."""
    percent = 100 * row[f"{SIGNAL[0]}_chance_best"] + 1e-9  # 28.999... stands for 29
    return f"{int(percent)}%" if percent < 100 else "over 99%"


def _words(row: Line) -> str:
    biased = ", biased" if row["status"] == "biased" else ""
    return (
        f"{row['estimator']} (K = {row['num_samples']}, M = {row['num_outer']}, "
        f"batch size {row['batch_size']}{biased})"
    )


def _shown(row: Line) -> Line:
    """A row of the table; unmeasured values are empty."""
    names = ("estimator", "K", "M", "batch", "verdict")
    values = (row[name] for name in (*CHOICE, "verdict"))
    shown = dict(zip(names, values, strict=True))
    if row["seconds_per_gradient"] is not None:
        shown["ms"] = f"{1e3 * row['seconds_per_gradient']:.3g}"
        shown["MB"] = f"{1e-6 * row['peak_bytes']:.3g}"
    if row["draws"] is not None:
        signal, snr = (f"{row[n]:.3g} ± {row[f'{n}_stderr']:.1g}" for n in SIGNAL)
        shown |= {"signal/√s": signal, "SNR a step": snr, "draws": row["draws"]}
        shown["best"] = _percent(row)
    return shown
