"""vaejax: variational autoencoders whose gradient estimators can be trusted.

A model is a bundle of pure, per-example functions; a bound is a function of importance
log-weights; an estimator turns both into a surrogate whose value is the bound and whose
gradient is the estimate; an objective is what a trainer sees. `vmap` makes importance
samples and batches of them.
"""

from vaejax.bounds import BOUNDS
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    Example,
    Family,
    IncompatibleError,
    KLWeight,
    LogTerms,
    Model,
    Objective,
    Params,
    Prior,
    Problem,
    Regularizer,
    UnknownNameError,
    VaejaxError,
    Verdict,
    build,
    check_data,
    record,
)
from vaejax.data import DATASETS
from vaejax.diagnostics import cost_report, grad_report
from vaejax.estimators import ESTIMATORS
from vaejax.evaluation import log_likelihood
from vaejax.families import FAMILIES
from vaejax.kl_weights import KL_WEIGHTS
from vaejax.models import MODELS
from vaejax.objective import compatibility_table, make_objective
from vaejax.priors import PRIORS
from vaejax.regularizers import REGULARIZERS
from vaejax.training import TrainState, fit, make_step, run_steps

__version__ = "0.1.0"

__all__ = [
    "BOUNDS",
    "DATASETS",
    "ESTIMATORS",
    "FAMILIES",
    "KL_WEIGHTS",
    "MODELS",
    "PRIORS",
    "REGULARIZERS",
    "Batch",
    "Bound",
    "Estimator",
    "Example",
    "Family",
    "IncompatibleError",
    "KLWeight",
    "LogTerms",
    "Model",
    "Objective",
    "Params",
    "Prior",
    "Problem",
    "Regularizer",
    "TrainState",
    "UnknownNameError",
    "VaejaxError",
    "Verdict",
    "build",
    "check_data",
    "compatibility_table",
    "cost_report",
    "fit",
    "grad_report",
    "log_likelihood",
    "make_objective",
    "make_step",
    "record",
    "run_steps",
]
