"""The exemplar prior: a mixture of normal distributions around encoded examples.

    p(z) = 1/N sum_n N(z; mean of q(z | x_n), scale^2 I)

The exemplars x_n are training examples, held as constants; only the scale, which all of
them share, is learned beside the encoder.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import (
    DistParams,
    Encode,
    Example,
    Family,
    Params,
    Prior,
    VaejaxError,
)
from vaejax.families import MixtureParams, NormalParams, diagonal_normal, shared_mixture


def exemplar(
    exemplars: np.ndarray | None = None,
    posterior: Family | None = None,
    num_components: int = 500,
) -> Prior:
    """A kernel density estimate of the aggregated posterior, by the encoder's means.

    The paper leaves the example at hand out of its own prior, as p(z) of a training
    example would otherwise peak at its encoding. A prior here is not told the example:
    use few exemplars out of many examples, or such as are not trained on.

    Args:
        exemplars: examples, [M, *data], of which the first N are encoded, once a batch;
            they become constants of the compiled program.
        posterior: the family that the encoder parameterises (default:
            `diagonal_normal`), of real latents.
        num_components: N, at most M.

    Raises:
        VaejaxError: fewer than N exemplars; at the prior's first use if none are given.

    References:
        Norouzi, Fleet and Norouzi 2020, "Exemplar VAE", arXiv:2004.04795.
    """
    of_one = diagonal_normal() if posterior is None else posterior
    if exemplars is not None and len(exemplars) < num_components:
        raise VaejaxError(
            f"num_components is {num_components}, and there are {len(exemplars)} "
            "exemplars: use fewer components"
        )

    def chosen() -> Float[Array, "N ..."]:
        if exemplars is None:
            raise VaejaxError(
                "the exemplar prior is centred at training examples, and was given "
                "none: use exemplar(exemplars=...), or the prior 'vamp'"
            )
        return jnp.asarray(exemplars[:num_components], float)

    def mean(encode: Encode, params: Params, x: Array, y: Array | None) -> Array:
        return of_one.mean(encode(params, Example(x, y)))

    def apply(encode: Encode, params: Params, y: Array | None) -> DistParams:
        loc = jax.vmap(lambda x: mean(encode, params, x, y))(chosen())
        log_scale = jnp.ones_like(loc) * params.prior
        return MixtureParams(jnp.zeros(len(loc)), NormalParams(loc, log_scale))

    return Prior(
        name="exemplar",
        family=shared_mixture(num_components=num_components),
        init=lambda key: jnp.zeros(()),  # the log of the scale
        apply=apply,
    )
