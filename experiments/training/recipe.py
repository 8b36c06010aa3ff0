"""The recipe of a run's model, which its folder keeps so that no data are needed."""

import dataclasses
from pathlib import Path

from experiments.harness import run_folder
from experiments.training.config import Config
from experiments.training.schema import schema_words
from vaejax.core import Model
from vaejax.data import DatasetInfo
from vaejax.trained import Recipe, write_recipe


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


def keep(out: Path, recipe: Recipe, model: Model) -> None:
    """Write to the run's folder what `vaejax.load` builds the model from.

    Raises:
        VaejaxError: it cannot be written.
    """
    if not model.labels.positions:  # no prior is made of the exemplars
        recipe = dataclasses.replace(recipe, exemplars=None)
    with run_folder.write_errors_explained(out):
        write_recipe(out, recipe, versions=run_folder.versions())
