"""A trained model, from the folder of its run: to encode, sample, impute and score."""

from vaejax.trained.loading import load
from vaejax.trained.model import TrainedModel
from vaejax.trained.recipe import Recipe, read_recipe, write_recipe

__all__ = ["Recipe", "TrainedModel", "load", "read_recipe", "write_recipe"]
