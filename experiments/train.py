"""Train a variational autoencoder and estimate its test log-likelihood.

    python -m experiments.train --dataset mnist --model gaussian_mlp --bound iwae \
        --num-samples 5 --estimator dreg --epochs 60 --out runs/iwae5

Ctrl-C, a scheduler's SIGTERM or a crash leaves a run that `--resume` goes on with, to
the same result, bit for bit.
"""

import contextlib
import math
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from experiments.harness import run_folder
from experiments.harness.cli import progress_bar, run_main
from experiments.training import prepared_run, processes, report
from experiments.training.config import Config
from experiments.training.loop import (
    check_state,
    choose_micro_batch_size,
    more_epochs,
    snapshots,
    train_to_end,
)
from experiments.training.op_profile import profiling
from experiments.training.prepared_run import (
    Data,
    make_keys,
    make_optimizer,
    params_by_seed,
    prepare,
)
from experiments.training.sinks import check_installed, watching
from experiments.training.starting_point import read_source, starting_state
from vaejax.core import Key, Model, Params, VaejaxError
from vaejax.data import LEVELS
from vaejax.evaluation import (
    LogNormalizer,
    active_units,
    bits_per_dim,
    log_likelihood,
    log_normalizer,
    reconstruction,
)
from vaejax.ops.matmul import matmul_precision
from vaejax.sharding import training_mesh


class Results(NamedTuple):
    """What a run found, and where its files are."""

    summary: dict[str, Any]  # results.json
    params: Params  # of the first seed
    model: Model
    out: Path


def check(config: Config) -> None:
    """Raise a `VaejaxError` for what cannot be, as far as it shows without the data."""
    check_installed(config)
    prepared_run.check(config)


def run(config: Config) -> Results:
    """Train, evaluate, draw; write everything under `config.out`.

    All devices share the work, those of other processes too; process 0 alone writes.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed; a loss that
            is not finite, with the last good state saved.
    """
    with matmul_precision(config.matmul_precision):
        return _run(config)


def _run(config: Config) -> Results:
    check_installed(config)
    processes.start(config)
    model, objective, data = processes.together(lambda: prepare(config))
    optimizer = make_optimizer(config, model, len(data.train.x))
    mesh = training_mesh(
        config.micro_batch_size or config.batch_size,
        sample_devices=config.sample_devices,
    )
    micro_batch_size = choose_micro_batch_size(config, objective, data, mesh)
    # Before the run in --out is set aside, which it may be.
    source = processes.together(lambda: read_source(config))
    first = processes.is_first()
    with contextlib.ExitStack() as stack:

        def open_run() -> None:
            opened = run_folder.open_run(
                config.out,
                config,
                overwrite=config.overwrite,
                resume=config.resume,
                free=more_epochs,
                reopens=lambda before: more_epochs(
                    "epochs", before["epochs"], config.epochs
                ),
                check_state=lambda: check_state(config.out),
            )
            stack.enter_context(opened if first else contextlib.nullcontext())

        processes.together(open_run)
        if first:
            print(
                f"training {config.model} on {config.dataset} ({data.protocol}): "
                f"{config.bound} by {config.estimator}, K = {config.num_samples}, "
                f"{config.epochs} epochs of {len(data.train.x)} images in batches of "
                f"{config.batch_size}{_on_devices(mesh)} -> {config.out}"
            )
            for name, chosen in _labelled(data).items():
                print(f"{name} ({len(chosen)}, by seed {config.seed}): {chosen}")
        try:
            with contextlib.ExitStack() as watched:
                watchers = []
                if first:
                    sinks = watched.enter_context(watching(config, model, data))
                    profiler = watched.enter_context(profiling(config))
                    watchers = [*sinks, *snapshots(config), *profiler]
                state, training = train_to_end(
                    config,
                    objective,
                    optimizer,
                    data,
                    micro_batch_size,
                    mesh,
                    watchers,
                    partial(
                        starting_state,
                        config,
                        objective,
                        optimizer,
                        data,
                        source,
                    ),
                )
            params = params_by_seed(config, state)
            key = make_keys(config).evaluate
            keys = jax.random.split(key, len(params)) if len(params) > 1 else [key]
            tests = [
                _evaluate(config, model, own, key, data)
                for own, key in zip(params, keys, strict=True)
            ]
            if first:
                report.draw(config.out, model, params[0], data)
        except KeyboardInterrupt:  # in process 0 the folder knows more
            how = run_folder.how_to_go_on(config.out, config.overwrite, config.resume)
            raise KeyboardInterrupt(how) from None
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() == 1:
                raise
            raise VaejaxError(
                "another process of the run was lost: start all of them again with "
                f"--resume, which goes on from the last checkpoint in {config.out}"
            ) from error
        summary = {
            "test": tests[0] if len(tests) == 1 else over_seeds(tests),
            "train": training,
            "protocol": data.protocol,
            **_labelled(data),
            "normalized": model.likelihood.normalized,
            "seed": config.seed,
            "versions": run_folder.versions(),
        }
        if first:
            run_folder.write_json(config.out / "results.json", summary)
    if first:
        report.print_summary(config.out, summary)
    return Results(summary, params[0], model, config.out)


def _labelled(data: Data) -> dict[str, list[int]]:
    """Which training examples keep their labels, where few do."""
    return {} if data.labelled is None else {"labelled": data.labelled.tolist()}


def _on_devices(mesh: Mesh) -> str:
    """Which devices are used, where there is a choice."""
    total = jax.device_count()
    if total == 1:
        return ""
    reason = "" if mesh.size == total else ", as many as divide them evenly"
    return f" on {mesh.size} of {total} devices{reason}"


def _evaluate(
    config: Config, model: Model, params: Params, key: Key, data: Data
) -> dict[str, Any]:
    """The test log-likelihood and active units, as results.json names them.

    Of an autoencoder, whose code has no density, what its codes keep of the images.
    """
    count = len(data.test.x)
    units = {"active_units": active_units(model, params, data.test)}
    if not model.posterior.has_density:
        kept = reconstruction(model, params, data.test)
        figures = {name: float(of.mean()) for name, of in kept._asdict().items()}
        return {**figures, "num_examples": count, **units}
    start = time.perf_counter()
    with progress_bar("log-likelihood", count, "images") as update:
        estimate = log_likelihood(
            model,
            params,
            data.test,
            key,
            num_samples=config.eval_num_samples,
            progress=update,
        )
    seconds = time.perf_counter() - start
    if not np.isfinite(estimate.log_px).all():
        raise VaejaxError(
            "the log-likelihood of some test images is not finite: look at the metrics "
            f"in {config.out}, and lower the learning rate"
        )
    summary: dict[str, Any] = estimate.summary()
    if not model.latent_prior.normalized:
        key = jax.random.fold_in(key, count)  # beside those of the examples
        summary |= normalized(summary, log_normalizer(model, params, data.test, key))
    return {
        **summary,
        **bits(model, data.protocol, summary["log_likelihood"]),
        **units,
        "images_per_second": count / seconds,
    }


def normalized(summary: dict[str, Any], normalizer: LogNormalizer) -> dict[str, Any]:
    """The figures of a prior that is known up to a factor, with that taken off."""
    found: dict[str, Any] = {
        "log_normalizer": normalizer.value,
        "log_normalizer_error": normalizer.error,
    }
    for name, error in (
        ("log_likelihood", "monte_carlo_error"),
        ("elbo", "elbo_error"),
    ):
        found[name] = summary[name] - normalizer.value
        if summary[error] is not None:
            found[error] = float(np.hypot(summary[error], normalizer.error))
    return found


def bits(model: Model, protocol: str, log_px: float) -> dict[str, float]:
    """The bits per dimension of grey levels, where the likelihood tells them."""
    family = model.likelihood
    dequantized = protocol == "dequantized" and family.normalized
    if not dequantized and (protocol != "none" or family.space.levels != LEVELS):
        return {}
    num_dims = math.prod(model.data_shape or ())
    return {
        "bits_per_dim": bits_per_dim(log_px, num_dims, LEVELS if dequantized else None)
    }


def over_seeds(tests: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds, the error of the mean, and the spread, which is another."""
    means = {
        name: None if value is None else float(np.mean([test[name] for test in tests]))
        for name, value in tests[0].items()
    }
    means["num_examples"] = tests[0]["num_examples"]

    def together(error: str) -> float | None:
        errors = [test[error] for test in tests]
        return None if None in errors else float(np.linalg.norm(errors) / len(tests))

    def spread(figure: str) -> float:
        return float(np.std([test[figure] for test in tests], ddof=1))

    if "log_likelihood" not in means:
        return means | {
            "squared_error_standard_deviation_over_seeds": spread("squared_error"),
            "seeds": tests,
        }
    return means | {
        "num_samples": tests[0]["num_samples"],
        "monte_carlo_error": together("monte_carlo_error"),
        "elbo_error": together("elbo_error"),
        "standard_deviation_over_seeds": spread("log_likelihood"),
        "elbo_standard_deviation_over_seeds": spread("elbo"),
        "seeds": tests,
    }


if __name__ == "__main__":
    run_main(Config, run)
