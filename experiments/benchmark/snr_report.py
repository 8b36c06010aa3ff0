"""The report on signal-to-noise ratios: fitted exponents beside those of theory.

For IWAE, as K grows, the model's ratio rises as K^1/2 and the pathwise encoder's falls
as K^-1/2 (Rainforth et al. 2018, theorem 1); with DReG and OVIS the encoder's ratio
rises as K^1/2, too (Tucker et al. 2019; Lievin et al. 2020). Averaging M independent
estimates multiplies the ratio by M^1/2 under any bound.
"""

import dataclasses
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.snr_points import FOLDS, GROUPS, Gap, SnrRow
from experiments.harness import run_folder
from experiments.harness.cli import command_of
from experiments.harness.result_row import ResultRow
from experiments.harness.result_table import print_rows
from vaejax.benchmark.cautions import DAGGER, tails
from vaejax.benchmark.findings import Finding
from vaejax.benchmark.laws import fit_slope
from vaejax.benchmark.numbers import estimate, flag, number_of
from vaejax.benchmark.statistics import Line, distinct, unsafe, values_of
from vaejax.plotting import Section, Table, save, scaling_laws, write_report

AXES = {"num_samples": "K", "num_outer": "M"}
ENCODER_LAWS = {  # in K, under IWAE
    "pathwise": -0.5,
    "dreg": 0.5,
    "ovis_mc": 0.5,
    "ovis_asymptotic": 0.5,
}
SLOPES = (
    "The slope is the exponent c of SNR ~ K^c or SNR ~ M^c, fitted by weighted least "
    "squares on logarithms. `with floor` is the slope of the plain ratio, which noise "
    "keeps from falling. † marks a slope that is fitted to a marked point."
)
RATIOS = (
    "`snr` has no noise floor: its signal is that of the unbiased estimator "
    "`signal_of`. The signal of `own_snr` is that of the estimator's own draws. "
    f"{DAGGER}"
)
PLACE = ("num_outer", "num_samples", "estimator", "group")
FAINT = 0.2  # relative error from which a ratio is too faint for its logarithm


@dataclasses.dataclass(frozen=True, kw_only=True)
class FittedSlope(ResultRow):
    """The exponent of a curve's law in K or M, beside that of theory."""

    axis: str
    group: str
    estimator: str
    slope: float
    low: float
    high: float
    chi_square: float
    degrees: int
    theory: float  # NaN without a theorem
    uncorrected: float  # the exponent of the plain ratio, with its noise floor
    fitted: list[int]  # the values of K or M
    points: int  # of the curve
    safe: bool


def theory(axis: str, bound: str, row: SnrRow) -> float:
    """The proven exponent, NaN if this file has none."""
    if axis == "num_outer":
        return 0.5
    if bound != "iwae" or row.status != "unbiased":
        return np.nan
    return 0.5 if row.group == "model" else ENCODER_LAWS.get(row.estimator, np.nan)


def along(rows: Sequence[SnrRow], axis: str, cross: tuple[int, int]) -> list[SnrRow]:
    """The rows along an axis, at the first value of the other axis."""
    if axis == "num_samples":
        found = [row for row in rows if row.num_outer == cross[0]]
    else:
        found = [row for row in rows if row.num_samples == cross[1]]
    return [row for row in found if row.status != "refused"]


def fit(
    rows: Sequence[SnrRow], bound: str, *, fit_from: int, cross: tuple[int, int]
) -> list[FittedSlope]:
    """Fit a slope per axis, group and estimator that has two points.

    The fit omits points whose error exceeds a fifth of the ratio and, as the laws in K
    are asymptotic, points at K below `fit_from`.
    """
    slopes = []
    names = distinct(row.estimator for row in rows if row.status != "refused")
    for axis, *place in product(AXES, GROUPS, names):
        curve = [
            row
            for row in along(rows, axis, cross)
            if [row.group, row.estimator] == place
        ]
        least = fit_from if axis == "num_samples" else 1
        used = [
            row
            for row in curve
            if row.snr_stderr < FAINT * row.snr and row.get(axis) >= least
        ]
        if len(used) < 2:
            continue
        x, snr, stderr, plain = (
            values_of(used, name) for name in (axis, "snr", "snr_stderr", "plain_snr")
        )
        slopes.append(
            FittedSlope(
                axis=axis,
                group=used[0].group,
                estimator=used[0].estimator,
                **fit_slope(x, snr, stderr, FOLDS)._asdict(),
                theory=theory(axis, bound, used[0]),
                uncorrected=fit_slope(x, plain, plain * stderr / snr, FOLDS).slope,
                fitted=[row.get(axis) for row in used],
                points=len(curve),
                safe=not any(map(unsafe, used)),
            )
        )
    return slopes


def in_words(
    rows: Sequence[SnrRow], slopes: Sequence[FittedSlope], gap: Gap | None
) -> list[Finding]:
    """The findings: slopes beside theory, signals compared, the gap."""
    findings = list(map(_of_slope, slopes))
    # The squares are compared: their errors are closer to normal.
    compared = [
        row
        for row in rows
        if row.own_snr * row.snr > 0 and row.signal_of != row.estimator
    ]
    if compared:
        own, stderr, snr = (
            values_of(compared, name) for name in ("own_snr", "own_snr_stderr", "snr")
        )
        distances = np.abs(own**2 - snr**2) / (2 * own * stderr)
        findings.append(
            Finding(
                "An estimator's own signal differs from that of a less noisy estimator "
                f"by at most {distances.max():.1f} standard errors.",
                f"over {number_of(len(compared), 'point')}",
            )
        )
    if gap is not None:
        z = (gap.estimate - gap.exact) / gap.stderr
        findings.append(
            Finding(
                f"At the toy's optimum the ELBO is {gap.exact:.4f} nats below "
                "log p(x).",
                f"sampled, {gap.estimate:.4f} ± {gap.stderr:.4f}, z = {z:.1f}",
            )
        )
    return findings


def cautions(rows: Sequence[SnrRow]) -> list[str]:
    """The points whose errors are unsafe."""
    return list(tails([row for row in rows if row.status != "refused"]))


def _of_slope(slope: FittedSlope) -> Finding:
    letter = AXES[slope.axis]
    claim = (
        f"The {slope.group}'s signal-to-noise ratio under {slope.estimator} goes "
        f"as {letter}^c with c = {slope.slope:.3f}"
    )
    numbers = (
        f"95% interval {slope.low:.3f} to {slope.high:.3f}{flag(slope)}, fitted "
        f"for {letter} = {slope.fitted[0]:,} to {slope.fitted[-1]:,}; "
        f"{slope.uncorrected:.3f} if the noise floor is left in"
    )
    if np.isnan(slope.theory):
        return Finding(f"{claim}.", numbers)
    off = abs(slope.slope - slope.theory)
    return Finding(
        f"{claim}; in theory, c = {slope.theory:+.1f}.", f"{off:.3f} away; {numbers}"
    )


def write(
    out: Path,
    rows: Sequence[SnrRow],
    slopes: Sequence[FittedSlope],
    findings: list[Finding],
    config: Any,
    gap: Gap | None,
) -> None:
    """Write the figures, report and results.json, and print the findings."""
    cross = config.num_outer[0], config.num_samples[0]
    figures = []
    for axis in AXES:
        points = along(rows, axis, cross)
        if any(row.snr > 0 for row in points):
            figures.append(scaling_laws(points, slopes, axis))
            for suffix in ("pdf", "png"):
                save(figures[-1], out / "figures" / f"snr_{axis}.{suffix}")
    shown = [_shown(slope) for slope in slopes]
    refused = {row.estimator: row.reason for row in rows if row.reason}
    sections = [
        Section("Slopes", SLOPES, _tables(shown), figures),
        Section(
            "Every point",
            RATIOS,
            _tables([_point(row) for row in rows if row.plain_snr > 0]),
        ),
        *[
            Section(
                "Refused", tables=[Table(("estimator", "reason"), [*refused.items()])]
            )
        ]
        * bool(refused),
        Section("Command", command=command_of("snr_vs_k", config)),
    ]
    write_report(
        out / "report.html",
        title=f"Signal-to-noise ratios of the gradients of {config.bound}",
        lead=findings,
        cautions=cautions(rows),
        sections=sections,
    )
    run_folder.write_json(
        out / "results.json",
        {
            "findings": [*map(str, findings), *cautions(rows)],
            "slopes": [slope.line() for slope in slopes],
            "elbo_gap": gap and gap._asdict(),
            "noise_floor": float(np.sqrt(2 / (np.pi * config.draws))),
            "versions": run_folder.versions(),
        },
    )
    if shown:
        print_rows("SNR against K and M, log-log", shown, list(shown[0]))
    for estimator, reason in refused.items():
        print(f"{estimator} refuses some points: {reason}")
    for finding in (*findings[len(slopes) :], *cautions(rows)):
        print(finding)
    print(f"report and figures: {out}")


def _shown(slope: FittedSlope) -> Line:
    return {
        "against": AXES[slope.axis],
        "group": slope.group,
        "estimator": slope.estimator,
        "slope": round(slope.slope, 3),
        "± 95%": f"{(slope.high - slope.low) / 2:.3f}{flag(slope)}",
        "theory": slope.get("theory"),
        "with floor": round(slope.uncorrected, 3),
    }


def _point(row: SnrRow) -> Line:
    return {
        **{name: row.get(name) for name in PLACE},
        "snr": estimate(row, "snr"),
        "signal_of": row.signal_of,
        "own_snr": estimate(row, "own_snr"),
        "plain_snr": f"{row.plain_snr:.3g}",
        "pareto_k": f"{row.pareto_k:.2f}",
    }


def _tables(lines: Sequence[Line]) -> list[Table]:
    """The table of the lines, if there are any."""
    return [Table([*lines[0]], [[*line.values()] for line in lines])] if lines else []
