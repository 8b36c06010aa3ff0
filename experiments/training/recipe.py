"""The recipe of a run's model, which its folder keeps so that no data are needed."""

import dataclasses
from pathlib import Path

from experiments.harness import run_folder
from experiments.harness.json_files import read_json
from experiments.training.config import Config
from experiments.training.schema import schema_words
from vaejax.core import Model, VaejaxError
from vaejax.data import DatasetInfo
from vaejax.trained import Recipe, write_recipe

DIGEST = "data_digest"


def recipe_of(config: Config, dataset: DatasetInfo) -> Recipe:
    """The recipe of the model, without what the training split tells it."""
    words = config.model_settings
    return Recipe(
        model=config.model,
        settings=(*words, *schema_words(words, dataset)),
        data_shape=dataset.shape,
        protocol="",
        num_seeds=config.num_seeds,
        class_names=dataset.class_names,
        columns=dataset.columns,
        standardization=dataset.standardization,
    )


def keep(out: Path, recipe: Recipe, model: Model, dataset: DatasetInfo) -> None:
    """Write to the run's folder what `vaejax.load` builds the model from.

    Raises:
        VaejaxError: it cannot be written; a run that goes on has begun on other data.
    """
    path = out / "model.json"
    before = read_json(path).get(DIGEST, "") if path.exists() else ""
    if before and before != dataset.digest:
        raise VaejaxError(
            f"{dataset.name} holds other data than those on which the run in {out} "
            "began: restore them, or start anew with --overwrite"
        )
    if not model.labels.positions:  # no prior is made of the exemplars
        recipe = dataclasses.replace(recipe, exemplars=None)
    with run_folder.write_errors_explained(out):
        notes = {DIGEST: dataset.digest, "versions": run_folder.versions()}
        write_recipe(out, recipe, **notes)
