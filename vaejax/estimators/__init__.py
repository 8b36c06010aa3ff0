"""Gradient estimators: one file each, each written once for every bound."""

from collections.abc import Callable

from vaejax.core import Estimator
from vaejax.estimators.disarm import arm, disarm
from vaejax.estimators.dreg import dreg
from vaejax.estimators.enumeration import enumeration
from vaejax.estimators.measure_valued import measure_valued
from vaejax.estimators.pathwise import pathwise
from vaejax.estimators.score_function import rloo, score_function
from vaejax.estimators.stl import stl
from vaejax.estimators.unordered_set import unordered_set

ESTIMATORS: dict[str, Callable[..., Estimator]] = {
    "pathwise": pathwise,
    "stl": stl,
    "dreg": dreg,
    "score_function": score_function,
    "rloo": rloo,
    "measure_valued": measure_valued,
    "arm": arm,
    "disarm": disarm,
    "enumeration": enumeration,
    "unordered_set": unordered_set,
}

__all__ = [
    "ESTIMATORS",
    "arm",
    "disarm",
    "dreg",
    "enumeration",
    "measure_valued",
    "pathwise",
    "rloo",
    "score_function",
    "stl",
    "unordered_set",
]
