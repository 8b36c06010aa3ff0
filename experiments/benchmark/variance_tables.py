"""The tables of a comparison of gradient estimators: a section a topic.

A column whose numbers are all unknown, and a setting that is the same in all cells, are
left out.
"""

from collections.abc import Callable, Sequence
from typing import Any

from vaejax.benchmark.cautions import DAGGER, reason_at_any_k
from vaejax.benchmark.direction import SEEN
from vaejax.benchmark.numbers import estimate, plain_snr
from vaejax.benchmark.report import HEAVY
from vaejax.benchmark.rows import Row, of_whole_groups
from vaejax.benchmark.statistics import number
from vaejax.benchmark.table import bias_in_errors, settings_shown
from vaejax.plotting import Section, Table

PLACE = ("model", "num_outer", "batch_size")
Columns = dict[str, Callable[[Row], Any]]


def value_of(name: str) -> Callable[[Row], Any]:
    """The column of a setting or statistic as it is."""
    return lambda row: row.get(name)


def estimate_of(name: str) -> Callable[[Row], str]:
    """The column of a statistic with its standard error."""
    return lambda row: estimate(row, name)


def _two_decimals(name: str) -> Callable[[Row], str]:
    return lambda row: "" if row.get(name) is None else f"{row.get(name):.2f}"


def _scaled(name: str, scale: float) -> Callable[[Row], float]:
    return lambda row: scale * number(row.get(name))


BIAS: Columns = {
    "status": value_of("status"),
    "bias / error": bias_in_errors,
    "bias squared": estimate_of("bias_squared"),
    "detectable": value_of("bias_squared_detectable"),
    "Pareto k": _two_decimals("pareto_k"),
}
VARIANCE: Columns = {
    "variance": estimate_of("variance"),
    "variance × s": estimate_of("work_normalized_variance"),
    "variance × evaluations": estimate_of("evaluation_normalized_variance"),
    "from data": estimate_of("variance_data"),
    "from latents": estimate_of("variance_latents"),
    "coordinate 5%": value_of("variance_q05"),
    "50%": value_of("variance_q50"),
    "95%": value_of("variance_q95"),
}
SIGNAL: Columns = {
    "rms SNR": estimate_of("rms_snr"),
    "SNR": plain_snr,
    "SNR of the norm": estimate_of("norm_snr"),
    "SNR along / across": estimate_of("directional_snr"),
    "cosine of the mean": estimate_of("cosine"),
    "cosine of a draw": estimate_of("draw_cosine"),
    "reference's error": value_of("reference_error"),
    "draws": value_of("draws"),
}
COST: Columns = {
    "decoder evaluations": value_of("decoder_evaluations"),
    "µs per gradient": _scaled("seconds_per_gradient", 1e6),
    "± µs": _scaled("seconds_stderr", 1e6),
    "FLOPs": value_of("flops"),
    "MB": _scaled("peak_bytes", 1e-6),
    "compile s": _two_decimals("compile_seconds"),
}
TEXTS = {
    "Bias": "The reference g* is: {references}. The status is the cell's, of which one "
    "group may have no bias. `bias squared` estimates ‖E g − g*‖² "
    "without the noise of the draws, and can be below 0 by chance. `bias / error` is "
    "its root over √(tr Cov g / draws), the standard error of the mean. `detectable` "
    "is the squared bias that one test at 5% finds with a chance of 95%. Pareto k is "
    "the shape of the tail of ‖g − E g‖²: "
    f"from {HEAVY:g} on its variance is infinite. {DAGGER}",
    "Variance": "`coordinate 5%`, `50%` and `95%` are quantiles of the sample "
    "variances of single coordinates. Noise spreads them.",
    "Signal and direction": "`SNR` is the mean of |E gᵢ| / sd gᵢ over the coordinates "
    "i. It contains the noise of the mean: (floor) marks a value below 3 times what "
    "noise alone gives. `rms SNR` is the root mean square of the same ratios, without "
    "that noise. `SNR of the norm` is ‖E g‖ / √tr Cov g. `SNR along / across` compares "
    "a draw's part along the reference with its part across it. The cosine of the mean "
    f"is left out where the mean's squared length is below {SEEN:g} times its error.",
    "Cost": "A decoder evaluation is one p(x | z), at one latent of one observation. "
    "Equal evaluations, which XLA merges, count once. XLA counts the body of a loop "
    "once: FLOPs are left out where a program has a loop. {compiled}",
}


def topics(rows: Sequence[Row]) -> list[Section]:
    """Sortable tables of all numbers, by topic, and of the refusals."""
    settings = settings_of(rows, first="estimator")
    group = {"group": value_of("group")}
    groups = of_whole_groups(rows)
    layers = [row for row in rows if "/" in row.group]
    # The cost is the whole gradient's, the same in all groups of a cell.
    firsts = list({row.cell: row for row in reversed(groups)}.values())[::-1]
    references = ", ".join(dict.fromkeys(str(row.reference) for row in groups))
    sections = []
    for title, columns, several in (
        ("Bias", group | BIAS, (groups, layers)),
        ("Variance", group | VARIANCE, (groups, layers)),
        ("Signal and direction", group | SIGNAL, (groups, layers)),
        ("Cost", COST, (firsts,)),
    ):
        tables = [_table(settings | columns, members) for members in several if members]
        if tables:
            text = TEXTS[title].format(references=references, compiled=compiled(rows))
            sections.append(Section(title, text, tables))
    if refused := refusals(rows):
        heads = [*_places(rows), "bound", "estimator", "K", "reason"]
        sections.append(Section("Refused", tables=[Table(heads, refused)]))
    return sections


def compiled(rows: Sequence[Row]) -> str:
    """The seconds that XLA compiled for all cells, in words."""
    seconds = {row.cell: row.compile_seconds or 0.0 for row in rows}
    return (
        f"Compiling the draws of all cells took {sum(seconds.values()):.1f} s of XLA's "
        "time, several at once, beside references and timings."
    )


def settings_of(rows: Sequence[Row], first: str = "") -> Columns:
    """The columns of settings, one of them before the others."""
    columns = {label: value_of(name) for name, label in settings_shown(rows).items()}
    return {first: columns[first]} | columns if first else columns


def _table(columns: Columns, rows: Sequence[Row]) -> Table:
    cells = {name: [cell(row) for row in rows] for name, cell in columns.items()}
    known = {
        name: column
        for name, column in cells.items()
        if any(cell not in (None, "") and cell == cell for cell in column)
    }
    return Table(list(known), list(zip(*known.values(), strict=True)))


def _places(rows: Sequence[Row]) -> list[str]:
    """The settings of a place in which the rows differ."""
    return [name for name in settings_shown(rows) if name in PLACE]


def refusals(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The refusals: place if several, bound, estimator, all their K, and reason."""
    names = [*_places(rows), "bound", "estimator"]
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.refused:
            key = *(str(row.get(name)) for name in names), reason_at_any_k(row)
            alike.setdefault(key, []).append(row)
    found = []
    for (*settings, _), members in alike.items():
        counts = sorted({row.cell.num_samples for row in members})
        reason = members[0].verdict.reason
        found.append((*settings, ", ".join(map(str, counts)), reason))
    return found
