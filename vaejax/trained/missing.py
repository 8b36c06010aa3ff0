"""Models that were trained on whole observations, given observations with gaps.

The likelihood scores what is observed (`vaejax.families.masked`), and the encoder sees
the mean observation in the gaps: it proposes latents, which their weights correct.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from vaejax.core import DistParams, Example, Model, Params, VaejaxError, as_array
from vaejax.families.masked import masked


def taking_gaps(model: Model, mean: np.ndarray | None) -> Model:
    """The model with NaN in x for what is missing.

    Args:
        model: any; one whose likelihood takes NaN already is returned as it is.
        mean: the mean observation, that the encoder sees in the gaps; None is 0.

    Raises:
        VaejaxError: a likelihood whose coordinates are not known to be independent.
    """
    if model.likelihood.space.missing:
        return model
    filling = 0.0 if mean is None else np.asarray(mean, jnp.result_type(float))

    def encode(params: Params, example: Example) -> DistParams:
        x: Array = jnp.where(jnp.isnan(example.x), filling, example.x)
        return model.encode(params, example._replace(x=x))

    return dataclasses.replace(
        model, encode=encode, likelihood=masked(model.likelihood)
    )


def gaps_of(x: np.ndarray, missing: Any) -> Bool[np.ndarray, "..."]:
    """True where x is missing: where it is NaN, unless flags are given.

    Raises:
        VaejaxError: flags that are no booleans or of another shape; nothing missing.
    """
    if missing is None:
        flags = np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)
    else:
        flags = np.asarray(as_array("missing", missing))
    if flags.dtype != bool or flags.shape != x.shape:
        raise VaejaxError(
            f"missing is {flags.dtype} of shape {flags.shape}, and x is of shape "
            f"{x.shape}: give a boolean for every number, True where it is missing"
        )
    if not flags.any():
        raise VaejaxError(
            "nothing of x is missing: put NaN there, or give missing, True where a "
            "number is missing"
        )
    return flags
