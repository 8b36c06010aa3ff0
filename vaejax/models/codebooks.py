"""The codebook of a VQ-VAE: the code nearest to a vector, and two ways of learning.

The codes are either parameters that a loss moves to the vectors that they stand for,

    sum_g |sg[e_g] - c_{k_g}|^2,    k_g = argmin_j |e_g - c_j|,

or moving averages, c_j = m_j / N_j, of these vectors' sum m_j and number N_j in a
batch, which no gradient trains (`vaejax.core.Averages`).

Source: van den Oord, Vinyals and Kavukcuoglu 2017, arXiv:1711.00937, appendix A.1.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float, Int

from vaejax.core import (
    Batch,
    Example,
    Key,
    Model,
    Params,
    PyTree,
    Regularizer,
    Scalar,
    Stats,
    VaejaxError,
    record,
)


class Quantized(NamedTuple):
    """The inputs of an image's latents: encoded vectors, and the codes."""

    vectors: Float[Array, "G D"]  # e, one for each place of the grid
    codes: Float[Array, "J D"]  # c


class CodeAverages(NamedTuple):
    """The moving averages of `codebook="ema"`, per example."""

    counts: Float[Array, " J"]  # N, vectors to a code
    sums: Float[Array, "J D"]  # m, of these vectors


@record
class Codebook:
    """The codes' place among the parameters, and the loss or step that trains them."""

    at: Callable[[Float[Array, "J D"], int], PyTree]  # from codes and vectors per image
    codes: Callable[[PyTree], Float[Array, "J D"]]
    # One of the two trains the codes: the gradient of each example's loss, or the mean
    # over a batch of the step of each example.
    loss: Callable[[PyTree, Quantized], Scalar] = lambda own, q: jnp.zeros(())
    step: Callable[[PyTree, Quantized], PyTree] | None = None


def nearest(q: Quantized) -> Int[Array, " G"]:
    """The index of the code at the least distance from each vector."""
    # |e - c|^2 less |e|^2, which is the same for all codes.
    distance = jnp.square(q.codes).sum(1)[None] - 2 * q.vectors @ q.codes.T
    return distance.argmin(1)


def learned_by_loss() -> Codebook:
    """Codes that are parameters, moved by a loss to the vectors they stand for."""

    def loss(codes: Float[Array, "J D"], q: Quantized) -> Scalar:
        found = codes[nearest(q)]
        return jnp.square(stop_gradient(q.vectors) - found).sum()

    return Codebook(
        at=lambda codes, places: jnp.array(codes), codes=lambda codes: codes, loss=loss
    )


def learned_by_averages(decay: float = 0.99, smoothing: float = 1e-7) -> Codebook:
    """Codes that are the moving averages of the vectors that they stand for.

    An example moves the averages to gamma N_j + (1 - gamma) n_j and gamma m_j +
    (1 - gamma) sum_g e_g. The mean over a batch does not depend on the devices and
    parts that the batch is divided among.
    """
    if not 0 <= decay < 1:
        raise VaejaxError(f"decay is {decay}: use at least 0 and less than 1")
    if not 0 <= smoothing < math.inf:
        raise VaejaxError(f"smoothing is {smoothing}: use at least 0, and finite")

    def at(codes: Float[Array, "J D"], places: int) -> CodeAverages:
        counts = jnp.full(len(codes), places / len(codes))
        return CodeAverages(counts, counts[:, None] * codes)

    def codes(averages: PyTree) -> Float[Array, "J D"]:
        if averages == ():
            raise VaejaxError(
                "these parameters lack the codebook, whose averages are in the state "
                "of the training: use vaejax.whole_params(params, state)"
            )
        counts, sums = averages
        total = counts.sum()
        smooth = (counts + smoothing) / (total + len(counts) * smoothing) * total
        return sums / smooth[:, None]

    def step(averages: CodeAverages, q: Quantized) -> CodeAverages:
        taken = jax.nn.one_hot(nearest(q), len(q.codes))
        seen = CodeAverages(taken.sum(0), taken.T @ q.vectors)
        return jax.tree.map(
            lambda old, new: decay * old + (1 - decay) * new, averages, seen
        )

    return Codebook(at=at, codes=codes, step=step)


CODEBOOKS: dict[str, Callable[[float, float], Codebook]] = {
    "loss": lambda decay, smoothing: learned_by_loss(),
    "ema": learned_by_averages,
}


def codebook_loss(book: Codebook, commitment: float) -> Regularizer:
    """The codebook's loss plus beta |e - sg[c]|^2, averaged over the batch."""

    def penalty(model: Model, params: Params, key: Key, batch: Batch) -> Scalar:
        def one(example: Example) -> Scalar:
            q = model.encode(params, example)
            found = stop_gradient(q.codes[nearest(q)])
            kept = commitment * jnp.square(q.vectors - found).sum()
            return kept + book.loss(params.prior, q)

        return jax.vmap(one)(batch.example).mean()

    def report(model: Model, params: Params, key: Key, batch: Batch) -> Stats:
        def one(example: Example) -> Float[Array, " J"]:
            q = model.encode(params, example)
            return jax.nn.one_hot(nearest(q), len(q.codes)).mean(0)

        shares = jax.vmap(one)(batch.example).mean(0)
        entropy = jax.scipy.special.entr(shares).sum()
        return {"batch_code_perplexity": jnp.exp(entropy)}

    return Regularizer(name="codebook", penalty=penalty, report=report, compares=False)
