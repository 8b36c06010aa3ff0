"""Loading of a run: its settings, its data, and its saved states."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from experiments.harness import run_folder
from experiments.harness.config_file import X64, typed_settings
from experiments.harness.json_files import read_json
from experiments.training.chosen import load_chosen
from experiments.training.config import Config
from experiments.training.run import Data, Run, prepare
from vaejax.core import (
    EstState,
    Model,
    Params,
    VaejaxError,
    factory_of,
    own_code,
    parse_words,
    settings_of,
)
from vaejax.models import MODELS
from vaejax.objective import of_estimator, whole_params
from vaejax.training import TrainState, checkpoints, init_state, of_seed


class Trained(NamedTuple):
    """A finished run."""

    run: Run
    seeds: list[Params]

    @property
    def config(self) -> Config:
        """The settings of the run."""
        return self.run.config

    @property
    def model(self) -> Model:
        """The model."""
        return self.run.model

    @property
    def data(self) -> Data:
        """The splits of the data."""
        return self.run.data

    @property
    def params(self) -> Params:
        """The trained parameters of the first seed."""
        return self.seeds[0]


def load_run(folder: Path, trust: bool = False) -> Run:
    """Load the run of a folder, with the settings in its config.json.

    Args:
        folder: of the run.
        trust: run the code that the run names, of which the folder has a copy.

    Raises:
        VaejaxError: the folder holds no run of this experiment, or names code that is
            not trusted, or has changed.
    """
    run_folder.heal(folder)
    path = folder / "config.json"
    settings = read_json(path)
    settings.pop(X64, None)  # the checkpoint has its precision
    if not settings.keys() <= {field.name for field in dataclasses.fields(Config)}:
        raise VaejaxError(
            f"{folder} holds another experiment's results: name the folder of a run "
            "that experiments.train wrote"
        )
    config = Config(**typed_settings(Config, settings, path) | {"out": folder})
    with own_code.of_run(folder, trust):
        return prepare(config)


def load_trained(folder: Path, trust: bool = False) -> Trained:
    """The run of a folder and its trained parameters; see `load_run`."""
    run = load_run(folder, trust)
    return Trained(run, run.params_by_seed(load_chosen(run)))


def read_source(config: Config) -> Params | None:
    """The parameters of the run in `start_from`, if there is one and it is needed.

    The parameters must be read before `out`, which may be the same folder, is opened.

    Raises:
        VaejaxError: there is no such run, or its networks have another activation.
    """
    run_folder.heal(config.out)
    goes_on = config.resume and checkpoints.steps(config.out / "checkpoints")
    if config.start_from is None or goes_on:
        return None
    other = load_run(config.start_from)
    with own_code.of_run(config.start_from):
        theirs = _activation(other.config)
    ours = _activation(config)
    if None not in (theirs, ours) and theirs != ours:
        raise VaejaxError(
            f"the networks in {config.start_from} have the activation {theirs}, and "
            f"those of {config.model} have {ours}: use --model-settings "
            f"activation={theirs}"
        )
    state = load_chosen(other)
    return whole_params(state.params, state.loss_state)


def _activation(config: Config) -> str | None:
    """The activation of the model's networks, if the model has this setting."""
    choosable = settings_of(factory_of(MODELS, config.model))
    if "activation" not in choosable:
        return None
    given = parse_words(config.model_settings)
    return given.get("activation", choosable["activation"].default)


def load_final(run: Run) -> tuple[Params, EstState]:
    """The trained parameters and estimator's state, of the first seed."""
    return _first_seed(run, load_chosen(run))


def load_snapshots(run: Run) -> dict[int, tuple[Params, EstState]]:
    """The first seed's parameters and states by step: the start and the snapshots.

    Raises:
        VaejaxError: the run kept none.
    """
    folder = run.config.out / "snapshots"
    kept = checkpoints.steps(folder)
    if not kept:
        raise VaejaxError(
            f"{run.config.out} holds no snapshots of its training: train with "
            "--snapshot-epochs, as in --snapshot-epochs 1"
        )
    first = _new_state(run)
    states = {step: checkpoints.restore(folder, first, step)[0] for step in kept}
    return {
        step: _first_seed(run, state) for step, state in ({0: first} | states).items()
    }


def _new_state(run: Run) -> TrainState:
    """The initial state of the run, unless the objective's `start` changed it."""
    return init_state(run.objective, run.optimizer, run.keys.train)


def _first_seed(run: Run, state: TrainState) -> tuple[Params, EstState]:
    own = state.loss_state.estimator
    if run.config.num_seeds > 1:
        own = of_seed(own, 0)
    return of_estimator(run.params_by_seed(state)[0]), own
