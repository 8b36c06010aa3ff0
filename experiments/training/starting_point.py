"""Where a training starts: anew, or from the parameters that another one trained."""

import inspect

import jax
import jax.numpy as jnp
import optax

from experiments.harness import run_folder
from experiments.training import processes
from experiments.training.config import Config
from experiments.training.prepared_run import Data, load_run, make_keys
from vaejax.core import Example, Model, Objective, Params, PyTree, VaejaxError
from vaejax.data import PROTOCOLS
from vaejax.models import MODELS
from vaejax.training import TrainState, checkpoints, init_state, of_seed


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
    return state.params


def starting_state(
    config: Config,
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    data: Data,
    source: Params | None = None,
) -> TrainState:
    """The state before the first step.

    Encoder and decoder are the source's, if there is one; so are prior and auxiliary
    parameters where their shapes agree. Then the model's `start`, if it has one, makes
    of the parameters what the data say. What is taken is printed.

    Raises:
        VaejaxError: the source's networks have other shapes, or it is of another number
            of seeds.
    """
    keys = make_keys(config)
    state = init_state(objective, optimizer, keys.train)
    if source is not None:
        state = state._replace(params=_started_from(source, config, state.params))
    if model.start is None:
        return state
    if source is not None and processes.is_first():
        print(f"{config.model} then fits to the data what its start is made of")
    observe_key, start_key = jax.random.split(keys.start)
    images = data.train.x
    observe = jax.vmap(PROTOCOLS[data.protocol].sample)
    x = observe(jax.random.split(observe_key, len(images)), images)
    examples = Example(x, data.train.y)
    if config.num_seeds == 1:
        started = model.start(state.params, examples, start_key)
        return state._replace(params=started)
    by_seed = [
        model.start(of_seed(state.params, seed), examples, key)
        for seed, key in enumerate(jax.random.split(start_key, config.num_seeds))
    ]
    return state._replace(params=jax.tree.map(lambda *own: jnp.stack(own), *by_seed))


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
    given = dict(pair.split("=", 1) for pair in config.model_settings)
    choosable = inspect.signature(MODELS[config.model]).parameters
    if "activation" not in choosable:
        return None
    return given.get("activation", choosable["activation"].default)
