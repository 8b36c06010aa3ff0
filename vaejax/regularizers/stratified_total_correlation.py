"""Total correlation from the densities of a batch (beta-TCVAE).

    TC(q(z)) = E_q(z) log q(z) - sum_j log q(z_j),    q(z) = 1/N sum_n q(z|x_n)

q is a mixture over all N examples; a batch holds B of them. For z ~ q(z|x_i) the
stratified estimate is

    q(z) ~ 1/N q(z|x_i) + (1 - 1/N) 1/(B - 1) sum_{n in batch, n != i} q(z|x_n)

and likewise for every q(z_j).
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from vaejax.core import (
    Batch,
    DistParams,
    Event,
    Key,
    Model,
    Params,
    Regularizer,
    Scalar,
    Stats,
    VaejaxError,
    fold_examples,
    log_probs,
)
from vaejax.regularizers.draws import check_batch, check_weight, needs_path


def stratified_total_correlation(
    beta: float = 6.0, num_examples: int | None = None
) -> Regularizer:
    """`(beta - 1) TC`, so that beside the ELBO the total correlation weighs beta.

    The estimate of q(z) is unbiased over batches drawn without replacement; that of
    TC is biased: the logarithm of an average is too low, more so if fewer of a batch's
    posteriors cover z. The joint density is lowered most, so TC is underestimated, more
    so for smaller B and narrower posteriors. With B = N the estimate is exact except
    for the draws of z.

    This is the paper's stratified estimate (its appendix C.2) with the sum over the
    other examples made symmetric. The paper's minibatch-weighted estimate weighs all
    examples alike, so that q(z|x_i) counts N / B times too much.

    Valid for: reparameterisable posteriors of independent latents, batches of at
    least 2.

    Args:
        beta: weight of the total correlation in all; 6 is the paper's on dSprites.
        num_examples: N; None takes those of the batch for all.

    References:
        Chen et al. 2018, "Isolating sources of disentanglement", arXiv:1802.04942.
    """
    name = "stratified_total_correlation"
    check_weight(name, "beta", beta)

    def estimate(model: Model, params: Params, key: Key, batch: Batch) -> Scalar:
        check_batch(name, batch)
        size = batch.global_index.size
        total = size if num_examples is None else num_examples
        if total < size:
            raise VaejaxError(
                f"num_examples of {name} is {total}, fewer than the "
                f"batch's {size}: use "
                "the number of training examples"
            )
        posteriors = jax.vmap(lambda one: model.encode(params, one))(batch.example)
        keys = fold_examples(key, batch.global_index)
        z = jax.vmap(model.posterior.sample)(keys, posteriors)

        def densities(z: Event) -> Float[Array, "B Z"]:
            def under(posterior: DistParams) -> Float[Array, " Z"]:
                return log_probs(model.posterior, posterior, z)

            return jax.vmap(under)(posteriors)

        each = jax.vmap(densities)(z)
        joint = log_aggregated(each.sum(-1, keepdims=True), total)
        return (joint.sum(-1) - log_aggregated(each, total).sum(-1)).mean()

    def penalty(model: Model, params: Params, key: Key, batch: Batch) -> Scalar:
        return (beta - 1) * estimate(model, params, key, batch)

    def report(model: Model, params: Params, key: Key, batch: Batch) -> Stats:
        return {f"{name}_estimate": estimate(model, params, key, batch)}

    return Regularizer(name=name, penalty=penalty, needs=_needs, report=report)


def log_aggregated(
    log_qz: Float[Array, "B B Z"], num_examples: int
) -> Float[Array, "B Z"]:
    """The stratified estimate of log q(z_i), from log q(z_i|x_n), [i, n, ...].

    The examples i and n are those of the batch; log q(z_i|x_i) is on the diagonal.
    """
    size = len(log_qz)
    others = (num_examples - 1) / (num_examples * (size - 1))
    weights = jnp.where(jnp.eye(size, dtype=bool), 1 / num_examples, others)
    return logsumexp(log_qz, axis=1, b=weights[..., None])


def _needs(model: Model) -> str | None:
    if model.posterior.factorised and model.posterior.has_density:
        return needs_path(model)
    return (
        "it takes the density of every single latent, and the latents of a "
        f"{model.posterior.name} are not independent or have no density: use "
        "diagonal_normal, or the regularizer total_correlation"
    )
