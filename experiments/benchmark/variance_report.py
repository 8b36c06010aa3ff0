"""The output of a comparison of gradient estimators: files, figures, report, table.

results.parquet         a row per cell and parameter group, as in results.csv
report.html             the answer in words, then the figures, then sortable tables
figures/                each figure as .pdf and .png; a folder per place if several
results.json            the findings and the summary; written last
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table as TerminalTable

from experiments.benchmark.variance_tables import (
    compiled,
    estimate_of,
    settings_of,
    topics,
    value_of,
)
from experiments.harness import run_folder
from experiments.harness.result_table import BETWEEN, plain
from experiments.harness.terminal import console
from vaejax.benchmark.cautions import cautions
from vaejax.benchmark.findings import answers, findings
from vaejax.benchmark.numbers import short
from vaejax.benchmark.rows import COLUMNS, Row, of_whole_groups, places
from vaejax.benchmark.statistics import number
from vaejax.benchmark.table import (
    TEXTS,
    bias_in_errors,
    microseconds,
    parquet_of,
)
from vaejax.core.files import write_whole
from vaejax.plotting import (
    Section,
    save,
    write_report,
)
from vaejax.plotting.comparison import comparison_figures

OF_RUN = ("checkpoint", "model_settings", "budget", "config_hash")  # text columns, too
INTERVALS = (
    "All intervals are 95% intervals. The interval of the ratio of variances in the "
    "findings is wider: it takes into account how many estimators the best was chosen "
    "from (Bonferroni's correction)."
)
# On the terminal.
AS_FIT = ("cosine", "µs", "variance × s", "evaluations", "variance × evaluations")
EXPLAINED = (
    "The status is the cell's: one group may have no bias. bias / error is in standard "
    "errors of the mean; × s and × evaluations multiply by a gradient's cost."
)


def write(
    out: Path,
    rows: Sequence[Row],
    of_run: Mapping[str, Any],
    *,
    command: str,
    summary: Mapping[str, Any],
) -> list[str]:
    """Write the rows, figures, report and summary to `out`; return the findings.

    Args:
        out: the folder of the run.
        rows: every cell and parameter group; a refused cell is one row.
        of_run: the run's own columns, the same in every line.
        command: what was typed to measure them.
        summary: what results.json holds beside the findings.
    """
    columns = (*COLUMNS, *of_run)
    lines = [
        {name: plain(value) for name, value in (row.line() | {**of_run}).items()}
        for row in rows
    ]
    write_whole(out / "results.parquet", parquet_of(lines, columns, (*TEXTS, *OF_RUN)))
    budget = of_run.get("budget")
    sections = []
    several = places(rows)
    for place, members in several.items():
        figures = {name: draw() for name, draw in comparison_figures(members).items()}
        folder = re.sub(r"\W+", "_", place) if len(several) > 1 else ""
        for name, figure in figures.items():
            for suffix in (".pdf", ".png"):
                save(figure, out / "figures" / folder / f"{name}{suffix}")
        sections.append(Section(f"On {place}", INTERVALS, (), list(figures.values())))
    models = ", ".join(dict.fromkeys(row.cell.model for row in rows))
    found = list(map(str, findings(rows, budget)))
    write_report(
        out / "report.html",
        title=f"Gradient estimators on {models}",
        lead=answers(rows),
        cautions=cautions(rows, budget),
        sections=[*sections, *topics(rows), Section("Command", command=command)],
    )
    run_folder.write_json(out / "results.json", {"findings": found, **summary})
    return found


def print_rows(rows: Sequence[Row], budget: str | None = None) -> None:
    """Print a table of the parameter groups, and the findings."""
    columns = settings_of(rows) | {
        "group": value_of("group"),
        "status": value_of("status"),
        "bias / error": bias_in_errors,
        "variance": estimate_of("variance"),
        "rms SNR": estimate_of("rms_snr"),
        "cosine": estimate_of("cosine"),
        "µs": microseconds,
        "variance × s": _short("work_normalized_variance"),
        "evaluations": value_of("decoder_evaluations"),
        "variance × evaluations": _short("evaluation_normalized_variance"),
    }
    if not any(map(microseconds, rows)):
        del columns["µs"], columns["variance × s"]
    groups = of_whole_groups(rows)
    cells = {name: [str(cell(r)) for r in groups] for name, cell in columns.items()}
    # A pipe has no width, and a folded table cannot be read.
    terminal = console(160)
    room, table, shown = terminal.width, TerminalTable(box=box.SIMPLE), []
    for name, texts in cells.items():
        room -= BETWEEN + max(map(len, [name, *texts]))
        if room < 0 and name in AS_FIT:
            break
        is_text = name in ("model", "bound", "estimator", "group", "status")
        table.add_column(name, justify="left" if is_text else "right", overflow="fold")
        shown.append(texts)
    for line in zip(*shown, strict=True):
        table.add_row(*line)
    terminal.print(table)
    if groups:
        print(EXPLAINED)
    for finding in findings(rows, budget):
        print(finding)
    print(compiled(rows))


def _short(name: str) -> Callable[[Row], str]:
    return lambda row: short(number(row.get(name)), 2)
