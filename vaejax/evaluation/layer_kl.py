"""The KL divergence of every unit of a hierarchy, a measure of the use of its layers.

    KL_ij = E_x E_q(z|x) [log q(z_ij | .) - log p(z_ij | z_{i+1})]

for unit j of layer i, each density given the layers that it is conditioned on. The sum
over units is the KL term of the ELBO. A unit whose posterior is its prior adds nothing,
also where both move with the layer above, as on a ladder: there the posterior's mean
does not show the information that the layer itself adds.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import (
    Example,
    Key,
    Model,
    Params,
    VaejaxError,
    check_data,
    fold_examples,
)
from vaejax.core.doors import expect_counts, expect_params


def layer_kl(
    model: Model, params: Params, examples: Example, key: Key, *, num_samples: int = 10
) -> list[Float[np.ndarray, " Z"]]:
    """KL_ij of every unit in nats, an array per layer, from the data up.

    Args:
        model: whose posterior and prior are chains of layers, such as `ladder_mlp`.
        params: its parameters.
        examples: every leaf [N, ...].
        key: consumed.
        num_samples: of each example.

    Raises:
        VaejaxError: latents without layers.

    References:
        Sonderby et al. 2016, arXiv:1602.02282, whose units are active above 0.01 nats.
    """
    if model.posterior.conditionals is None or model.latent_prior.conditionals is None:
        raise VaejaxError(
            f"the latents of {model.name} have no layers: use a model such as "
            "ladder_mlp, or collapse_report"
        )
    expect_counts(num_samples=num_samples)
    expect_params(params, model)
    examples = check_data(model, examples)
    found = _layer_kl(model, num_samples, params, examples, key)
    return [np.asarray(layer) for layer in found]


@partial(jax.jit, static_argnums=(0, 1))
def _layer_kl(
    model: Model, num_samples: int, params: Params, examples: Example, key: Key
) -> tuple[Array, ...]:
    posterior, prior = model.posterior.conditionals, model.latent_prior.conditionals
    assert posterior is not None
    assert prior is not None

    def one(numbered: tuple[Key, Example]) -> tuple[Array, ...]:
        own, example = numbered
        q, p = model.encode(params, example), model.prior(params, example.y)

        def log_ratios(key: Key) -> tuple[Array, ...]:
            z = model.posterior.sample(key, q)
            return tuple(
                jax.vmap(posterior.layer.log_prob)(q_i, z_i)
                - jax.vmap(prior.layer.log_prob)(p_i, z_i)
                for q_i, p_i, z_i in zip(
                    posterior.split(q, z), prior.split(p, z), z, strict=True
                )
            )

        drawn = jax.vmap(log_ratios)(jax.random.split(own, num_samples))
        return jax.tree.map(lambda ratio: ratio.mean(0), drawn)

    keys = fold_examples(key, jnp.arange(len(examples.x)))
    found = jax.lax.map(one, (keys, examples), batch_size=64)
    return jax.tree.map(lambda ratio: ratio.mean(0), found)
