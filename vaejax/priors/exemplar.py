"""The exemplar prior: a mixture of normal distributions around encoded examples.

    p(z) = 1/N sum_n N(z; mean of q(z | x_n), scale^2 I)

The exemplars x_n are training examples, held as constants; only the scale, which all of
them share, is learned beside the encoder. In training the sum for x_n is over the other
N - 1. With r the density of x_n's component over the mean density of the others,
log p(z) would otherwise be higher by

    log((N - 1) / N (1 + r / (N - 1))),

which is large at a small scale: the model would learn to memorise.
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
    Labels,
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

    The y of a training example is its position in the training data, whose first N
    examples are the exemplars. Its prior leaves out the example's component. Without a
    y, as in evaluation, or with a y of -1, or of N or more, all components count. `fit`
    refuses examples without distinct positions:

        fit(objective, optimizer, Example(images, jnp.arange(len(images))), ...)

    Args:
        exemplars: examples, [M, *data], of which the first N are encoded, once a batch;
            they become constants of the compiled program.
        posterior: the family that the encoder parameterises (default:
            `diagonal_normal`), of real latents.
        num_components: N, at least 2 and at most M.

    Raises:
        VaejaxError: fewer than N exemplars, or a single one, without which there is no
            prior left; at the prior's first use if none are given.

    References:
        Norouzi, Fleet and Norouzi 2020, "Exemplar VAE", arXiv:2004.04795.
    """
    of_one = diagonal_normal() if posterior is None else posterior
    if num_components < 2:
        raise VaejaxError(
            f"num_components is {num_components}: use at least 2, as the exemplar "
            "prior leaves a training example's own component out"
        )
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

    def apply(encode: Encode, params: Params, y: Array | None) -> DistParams:
        loc = jax.vmap(lambda x: of_one.mean(encode(params, Example(x))))(chosen())
        log_scale = jnp.ones_like(loc) * params.prior
        log_weights = jnp.zeros(len(loc))
        if y is not None:
            log_weights = jnp.where(jnp.arange(len(loc)) == y, -jnp.inf, log_weights)
        return MixtureParams(log_weights, NormalParams(loc, log_scale))

    return Prior(
        name="exemplar",
        family=shared_mixture(num_components=num_components),
        init=lambda key: jnp.zeros(()),  # the log of the scale
        apply=apply,
        labels=Labels(positions=True),
    )
