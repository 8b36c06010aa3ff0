"""Train a variational autoencoder; estimate its test log p(x).

    python -m experiments.train --dataset mnist --model gaussian_mlp --bound iwae \
        --num-samples 5 --estimator dreg --epochs 60 --out runs/iwae5

After Ctrl-C, a scheduler's SIGTERM or a crash, `--resume` goes on with the run, to the
same result, bit for bit.
"""

from experiments.harness.cli import read_command_line, run_main
from experiments.training.config import Config

if __name__ == "__main__":
    read_command_line(Config)  # --help and mistakes, before JAX is imported

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from experiments.harness import run_folder
from experiments.training import processes, recipe, report
from experiments.training.evaluate import final_figures
from experiments.training.load import read_source
from experiments.training.loop import train_to_end
from experiments.training.micro_batch import choose_micro_batch_size
from experiments.training.resume import open_training
from experiments.training.run import Run, check, prepare
from experiments.training.sinks import watching
from experiments.training.validation import objective_on_test
from vaejax.benchmark.numbers import number_of
from vaejax.core import Model, Params
from vaejax.ops.matmul import matmul_precision
from vaejax.ops.random import generator

__all__ = ["Config", "Results", "check", "run"]  # names that a sweep uses


class Results(NamedTuple):
    """The results of a run, and the folder of its files."""

    summary: dict[str, Any]  # as in results.json
    params: Params  # the first seed's
    model: Model
    out: Path


def run(config: Config) -> Results:
    """Train, evaluate, draw; write everything under `config.out`.

    All devices of all processes share the work; process 0 alone writes.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed; a loss that
            is not finite, with the last good state saved.
    """
    processes.start(config)
    first = processes.is_first()
    with contextlib.ExitStack() as stack:
        stack.enter_context(matmul_precision(config.matmul_precision))
        stack.enter_context(generator(config.prng))
        if first:
            print(f"building {config.model} for {config.dataset}", flush=True)
        with processes.together():
            training = prepare(config)
        micro_batch_size = choose_micro_batch_size(training)
        with processes.together():
            source = read_source(config)
        with processes.together():
            stack.enter_context(open_training(config))
        if first:
            recipe.keep(config.out, training.recipe, training.model, training.dataset)
            if training.dataset.found:
                print(f"found {training.dataset.found}")
            for word in training.recipe.settings[len(config.model_settings) :]:
                print(f"columns, as --model-settings {word}")
            _print_plan(training)
        with watching(training) as watchers:
            state, figures = train_to_end(
                training, source, micro_batch_size=micro_batch_size, watchers=watchers
            )
        seeds = training.params_by_seed(state)
        summary = {
            "test": final_figures(training, seeds),
            "test_objective": objective_on_test(training, state),
            "train": figures,
            "protocol": training.data.protocol,
            **_labelled(training),
            "normalized": training.model.likelihood.normalized,
            "seed": config.seed,
            "versions": run_folder.versions(),
        }
        if first:
            report.write(training, seeds[0], summary)
            run_folder.write_json(config.out / "results.json", summary)
    if first:
        report.print_summary(training, summary)
    return Results(summary, seeds[0], training.model, config.out)


def _labelled(training: Run) -> dict[str, list[int]]:
    """The training examples that keep their labels, if only few do."""
    labelled = training.data.labelled
    return {} if labelled is None else {"labelled": labelled.tolist()}


def _on_devices(mesh: Mesh) -> str:
    """The words for the devices in use, if there are several."""
    total = jax.device_count()
    if total == 1:
        return ""
    reason = "" if mesh.size == total else ", as many as divide them evenly"
    return f" on {mesh.size} of {total} devices{reason}"


def _print_plan(training: Run) -> None:
    config, data = training.config, training.data
    print(
        f"training {config.model} on {config.dataset} ({data.protocol}): "
        f"{config.bound} by {config.estimator}, K = {config.num_samples}, "
        f"{number_of(config.epochs, 'epoch')} of {len(data.train.x)} examples "
        f"in batches of {config.batch_size}{_on_devices(training.mesh)} -> {config.out}"
    )
    print(_choice_in_words(training))
    for name, chosen in _labelled(training).items():
        print(f"{name} ({len(chosen)}, by seed {config.seed}): {chosen}")


def _choice_in_words(training: Run) -> str:
    """The words for the epoch that is kept, and for the validation split."""
    config, data = training.config, training.data
    kept = "best by validation" if training.selection.by_validation else "last"
    if config.patience is not None:
        kept += f", after at most {config.patience} without improvement"
    if data.validation is None:
        return f"epoch to keep: {kept}; no validation split, so no figures of one"
    return f"epoch to keep: {kept}; {len(data.validation.x)} images validate"


if __name__ == "__main__":
    run_main(Config, run)
