"""Gradient estimators: one file each, each written once for every bound."""

from collections.abc import Callable

from vaejax.core import Estimator
from vaejax.estimators.constant_baseline import constant_baseline
from vaejax.estimators.dreg import dreg
from vaejax.estimators.moving_average import moving_average
from vaejax.estimators.muprop import muprop
from vaejax.estimators.nvil import nvil
from vaejax.estimators.ovis_asymptotic import ovis_asymptotic
from vaejax.estimators.ovis_mc import ovis_mc
from vaejax.estimators.pathwise import pathwise
from vaejax.estimators.score_function import rloo, score_function
from vaejax.estimators.stl import stl
from vaejax.estimators.vimco import vimco

ESTIMATORS: dict[str, Callable[..., Estimator]] = {
    "pathwise": pathwise,
    "stl": stl,
    "dreg": dreg,
    "score_function": score_function,
    "rloo": rloo,
    "constant_baseline": constant_baseline,
    "moving_average": moving_average,
    "nvil": nvil,
    "vimco": vimco,
    "ovis_mc": ovis_mc,
    "ovis_asymptotic": ovis_asymptotic,
    "muprop": muprop,
}

__all__ = [
    "ESTIMATORS",
    "constant_baseline",
    "dreg",
    "moving_average",
    "muprop",
    "nvil",
    "ovis_asymptotic",
    "ovis_mc",
    "pathwise",
    "rloo",
    "score_function",
    "stl",
    "vimco",
]
