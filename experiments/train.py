"""Train a variational autoencoder and estimate its test log-likelihood.

    python -m experiments.train --dataset mnist --model gaussian_mlp --bound iwae \
        --num-samples 5 --estimator dreg --epochs 60 --out runs/iwae5

Ctrl-C, a scheduler's SIGTERM or a crash leaves a run that `--resume` goes on with, to
the same result, bit for bit.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

from experiments import run_folder
from experiments.cli import deferred_interrupts, option, progress_bar, run_main
from experiments.setup import (
    build_named,
    check_seed,
    choose_protocol,
    mean_observation,
)
from vaejax.bounds import BOUNDS
from vaejax.core import Batch, Example, Key, Model, Objective, Params, VaejaxError
from vaejax.data import DATASETS, PROTOCOLS, load
from vaejax.estimators import ESTIMATORS
from vaejax.evaluation import active_units, log_likelihood, posterior_means
from vaejax.models import MODELS
from vaejax.objective import make_objective
from vaejax.plotting import (
    image_grid,
    latent_space,
    reconstructions,
    save,
    training_curves,
)
from vaejax.regularizers import REGULARIZERS
from vaejax.training import (
    EpochReport,
    NonFiniteError,
    TrainState,
    checkpoints,
    default_micro_batch_size,
    fit,
    init_state,
    steps_per_epoch,
)

SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "cosine": optax.cosine_decay_schedule,
    "constant": lambda learning_rate, steps: optax.constant_schedule(learning_rate),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Train a variational autoencoder and estimate its test log-likelihood."""

    dataset: Annotated[str, option("NAME", ", ".join(DATASETS))] = "mnist"
    protocol: Annotated[str | None, option("NAME")] = None
    """dynamic, static, threshold, none (default: what fits)"""
    data_dir: Annotated[Path | None, option("DIR")] = None
    """prepared data (default: $TFDS_DATA_DIR)"""
    model: Annotated[str, option("NAME", ", ".join(MODELS))] = "gaussian_mlp"
    model_settings: Annotated[tuple[str, ...], option("S=V")] = ()
    """of the model, as in latent_dim=20 hidden=300,300"""
    bound: Annotated[str, option("NAME", ", ".join(BOUNDS))] = "elbo"
    bound_settings: Annotated[tuple[str, ...], option("S=V")] = ()
    """of the bound, as in beta=2"""
    estimator: Annotated[str, option("NAME", ", ".join(ESTIMATORS))] = "dreg"
    estimator_settings: Annotated[tuple[str, ...], option("S=V")] = ()
    """of the estimator, as in baseline=leave_one_out"""
    regularizers: Annotated[tuple[str, ...], option("NAME..")] = ()
    """batch-level terms of the loss: mmd"""
    num_samples: Annotated[int, option("K")] = 1
    """importance samples per example"""
    allow_bias: bool = False
    """accept an estimator that is biased for the bound"""
    epochs: Annotated[int, option("N")] = 60
    """passes over the training split"""
    batch_size: Annotated[int, option("N")] = 100
    """examples per step"""
    micro_batch_size: Annotated[int | None, option("N")] = None
    """examples per gradient, a divisor (default: fits the cache)"""
    learning_rate: Annotated[float, option("X")] = 1e-3
    """Adam's, at its highest"""
    schedule: Annotated[str, option("NAME")] = "cosine"
    """of the learning rate: cosine (to zero) or constant"""
    seed: Annotated[int, option("N")] = 0
    """of parameters, shuffling, noise and evaluation"""
    eval_num_samples: Annotated[int, option("S")] = 5000
    """importance samples of the test log-likelihood"""
    eval_examples: Annotated[int | None, option("N")] = None
    """evaluate only the first so many (default: all)"""
    checkpoint_seconds: Annotated[float, option("T")] = 30.0
    """time between checkpoints"""
    out: Annotated[Path, option("DIR")] = Path("runs/train")
    """folder of the run"""
    overwrite: bool = False
    """replace the run in --out"""
    resume: bool = False
    """go on with the unfinished run in --out"""


class Results(NamedTuple):
    """What a run found, and where its files are."""

    summary: dict[str, Any]  # results.json
    params: Params
    model: Model
    out: Path


class _Data(NamedTuple):
    train: Example  # as stored, uint8
    test: Example  # as the model sees it
    test_labels: np.ndarray | None
    protocol: str


def run(config: Config) -> Results:
    """Train, evaluate, draw; write everything under `config.out`.

    Raises:
        VaejaxError: a setting that cannot be, before anything is computed; a loss that
            is not finite, with the last good state saved.
    """
    model, objective, data = prepare(config)
    optimizer = _optimizer(config, len(data.train.x))
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
        state, training = _train(config, objective, optimizer, data)
        summary = _evaluate(config, model, state.params, data)
        _draw(config.out, model, state.params, data)
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
    _print_summary(config.out, summary)
    return Results(summary, state.params, model, config.out)


def prepare(config: Config) -> tuple[Model, Objective, _Data]:
    """The model, its objective and the data of a configuration, all of them checked."""
    _check_numbers(config)
    info = build_named(DATASETS, config.dataset)
    bound = build_named(BOUNDS, config.bound, config.bound_settings)
    estimator = build_named(ESTIMATORS, config.estimator, config.estimator_settings)
    regularizers = [build_named(REGULARIZERS, name) for name in config.regularizers]

    def build_model(**data: Any) -> Model:
        return build_named(
            MODELS, config.model, config.model_settings, data_shape=info.shape, **data
        )

    def build_objective(model: Model) -> Objective:
        return make_objective(
            model,
            bound,
            estimator,
            num_samples=config.num_samples,
            allow_bias=config.allow_bias,
            regularizers=regularizers,
        )

    # Refuse what cannot be before any data are read.
    shape_only = build_model()
    build_objective(shape_only)
    protocol = choose_protocol(
        config.dataset, config.protocol, shape_only.likelihood.binary
    )
    train = load(config.dataset, protocol=protocol, data_dir=config.data_dir)
    test = load(config.dataset, "test", protocol=protocol, data_dir=config.data_dir)
    model = build_model(data_mean=mean_observation(train, protocol))
    count = len(test.images) if config.eval_examples is None else config.eval_examples
    if count > len(test.images):
        raise VaejaxError(
            f"eval_examples is {count}, but the test split of {config.dataset} has "
            f"only {len(test.images)}: use fewer, or leave it out for all"
        )
    kept = slice(count)
    observations = jax.vmap(PROTOCOLS[protocol].as_float)(
        jnp.asarray(test.images[kept])
    )
    labels = None if test.labels is None else test.labels[kept]
    data = _Data(
        Example(jnp.asarray(train.images)), Example(observations), labels, protocol
    )
    return model, build_objective(model), data


class _Keys(NamedTuple):
    train: Key
    evaluate: Key


def _keys(config: Config) -> _Keys:
    return _Keys(*jax.random.split(jax.random.key(config.seed)))


def _check_numbers(config: Config) -> None:
    counts = ("epochs", "batch_size", "micro_batch_size")
    for name in (*counts, "eval_num_samples", "eval_examples"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise VaejaxError(f"{name} is {value}: use at least 1")
    if not 0 < config.learning_rate < math.inf:
        raise VaejaxError(
            f"learning_rate is {config.learning_rate}: use a finite one above 0"
        )
    check_seed(config.seed)
    if config.regularizers and (config.micro_batch_size or config.batch_size) < 2:
        raise VaejaxError(
            "a regularizer compares the examples of a batch, and there is one: use "
            "a batch size, or a micro-batch size, of at least 2"
        )
    if config.batch_size % (config.micro_batch_size or 1):
        raise VaejaxError(
            f"micro_batch_size is {config.micro_batch_size}, which does not divide "
            f"batch_size {config.batch_size}: use a divisor, or leave it out"
        )
    if config.schedule not in SCHEDULES:
        raise VaejaxError(
            f"unknown schedule {config.schedule!r}: use one of {sorted(SCHEDULES)}"
        )


def load_trained(folder: Path) -> tuple[Config, Model, Params, _Data]:
    """A run's settings, model, trained parameters and data.

    Raises:
        VaejaxError: the folder holds no run of this experiment.
    """
    settings = run_folder.read_json(folder / "config.json")
    fields = {field.name for field in dataclasses.fields(Config)}
    if not isinstance(settings, dict) or not settings.keys() <= fields:
        raise VaejaxError(
            f"{folder} holds another experiment's results: name the folder of a run "
            "that experiments.train wrote"
        )
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings.items()
    }
    for name in ("data_dir", "out"):
        if values.get(name) is not None:
            values[name] = Path(values[name])
    config = Config(**values)
    model, objective, data = prepare(config)
    like = init_state(
        objective, _optimizer(config, len(data.train.x)), _keys(config).train
    )
    state, _ = checkpoints.restore(folder / "checkpoints", like)
    return config, model, state.params, data


def _optimizer(config: Config, num_examples: int) -> optax.GradientTransformation:
    steps = config.epochs * steps_per_epoch(num_examples, config.batch_size)
    return optax.adam(SCHEDULES[config.schedule](config.learning_rate, steps))


def _train(
    config: Config,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    data: _Data,
) -> tuple[TrainState, dict[str, Any]]:
    """Train from the start or the last checkpoint; the final state and its figures."""
    key = _keys(config).train
    folder = config.out / "checkpoints"
    state, saved, rows = None, None, []
    if config.resume and checkpoints.latest(folder) is not None:
        like = init_state(objective, optimizer, key)
        state, extra = checkpoints.restore(folder, like)
        rows = extra["rows"]
        saved = jax.device_get(state), rows
    _write_rows(config.out, rows)
    test_bound = _test_bound(objective, data, config.num_samples)
    saved_at = time.monotonic()

    with progress_bar("training", config.epochs, "epochs") as update:

        def on_epoch(report: EpochReport) -> None:
            nonlocal saved, rows, saved_at
            row = {
                "epoch": report.epoch,
                "step": int(report.state.step),
                "train": report.metrics,
                "test": test_bound(report.state),
                "images_per_second": report.num_images / report.seconds,
                "compile_seconds": report.compile_seconds,
            }
            rows = [*rows, row]
            with (config.out / "metrics.jsonl").open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            # A copy for an interruption, as the next epoch is donated this state; one
            # assignment, as a signal may come between any two.
            saved = jax.device_get(report.state), rows
            if time.monotonic() - saved_at > config.checkpoint_seconds:
                _save(folder, *saved)
                saved_at = time.monotonic()
            update(
                report.epoch,
                f"{row['images_per_second']:,.0f} images/s, "
                f"bound {report.metrics['bound']:.2f}",
            )

        try:
            state = fit(
                objective,
                optimizer,
                data.train,
                epochs=config.epochs,
                batch_size=config.batch_size,
                key=key,
                observe=PROTOCOLS[data.protocol].sample,
                micro_batch_size=_micro_batch_size(config),
                state=state,
                on_epoch=on_epoch,
            )
        except NonFiniteError as error:
            _save(folder, error.state, rows)
            raise VaejaxError(
                f"{error}. The last good state is in {folder}; start anew with "
                "--overwrite"
            ) from error
        except KeyboardInterrupt:
            if saved is not None:
                _save(folder, *saved)
            raise
    _save(folder, state, rows)
    return state, {
        "images_per_second": float(np.median([r["images_per_second"] for r in rows])),
        "compile_seconds": rows[-1]["compile_seconds"],
        "epochs": len(rows),
        "steps": rows[-1]["step"],
        "bound": rows[-1]["train"]["bound"],
    }


def _save(folder: Path, state: TrainState, rows: list[dict[str, Any]]) -> None:
    with deferred_interrupts():
        checkpoints.save(folder, state, {"rows": rows})


def _micro_batch_size(config: Config) -> int | None:
    if config.micro_batch_size is not None:
        return config.micro_batch_size
    if config.regularizers:
        return None  # batch-level terms compare the examples of a whole batch
    return default_micro_batch_size(config.batch_size, config.num_samples)


def read_rows(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, an epoch each."""
    return [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]


def _write_rows(out: Path, rows: list[dict[str, Any]]) -> None:
    """The epochs up to the checkpoint: later lines belong to work that is redone."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    run_folder.write_text(out / "metrics.jsonl", lines)


def _test_bound(objective: Objective, data: _Data, num_samples: int) -> Any:
    """The training objective on the first test examples, with keys of their own.

    About 5000 decodings, for the curve of an epoch; at least 100 images.
    """
    limit = max(100, 5000 // num_samples)
    examples = jax.tree.map(lambda leaf: leaf[:limit], data.test)
    batch = Batch(examples, jnp.arange(len(examples.x)))

    @jax.jit
    def metrics(params: Params, est_state: Any, key: jax.Array) -> dict:
        return objective.loss(params, est_state, key, batch)[1][1]

    def evaluate(state: TrainState) -> dict[str, float]:
        # Children 0 and 1 of a step's key are that step's own.
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), 2)
        found = metrics(state.params, state.est_state, key)
        return {name: float(value) for name, value in found.items()}

    return evaluate


def _evaluate(
    config: Config, model: Model, params: Params, data: _Data
) -> dict[str, Any]:
    """The test log-likelihood and active units, as results.json names them."""
    count = len(data.test.x)
    start = time.perf_counter()
    with progress_bar("log-likelihood", count, "images") as update:
        estimate = log_likelihood(
            model,
            params,
            data.test,
            _keys(config).evaluate,
            num_samples=config.eval_num_samples,
            progress=update,
        )
    seconds = time.perf_counter() - start
    return {
        "test": {
            **estimate.summary(),
            "active_units": active_units(model, params, data.test),
            "images_per_second": count / seconds,
        }
    }


def _draw(
    out: Path, model: Model, params: Params, data: _Data, count: int = 16
) -> None:
    """Curves, reconstructions, samples and the latent space, under figures/."""
    folder = out / "figures"
    save(training_curves(read_rows(out)), folder / "curves.png")

    def mean_image(z: Any) -> jax.Array:
        return model.likelihood.mean(model.decode(params, z, None))

    def reconstruct(x: jax.Array) -> jax.Array:
        return mean_image(model.posterior.mean(model.encode(params, Example(x))))

    def sample(key: jax.Array) -> jax.Array:
        return mean_image(model.latent_prior.sample(key, model.prior(params, None)))

    x = data.test.x[:count]
    save(reconstructions(x, jax.vmap(reconstruct)(x)), folder / "reconstructions.png")
    keys = jax.random.split(jax.random.key(0), count * 4)
    samples = jax.vmap(sample)(keys)
    save(image_grid(samples, "Samples from the prior"), folder / "samples.png")
    means = posterior_means(model, params, data.test)
    save(latent_space(means, data.test_labels), folder / "latent_space.png")


def _print_summary(out: Path, summary: dict[str, Any]) -> None:
    test, train = summary["test"], summary["train"]
    table = Table(title=f"{out} ({summary['protocol']} binarization)")
    table.add_column("result")
    table.add_column("value", justify="right")
    error = test["monte_carlo_error"]
    table.add_row(
        f"test log-likelihood, S = {test['num_samples']}",
        f"{test['log_likelihood']:.2f} ± {error:.3f} nats (Monte Carlo)",
    )
    table.add_row("test examples", str(test["num_examples"]))
    table.add_row("active units", str(test["active_units"]))
    table.add_row("training", f"{train['images_per_second']:,.0f} images/s")
    table.add_row("compilation", f"{train['compile_seconds']:.1f} s")
    Console().print(table)
    print(f"results, metrics, figures and checkpoint: {out}")


if __name__ == "__main__":
    run_main(Config, run)
