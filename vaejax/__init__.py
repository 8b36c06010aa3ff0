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

import lazy_loader

__version__ = "0.1.0"

# The file __init__.pyi lists the exports, and each is imported when it is asked for: a
# command reads its arguments before JAX is there.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__.remove("plotting")  # `from vaejax import *` does without matplotlib
