"""The tour, in minutes: train three models on real digits, evaluate, compare gradients.

    python -m experiments.demo --out runs/demo

A VAE, an IWAE and an IWAE trained with DReG on scikit-learn's 1,797 digits, their test
log-likelihoods, and the bias, variance and cost of gradient estimators on an exact
oracle and on the trained IWAE; all of it in one self-contained report.html.
"""

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
from rich.console import Console
from rich.table import Table as TerminalTable

from experiments import estimator_variance, run_folder, train
from experiments.cli import option, run_main
from experiments.prepared_run import load_trained, prepare
from vaejax.core import Example
from vaejax.diagnostics import fold_count
from vaejax.evaluation import posterior_means
from vaejax.plotting import (
    Section,
    Table,
    bias_forest,
    gradient_statistic,
    image_grid,
    latent_space,
    log_likelihood_bars,
    reconstructions,
    training_curves,
    write_report,
)

MODEL_SETTINGS = ("latent_dim=16", "hidden=128,128")
RUNS = {
    "vae": {"bound": "elbo", "estimator": "pathwise", "num_samples": 1},
    "iwae": {"bound": "iwae", "estimator": "pathwise", "num_samples": 8},
    "iwae_dreg": {"bound": "iwae", "estimator": "dreg", "num_samples": 8},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The tour: train, evaluate and compare on real digits; one report at the end."""

    epochs: Annotated[int, option("N")] = 100
    """of each of the three models"""
    eval_num_samples: Annotated[int, option("S")] = 5000
    """importance samples of each test log-likelihood"""
    draws: Annotated[int, option("N")] = 1000
    """gradients per cell of the comparison"""
    seed: Annotated[int, option("N")] = 0
    """of everything"""
    out: Annotated[Path, option("DIR")] = Path("runs/demo")
    """folder of the report and the runs"""
    overwrite: bool = False
    """replace the tour in --out"""


class Results(NamedTuple):
    """The test figures of every model, the gradient rows, and the report's path."""

    test: dict[str, dict[str, Any]]
    oracle_rows: list[dict[str, Any]]
    trained_rows: list[dict[str, Any]]
    report: Path


def run(config: Config) -> Results:
    """Train, evaluate, compare, and write `report.html`.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed.
    """
    start = time.perf_counter()
    for name in RUNS:
        prepare(_train_config(config, name))
    fold_count(config.draws)
    run_folder.open_run(config.out, config, overwrite=config.overwrite)
    try:
        trained = {name: train.run(_train_config(config, name)) for name in RUNS}
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None  # a part is resumed by no flag of the tour's
    oracle_config = estimator_variance.Config(
        bounds=("elbo", "iwae"),
        estimators=("pathwise", "stl", "dreg", "score_function", "rloo"),
        num_samples=(1, 8, 64),
        draws=config.draws,
        seed=config.seed,
        out=config.out / "oracle",
        overwrite=True,
    )
    oracle = estimator_variance.run(oracle_config)
    network_config = dataclasses.replace(
        oracle_config,
        checkpoint=config.out / "iwae_dreg",
        bounds=("iwae",),
        estimators=("pathwise", "dreg"),
        batch_size=20,
        out=config.out / "trained",
    )
    network = estimator_variance.run(network_config)
    test = {name: result.summary["test"] for name, result in trained.items()}
    report = write_report(
        config.out / "report.html",
        title="vaejax: three autoencoders and their gradients",
        lead=_lead(test, oracle.rows, network.rows),
        sections=[
            _likelihood_section(config, trained, test),
            *[_model_section(name, result) for name, result in trained.items()],
            _gradient_section(
                "Gradients on an exact oracle",
                "The linear-Gaussian model's expected bounds and their gradients are "
                "known exactly, at every K; so is every estimator's bias.",
                oracle,
                oracle_config,
            ),
            _gradient_section(
                "Gradients on the trained network",
                "The IWAE trained with DReG, on 20 test digits. Nothing is exact here: "
                "the reference is DReG with four times as many draws of its own.",
                network,
                network_config,
            ),
        ],
    )
    seconds = time.perf_counter() - start
    results = {"test": test, "seconds": seconds, "versions": run_folder.versions()}
    run_folder.write_json(config.out / "results.json", results)
    _print_test(test)
    print(f"report: {report} ({seconds:.0f} s)")
    return Results(test, oracle.rows, network.rows, report)


def _train_config(config: Config, name: str) -> train.Config:
    return train.Config(
        dataset="digits",
        model_settings=MODEL_SETTINGS,
        epochs=config.epochs,
        batch_size=50,
        seed=config.seed,
        eval_num_samples=config.eval_num_samples,
        out=config.out / name,
        overwrite=True,
        **RUNS[name],  # type: ignore[arg-type]
    )


def _lead(
    test: dict[str, dict[str, Any]],
    oracle_rows: list[dict[str, Any]],
    network_rows: list[dict[str, Any]],
) -> list[str]:
    """The report's answer in words, each figure from the runs."""
    best = max(test, key=lambda name: test[name]["log_likelihood"])
    likelihoods = ", ".join(
        f"{name} {found['log_likelihood']:.2f}" for name, found in test.items()
    )
    sentences = [
        f"Test log-likelihood in nats (higher is better): {likelihoods}; {best} is "
        "best. One seed each: the Monte Carlo errors below do not tell seeds apart."
    ]
    for place, rows in (("oracle", oracle_rows), ("trained network", network_rows)):
        pathwise = _encoder_row(rows, "pathwise")
        dreg = _encoder_row(rows, "dreg")
        ratio = pathwise["variance"] / dreg["variance"]
        cost = dreg["seconds_per_gradient"] / pathwise["seconds_per_gradient"]
        sentences.append(
            f"On the {place}, at K = 64, DReG's encoder gradient has {ratio:.2g} times "
            f"less variance than the pathwise one, at {cost:.2f} times the cost, and "
            f"signal-to-noise {dreg['snr']:.2g} against {pathwise['snr']:.2g}."
        )
    stl = _encoder_row(oracle_rows, "stl")
    sentences.append(
        f"STL under the IWAE bound is biased, and the oracle sees it: squared bias "
        f"{stl['bias']:.3g} ± {stl['bias_stderr']:.1g} at K = 64."
    )
    return sentences


def _encoder_row(rows: list[dict[str, Any]], estimator: str) -> dict[str, Any]:
    cell = ("iwae", estimator, 64, "encoder")
    names = ("bound", "estimator", "num_samples", "group")
    return next(row for row in rows if tuple(row[name] for name in names) == cell)


def _likelihood_section(
    config: Config, trained: dict[str, train.Results], test: dict[str, dict[str, Any]]
) -> Section:
    rows = [
        (
            name,
            RUNS[name]["bound"],
            RUNS[name]["estimator"],
            RUNS[name]["num_samples"],
            f"{found['log_likelihood']:.2f} ± {found['monte_carlo_error']:.3f}",
            found["active_units"],
            f"{trained[name].summary['train']['images_per_second']:,.0f}",
        )
        for name, found in test.items()
    ]
    columns = (
        "model",
        "bound",
        "estimator",
        "K",
        "test log p(x), nats",
        "active units",
        "training images/s",
    )
    caption = (
        f"{config.eval_num_samples} importance samples an image, {config.epochs} "
        "epochs, dynamic binarization; ± is the Monte Carlo error of one trained "
        "model, not the spread over seeds."
    )
    bars = [{"name": name, **found} for name, found in test.items()]
    return Section(
        title="Test log-likelihood",
        tables=[Table(columns, rows, caption)],
        figures=[log_likelihood_bars(bars)],
        command=_command(
            "demo",
            [
                *["--epochs", str(config.epochs), "--draws", str(config.draws)],
                *["--eval-num-samples", str(config.eval_num_samples)],
                *["--seed", str(config.seed), "--out", str(config.out), "--overwrite"],
            ],
        ),
    )


def _model_section(name: str, result: train.Results) -> Section:
    config, model, params, data = load_trained(result.out)

    def mean_image(z: jax.Array) -> jax.Array:
        return model.likelihood.mean(model.decode(params, z, None))

    x = data.test.x[:10]
    means = posterior_means(model, params, data.test)
    z = jax.vmap(lambda x: model.posterior.mean(model.encode(params, Example(x))))(x)
    draws = jax.vmap(model.latent_prior.sample, (0, None))(
        jax.random.split(jax.random.key(1), 24), model.prior(params, None)
    )
    return Section(
        title=f"{name}: {config.bound} by {config.estimator}, K = {config.num_samples}",
        figures=[
            training_curves(run_folder.read_rows(result.out)),
            reconstructions(x, jax.vmap(mean_image)(z)),
            image_grid(jax.vmap(mean_image)(draws), "Samples from the prior", 12),
            latent_space(means, data.test_labels),
        ],
        command=_command("train", _train_flags(config)),
    )


def _gradient_section(
    title: str,
    text: str,
    results: estimator_variance.Results,
    config: estimator_variance.Config,
) -> Section:
    shown = [row for row in results.rows if row["status"] != "refused"]
    columns = (
        "bound",
        "estimator",
        "num_samples",
        "group",
        "status",
        "bias",
        "bias_stderr",
        "variance",
        "snr",
        "cosine",
        "seconds_per_gradient",
        "work_normalized_variance",
    )
    refused = "".join(
        f"\n\nRefused: {cell}, because {reason}."
        for cell, reason in results.refusals.items()
    )
    caption = "bias is the debiased estimate of the squared norm of E g - g*."
    values = [tuple(row[name] for name in columns) for row in shown]
    source = (
        ["--checkpoint", str(config.checkpoint)]
        if config.checkpoint
        else ["--model", config.model]
    )
    flags = [
        *source,
        *["--bounds", *config.bounds, "--estimators", *config.estimators],
        *["--num-samples", *map(str, config.num_samples)],
        *["--draws", str(config.draws), "--batch-size", str(config.batch_size)],
        *["--seed", str(config.seed), "--out", str(config.out), "--overwrite"],
    ]
    return Section(
        title=title,
        text=text + refused,
        figures=[
            gradient_statistic(results.rows, "variance"),
            gradient_statistic(results.rows, "snr"),
            bias_forest(results.rows),
        ],
        tables=[Table(columns, values, caption)],
        command=_command("estimator_variance", flags),
    )


def _train_flags(config: train.Config) -> list[str]:
    names = ("dataset", "bound", "estimator", "num_samples", "epochs", "batch_size")
    flags = [
        f"--{name.replace('_', '-')} {getattr(config, name)}"
        for name in (*names, "seed", "eval_num_samples", "out")
    ]
    return [*flags, "--model-settings", *config.model_settings, "--overwrite"]


def _command(experiment: str, flags: list[str]) -> str:
    return f"python -m experiments.{experiment} " + " ".join(flags)


def _print_test(test: dict[str, dict[str, Any]]) -> None:
    table = TerminalTable(title="digits, test split")
    table.add_column("model")
    for name in ("log p(x), nats", "Monte Carlo error", "active units"):
        table.add_column(name, justify="right")
    for name, found in test.items():
        table.add_row(
            name,
            f"{found['log_likelihood']:.2f}",
            f"{found['monte_carlo_error']:.3f}",
            str(found["active_units"]),
        )
    Console().print(table)


if __name__ == "__main__":
    run_main(Config, run)
