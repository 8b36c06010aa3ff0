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

from typing import Any

import lazy_loader

# The file __init__.pyi lists the exports, and each is imported when it is asked for: a
# command reads its arguments before JAX is there.
_export, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__.remove("plotting")  # `from vaejax import *` does without matplotlib


def __getattr__(name: str) -> Any:
    if name != "__version__":
        return _export(name)
    from importlib import metadata  # slow, beside this module

    return metadata.version(__name__)
