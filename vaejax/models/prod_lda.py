"""Topic models: documents as counts of words, topics as log-weights of the words.

    theta ~ Dirichlet(a),   x | theta ~ Multinomial(p(w | theta))
    product:   p(w | theta) = softmax(sum_k theta_k topic_k)       ProdLDA
    mixture:   p(w | theta) = sum_k theta_k softmax(topic_k)       LDA, here NVLDA

In the product, which is a product of experts softmax(topic_k)^theta_k, a word needs the
consent of all topics that a document has; in the mixture that of one is enough.

The posterior of theta is logistic normal, theta = softmax(z) with normal z, and its
prior the Laplace approximation of the Dirichlet distribution; or a Dirichlet
distribution itself, implicitly reparameterised (`posterior=dirichlet`).

The paper normalises over the batch against the collapse of topics, which functions of
one document cannot. Here the topics are deviations from a shared background, which
starts at the words' frequencies and leaves nothing but the differences between
documents to explain, and training takes a KL weight that rises (`--kl-weight linear`).

Source: Srivastava and Sutton 2017, arXiv:1703.01488; the Dirichlet posterior: Joo et
al. 2019, arXiv:1901.02739, and Burkhardt and Kramer 2019, "Decoupling sparsity and
smoothness in the Dirichlet variational autoencoder topic model"; the background: Card,
Tan and Smith 2018, arXiv:1705.09296.
"""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import Key, Model, Params, PyTree, VaejaxError
from vaejax.families import diagonal_normal, dirichlet, multinomial
from vaejax.models.from_networks import from_networks, output_start
from vaejax.nets import Network, mlp
from vaejax.priors import laplace_dirichlet, symmetric_dirichlet

PARTS = {
    "diagonal_normal": (diagonal_normal, laplace_dirichlet),
    "dirichlet": (dirichlet, symmetric_dirichlet),
}


def prod_lda(
    data_shape: tuple[int, ...] = (1995,),
    data_mean: np.ndarray | None = None,
    num_topics: int = 50,
    hidden: Sequence[int] = (100, 100),
    activation: str = "relu",
    topics: Literal["product", "mixture"] = "product",
    posterior: Literal["diagonal_normal", "dirichlet"] = "diagonal_normal",
    concentration: float = 1.0,
) -> Model:
    """A topic model with an MLP encoder of log(1 + counts).

    Args:
        data_shape: [V], the number of words.
        data_mean: mean counts, [V]; the background starts at their logarithms.
        num_topics: K, at least 2.
        hidden: widths of the encoder's hidden layers.
        activation: a name in `vaejax.nets.ACTIVATIONS`.
        topics: how they make a document's words: product or mixture.
        posterior: of the topics' proportions: diagonal_normal or dirichlet.
        concentration: a of the prior.

    Raises:
        VaejaxError: fewer than two topics, or an unknown kind of topics or posterior.
    """
    if num_topics < 2:
        raise VaejaxError(f"num_topics is {num_topics}: use at least 2")
    if topics not in ("product", "mixture"):
        raise VaejaxError(f"unknown topics {topics!r}: use product or mixture")
    if posterior not in PARTS:
        raise VaejaxError(f"unknown posterior {posterior!r}: use one of {list(PARTS)}")
    family, prior = (build() for build in PARTS[posterior]) 
    return model
