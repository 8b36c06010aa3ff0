"""Gradient estimators: one file each, each written once for every bound."""

from collections.abc import Callable

from vaejax.core import Estimator
from vaejax.estimators.dreg import dreg
from vaejax.estimators.gumbel_rao import gumbel_rao
from vaejax.estimators.gumbel_softmax import gumbel_softmax, st_gumbel_softmax
from vaejax.estimators.pathwise import pathwise
from vaejax.estimators.rebar import rebar
from vaejax.estimators.reinmax import reinmax
from vaejax.estimators.relax import relax
from vaejax.estimators.score_function import rloo, score_function
from vaejax.estimators.stl import stl
from vaejax.estimators.straight_through import straight_through

ESTIMATORS: dict[str, Callable[..., Estimator]] = {
    "pathwise": pathwise,
    "stl": stl,
    "dreg": dreg,
    "score_function": score_function,
    "rloo": rloo,
    "gumbel_softmax": gumbel_softmax,
    "straight_through": straight_through,
    "st_gumbel_softmax": st_gumbel_softmax,
    "gumbel_rao": gumbel_rao,
    "reinmax": reinmax,
    "rebar": rebar,
    "relax": relax,
}

__all__ = [
    "ESTIMATORS",
    "dreg",
    "gumbel_rao",
    "gumbel_softmax",
    "pathwise",
    "rebar",
    "reinmax",
    "relax",
    "rloo",
    "score_function",
    "st_gumbel_softmax",
    "stl",
    "straight_through",
]
