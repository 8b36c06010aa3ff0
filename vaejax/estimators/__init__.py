"""Gradient estimators, one per file, each for every bound that it is valid for."""

from collections.abc import Callable

from vaejax.core import Estimator, Registry
from vaejax.core.build import check_calls
from vaejax.estimators.constant_baseline import constant_baseline
from vaejax.estimators.disarm import arm, disarm
from vaejax.estimators.dreg import dreg
from vaejax.estimators.enumeration import enumeration
from vaejax.estimators.gdreg import gdreg
from vaejax.estimators.gumbel_rao import gumbel_rao
from vaejax.estimators.gumbel_softmax import gumbel_softmax, st_gumbel_softmax
from vaejax.estimators.measure_valued import measure_valued
from vaejax.estimators.moving_average import moving_average
from vaejax.estimators.muprop import muprop
from vaejax.estimators.nvil import nvil
from vaejax.estimators.ovis_asymptotic import ovis_asymptotic
from vaejax.estimators.ovis_mc import ovis_mc
from vaejax.estimators.pathwise import pathwise
from vaejax.estimators.rebar import rebar
from vaejax.estimators.reinmax import reinmax
from vaejax.estimators.relax import relax
from vaejax.estimators.score_function import rloo, score_function
from vaejax.estimators.stl import stl
from vaejax.estimators.straight_through import straight_through
from vaejax.estimators.stratified import stratified
from vaejax.estimators.tvo_covariance import tvo_covariance
from vaejax.estimators.unordered_set import unordered_set
from vaejax.estimators.vimco import vimco
from vaejax.estimators.wake_sleep import rws, rws_dreg, wake_sleep

ESTIMATORS: Registry[Callable[..., Estimator]] = Registry("estimator") | {
    "pathwise": pathwise,
    "stl": stl,
    "dreg": dreg,
    "gdreg": gdreg,
    "stratified": stratified,
    "score_function": score_function,
    "rloo": rloo,
    "constant_baseline": constant_baseline,
    "moving_average": moving_average,
    "nvil": nvil,
    "vimco": vimco,
    "ovis_mc": ovis_mc,
    "ovis_asymptotic": ovis_asymptotic,
    "muprop": muprop,
    "rws": rws,
    "wake_sleep": wake_sleep,
    "rws_dreg": rws_dreg,
    "tvo_covariance": tvo_covariance,
    "measure_valued": measure_valued,
    "arm": arm,
    "disarm": disarm,
    "enumeration": enumeration,
    "unordered_set": unordered_set,
    "gumbel_softmax": gumbel_softmax,
    "straight_through": straight_through,
    "st_gumbel_softmax": st_gumbel_softmax,
    "gumbel_rao": gumbel_rao,
    "reinmax": reinmax,
    "rebar": rebar,
    "relax": relax,
}
check_calls(globals(), ESTIMATORS)

__all__ = [
    "ESTIMATORS",
    "arm",
    "constant_baseline",
    "disarm",
    "dreg",
    "enumeration",
    "gdreg",
    "gumbel_rao",
    "gumbel_softmax",
    "measure_valued",
    "moving_average",
    "muprop",
    "nvil",
    "ovis_asymptotic",
    "ovis_mc",
    "pathwise",
    "rebar",
    "reinmax",
    "relax",
    "rloo",
    "rws",
    "rws_dreg",
    "score_function",
    "st_gumbel_softmax",
    "stl",
    "straight_through",
    "stratified",
    "tvo_covariance",
    "unordered_set",
    "vimco",
    "wake_sleep",
]
