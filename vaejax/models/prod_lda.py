"""Topic models: documents as counts of words, topics as log-weights of the words.

    theta ~ Dirichlet(a),   x | theta ~ Multinomial(p(w | theta))
    product:   p(w | theta) = softmax(sum_k theta_k topic_k)       ProdLDA
    mixture:   p(w | theta) = sum_k theta_k softmax(topic_k)       LDA, here NVLDA

In the product, which is a product of experts softmax(topic_k)^theta_k, a likely word
must be likely in all topics of a document; in the mixture one topic is enough.

The posterior of theta is logistic normal, theta = softmax(z) with normal z, and its
prior the Laplace approximation of the Dirichlet distribution; or a Dirichlet
distribution itself, implicitly reparameterised (`posterior=dirichlet`).

The paper uses batch normalisation against the collapse of topics, which functions of
one document cannot. Three measures replace it here: topics are deviations from a shared
background, which starts at the words' frequencies and leaves only the differences
between documents to explain; topics are K times the trained arrays, as a share of 1/K
moves the words that much less; and the KL divergence should have little weight at first
(`--kl-weight linear`). Without the second measure, 20 epochs on the 20 Newsgroups left
nearly the same top words to all 50 topics. Still, some topics stay unused.

Source: Srivastava and Sutton 2017, arXiv:1703.01488; the Dirichlet posterior: Joo et
al. 2019, arXiv:1901.02739, and Burkhardt and Kramer 2019, "Decoupling sparsity and
smoothness in the Dirichlet variational autoencoder topic model"; the background: Card,
Tan and Smith 2018, arXiv:1705.09296.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import glorot_uniform
from jaxtyping import Array, Float

from vaejax.core import Key, Model, PyTree, VaejaxError, head_of, unknown
from vaejax.core.ranges import Shape
from vaejax.families import diagonal_normal, dirichlet, multinomial
from vaejax.models.assembly import from_networks, output_start
from vaejax.nets import Network, mlp
from vaejax.priors import laplace_dirichlet, symmetric_dirichlet

PARTS = {
    "diagonal_normal": (diagonal_normal, laplace_dirichlet),
    "dirichlet": (dirichlet, symmetric_dirichlet),
}


def prod_lda(
    data_shape: Shape = (1995,),
    *,
    data_mean: np.ndarray | None = None,
    num_topics: int = 50,
    hidden: Sequence[int] = (100, 100),
    activation: str = "relu",
    topics: str = "product",
    posterior: str = "diagonal_normal",
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
        VaejaxError: data that are no vectors, fewer than two topics, an unknown kind of
            topics or posterior, or a concentration that is not positive.
    """
    if len(data_shape) != 1:
        raise VaejaxError(
            f"prod_lda models counts of words, [V], and the data are {data_shape}: use "
            "a data set of documents, such as 20newsgroups"
        )
    if num_topics < 2:
        raise VaejaxError(f"num_topics is {num_topics}: use at least 2")
    if topics not in WORDS:
        raise unknown("topics", topics, WORDS)
    if posterior not in PARTS:
        raise unknown("posterior", posterior, PARTS)
    family, prior = PARTS[posterior]
    latents, words = family(), data_shape[0]
    num_outputs = head_of(latents).outputs_per_coordinate * num_topics
    network = mlp(words, hidden, num_outputs, activation)
    start = output_start(multinomial(), data_mean)

    def init(key: Key) -> PyTree:
        return {
            "background": jnp.zeros(words) if start is None else jnp.array(start),
            "topics": glorot_uniform()(key, (num_topics, words)),
        }

    def decode(params: PyTree, z: Float[Array, " K"]) -> Float[Array, " V"]:
        theta = z if latents.space.kind == "simplex" else jax.nn.softmax(z)
        return WORDS[topics](theta, topic_weights(params))

    return from_networks(
        "prod_lda",
        encoder=Network(
            init=network.init,
            apply=lambda params, x: network.apply(params, jnp.log1p(x)),
        ),
        decoder=Network(init=init, apply=decode),
        prior=prior(num_topics, concentration),
        posterior=latents,
        likelihood=multinomial(),
        data_shape=data_shape,
        latent_dim=num_topics,
    )


def topic_weights(decoder: PyTree) -> Float[Array, "K V"]:
    """The log-weights of every topic's words, from `Params.decoder`; unnormalised."""
    deviations = decoder["topics"]
    return decoder["background"][None] + len(deviations) * deviations


def _product(theta: Float[Array, " K"], weights: Float[Array, "K V"]) -> Array:
    return theta @ weights


def _mixture(theta: Float[Array, " K"], weights: Float[Array, "K V"]) -> Array:
    p = theta @ jax.nn.softmax(weights)
    return jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny))


# The logits of a document's words.
WORDS = {"product": _product, "mixture": _mixture}
