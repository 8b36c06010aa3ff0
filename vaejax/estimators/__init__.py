"""Gradient estimators: one file each, each written once for every bound."""

from collections.abc import Callable

from vaejax.core import Estimator
from vaejax.estimators.dreg import dreg
from vaejax.estimators.pathwise import pathwise
from vaejax.estimators.score_function import rloo, score_function
from vaejax.estimators.stl import stl

ESTIMATORS: dict[str, Callable[..., Estimator]] = {
    "pathwise": pathwise,
    "stl": stl,
    "dreg": dreg,
    "score_function": score_function,
    "rloo": rloo,
}

__all__ = ["ESTIMATORS", "dreg", "pathwise", "rloo", "score_function", "stl"]
