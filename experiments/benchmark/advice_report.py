"""The output of the command that advises on estimators: a table, a report and files."""

from pathlib import Path

from experiments.harness import run_folder
from experiments.harness.result_table import columns_of, print_rows, write_csv
from vaejax.benchmark import Advice, AdviceRow
from vaejax.plotting import Section, Table, write_report

EXCLUDED = ("estimator", "status", "reason")
EXPLAINED = (
    "`signal/√s` is the signal of all gradients that are computed in a second: their "
    "mean part along the reference, over the root mean square of their part across it. "
    "`SNR a step` is the directional SNR of one gradient. `best` is the probability "
    "that the candidate has the most signal per second. Parameters: {group}."
)


def write(out: Path, advice: Advice, group: str, command: str) -> None:
    """Write and print the tables, report and summary."""
    rows, best, sentence = advice.rows, advice.best, advice.sentence()
    write_csv(out / "results.csv", advice.lines(), AdviceRow._fields)
    shown = advice.shown()
    excluded = sorted(
        {(row.estimator, row.status, row.reason) for row in rows}
        - {(row.estimator, "unbiased", row.reason) for row in rows}
    )
    columns = columns_of(shown)
    candidates = Table(columns, [[row.get(c) for c in columns] for row in shown])
    write_report(
        out / "report.html",
        title=f"Gradients of {best.bound} on {best.model}",
        lead=[sentence],
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
            "advice": sentence,
            "recommended": advice.recommended and best.choice(),
            "chance_best": best.signal_per_root_second_chance_best,
            "best_per_step": advice.step_best.choice(),
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
    print(f"{sentence}\nreport: {out}")
