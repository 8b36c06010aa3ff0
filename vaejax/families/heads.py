"""Heads that many families share, with a row of network outputs for every parameter."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from vaejax.core import DistParams, Head


def one_output(at_mean: Callable[[Array], Array]) -> Head:
    """A head whose parameter is the network's one output for each coordinate.

    Args:
        at_mean: the parameter at which the mean is the given one.
    """
    return Head(
        outputs_per_coordinate=1,
        from_outputs=lambda outputs: outputs[0],
        to_outputs=lambda mean: at_mean(mean)[None],
    )


def two_outputs(
    params: Callable[[Array, Array], DistParams],
    at_mean: Callable[[Array], tuple[Array, Array]],
) -> Head:
    """A head whose parameters follow from two network outputs for each coordinate.

    Args:
        params: the parameters, from these two.
        at_mean: the two outputs at which the mean is the given one.
    """
    return Head(
        outputs_per_coordinate=2,
        from_outputs=lambda outputs: params(outputs[0], outputs[1]),
        to_outputs=lambda mean: jnp.stack(at_mean(mean)),
    )
