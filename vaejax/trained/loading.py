"""The model that a run trained, from the run's folder alone."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core import Model, Params, VaejaxError, own_code
from vaejax.core.ranges import shown
from vaejax.trained.model import TrainedModel
from vaejax.trained.recipe import Recipe, faults_explained, read_object, read_recipe

# The paths of parameters in a checkpoint: trained ones, and averages.
GROUPS = ("params", "loss_state.averages")


def load(folder: str | Path, *, seed: int = 0, trust: bool = False) -> TrainedModel:
    """Load the trained model of a run of experiments.train; no data set is needed.

    The parameters are those of the last checkpoint, also of a run that is interrupted
    or still going on.

    Args:
        folder: of the run.
        seed: the number of the model, from 0, of a run with --num-seeds.
        trust: run the code that the run names, if its model is the user's own; the
            folder has a copy.

    Raises:
        VaejaxError: no such run, or a damaged one; code that is not trusted; a model
            that was trained in another precision than JAX is in; a seed that the run
            does not have.

    Examples:
        >>> run = vaejax.load("runs/iwae5")              # doctest: +SKIP
        >>> codes = run.encode(images)                   # doctest: +SKIP
        >>> new = run.sample(jax.random.key(0), 16)      # doctest: +SKIP
    """
    from vaejax.training.checkpoints import read_arrays, steps  # orbax takes a second

    folder = Path(folder)
    recipe = read_recipe(folder)
    if seed not in range(recipe.num_seeds):
        raise VaejaxError(
            f"seed is {shown(seed)}, and {folder} holds {recipe.num_seeds} trained "
            f"models: use an integer from 0 to {recipe.num_seeds - 1}"
        )
    with own_code.of_run(folder, trust):
        model = recipe.build()
    chosen = folder / "chosen"  # of the best epoch, or averages
    arrays = read_arrays(chosen if steps(chosen) else folder / "checkpoints")
    with faults_explained(folder):
        config = read_object(folder / "config.json")
    return TrainedModel(
        folder=folder,
        recipe=recipe,
        model=model,
        params=_params(folder, model, recipe, arrays, seed),
        config=config,
        seed=seed,
    )


def _params(
    folder: Path,
    model: Model,
    recipe: Recipe,
    arrays: dict[str, np.ndarray],
    seed: int,
) -> Params:
    """The parameters of a seed, in the structure that the model's `init` gives."""
    asked = jax.eval_shape(model.init, jax.random.key(0))._replace(auxiliary=())

    def leaf(path: jax.tree_util.KeyPath, like: jax.ShapeDtypeStruct) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        found = [arrays[f"{g}.{name}"] for g in GROUPS if f"{g}.{name}" in arrays]
        array = found[0] if found else None
        if array is not None and recipe.num_seeds > 1:
            array = array[seed]
        if array is None or array.shape != like.shape:
            there = "absent" if array is None else f"of shape {array.shape}"
            raise VaejaxError(
                f"the checkpoint in {folder} is of another model: {name} is {there} "
                f"there, and in {model.name} of shape {like.shape}; restore the folder "
                "from a copy"
            )
        if array.dtype != like.dtype:
            raise VaejaxError(
                f"{folder} was trained in {array.dtype}, and JAX is in {like.dtype}: "
                f"load it under JAX_ENABLE_X64={int(array.dtype == np.float64)}"
            )
        return jnp.array(array)

    return jax.tree_util.tree_map_with_path(leaf, asked)
