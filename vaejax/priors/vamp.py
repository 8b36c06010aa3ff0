"""The VampPrior: a mixture of the posterior at learned pseudo-inputs.

    p(z) = 1/C sum_c q(z | u_c),    u_c = sigmoid(logits_c)

The optimal prior for the bound is the mean of q(z|x) over the data, which C
pseudo-inputs replace. Gradients reach the pseudo-inputs, and the encoder a second time,
through `encode`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logit
from jaxtyping import Array, Float

from vaejax.core import DistParams, Encode, Example, Family, Key, Params, Prior
from vaejax.core.ranges import Shape
from vaejax.families import MixtureParams, diagonal_normal, shared_mixture


def vamp(
    posterior: Family | None = None,
    data_shape: Shape = (28, 28, 1),
    data_mean: np.ndarray | None = None,
    num_components: int = 500,
) -> Prior:
    """The variational mixture of posteriors, for data in [0, 1].

    The paper clips pseudo-inputs to [0, 1], where a clipped pixel has no gradient; here
    they are sigmoids. Their logits start at the mean observation's plus standard normal
    noise.

    Args:
        posterior: the family that the encoder parameterises (default:
            `diagonal_normal`).
        data_shape: of one observation.
        data_mean: the mean observation (default: 1/2 everywhere).
        num_components: C, the pseudo-inputs. They are encoded once a batch, whatever
            its size, unless the encoder depends on y.

    References:
        Tomczak and Welling 2018, "VAE with a VampPrior", arXiv:1705.07120.
    """
    of_one = diagonal_normal() if posterior is None else posterior
    shape = num_components, *data_shape

    def init(key: Key) -> Float[Array, "C ..."]:
        start = jnp.full(data_shape, 0.5) if data_mean is None else data_mean
        center = logit(jnp.clip(jnp.asarray(start, float), 0.01, 0.99))
        return center[None] + jax.random.normal(key, shape)

    def apply(encode: Encode, params: Params, y: Array | None) -> DistParams:
        pseudo_inputs = jax.nn.sigmoid(params.prior)
        components = jax.vmap(lambda u: encode(params, Example(u, y)))(pseudo_inputs)
        return MixtureParams(jnp.zeros(num_components), components)

    return Prior(
        name="vamp",
        family=shared_mixture(of_one, num_components),
        init=init,
        apply=apply,
    )
