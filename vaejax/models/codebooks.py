"""The codebook of a VQ-VAE: which code stands for a vector, and how codes are learned.

Either they are parameters that a loss draws to the vectors that they stand for,

    sum_g |sg[e_g] - c_{k_g}|^2,    k_g = argmin_j |e_g - c_j|,

or they are moving averages, c_j = m_j / N_j, of these vectors' sum m_j and number N_j
in a batch. Their steps are written as the gradient of a term of the loss too, whose
value is 0 (`Objective.moving_averages`).

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
from vaejax.terms import with_value


class Quantized(NamedTuple):
    """What an image's latents are a function of."""

    vectors: Float[Array, "G D"]  # e, one for each place of the grid
    codes: Float[Array, "J D"]  # c


class Averages(NamedTuple):
    """The moving averages of `codebook="ema"`, per example."""

    counts: Float[Array, " J"]  # N, vectors to a code
    sums: Float[Array, "J D"]  # m, of these vectors


@record
class Codebook:
    """How the codes stand among the parameters, and what loss teaches them."""

    at: Callable[[Float[Array, "J D"], int], PyTree]  # so many vectors to an image
    codes: Callable[[PyTree], Float[Array, "J D"]]
    loss: Callable[[PyTree, Quantized], Scalar]  # of one example
    moving_averages: Params | None = None


def nearest(q: Quantized) -> Int[Array, " G"]:
    """The index of the code at the least distance from each vector."""
    # |e - c|^2 less |e|^2, which is the same for all codes.
    distance = jnp.square(q.codes).sum(1)[None] - 2 * q.vectors @ q.codes.T
    return distance.argmin(1)


def learned_by_loss() -> Codebook:
    """Codes that are parameters like any other, drawn to the vectors they stand for."""

    def loss(codes: Float[Array, "J D"], q: Quantized) -> Scalar:
        found = codes[nearest(q)]
        return jnp.square(stop_gradient(q.vectors) - found).sum()

    return Codebook(
        at=lambda codes, places: jnp.array(codes), codes=lambda codes: codes, loss=loss
    )


def learned_by_averages(decay: float = 0.99, smoothing: float = 1e-7) -> Codebook:
    """Codes that are the moving averages of the vectors that they stand for.

    Their loss has value 0 and the gradient (1 - gamma) (N_j - n_j), (1 - gamma)
    (m_j - sum_g e_g), which as a mean over the batch and with a step of 1 is the
    average's step, whatever devices and parts the batch is divided among.
    """
    if not 0 <= decay < 1:
        raise VaejaxError(f"decay is {decay}: use at least 0 and less than 1")
    if not 0 <= smoothing < math.inf:
        raise VaejaxError(f"smoothing is {smoothing}: use at least 0, and finite")

    def at(codes: Float[Array, "J D"], places: int) -> Averages:
        counts = jnp.full(len(codes), places / len(codes))
        return Averages(counts, counts[:, None] * codes)

    def codes(averages: Averages) -> Float[Array, "J D"]:
        counts, sums = stop_gradient(averages)
        total = counts.sum()
        smooth = (counts + smoothing) / (total + len(counts) * smoothing) * total
        return sums / smooth[:, None]

    def loss(averages: Averages, q: Quantized) -> Scalar:
        taken = jax.nn.one_hot(nearest(q), len(q.codes))
        seen = Averages(taken.sum(0), taken.T @ q.vectors)
        excess = jax.tree.map(jnp.subtract, averages, seen)
        products = jax.tree.map(jnp.vdot, averages, stop_gradient(excess))
        return with_value((1 - decay) * sum(products), jnp.zeros(()))

    return Codebook(
        at=at,
        codes=codes,
        loss=loss,
        moving_averages=Params(
            encoder=False, decoder=False, prior=True, auxiliary=False
        ),
    )


CODEBOOKS: dict[str, Callable[[float, float], Codebook]] = {
    "loss": lambda decay, smoothing: learned_by_loss(),
    "ema": learned_by_averages,
}


def codebook_loss(book: Codebook, commitment: float) -> Regularizer:
    """What teaches the codebook, and beta |e - sg[c]|^2, means over the batch."""

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

    return Regularizer(name="codebook", penalty=penalty, report=report)
