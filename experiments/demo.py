"""Train three models on real digits, evaluate, compare: a tour.

    python -m experiments.demo --out runs/demo

One self-contained report.html shows a VAE, an IWAE and an IWAE trained with DReG on
scikit-learn's 1,797 digits, their test log-likelihoods, and the bias, variance and cost
of gradient estimators on an exact oracle and on the trained IWAE.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.harness.cli import command_of, option, read_command_line, run_main
from experiments.harness.settings import Large, Seed, Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Train, evaluate and compare on real digits; write one report at the end."""

    epochs: Annotated[int, option("N")] = 100
    """epochs of each of the three trainings"""
    eval_num_samples: Annotated[Large, option("S")] = 5000
    """importance samples per image in the estimate of log p(x)"""
    draws: Annotated[Large, option("N")] = 1000
    """gradients per cell of the comparison"""
    seed: Annotated[Seed, option("N")] = 0
    """seed of all random numbers"""
    out: Annotated[Path, option("DIR")] = Path("runs/demo")
    """folder of the report and the runs"""
    overwrite: bool = False
    """replace the tour in --out"""


if __name__ == "__main__":
    read_command_line(Config)

import time
from typing import Any, NamedTuple

from experiments import estimator_variance, train
from experiments.harness import run_folder
from experiments.reports import demo
from experiments.reports.sections import gradient_section, model_sections
from vaejax.benchmark import fold_count
from vaejax.plotting import write_report

PLAN = """\
the tour: 3 trainings of {config.epochs} epochs on the digits, then the gradients of
estimators on an oracle and on a trained network, {config.draws} draws a cell; with the
default sizes about 3 minutes of processor time -> {config.out}"""
MODEL_SETTINGS = ("latent_dim=16", "hidden=128,128")
RUNS = {
    "vae": {"bound": "elbo", "estimator": "pathwise", "num_samples": 1},
    "iwae": {"bound": "iwae", "estimator": "pathwise", "num_samples": 8},
    "iwae_dreg": {"bound": "iwae", "estimator": "dreg", "num_samples": 8},
}


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
    configs = {name: _train_config(config, name) for name in RUNS}
    for train_config in configs.values():
        train.check(train_config)
    fold_count(config.draws)
    with run_folder.open_run(config.out, config, overwrite=config.overwrite):
        print(PLAN.format(config=config))
        return _run_all(config, configs, start)


def _run_all(config: Config, configs: dict[str, train.Config], start: float) -> Results:
    trained = {name: train.run(configs[name]) for name in RUNS}
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
    summaries = {name: result.summary for name, result in trained.items()}
    test = {name: summary["test"] for name, summary in summaries.items()}
    comparisons = {"oracle": oracle.table, "trained network": network.table}
    report = write_report(
        config.out / "report.html",
        title="vaejax: three autoencoders and their gradients",
        lead=demo.lead(test, comparisons),
        cautions=demo.cautions(comparisons),
        sections=[
            demo.likelihood_section(configs, summaries, command_of("demo", config)),
            *model_sections({name: result.out for name, result in trained.items()}),
            gradient_section(
                "Gradients on an exact oracle",
                "The linear-Gaussian model's expected bounds and their gradients are "
                "known exactly, at every K; so is every estimator's bias.",
                oracle_config,
                oracle,
            ),
            gradient_section(
                "Gradients on the trained network",
                "The IWAE trained with DReG, on 20 test digits. Nothing is exact here: "
                "the reference is DReG with four times as many draws of its own.",
                network_config,
                network,
            ),
        ],
    )
    seconds = time.perf_counter() - start
    results = {"test": test, "seconds": seconds, "versions": run_folder.versions()}
    run_folder.write_json(config.out / "results.json", results)
    demo.print_test(test)
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


if __name__ == "__main__":
    run_main(Config, run)
