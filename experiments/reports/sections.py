"""A run of an experiment as a section of a report, with the command that repeats it."""

from pathlib import Path

import jax

from experiments import estimator_variance
from experiments.harness import run_folder
from experiments.training.config import Config as TrainConfig
from experiments.training.prepared_run import load_trained
from experiments.training.report import reconstruct, sample_images
from vaejax.benchmark.findings import in_errors
from vaejax.evaluation import posterior_means
from vaejax.plotting import (
    Section,
    Table,
    bias_forest,
    gradient_statistic,
    image_grid,
    latent_space,
    reconstructions,
    training_curves,
)


def model_section(name: str, out: Path) -> Section:
    """A trained model, read back from its run: its curves, images and latents."""
    config, model, params, data = load_trained(out)

    shown = jax.tree.map(lambda leaf: leaf[:10], data.test)
    means = posterior_means(model, params, data.test)
    draws = sample_images(model, params, jax.random.key(1), 24)
    return Section(
        title=f"{name}: {config.bound} by {config.estimator}, K = {config.num_samples}",
        figures=[
            training_curves(run_folder.read_rows(out)),
            reconstructions(shown.x, reconstruct(model, params, shown)),
            image_grid(draws, "Samples from the prior", 12),
            latent_space(means, data.test_labels),
        ],
        command=command_line("train", _train_flags(config)),
    )


def gradient_section(
    title: str,
    text: str,
    config: estimator_variance.Config,
    results: estimator_variance.Results,
) -> Section:
    """A comparison of gradient estimators; what refuses is named in the text."""
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
        command=command_line("estimator_variance", _variance_flags(config)),
    )


def _train_flags(config: TrainConfig) -> list[str]:
    names = ("dataset", "bound", "estimator", "num_samples", "epochs", "batch_size")
    flags = [
        f"--{name.replace('_', '-')} {getattr(config, name)}"
        for name in (*names, "seed", "eval_num_samples", "out")
    ]
    return [*flags, "--model-settings", *config.model_settings, "--overwrite"]


def _variance_flags(config: estimator_variance.Config) -> list[str]:
    source = (
        ["--checkpoint", str(config.checkpoint)]
        if config.checkpoint
        else ["--model", *config.model]
    )
    return [
        *source,
        *["--bounds", *config.bounds, "--estimators", *config.estimators],
        *["--num-samples", *map(str, config.num_samples)],
        *["--draws", str(config.draws), "--batch-size", str(config.batch_size)],
        *["--seed", str(config.seed), "--out", str(config.out), "--overwrite"],
    ]


def command_line(experiment: str, flags: list[str]) -> str:
    """What is typed to run an experiment."""
    return f"python -m experiments.{experiment} " + " ".join(flags)
