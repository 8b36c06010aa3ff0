"""The report on measured rounds: medians, ratios within rounds, shares of sgemm."""

from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.table import Table

from experiments.harness import run_folder
from experiments.harness.result_table import write_csv
from experiments.harness.terminal import console
from experiments.performance.speed_field import Work

# Multiply-adds count as two; products only. 784-200-200-100 and 50-200-200-784.
ENCODER_FLOPS = 2 * (784 * 200 + 200 * 200 + 200 * 100)
DECODER_FLOPS = 2 * (50 * 200 + 200 * 200 + 200 * 784)

COLUMNS = (
    *("work", "contestant", "images_per_second", "gigaflops", "share_of_sgemm"),
    *("ratio", "ratio_min", "ratio_max", "first_value", "start_seconds"),
    *("first_seconds", "first_seconds_cached", "peak_megabytes", "target_seconds"),
)


def flops_per_image(command: dict[str, Any]) -> int:
    """FLOP per image: encoder once, decoder per sample; training counts threefold."""
    forward = ENCODER_FLOPS + command["num_samples"] * DECODER_FLOPS
    return 3 * forward if command["work"] == "train" else forward


def summarize(
    works: list[Work],
    rounds: list[dict[str, Any]],
    fresh: dict[str, dict[str, dict[str, float]]],
    first_values: dict[str, dict[str, float]],
) -> dict[str, dict[str, dict[str, float]]]:
    """All figures per work and contestant; `ratio` is vaejax's speed to theirs."""
    return {
        work.name: {
            name: figures
            | {"first_value": first_values[work.name][name]}
            | fresh.get(work.name, {}).get(name, {})
            for name, figures in _speeds(work, rounds).items()
        }
        for work in works
    }


def _speeds(work: Work, rounds: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    answers = [r["works"][work.name] for r in rounds]
    # Only contestants that did the work in every round: some may have failed.
    speeds = {
        name: [answer[name]["images_per_second"] for answer in answers]
        for name in answers[0]
        if all(name in answer for answer in answers)
    }
    flops, peaks = flops_per_image(work.command), [r["sgemm"] for r in rounds]
    found = {}
    for name, speed in speeds.items():
        shares = [flops * s / peak for s, peak in zip(speed, peaks, strict=True)]
        found[name] = {
            "images_per_second": median(speed),
            "gigaflops": flops * median(speed) / 1e9,
            "share_of_sgemm": median(shares),
        }
        if "vaejax" in speeds:
            pairs = zip(speeds["vaejax"], speed, strict=True)
            ratios = [ours / theirs for ours, theirs in pairs]
            found[name] |= {
                "ratio": median(ratios),
                "ratio_min": min(ratios),
                "ratio_max": max(ratios),
            }
    return found


def target_rows(target: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The time at which each contestant reached the log-likelihood, or None."""
    if target is None:
        return []
    goal, num_samples = target["log_likelihood"], target["train"]["num_samples"]
    reached = {
        name: [p["seconds"] for p in curve if p["log_likelihood"] >= goal]
        for name, curve in target["curves"].items()
    }
    return [
        {
            "work": f"reach {goal} nats, K={num_samples}",
            "contestant": name,
            "target_seconds": seconds[0] if seconds else None,
        }
        for name, seconds in reached.items()
    ]


def write(out: Path, summary: dict[str, Any]) -> None:
    """Write results.json and results.csv, a row for each work and contestant."""
    run_folder.write_json(out / "results.json", summary)
    rows = [
        {"work": work, "contestant": name} | figures
        for work, contestants in summary["summary"].items()
        for name, figures in contestants.items()
    ]
    rows += target_rows(summary["target"])
    write_csv(out / "results.csv", rows, COLUMNS)


def show(summary: dict[str, Any]) -> None:
    """Print all figures; equal first values show that the work is the same."""
    machine, rounds = summary["machine"], summary["rounds"]
    peak = median(r["sgemm"] for r in rounds) / 1e9
    print(
        f"{machine['device']} of {machine['cpu']}, {machine['cores']} cores, sgemm "
        f"{peak:.0f} GFLOP/s; "
        f"medians of {len(rounds)} rounds, ratios within rounds; load average up to "
        f"{max(r['load'] for r in rounds):.1f}"
    )
    table = Table(box=box.SIMPLE)
    for column in ("work", "contestant"):
        table.add_column(column, no_wrap=True)
    for column in (
        *("images/s", "GFLOP/s", "sgemm", "vaejax/it", "min..max", "value"),
        *("start s", "first s", "cached s", "peak MB"),
    ):
        table.add_column(column, justify="right")
    for work, contestants in summary["summary"].items():
        for name, row in contestants.items():
            extremes = "-"
            if "ratio" in row:
                extremes = f"{row['ratio_min']:.2f}..{row['ratio_max']:.2f}"
            table.add_row(
                work,
                name,
                f"{row['images_per_second']:,.0f}",
                f"{row['gigaflops']:,.0f}",
                f"{row['share_of_sgemm']:.0%}",
                _written(row, "ratio", ".2f"),
                extremes,
                f"{row['first_value']:.2f}",
                _written(row, "start_seconds", ".1f"),
                _written(row, "first_seconds", ".2f"),
                _written(row, "first_seconds_cached", ".2f"),
                _written(row, "peak_megabytes", ",.0f"),
            )
        table.add_section()
    # A pipe has no width, and a folded table cannot be read.
    console(140).print(table)
    for row in target_rows(summary["target"]):
        seconds = row["target_seconds"]
        when = "not reached" if seconds is None else f"{seconds:.1f} s of training"
        print(f"{row['work']}: {row['contestant']} {when}")
    for reason in summary["not_run"].values():
        print(f"not run: {reason}")


def _written(row: dict[str, float], name: str, form: str) -> str:
    value = row.get(name)
    return "-" if value is None else format(value, form)
