"""Where a training starts: anew, or from the networks that another one trained."""

import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from experiments.prepared_run import Data, load_run, make_keys
from experiments.train_config import Config
from vaejax.core import Example, Model, Objective, Params, PyTree, VaejaxError
from vaejax.data import PROTOCOLS
from vaejax.models import MODELS
from vaejax.training import TrainState, checkpoints, init_state, of_seed


def starting_state(
    config: Config,
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    data: Data,
) -> TrainState:
    """The state before the first step.

    Encoder and decoder are those of the run in `start_from`, if there is one; then the
    model's `start`, if it has one, makes of the parameters what the data tell. Prior
    and auxiliary parameters start anew.

    Raises:
        VaejaxError: the other run's networks have other shapes or another activation,
            or it trained another number of seeds.
    """
    keys = make_keys(config)
    state = init_state(objective, optimizer, keys.train)
    if config.start_from is not None:
        networks = _networks_of(config.start_from, config, state.params)
        state = state._replace(params=state.params._replace(**networks))
    if model.start is None:
        return state
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


def _networks_of(folder: Path, config: Config, params: Params) -> dict[str, PyTree]:
    """Encoder and decoder of the run in a folder, of these parameters' shapes."""
    other = load_run(folder)
    theirs, ours = _activation(other.config), _activation(config)
    if None not in (theirs, ours) and theirs != ours:
        raise VaejaxError(
            f"the networks in {folder} have the activation {theirs}, those of "
            f"{config.model} {ours}: use --model-settings activation={theirs}"
        )
    state, _ = checkpoints.restore(folder / "checkpoints", other.like)
    found = {"encoder": state.params.encoder, "decoder": state.params.decoder}
    for name, network in found.items():
        shapes = [
            jax.tree.map(jnp.shape, tree) for tree in (network, getattr(params, name))
        ]
        if shapes[0] != shapes[1]:
            raise VaejaxError(
                f"the {name} in {folder} has other parameters than that of "
                f"{config.model}: "
                "start from a run of the same networks, latent_dim and num_seeds"
            )
    return found


def _activation(config: Config) -> str | None:
    """Of the model's networks, if it lets one choose."""
    given = dict(pair.split("=", 1) for pair in config.model_settings)
    choosable = inspect.signature(MODELS[config.model]).parameters
    if "activation" not in choosable:
        return None
    return given.get("activation", choosable["activation"].default)
