"""The start of a training: new parameters, or those of another training."""

import jax
import jax.numpy as jnp

from experiments.training import processes
from experiments.training.config import Config
from experiments.training.run import Run
from vaejax.core import Params, PyTree, VaejaxError
from vaejax.data import PROTOCOLS
from vaejax.objective import split_params, whole_params
from vaejax.training import TrainState, init_state
from vaejax.training.start import started


def starting_state(run: Run, source: Params | None = None) -> TrainState:
    """The state before the first step.

    Encoder and decoder are the source's, if there is one; so are prior and auxiliary
    parameters where their shapes agree. Then the objective's `start`, if it has one,
    fits parameters to the data. The names of the parameters taken are printed.

    Raises:
        VaejaxError: the source's networks have other shapes, or it is of another number
            of seeds.
    """
    config, objective = run.config, run.objective
    state = init_state(objective, run.optimizer, run.keys.train)
    if source is not None:
        own = whole_params(state.params, state.loss_state)
        params, loss_state = split_params(
            _started_from(source, config, own), state.loss_state
        )
        state = state._replace(params=params, loss_state=loss_state)
        if objective.start is not None and processes.is_first():
            print(f"{config.model} then fits the rest of its start to the data")
    data = run.data
    return started(objective, state, data.train, PROTOCOLS[data.protocol].sample)


def _started_from(source: Params, config: Config, params: Params) -> Params:
    """The parameters, replaced by the source's where the shapes agree."""
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
                f"{config.model}: start from a run with the same networks, latent_dim "
                "and num_seeds"
            )
    if processes.is_first():
        others = (
            f"; {' and '.join(anew)} new, because of other shapes there" if anew else ""
        )
        print(
            f"the training starts from {config.start_from}: {', '.join(taken)}{others}"
        )
    return params._replace(**taken)
