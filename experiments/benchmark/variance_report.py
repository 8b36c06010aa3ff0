"""The output of a comparison of gradient estimators: files, figures, report, table.

results.csv, .parquet   a row per cell and parameter group, a column per setting
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

from experiments.harness import run_folder
from experiments.harness.result_table import (
    BETWEEN,
    columns_of,
    differing,
    plain,
    write_csv,
)
from experiments.harness.terminal import console
from vaejax.benchmark.direction import SEEN
from vaejax.benchmark.findings import (
    PLACE,
    estimate,
    findings,
    in_errors,
    of_whole_groups,
    places,
    plain_snr,
    reason_at_any_k,
)
from vaejax.benchmark.statistics import Line, number
from vaejax.benchmark.table import TEXTS, parquet_of
from vaejax.core.files import write_whole
from vaejax.plotting import (
    Section,
    Table,
    save,
    write_report,
)
from vaejax.plotting.comparison import comparison_figures

OF_RUN = ("checkpoint", "model_settings", "budget", "config_hash")  # text columns, too
INTERVALS = (
    "Intervals are of 95%; that of the ratio of variances above is wider, by "
    "Bonferroni, for the number of estimators that the best was chosen from."
)
AS_FIT = ("snr", "cosine", "µs", "var x s", "decodes", "var x d")  # on the terminal
LABELS = {  # labels of the settings, in the order of a table's columns
    **{"model": "model", "num_outer": "M", "batch_size": "batch", "step": "step"},
    **{"bound": "bound", "estimator": "estimator", "num_samples": "K"},
}


def write(
    out: Path, rows: Sequence[Line], *, command: str, summary: Mapping[str, Any]
) -> list[str]:
    """Write the rows, figures, report and summary to `out`; return the findings.

    Args:
        out: the folder of the run.
        rows: every cell and parameter group; a refused cell is one row.
        command: what was typed to measure them.
        summary: what results.json holds beside the findings.
    """
    columns = columns_of(rows)
    write_csv(out / "results.csv", rows, columns)
    plain_rows = [{name: plain(row.get(name)) for name in columns} for row in rows]
    write_whole(
        out / "results.parquet",
        parquet_of(plain_rows, tuple(columns), (*TEXTS, *OF_RUN)),
    )
    found, sections = findings(rows), []
    several = places(rows)
    for place, members in several.items():
        figures = {name: draw() for name, draw in comparison_figures(members).items()}
        folder = re.sub(r"\W+", "_", place) if len(several) > 1 else ""
        for name, figure in figures.items():
            for suffix in (".pdf", ".png"):
                save(figure, out / "figures" / folder / f"{name}{suffix}")
        sections.append(Section(f"On {place}", INTERVALS, (), list(figures.values())))
    models = ", ".join(dict.fromkeys(row["model"] for row in rows))
    write_report(
        out / "report.html",
        title=f"Gradient estimators on {models}",
        lead=found,
        sections=[*sections, *_tables(rows), Section("Command", command=command)],
    )
    run_folder.write_json(out / "results.json", {"findings": found, **summary})
    return found


def print_rows(rows: Sequence[Line]) -> None:
    """Print a table of the parameter groups, the refusals, and the findings."""
    columns = _settings(rows) | {
        "group": _value("group"),
        "status": _value("status"),
        "bias / error": _in_errors,
        "variance": _estimate("variance"),
        "rms snr": _estimate("rms_snr"),
        "cosine": _estimate("cosine"),
        "µs": lambda row: f"{1e6 * number(row['seconds_per_gradient']):.0f}",
        "var x s": lambda row: f"{number(row['work_normalized_variance']):.2g}",
        "decodes": _value("decoder_evaluations"),
        "var x d": lambda row: f"{number(row['evaluation_normalized_variance']):.2g}",
    }
    if all(row["seconds_per_gradient"] is None for row in rows):
        del columns["µs"], columns["var x s"]
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
    for *settings, counts, reason in _refusals(rows):
        print(f"refused: {' x '.join(settings)}, K = {counts}: {reason}")
    for finding in findings(rows):
        print(finding)


Columns = dict[str, Callable[[Line], Any]]


def _value(name: str) -> Callable[[Line], Any]:
    return lambda row: row[name]


def _estimate(name: str) -> Callable[[Line], Any]:
    return lambda row: estimate(row, name)


def _rounded(name: str) -> Callable[[Line], Any]:
    return lambda row: None if row[name] is None else f"{number(row[name]):.2f}"


def _in_errors(row: Line) -> Any:
    value = in_errors(row)
    return None if value is None else f"{value:.1f}"


def _scaled(name: str, scale: float) -> Callable[[Line], Any]:
    return lambda row: None if row[name] is None else scale * number(row[name])


def _settings(rows: Sequence[Line]) -> Columns:
    """The columns of settings; a setting that is the same in all cells has none."""
    shown = {*differing(rows), "bound", "estimator", "num_samples"}
    return {label: _value(name) for name, label in LABELS.items() if name in shown}


def _tables(rows: Sequence[Line]) -> list[Section]:
    """Sortable tables of all numbers, by topic, and of the refusals."""
    settings, group = _settings(rows), {"group": _value("group")}
    accuracy = {
        "status": _value("status"),
        "bias / error": _in_errors,
        "bias squared": _estimate("bias_squared"),
        "detectable": _value("bias_squared_detectable"),
        "variance": _estimate("variance"),
        "Pareto k": _rounded("pareto_k"),
        "variance × s": _estimate("work_normalized_variance"),
        "variance × evaluations": _estimate("evaluation_normalized_variance"),
        "from data": _estimate("variance_data"),
        "from latents": _estimate("variance_latents"),
        "coordinate 5%": _estimate("variance_q05"),
        "50%": _estimate("variance_q50"),
        "95%": _estimate("variance_q95"),
    }
    signal = {
        "rms SNR": _estimate("rms_snr"),
        "SNR": plain_snr,
        "SNR of the norm": _estimate("norm_snr"),
        "SNR along / across": _estimate("directional_snr"),
        "cosine of the mean": _estimate("cosine"),
        "cosine of a draw": _estimate("draw_cosine"),
        "reference's error": lambda row: row.get("reference_error"),
        "draws": _value("draws"),
    }
    cost = {
        "decoder evaluations": _value("decoder_evaluations"),
        "µs per gradient": _scaled("seconds_per_gradient", 1e6),
        "± µs": _scaled("seconds_stderr", 1e6),
        "FLOPs": _value("flops"),
        "MB": _scaled("peak_bytes", 1e-6),
    }
    groups = of_whole_groups(rows)
    layers = [row for row in rows if "/" in row["group"]]
    # The cost is the whole gradient's, the same in all groups of a cell.
    firsts = {tuple(row[name] for name in LABELS): row for row in reversed(groups)}
    references = ", ".join(dict.fromkeys(str(row["reference"]) for row in groups))
    sections = []
    for title, text, columns, members in (
        (
            "Bias and variance",
            f"Compared with: {references}. Bias squared is the debiased ‖E g − g*‖², "
            "below 0 by chance; before it stands its root, if above 0, over "
            "√(tr Cov g / draws), the standard error of the mean. Detectable is "
            "what one test at 5% finds with a chance of 95% or more. Pareto k is the "
            "shape of the tail of ‖g − E g‖²: from 0.5 on its variance is "
            "infinite, and from few draws unknown; there † marks the errors, which are "
            "not to be relied on. Coordinate quantiles are of the sample variances of "
            "single coordinates, whose noise spreads them.",
            settings | group | accuracy,
            groups,
        ),
        (
            "Signal and direction",
            "SNR is |E gᵢ| / sd gᵢ, averaged over the coordinates i, with the noise of "
            "E gᵢ, and (floor) where below 3 times what noise alone gives; rms SNR is "
            "the root mean square, without that noise; of the norm, "
            "‖E g‖ / √tr Cov g; along / across, of a draw's parts along the reference "
            "and across it. No cosine of the mean is given where the squared length of "
            f"that is below {SEEN:g} times its error.",
            settings | group | signal,
            groups,
        ),
        (
            "Cost",
            "A decoder evaluation is of p(x | z) at one latent of one observation; "
            "equal ones, which XLA merges, count once. XLA counts the operations of a "
            "loop's body once: of a program that loops no FLOPs are given.",
            settings | cost,
            list(firsts.values())[::-1],
        ),
        ("Layers", "", settings | group | accuracy | signal, layers),
    ):
        if members:
            cells = {
                name: [cell(row) for row in members] for name, cell in columns.items()
            }
            known = {
                name: column
                for name, column in cells.items()
                if any(cell not in (None, "") for cell in column)
            }
            body = list(zip(*known.values(), strict=True))
            sections.append(Section(title, text, [Table(list(known), body)]))
    if refused := _refusals(rows):
        heads = [*_places(rows), "bound", "estimator", "K", "reason"]
        sections.append(Section("Refused", tables=[Table(heads, refused)]))
    return sections


def _places(rows: Sequence[Line]) -> list[str]:
    """The settings of a place in which the rows differ."""
    return [name for name in PLACE if name in differing(rows)]


def _refusals(rows: Sequence[Line]) -> list[tuple[str, ...]]:
    """The refusals: place if several, bound, estimator, all their K, and reason."""
    names = [*_places(rows), "bound", "estimator"]
    alike: dict[tuple[str, ...], list[Line]] = {}
    for row in rows:
        if row["status"] == "refused":
            key = *(str(row[name]) for name in names), reason_at_any_k(row)
            alike.setdefault(key, []).append(row)
    found = []
    for (*settings, _), members in alike.items():
        counts = sorted({int(row["num_samples"]) for row in members})
        reason = str(members[0]["reason"])
        found.append((*settings, ", ".join(map(str, counts)), reason))
    return found
