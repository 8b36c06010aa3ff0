"""vaejax: variational autoencoders whose gradient estimators can be trusted.

A model is a bundle of pure, per-example functions; a bound is a function of importance
log-weights; an estimator turns both into a surrogate whose value is the bound and whose
gradient is the estimate; an objective is what a trainer sees. `vmap` makes importance
samples and batches of them.

Numbers are of JAX's default float: float32, or float64 where `JAX_ENABLE_X64=1` is set
before the program starts. Then parameters, states, observations and figures are all
float64. Float32 parameters keep their dtype in training, and what is computed of them
and of float64 numbers is float64. Random draws differ between the two precisions, all
else agrees to float32's rounding.
"""

from vaejax.benchmark import (
    check_unbiased,
    compare_estimators,
    cost_report,
    grad_report,
)
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
from vaejax.estimators import ESTIMATORS
from vaejax.evaluation import log_likelihood
from vaejax.families import FAMILIES
from vaejax.kl_weights import KL_WEIGHTS
from vaejax.models import MODELS
from vaejax.objective import compatibility_table, make_objective, whole_params
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
    "check_unbiased",
    "compare_estimators",
    "compatibility_table",
    "cost_report",
    "fit",
    "grad_report",
    "log_likelihood",
    "make_objective",
    "make_step",
    "record",
    "run_steps",
    "whole_params",
]
