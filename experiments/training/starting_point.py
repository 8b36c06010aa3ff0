"""Where a training starts: anew, or from the parameters that another one trained."""

import jax
import jax.numpy as jnp
import optax

from experiments.harness import run_folder
from experiments.training import processes
from experiments.training.config import Config
from experiments.training.prepared_run import Data, load_run, make_keys
from vaejax.core import (
    Objective,
    Params,
    PyTree,
    VaejaxError,
    parse_words,
    settings_of,
)
from vaejax.data import PROTOCOLS
from vaejax.models import MODELS
from vaejax.objective import split_params, whole_params
from vaejax.training import TrainState, checkpoints, init_state
from vaejax.training.start import started


def read_source(config: Config) -> Params | None:
    """The parameters of the run in `start_from`, if there is one and it is needed.

    Raises:
        VaejaxError: there is no such run, or its networks have another activation.
    """
    run_folder.heal(config.out)
    goes_on = config.resume and checkpoints.steps(config.out / "checkpoints")
    if config.start_from is None or goes_on:
        return None
    other = load_run(config.start_from)
    theirs, ours = _activation(other.config), _activation(config)
    if None not in (theirs, ours) and theirs != ours:
        raise VaejaxError(
            f"the networks in {config.start_from} have the activation {theirs}, those "
            f"of {config.model} {ours}: use --model-settings activation={theirs}"
        )
    state, _ = checkpoints.restore(config.start_from / "checkpoints", other.like)
    return whole_params(state.params, state.loss_state)


def starting_state(
    config: Config,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    data: Data,
    source: Params | None = None,
) -> TrainState:
    """The state before the first step.

    Encoder and decoder are the source's, if there is one; so are prior and auxiliary
    parameters where their shapes agree. Then the objective's `start`, if it has one,
    makes of the parameters what the data say. What is taken is printed.

    Raises:
        VaejaxError: the source's networks have other shapes, or it is of another number
            of seeds.
    """
    state = init_state(objective, optimizer, make_keys(config).train)
    if source is not None:
        own = whole_params(state.params, state.loss_state)
        params, loss_state = split_params(
            _started_from(source, config, own), state.loss_state
        )
        state = state._replace(params=params, loss_state=loss_state)
        if objective.start is not None and processes.is_first():
            print(f"{config.model} then fits to the data what its start is made of")
    return started(objective, state, data.train, PROTOCOLS[data.protocol].sample)


def _started_from(source: Params, config: Config, params: Params) -> Params:
    """The parameters with those of the source in the place of all of its shapes."""
    taken: dict[str, PyTree] = {}
    anew = []
    for name in Params._fields:
        theirs, ours = getattr(source, name), getattr(params, name)
        if jax.tree.map(jnp.shape, theirs) != jax.tree.map(jnp.shape, ours):
            anew.append(name)
        elif jax.tree.leaves(ours):
            taken[name] = theirs
    for name in ("encoder", "decoder"):
        if name in anew:
            raise VaejaxError(
                f"the {name} in {config.start_from} has other parameters than that of "
                f"{config.model}: "
                "start from a run of the same networks, latent_dim and num_seeds"
            )
    if processes.is_first():
        others = f"; {' and '.join(anew)} anew, of other shapes there" if anew else ""
        print(f"starts from {config.start_from}: {', '.join(taken)}{others}")
    return params._replace(**taken)


def _activation(config: Config) -> str | None:
    """Of the model's networks, if it lets one choose."""
    choosable = settings_of(MODELS[config.model])
    if "activation" not in choosable:
        return None
    given = parse_words(config.model_settings)
    return given.get("activation", choosable["activation"].default)
