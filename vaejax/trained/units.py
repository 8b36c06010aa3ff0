"""The user's values as a model sees them, and a model's values as the user has them.

A run is given values as they were in its data file. Under a protocol of intensities
(dynamic, threshold, none, dequantized) these are

* integers from 0 to 255, or
* grey levels from 0 to 1, as floats or booleans: g stands for the intensity 255 g,
  rounded except under the protocol none.

A protocol that draws, as dynamic does, draws by the caller's seed. What a run returns
are grey levels from 0 to 1 where the data are intensities, and otherwise the data's own
numbers: those of a run with --standardize are standardised on the way in, and shifted
and scaled back on the way out.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import Example, VaejaxError, as_arrays, unknown
from vaejax.data import LEVELS, PROTOCOLS
from vaejax.data.standardize import Numbers
from vaejax.trained.recipe import Recipe

INTENSITIES = ("dynamic", "threshold", "none", "dequantized")  # protocols


def observed(recipe: Recipe, given: Any, seed: int) -> Float[Array, "N ..."]:
    """Turn stored values [N, *data_shape] into observations.

    Raises:
        VaejaxError: another shape, or values that are no intensities.
    """
    protocol, x = PROTOCOLS[recipe.protocol], stored(recipe, given)
    if recipe.protocol in INTENSITIES:
        x = _intensities(recipe.protocol, x)
        if x.dtype != np.uint8:
            return jnp.asarray(x, float)
    if recipe.standardization is not None:
        x = recipe.standardization.apply(x)
    return jax.vmap(protocol.as_float)(jnp.asarray(protocol.fix(x, seed)))


def stored(recipe: Recipe, given: Any) -> Any:
    """The values as an array, [N, *data_shape].

    Raises:
        VaejaxError: no numbers, or another shape.
    """
    x = with_channel(recipe, np.asarray(as_arrays(Example(given)).x))
    if x.shape[1:] != recipe.data_shape or len(x) == 0:
        shape = ", ".join(map(str, ("N", *recipe.data_shape)))
        alone = "; give one example as x[None]" * (x.shape == recipe.data_shape)
        raise VaejaxError(
            f"x is of shape {x.shape}, and the run was trained on data of shape "
            f"[{shape}]: give one or more examples of this shape{alone}"
        )
    return x


def with_channel(recipe: Recipe, x: np.ndarray) -> np.ndarray:
    """Grey images [N, H, W] as [N, H, W, 1], if that is the shape of the data."""
    return x[..., None] if (*x.shape[1:], 1) == recipe.data_shape else x


def _intensities(protocol: str, x: np.ndarray) -> np.ndarray:
    """Intensities as uint8; grey levels stay floats under the protocol none.

    Raises:
        VaejaxError: values outside their range, or integers of 0 and 1 alone.
    """
    whole = x.dtype.kind in "iu"
    most = LEVELS - 1 if whole else 1
    outside = ~((x >= 0) & (x <= most))  # this form refuses NaN too
    if outside.any():
        place = tuple(map(int, np.argwhere(outside)[0]))
        raise VaejaxError(
            f"x holds {x[place]} at x{list(place)}, and under the protocol {protocol} "
            f"{'integers are intensities' if whole else 'floats are grey levels'} from "
            f"0 to {most}: give integers from 0 to 255, or floats from 0 to 1"
        )
    if whole and x.max() == 1:
        raise VaejaxError(
            f"x holds the integers 0 and 1 alone, and under the protocol {protocol} "
            "integers are intensities from 0 to 255: give bits as booleans or floats, "
            "or intensities"
        )
    if whole or protocol == "none":
        return x.astype(np.uint8) if whole else x.astype(float)
    return np.rint(x * float(LEVELS - 1)).astype(np.uint8)


def in_own_units(recipe: Recipe, x: Numbers) -> Any:
    """Turn observations, or means of observations, into values as the user has them."""
    found: Any = x
    if recipe.protocol == "dequantized":  # x = (intensity + u) / 256, and E u = 1/2
        return ((found * LEVELS - 0.5) / (LEVELS - 1)).clip(0, 1)
    if recipe.standardization is not None:
        found = recipe.standardization.undo(found)
    return found


def numbered(recipe: Recipe, y: Any) -> Any:
    """Replace the names of classes by their numbers; other labels stay as they are.

    Raises:
        VaejaxError: the name of no class.
    """
    if y is None or np.asarray(y).dtype.kind not in "UTO":
        return y
    numbers = {name: number for number, name in enumerate(recipe.class_names)}
    names = np.asarray(y).tolist()
    for name in names:
        if name not in numbers:
            raise unknown("class", str(name), recipe.class_names)
    return np.array([numbers[name] for name in names])
