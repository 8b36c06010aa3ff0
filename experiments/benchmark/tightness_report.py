"""The output of a comparison of bounds: tables, figures and a report."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table as TerminalTable

from experiments.benchmark.tightness_cells import Reference, TightnessRow
from experiments.benchmark.tightness_findings import (
    cautions,
    findings,
    refusals,
    slopes,
)
from experiments.harness import run_folder
from experiments.harness.terminal import console
from vaejax.benchmark.numbers import short, with_error
from vaejax.plotting import (
    Section,
    Table,
    bound_tightness,
    save,
    weight_health,
    write_report,
)

SHOWN = (
    *("bound", "K", "kind", "value ± stderr", "log p(x) - value"),
    "over examples",
)


def write(
    out: Path,
    name: str,
    rows: Sequence[TightnessRow],
    reference: Reference,
    command: str,
) -> list[str]:
    """Write and print the tables, figures and report; return findings and cautions."""
    found, warned = findings(name, rows, reference), cautions(rows)
    measured = [row for row in rows if row.kind != "refused"]
    figures = [bound_tightness(rows), weight_health(rows)] if measured else []
    for stem, figure in zip(("bounds", "weights"), figures, strict=False):
        for suffix in ("pdf", "png"):
            save(figure, out / "figures" / f"{stem}.{suffix}")
    cells = [_cells(row) for row in measured]
    weights = {row.num_samples: row for row in measured}
    sections = [
        Section(
            title="Bounds",
            figures=figures[:1],
            command=command,
        ),
        Section(
            title="Weights",
            text="The plain importance weights, which are the same for every bound.",
            figures=figures[1:],
            tables=[
                Table(
                    ("K", "ESS / K", "Pareto k, median", "Pareto k above 0.7"),
                    [
                        (k, w.relative_ess, w.pareto_k, w.above)
                        for k, w in weights.items()
                    ],
                )
            ],
        ),
        Section(
            title="Every cell",
            text="`value` is the mean over draws and observations; ± is its Monte "
            "Carlo standard error for these observations. `over examples` is the "
            "standard error of the gap, were the observations drawn anew.",
            tables=[Table(SHOWN, cells)],
        ),
    ]
    report = write_report(
        out / "report.html",
        title=f"vaejax: the tightness of bounds on {name}",
        lead=found,
        cautions=warned,
        sections=sections,
    )
    run_folder.write_json(
        out / "results.json",
        {
            "findings": [*found, *warned],
            "log_px": float(reference.log_px.mean()),
            "log_px_source": reference.source,
            "slopes": {bound: fit for bound, fit in slopes(rows).items() if fit},
            "refusals": refusals(rows),
            "versions": run_folder.versions(),
        },
    )
    table = TerminalTable(title=f"bounds on log p(x), {name}", box=box.SIMPLE)
    for column in SHOWN:
        table.add_column(column, justify="left" if column == "bound" else "right")
    for texts in cells:
        table.add_row(*map(str, texts))
    # A pipe has no width, and a folded table cannot be read.
    console(120).print(table)
    print(*found, *warned, sep="\n")
    print(f"report: {report}")
    return [*found, *warned]


def _cells(row: TightnessRow) -> tuple[str | int, ...]:
    examples = row.gap_example_stderr
    return (
        *(row.bound, row.num_samples, row.kind),
        with_error(row.value, row.stderr),
        with_error(row.gap, row.gap_stderr),
        "" if np.isnan(examples) else f"± {short(examples, 2)}",
    )
