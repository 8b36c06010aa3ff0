"""Compare gradient estimators: bias, variance, signal-to-noise and cost of each.

    python -m experiments.estimator_variance --model linear_gaussian \
        --bounds elbo iwae --estimators pathwise stl dreg --num-samples 1 8 64 \
        --draws 2000 --out runs/variance

All gradients are taken at the same parameters, on the same observations, with the same
keys. The reference is the exact gradient where the model can be integrated, and else an
unbiased estimator with draws of its own. A cell that cannot be is a row that says so.
"""

import csv
import dataclasses
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from experiments import run_folder
from experiments.cli import option, progress_bar, run_main
from experiments.prepared_run import load_trained
from experiments.setup import build_named, check_seed
from vaejax import exact
from vaejax.bounds import BOUNDS
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    Example,
    Key,
    Model,
    Params,
    Problem,
    VaejaxError,
)
from vaejax.diagnostics import (
    CostReport,
    GroupReport,
    Moments,
    cost_report,
    fold_count,
    gradient_moments,
    summarize,
)
from vaejax.estimators import ESTIMATORS
from vaejax.models import MODELS
from vaejax.objective import check, make_objective
from vaejax.plotting import bias_forest, gradient_statistic, save

COLUMNS = (
    "model",
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
    "flops",
    "peak_bytes",
    "work_normalized_variance",
)
# Reference estimators, the one of least variance first.
REFERENCES = ("dreg", "pathwise", "rloo", "score_function")
EXACT_TOLERANCE = 1e-5  # far below the Monte Carlo error of any affordable draws
REFERENCE_DRAWS = 4  # times as many as each estimator gets


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Compare gradient estimators: bias, variance, signal-to-noise and cost."""

    model: Annotated[str, option("NAME")] = "linear_gaussian"
    """at its initial parameters, on its own samples"""
    model_settings: Annotated[tuple[str, ...], option("S=V")] = ()
    """of the model, as in latent_dim=1 data_shape=3"""
    checkpoint: Annotated[Path | None, option("DIR")] = None
    """instead: a run of experiments.train, on its test images"""
    bounds: Annotated[tuple[str, ...], option("NAME..", ", ".join(BOUNDS))] = (
        "elbo",
        "iwae",
    )
    estimators: Annotated[tuple[str, ...], option("NAME..", ", ".join(ESTIMATORS))] = (
        "pathwise",
        "stl",
        "dreg",
    )
    num_samples: Annotated[tuple[int, ...], option("K..")] = (1, 8, 64)
    """importance samples per example"""
    draws: Annotated[int, option("N")] = 2000
    """gradients per cell"""
    batch_size: Annotated[int, option("N")] = 4
    """observations that a gradient is the mean over"""
    seed: Annotated[int, option("N")] = 0
    """of parameters, observations and draws"""
    out: Annotated[Path, option("DIR")] = Path("runs/variance")
    """folder of the results"""
    overwrite: bool = False
    """replace the results in --out"""


class Results(NamedTuple):
    """A row per cell and parameter group, as in results.csv, and the files' folder."""

    rows: list[dict[str, Any]]
    refusals: dict[str, str]  # cell: reason
    out: Path


class _Setting(NamedTuple):
    """Where the gradients are taken."""

    name: str
    model: Model
    params: Params
    examples: Example
    is_exact: bool


def run(config: Config) -> Results:
    """Measure every cell of bounds x estimators x K; write results.csv and figures.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed.
    """
    bounds = [build_named(BOUNDS, name) for name in config.bounds]
    estimators = [build_named(ESTIMATORS, name) for name in config.estimators]
    if not (bounds and estimators and config.num_samples):
        raise VaejaxError("name at least one bound, one estimator and one K")
    for name in ("draws", "batch_size", "num_samples"):
        if np.min(getattr(config, name)) < 1:
            raise VaejaxError(f"{name} is {getattr(config, name)}: use at least 1")
    fold_count(config.draws)
    check_seed(config.seed)
    setting = _setting(config)
    run_folder.open_run(config.out, config, overwrite=config.overwrite)
    source = "exact gradients" if setting.is_exact else "an unbiased reference"
    print(
        f"{len(bounds)} bounds x {len(estimators)} estimators x K in "
        f"{list(config.num_samples)} on {setting.name}, {config.draws} draws each, "
        f"against {source} -> {config.out}"
    )
    rows: list[dict[str, Any]] = []
    refusals: dict[str, str] = {}
    total = len(bounds) * len(estimators) * len(config.num_samples)
    with progress_bar("gradients", total, "cells") as update:
        cells = _cells(config, setting, bounds, estimators, refusals)
        for done, cell_rows in enumerate(cells, start=1):
            rows += cell_rows
            _write_csv(config.out / "results.csv", rows)
            update(done)
    _draw(config.out, rows)
    run_folder.write_json(
        config.out / "results.json",
        {
            "cells": total,
            "refusals": refusals,
            "reference": source,
            "seed": config.seed,
            "versions": run_folder.versions(),
        },
    )
    _print_rows(config, rows, refusals)
    return Results(rows, refusals, config.out)


class _Keys(NamedTuple):
    params: Key
    examples: Key
    state: Key
    draws: Key
    reference: Key


def _keys(config: Config) -> _Keys:
    return _Keys(*jax.random.split(jax.random.key(config.seed), len(_Keys._fields)))


def _setting(config: Config) -> _Setting:
    keys = _keys(config)
    if config.checkpoint is not None:
        if config.model_settings:
            raise VaejaxError(
                "--model-settings follow from the run in --checkpoint: leave them out"
            )
        trained, model, params, data = load_trained(config.checkpoint)
        if config.batch_size > len(data.test.x):
            raise VaejaxError(
                f"batch_size is {config.batch_size}, but {config.checkpoint} has only "
                f"{len(data.test.x)} test images: use a smaller one"
            )
        examples = jax.tree.map(lambda leaf: leaf[: config.batch_size], data.test)
        name = f"{trained.model} of {config.checkpoint}"
    else:
        model = build_named(MODELS, config.model, config.model_settings)
        params = model.init(keys.params)
        examples = sample_examples(model, params, keys.examples, config.batch_size)
        name = config.model
    is_exact = exact.unsupported(model, examples) is None
    return _Setting(name, model, params, examples, is_exact)


def sample_examples(
    model: Model, params: Params, key: jax.Array, count: int
) -> Example:
    """Observations from the model itself: z ~ p(z), x ~ p(x|z)."""

    def one(key: jax.Array) -> jax.Array:
        z_key, x_key = jax.random.split(key)
        z = model.latent_prior.sample(z_key, model.prior(params, None))
        return model.likelihood.sample(x_key, model.decode(params, z, None))

    return Example(jax.vmap(one)(jax.random.split(key, count)))


def _cells(
    config: Config,
    setting: _Setting,
    bounds: list[Bound],
    estimators: list[Estimator],
    refusals: dict[str, str],
) -> Iterator[list[dict[str, Any]]]:
    for bound in bounds:
        for num_samples in config.num_samples:
            problem = Problem(model=setting.model, bound=bound, num_samples=num_samples)
            reference: Params | Moments | None = None
            for estimator in estimators:
                row = dict.fromkeys(COLUMNS) | {
                    "model": setting.model.name,
                    "bound": bound.name,
                    "estimator": estimator.name,
                    "num_samples": num_samples,
                    "group": "all",
                }
                verdict = check(problem, estimator)
                if verdict.status == "refused":
                    cell = f"{estimator.name} x {bound.name}, K = {num_samples}"
                    refusals[cell] = verdict.reason
                    yield [row | {"status": "refused"}]
                    continue
                if reference is None:
                    reference = _reference(config, setting, problem)
                reports, cost = _measure(config, setting, problem, estimator, reference)
                yield [
                    row
                    | report._asdict()
                    | cost._asdict()
                    | {
                        "group": group,
                        "status": verdict.status,
                        "work_normalized_variance": report.variance
                        * cost.seconds_per_gradient,
                    }
                    for group, report in reports.items()
                ]


def _measure(
    config: Config,
    setting: _Setting,
    problem: Problem,
    estimator: Estimator,
    reference: Params | Moments,
) -> tuple[dict[str, GroupReport], CostReport]:
    objective = make_objective(
        problem.model,
        problem.bound,
        estimator,
        num_samples=problem.num_samples,
        allow_bias=True,
    )
    _, state = objective.init(_keys(config).state)
    batch = Batch(setting.examples, jnp.arange(config.batch_size))
    key = _keys(config).draws
    moments = gradient_moments(
        objective, setting.params, state, key, batch, draws=config.draws
    )
    cost = cost_report(objective, setting.params, state, key, batch)
    return summarize(moments, reference), cost


def _reference(config: Config, setting: _Setting, problem: Problem) -> Params | Moments:
    """The gradient of the loss: exact, or draws of its own of an unbiased estimator."""
    if setting.is_exact:
        found = exact.value_and_gradient(
            problem, setting.params, setting.examples, tolerance=EXACT_TOLERANCE
        )
        return jax.tree.map(np.negative, found.gradient)
    for name in REFERENCES:
        estimator = build_named(ESTIMATORS, name)
        if check(problem, estimator).status == "unbiased":
            break
    objective = make_objective(
        problem.model, problem.bound, estimator, num_samples=problem.num_samples
    )
    _, state = objective.init(_keys(config).state)
    return gradient_moments(
        objective,
        setting.params,
        state,
        _keys(config).reference,
        Batch(setting.examples, jnp.arange(config.batch_size)),
        draws=REFERENCE_DRAWS * config.draws,
        folds=fold_count(config.draws),
    )


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    run_folder.write_text(path, text.getvalue())


def _draw(out: Path, rows: list[dict[str, Any]]) -> None:
    if all(row["status"] == "refused" for row in rows):
        return
    for statistic in ("variance", "snr", "work_normalized_variance"):
        figure = gradient_statistic(rows, statistic)
        save(figure, out / "figures" / f"{statistic}.png")
    save(bias_forest(rows), out / "figures" / "bias.png")


def _print_rows(
    config: Config, rows: list[dict[str, Any]], refusals: dict[str, str]
) -> None:
    table = Table(title=f"gradients of the loss on {rows[0]['model']}", box=box.SIMPLE)
    shown = ("bound", "estimator", "num_samples", "group", "status")
    for name in ("bound", "estimator", "K", "group", "status"):
        table.add_column(name)
    for name in ("bias ± stderr", "variance", "snr", "cosine", "µs", "var x s"):
        table.add_column(name, justify="right")
    for row in rows:
        labels = [str(row[name]) for name in shown]
        if row["status"] == "refused":
            table.add_row(*labels)
            continue
        table.add_row(
            *labels,
            f"{row['bias']:.2g} ± {row['bias_stderr']:.1g}",
            f"{row['variance']:.3g}",
            f"{row['snr']:.3g}",
            f"{row['cosine']:.4f}",
            f"{1e6 * row['seconds_per_gradient']:.0f}",
            f"{row['work_normalized_variance']:.2g}",
        )
    # A pipe has no width of its own, and a folded table cannot be read.
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    for cell, reason in refusals.items():
        print(f"refused: {cell}: {reason}")
    print(
        "bias is the debiased ||E g - g*||^2; snr has a noise floor of "
        f"{np.sqrt(2 / (np.pi * config.draws)):.2g}; results and figures: {config.out}"
    )


if __name__ == "__main__":
    run_main(Config, run)
