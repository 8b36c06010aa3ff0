"""Standardised numbers: each coordinate with mean 0 and standard deviation 1.

    u = (x - mean) / scale,   log p(x) = log p(u) - sum_d log scale_d

where the sum, the logarithm of the Jacobian, is over the coordinates that are observed.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float

Numbers = Float[np.ndarray, "..."] | Float[Array, "..."]


class Standardization(NamedTuple):
    """The mean and the scale of every coordinate of an observation."""

    mean: Float[np.ndarray, "*event"]
    scale: Float[np.ndarray, "*event"]  # above 0

    def apply(self, x: Numbers) -> Numbers:
        """Return u = (x - mean) / scale of observations [..., *event]."""
        return (x - self.mean) / self.scale

    def undo(self, u: Numbers) -> Numbers:
        """Return x = mean + scale u of standardised observations [..., *event]."""
        return self.mean + self.scale * u

    def log_scale(self, x: Numbers) -> Float[np.ndarray, "..."]:
        """Return the sum of log scale over the coordinates of x that are no NaN.

        log p(x) = log p(u) - log_scale(x), in nats; NaN marks what is missing.

        Args:
            x: observations [..., *event], standardised or not.

        Examples:
            >>> units = Standardization(np.zeros(2), np.array([1.0, np.e]))
            >>> units.log_scale(np.array([[0.0, 5.0], [0.0, np.nan]])).tolist()
            [1.0, 0.0]
        """
        terms = np.where(np.isnan(np.asarray(x)), 0.0, np.log(self.scale))
        return terms.sum(tuple(range(-self.scale.ndim, 0)))


def standardization(
    x: Float[np.ndarray, " N *event"], fixed: Bool[np.ndarray, "*event"] | bool = False
) -> Standardization:
    """The standardisation of these observations, whose NaN are left out.

    Args:
        x: the training split.
        fixed: True for coordinates that stay as they are, such as the numbers of
            categories. A coordinate that is constant keeps its scale.

    Examples:
        >>> standardization(np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0]]))
        Standardization(mean=array([2., 5.]), scale=array([1., 1.]))
    """
    mean, scale = np.nanmean(x, 0, dtype=float), np.nanstd(x, 0, dtype=float)
    return Standardization(
        np.where(fixed, 0.0, mean), np.where(fixed | (scale == 0), 1.0, scale)
    )
