"""Gradient estimators: one file each, each written once for every bound."""

from collections.abc import Callable

from vaejax.core import Estimator
from vaejax.estimators.dreg import dreg
from vaejax.estimators.gdreg import gdreg
from vaejax.estimators.pathwise import pathwise
from vaejax.estimators.score_function import rloo, score_function
from vaejax.estimators.stl import stl
from vaejax.estimators.tvo_covariance import tvo_covariance
from vaejax.estimators.wake_sleep import rws, rws_dreg, wake_sleep

ESTIMATORS: dict[str, Callable[..., Estimator]] = {
    "pathwise": pathwise,
    "stl": stl,
    "dreg": dreg,
    "score_function": score_function,
    "rloo": rloo,
    "gdreg": gdreg,
    "rws": rws,
    "rws_dreg": rws_dreg,
    "wake_sleep": wake_sleep,
    "tvo_covariance": tvo_covariance,
}

__all__ = [
    "ESTIMATORS",
    "dreg",
    "gdreg",
    "pathwise",
    "rloo",
    "rws",
    "rws_dreg",
    "score_function",
    "stl",
    "tvo_covariance",
    "wake_sleep",
]
