"""The report on signal-to-noise ratios: fitted exponents beside those of theory.

For IWAE, as K grows, the model's ratio rises as K^1/2 and the pathwise encoder's falls
as K^-1/2 (Rainforth et al. 2018, theorem 1); with DReG and OVIS the encoder's ratio
rises as K^1/2, too (Tucker et al. 2019; Lievin et al. 2020). Averaging M independent
estimates multiplies the ratio by M^1/2 under any bound.
"""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.snr_points import FOLDS, GROUPS, Gap, Rows
from experiments.harness import run_folder
from experiments.harness.cli import command_of
from experiments.harness.result_table import print_rows
from vaejax.benchmark.cautions import tails
from vaejax.benchmark.findings import Finding
from vaejax.benchmark.laws import fit_slope
from vaejax.benchmark.numbers import estimate, flag
from vaejax.benchmark.statistics import unsafe
from vaejax.plotting import Section, Table, save, scaling_laws, write_report

AXES = {"num_samples": "K", "num_outer": "M"}
ENCODER_LAWS = {  # in K, under IWAE
    "pathwise": -0.5,
    "dreg": 0.5,
    "ovis_mc": 0.5,
    "ovis_asymptotic": 0.5,
}
SLOPES = (
    "Of SNR ~ K^c and SNR ~ M^c, by weighted least squares on logarithms; with floor, "
    "of the plain ratio, which noise keeps from falling. † marks one that is fitted to "
    "a point so marked."
)
RATIOS = (
    "`snr` is free of the noise floor; its signal is taken from the unbiased estimator "
    "`signal_of`, `own_snr` from the estimator's own draws. † marks an error that is "
    "not to be trusted: the draws have heavy tails (from a Pareto k of 1/2 on), or are "
    "too few to show one."
)
PLACE = ("num_outer", "num_samples", "estimator", "group")
FAINT = 0.2  # relative error from which a ratio is too faint for its logarithm


def theory(axis: str, group: str, bound: str, row: dict[str, Any]) -> float | None:
    """The proven exponent, or None if this file has none."""
    if axis == "num_outer":
        return 0.5
    if bound != "iwae" or row["status"] != "unbiased":
        return None
    return 0.5 if group == "model" else ENCODER_LAWS.get(row["estimator"])


def curves(rows: Rows, axis: str, cross: tuple[int, int]) -> Rows:
    """The rows along an axis, at the first value of the other axis."""
    other, value = (
        ("num_outer", cross[0]) if axis == "num_samples" else ("num_samples", cross[1])
    )
    return [row for row in rows if row[other] == value and row["status"] != "refused"]


def fit(rows: Rows, bound: str, *, fit_from: int, cross: tuple[int, int]) -> Rows:
    """Fit a slope per axis, group and estimator that has two points.

    The fit omits points whose error exceeds a fifth of the ratio and, as the laws in K
    are asymptotic, points at K below `fit_from`.
    """
    slopes: Rows = []
    for axis in AXES:
        along = curves(rows, axis, cross)
        for group in GROUPS:
            for estimator in dict.fromkeys(row["estimator"] for row in along):
                curve = [
                    row
                    for row in along
                    if (row["group"], row["estimator"]) == (group, estimator)
                ]
                used = [
                    row
                    for row in curve
                    if row["snr"] is not None
                    and row["snr_stderr"] < FAINT * row["snr"]
                    and (axis == "num_outer" or row[axis] >= fit_from)
                ]
                if len(used) < 2:
                    continue
                x, snr, stderr, plain = (
                    np.array([row[name] for row in used])
                    for name in (axis, "snr", "snr_stderr", "plain_snr")
                )
                slope = fit_slope(x, snr, stderr, FOLDS)
                uncorrected = fit_slope(x, plain, plain * stderr / snr, FOLDS)
                place = {"axis": axis, "group": group, "estimator": estimator}
                slopes.append(
                    place
                    | slope._asdict()
                    | {
                        "theory": theory(axis, group, bound, used[0]),
                        "uncorrected": uncorrected.slope,
                        "fitted": x.tolist(),
                        "points": len(curve),
                        "safe": not any(map(unsafe, used)),
                    }
                )
    return slopes


def in_words(rows: Rows, slopes: Rows, gap: Gap | None) -> list[Finding]:
    """The findings: slopes beside theory, signals compared, the gap."""
    findings = list(map(_of_slope, slopes))
    # The squares are compared: their errors are closer to normal.
    distances = [
        abs(row["own_snr"] ** 2 - row["snr"] ** 2)
        / (2 * row["own_snr"] * row["own_snr_stderr"])
        for row in rows
        if row["own_snr"] and row["snr"] and row["signal_of"] != row["estimator"]
    ]
    if distances:
        findings.append(
            Finding(
                "Signals taken from a quieter estimator differ from the draws' own by "
                f"at most {max(distances):.1f} standard errors.",
                f"over {len(distances)} points",
            )
        )
    if gap is not None:
        z = (gap.estimate - gap.exact) / gap.stderr
        findings.append(
            Finding(
                f"At the toy's optimum the ELBO lies {gap.exact:.4f} nats below "
                "log p(x).",
                f"sampled, {gap.estimate:.4f} ± {gap.stderr:.4f}, z = {z:.1f}",
            )
        )
    return findings


def cautions(rows: Rows) -> list[str]:
    """The points whose errors are unsafe."""
    return list(tails([row for row in rows if row["status"] != "refused"]))


def _of_slope(slope: dict[str, Any]) -> Finding:
    letter = AXES[slope["axis"]]
    first, last = slope["fitted"][0], slope["fitted"][-1]
    claim = (
        f"The {slope['group']}'s signal-to-noise ratio under {slope['estimator']} goes "
        f"as {letter}^c with c = {slope['slope']:.3f}"
    )
    numbers = (
        f"95% interval {slope['low']:.3f} to {slope['high']:.3f}{flag(slope)}, fitted "
        f"for {letter} = {first:,} to {last:,}; {slope['uncorrected']:.3f} if the "
        "noise floor is left in"
    )
    if slope["theory"] is None:
        return Finding(f"{claim}.", numbers)
    off = abs(slope["slope"] - slope["theory"])
    return Finding(
        f"{claim}; theory has {slope['theory']:+.1f}.", f"{off:.3f} away; {numbers}"
    )


def write(
    out: Path,
    rows: Rows,
    slopes: Rows,
    findings: list[Finding],
    config: Any,
    gap: Gap | None,
) -> None:
    """Write the figures, report and results.json, and print the findings."""
    cross = config.num_outer[0], config.num_samples[0]
    figures = []
    for axis in AXES:
        along = curves(rows, axis, cross)
        if any(row["snr"] is not None for row in along):
            figures.append(scaling_laws(along, slopes, axis))
            for suffix in ("pdf", "png"):
                save(figures[-1], out / "figures" / f"snr_{axis}.{suffix}")
    table = [_shown(slope) for slope in slopes]
    refused = {row["estimator"]: row["reason"] for row in rows if row["reason"]}
    tables = [_table(table)] if table else []
    points = [_point(row) for row in rows if row["plain_snr"]]
    sections = [
        Section("Slopes", SLOPES, tables, figures),
        Section("Every point", RATIOS, [_table(points)] if points else []),
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
            "slopes": slopes,
            "elbo_gap": gap and gap._asdict(),
            "noise_floor": float(np.sqrt(2 / (np.pi * config.draws))),
            "versions": run_folder.versions(),
        },
    )
    if table:
        print_rows("SNR against K and M, log-log", table, list(table[0]))
    for estimator, reason in refused.items():
        print(f"refused cells of {estimator} are left out: {reason}")
    for finding in (*findings[len(slopes) :], *cautions(rows)):
        print(finding)
    print(f"report and figures: {out}")


def _shown(slope: dict[str, Any]) -> dict[str, Any]:
    return {
        "against": AXES[slope["axis"]],
        "group": slope["group"],
        "estimator": slope["estimator"],
        "slope": round(slope["slope"], 3),
        "± 95%": f"{(slope['high'] - slope['low']) / 2:.3f}{flag(slope)}",
        "theory": slope["theory"],
        "with floor": round(slope["uncorrected"], 3),
    }


def _point(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in PLACE} | {
        "snr": estimate(row, "snr"),
        "signal_of": row["signal_of"],
        "own_snr": estimate(row, "own_snr"),
        "plain_snr": f"{row['plain_snr']:.3g}",
        "pareto_k": row["pareto_k"] and f"{row['pareto_k']:.2f}",
    }


def _table(rows: Rows) -> Table:
    return Table(list(rows[0]), [list(row.values()) for row in rows])
