"""The outputs of metrics besides metrics.jsonl: TensorBoard and trackers.

Each output is a `Sink`. TensorBoard and Weights & Biases get scalars, histograms and
images; MLflow, which has no histograms, gets scalars. Packages are imported if
requested.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.harness import run_folder, run_settings
from experiments.harness.extras import import_extra
from experiments.harness.json_files import read_json
from experiments.harness.result_table import numbers_of
from experiments.training import processes
from experiments.training.choosing import Epoch
from experiments.training.chosen import evaluated
from experiments.training.config import Config
from experiments.training.op_profile import profiling
from experiments.training.recorder import Watcher
from experiments.training.report import is_image, reconstruct
from experiments.training.run import Run
from vaejax.core import Example, Keys, Params, VaejaxError, plain, record
from vaejax.data import PROTOCOLS
from vaejax.plotting.images import mosaic
from vaejax.terms import log_terms
from vaejax.training import TrainState, checkpoints

TRACKED = "tracking.json"  # the trackers' names of the run
OBSERVED_IMAGES = 100  # images with log-weights shown
SHOWN_IMAGES = 10


class Observed(NamedTuple):
    """The observations of a training after an epoch, by names with slashes."""

    scalars: dict[str, float]
    histograms: dict[str, np.ndarray]
    images: dict[str, np.ndarray]  # [H, W, 3], uint8


@record
class Sink:
    """One output of metrics."""

    write: Callable[[int, Observed], None]  # called with the number of steps
    close: Callable[[], None]


@contextlib.contextmanager
def watching(run: Run) -> Iterator[list[Watcher]]:
    """Open the requested watchers; yield them, for every row and state.

    The watchers are sinks, snapshots and the profile. Only the first process computes
    anything, and only if a watcher is requested.

    Raises:
        VaejaxError: a tracker cannot be reached.
    """
    if not processes.is_first():
        yield []
        return
    with contextlib.ExitStack() as stack:
        sinks = []
        for sink in _open_trackers(run.config):
            stack.callback(sink.close)
            sinks.append(sink)
        observe = _observer(run)

        def watch(row: Epoch, state: TrainState) -> None:
            observed = observe(row, state)
            for sink in sinks:
                sink.write(row["step"], observed)

        profiler = stack.enter_context(profiling(run.config))
        yield [*([watch] if sinks else []), *_snapshots(run.config), *profiler]


def _observer(run: Run) -> Callable[[Epoch, TrainState], Observed]:
    """Make the function that observes a row, the first seed, and some images."""
    model, data = run.model, run.data
    split, examples = observed_images(run)
    shown = jax.tree.map(lambda leaf: leaf[:SHOWN_IMAGES], examples)
    # The noise is the same after every epoch, so that only the model changes.
    shape = len(examples.x), run.config.num_samples
    keys = jax.random.split(run.keys.watch, shape)

    @jax.jit
    def log_weights(params: Params) -> jax.Array:
        def one(keys: Keys, example: Example) -> jax.Array:
            dist_params = model.encode(params, example)
            z = jax.vmap(model.posterior.sample, (0, None))(keys, dist_params)
            return plain(log_terms(model, params, dist_params, z, example))

        # One image at a time saves memory: K may be large.
        return jax.lax.map(lambda image: one(*image), (keys, examples))

    def observe(row: Epoch, state: TrainState) -> Observed:
        params = run.params_by_seed(evaluated(state))[0]
        weights = {
            "weights/" + jax.tree_util.keystr(path, simple=True, separator="/"): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        }
        histograms = weights | {f"{split}/log_weights": log_weights(params)}
        images = {}
        if is_image(data.test.x[0]):
            pairs = np.concatenate([shown.x, reconstruct(model, params, shown)])
            tiles = mosaic(pairs, len(shown.x))  # originals above reconstructions
            images[f"{split}/reconstructions"] = np.rint(255 * tiles).astype(np.uint8)
        return Observed(
            {name.replace(".", "/"): value for name, value in numbers_of(row).items()},
            {name: np.ravel(values) for name, values in histograms.items()},
            images,
        )

    return observe


def observed_images(run: Run) -> tuple[str, Example]:
    """The first validation images, or training images without a validation split."""
    data = run.data
    if data.validation is not None:
        return "validation", jax.tree.map(
            lambda x: x[:OBSERVED_IMAGES], data.validation
        )
    first = jax.tree.map(lambda x: x[:OBSERVED_IMAGES], data.train)
    keys = jax.random.split(jax.random.fold_in(run.keys.watch, 0), len(first.x))
    x = jax.vmap(PROTOCOLS[data.protocol].sample)(keys, first.x)
    return "train", first._replace(x=x)


def _snapshots(config: Config) -> list[Watcher]:
    """The watcher that keeps the state of some epochs in snapshots/, if requested."""
    every = config.snapshot_epochs

    def keep(row: Epoch, state: TrainState) -> None:
        if every is not None and row["epoch"] % every == 0:
            checkpoints.save(config.out / "snapshots", state, {}, keep_all=True)

    return [] if every is None else [keep]


def _tensorboard(config: Config) -> Sink:
    """The sink of event files in tensorboard/, for `tensorboard --logdir`."""
    tensorboard = import_extra("tensorboard")
    writer: Any = None

    def write(step: int, observed: Observed) -> None:
        nonlocal writer
        if writer is None:  # steps from here on are written anew
            writer = tensorboard.SummaryWriter(
                str(config.out / "tensorboard"),
                purge_step=step,
                filename_suffix=f".{step}",  # else two files may share a name
            )
        for name, value in observed.scalars.items():
            writer.add_scalar(name, value, step)
        for name, values in observed.histograms.items():
            writer.add_histogram(name, values, step)
        for name, image in observed.images.items():
            writer.add_image(name, image, step, dataformats="HWC")
        writer.flush()

    return Sink(write=write, close=lambda: writer and writer.close())


def _wandb(config: Config, known: str | None) -> tuple[Sink, str]:
    wandb = import_extra("wandb")
    run = wandb.init(
        project=config.wandb,
        name=config.out.name,
        id=known,
        resume="allow",
        dir=config.out,
        config=run_settings.settings_of(config),
    )

    def write(step: int, observed: Observed) -> None:
        histograms = observed.histograms.items()
        images = observed.images.items()
        row = dict(observed.scalars)
        row |= {name: wandb.Histogram(values) for name, values in histograms}
        row |= {name: wandb.Image(image) for name, image in images}
        run.log(row, step=step)

    return Sink(write=write, close=run.finish), run.id


def _mlflow(config: Config, known: str | None) -> tuple[Sink, str]:
    mlflow = import_extra("mlflow")
    mlflow.set_experiment(config.mlflow)
    run = mlflow.start_run(run_id=known, run_name=config.out.name)
    mlflow.log_params(run_settings.settings_of(config))

    def write(step: int, observed: Observed) -> None:
        mlflow.log_metrics(observed.scalars, step=step)

    return Sink(write=write, close=mlflow.end_run), run.info.run_id


TRACKERS = {  # with the remedy if one does not start
    "wandb": (_wandb, "'wandb login', or set WANDB_MODE=offline"),
    "mlflow": (_mlflow, "set MLFLOW_TRACKING_URI to a server or a database"),
}


def _open_trackers(config: Config) -> Iterator[Sink]:
    """Open the requested trackers; they already know a run that is resumed."""
    if config.tensorboard:
        yield _tensorboard(config)
    path = config.out / TRACKED
    known = read_json(path) if path.exists() else {}
    for name, (open_tracker, remedy) in TRACKERS.items():
        if not getattr(config, name):
            continue
        try:
            sink, known[name] = open_tracker(config, known.get(name))
        except Exception as error:  # each tracker has its errors
            raise VaejaxError(
                f"{name} does not start ({error}): {remedy}, or leave --{name} out"
            ) from error
        run_folder.write_json(path, known)
        yield sink
