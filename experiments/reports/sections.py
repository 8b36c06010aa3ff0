"""A run of an experiment as a section of a report, with the command that repeats it."""

from pathlib import Path

from experiments import estimator_variance
from experiments.harness.cli import command_of
from experiments.training.load import load_trained
from experiments.training.report import draw
from vaejax.benchmark.findings import in_errors
from vaejax.plotting import (
    Section,
    Table,
    bias_forest,
    gradient_statistic,
)


def model_section(name: str, out: Path) -> Section:
    """A trained model, read back from its run: its curves, images and latents."""
    trained = load_trained(out)
    config = trained.config
    return Section(
        title=f"{name}: {config.bound} by {config.estimator}, K = {config.num_samples}",
        figures=list(draw(trained.run, trained.params, 10).values()),
        command=command_of("train", config),
    )


def gradient_section(
    title: str,
    text: str,
    config: estimator_variance.Config,
    results: estimator_variance.Results,
) -> Section:
    """A comparison of gradient estimators; the text names refused cells."""
    shown = [row for row in results.rows if row["status"] != "refused"]
    columns = (
        "bound",
        "estimator",
        "num_samples",
        "group",
        "status",
        "bias / error",
        "bias_squared",
        "bias_squared_stderr",
        "variance",
        "rms_snr",
        "cosine",
        "seconds_per_gradient",
        "work_normalized_variance",
    )
    refused = "".join(
        f"\n\nRefused: {cell}, because {reason}."
        for cell, reason in results.refusals.items()
    )
    caption = (
        "bias_squared is the debiased estimate of the squared norm of E g - g*, bias / "
        "error its root, if above 0, in standard errors of the mean gradient."
    )
    values = [
        tuple((row | {"bias / error": in_errors(row)})[name] for name in columns)
        for row in shown
    ]
    return Section(
        title=title,
        text=text + refused,
        figures=[
            gradient_statistic(results.rows, "variance"),
            gradient_statistic(results.rows, "rms_snr"),
            bias_forest(results.rows),
        ],
        tables=[Table(columns, values, caption)],
        command=command_of("estimator_variance", config),
    )
