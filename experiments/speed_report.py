"""From measured rounds to claims: medians, ratios within rounds, shares of sgemm."""

from collections.abc import Iterator
from statistics import median
from typing import Any

from rich.table import Table

# Multiply-adds count as two; products only. 784-200-200-100 and 50-200-200-784.
ENCODER_FLOPS = 2 * (784 * 200 + 200 * 200 + 200 * 100)
DECODER_FLOPS = 2 * (50 * 200 + 200 * 200 + 200 * 784)


def flops_per_image(command: dict[str, Any]) -> int:
    """FLOP of one image: the encoder once, the decoder a sample; training threefold."""
    forward = ENCODER_FLOPS + command["num_samples"] * DECODER_FLOPS
    return 3 * forward if command["work"] == "train" else forward


def summarize(works: list, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Per work and contestant: speed, share of sgemm, and vaejax's ratio to it."""
    return {work.name: _summary_of(work, rounds) for work in works}


def _summary_of(work: Any, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    # Only who did the work in every round: a contestant may have failed on the way.
    names = set.intersection(*(set(r["works"][work.name]) for r in rounds))
    speeds = {
        name: [r["works"][work.name][name]["images_per_second"] for r in rounds]
        for name in rounds[0]["works"][work.name]
        if name in names
    }
    flops = flops_per_image(work.command)
    peaks = [r["sgemm"] for r in rounds]
    summary = {}
    for name, speed in speeds.items():
        shares = [flops * s / peak for s, peak in zip(speed, peaks, strict=True)]
        summary[name] = {"images_per_second": median(speed), "share": median(shares)}
        if "vaejax" in speeds:
            pairs = zip(speeds["vaejax"], speed, strict=True)
            ratios = [ours / theirs for ours, theirs in pairs]
            summary[name] |= {
                "ratio": median(ratios),
                "ratio_min": min(ratios),
                "ratio_max": max(ratios),
            }
    return summary


def tables(results: dict[str, Any]) -> Iterator[Table]:
    """Show speeds and ratios, and the first values: evidence that the work is one."""
    machine, rounds = results["machine"], results["rounds"]
    peak = median(r["sgemm"] for r in rounds) / 1e9
    speed = Table(
        "work",
        "contestant",
        *("images/s", "sgemm", "vaejax/it", "min..max", "value"),
        title=f"{machine['cpu']}, {machine['cores']} cores, sgemm {peak:.0f} GFLOP/s",
        caption=f"medians of {len(rounds)} rounds, ratios within rounds; "
        f"load average up to {max(r['load'] for r in rounds):.1f}",
    )
    for work, contestants in results["summary"].items():
        for name, row in contestants.items():
            ratio = ("-", "-")
            if "ratio" in row:
                extremes = f"{row['ratio_min']:.2f}..{row['ratio_max']:.2f}"
                ratio = (f"{row['ratio']:.2f}", extremes)
            speed.add_row(
                work,
                name,
                f"{row['images_per_second']:,.0f}",
                f"{row['share']:.0%}",
                *ratio,
                f"{results['first_values'][work][name]:.2f}",
            )
        speed.add_section()
    yield speed
    if results["not_run"]:
        missing = Table("contestant", "not run because")
        for name, reason in results["not_run"].items():
            missing.add_row(name, reason)
        yield missing
