"""Train a variational autoencoder and estimate its test log-likelihood.

    python -m experiments.train --dataset mnist --model gaussian_mlp --bound iwae \
        --num-samples 5 --estimator dreg --epochs 60 --out runs/iwae5

Ctrl-C, a scheduler's SIGTERM or a crash leaves a run that `--resume` goes on with, to
the same result, bit for bit.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import run_folder, train_report
from experiments.cli import progress_bar, run_main
from experiments.prepared_run import Data, make_keys, make_optimizer, prepare
from experiments.train_config import Config
from experiments.training_loop import choose_micro_batch_size, train_to_end
from vaejax.core import Model, Params, VaejaxError
from vaejax.evaluation import active_units, log_likelihood
from vaejax.matmul import matmul_precision


class Results(NamedTuple):
    """What a run found, and where its files are."""

    summary: dict[str, Any]  # results.json
    params: Params
    model: Model
    out: Path


def run(config: Config) -> Results:
    """Train, evaluate, draw; write everything under `config.out`.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed; a loss that
            is not finite, with the last good state saved.
    """
    with matmul_precision(config.matmul_precision):
        return _run(config)


def _run(config: Config) -> Results:
    model, objective, data = prepare(config)
    optimizer = make_optimizer(config, len(data.train.x))
    micro_batch_size = choose_micro_batch_size(config, objective, data)
    run_folder.open_run(
        config.out, config, overwrite=config.overwrite, resume=config.resume
    )
    print(
        f"training {config.model} on {config.dataset} ({data.protocol}): "
        f"{config.bound} by {config.estimator}, K = {config.num_samples}, "
        f"{config.epochs} epochs of {len(data.train.x)} images in batches of "
        f"{config.batch_size} -> {config.out}"
    )
    try:
        state, training = train_to_end(
            config, objective, optimizer, data, micro_batch_size
        )
        summary = _evaluate(config, model, state.params, data)
        train_report.draw(config.out, model, state.params, data)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(
            f"what is done is in {config.out}; the same command with --resume goes on "
            "from there"
        ) from interrupt
    summary |= {
        "train": training,
        "protocol": data.protocol,
        "seed": config.seed,
        "versions": run_folder.versions(),
    }
    run_folder.write_json(config.out / "results.json", summary)
    train_report.print_summary(config.out, summary)
    return Results(summary, state.params, model, config.out)


def _evaluate(
    config: Config, model: Model, params: Params, data: Data
) -> dict[str, Any]:
    """The test log-likelihood and active units, as results.json names them."""
    count = len(data.test.x)
    start = time.perf_counter()
    with progress_bar("log-likelihood", count, "images") as update:
        estimate = log_likelihood(
            model,
            params,
            data.test,
            make_keys(config).evaluate,
            num_samples=config.eval_num_samples,
            progress=update,
        )
    seconds = time.perf_counter() - start
    if not np.isfinite(estimate.log_px).all():
        raise VaejaxError(
            "the log-likelihood of some test images is not finite: look at the metrics "
            f"in {config.out}, and lower the learning rate"
        )
    return {
        "test": {
            **estimate.summary(),
            "active_units": active_units(model, params, data.test),
            "images_per_second": count / seconds,
        }
    }


if __name__ == "__main__":
    run_main(Config, run)
