"""M2: a semi-supervised VAE; the class of an unlabelled example is a latent variable.

    p(y) = 1 / C,   p(z) = N(0, I),   p(x|y, z) from decoder([z, y]),   y one-hot
    q(y|x) = C(y; classifier(x)),   q(z|x, y) = N(loc, diag(scale^2)) from [x, y]

The latent event is (y, z). For an example without a label, y = -1, the posterior is the
mixture sum_y q(y|x) q(z|x, y), and its ELBO is the paper's -U(x); a label puts all the
weight on one component, and the ELBO is -L(x, y). The estimator `stratified` sums over
the classes in closed form, with samples of z in each. Beside the bound the classifier
learns from the labels,

    weight * mean over the batch of -log q(y|x) where y is known.

Source: Kingma et al. 2014, "Semi-supervised learning with deep generative models",
arXiv:1406.5298, equations 6 to 9.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import (
    Batch,
    DistParams,
    Event,
    Example,
    Extras,
    Key,
    Labels,
    Model,
    Params,
    Regularizer,
    Scalar,
    VaejaxError,
    head_of,
)
from vaejax.core.ranges import Classes, Shape
from vaejax.families import NormalParams
from vaejax.families.labelled_normal import Labelled, LabelledParams, labelled_normal
from vaejax.models.assembly import event_of, output_start
from vaejax.models.parts import (
    NONE,
    Settings,
    named_likelihood,
    refuse_missing,
    refuse_own_weights,
)
from vaejax.nets import activation_named, mlp

# log q of the classes that a label excludes: the exponential is 0 in float32, and the
# finite log q gives no NaN in products.
EXCLUDED = -1000.0


def m2(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dim: int = 50,
    num_classes: Classes = 10,
    hidden: Sequence[int] = (500,),
    activation: str = "relu",
    likelihood: str = "bernoulli",
    likelihood_settings: Settings = NONE,
    classification_weight: float = 1.0,
) -> Model:
    """A VAE with a class and real latents, for data with few labels.

    Args:
        data_shape: shape of one observation.
        data_mean: mean observation; the decoder's output bias starts there, and the
            encoder and the classifier see x less it.
        latent_dim: number of latents besides the class.
        num_classes: C; labels y are the integers from 0 to this less 1, or -1.
        hidden: widths of the hidden layers of the classifier and of the encoder, where
            y enters after the first of them; the decoder's are mirrored.
        activation: a name in `vaejax.nets.ACTIVATIONS`.
        likelihood: a name in `LIKELIHOODS`.
        likelihood_settings: of the likelihood, such as `fixed_normal`'s scale.
        classification_weight: of the labels' loss, in nats per example of a batch:
            alpha / N_l for the paper's alpha, which weighs the mean over the N_l
            examples with labels beside sums over all N. Labelled examples that are
            repeated count as often as they come: where they make a tenth of all, the
            weight 1 is the paper's choice, alpha = 0.1 N.
    """
    if not 0 <= classification_weight < math.inf:
        raise VaejaxError(
            f"classification_weight is {classification_weight}: use at least 0, and "
            "finite"
        )
    pixels = named_likelihood(likelihood, likelihood_settings)
    refuse_own_weights("m2", pixels)
    refuse_missing("m2", pixels)
    size = event_of(pixels, data_shape).size
    pixels_head = head_of(pixels)
    shape = pixels_head.outputs_per_coordinate, *data_shape
    classifier = mlp(size, hidden, num_classes, activation)
    act = activation_named(activation)
    trunk = mlp(size, (), hidden[0])
    head = mlp(hidden[0] + num_classes, hidden[1:], 2 * latent_dim, activation)
    decoder = mlp(
        latent_dim + num_classes,
        hidden[::-1],
        math.prod(shape),
        activation,
        out_bias=output_start(pixels, data_mean),
    )
    center = 0.0 if data_mean is None else np.asarray(data_mean, jnp.result_type(float))
    classes = jnp.eye(num_classes)

    def init(key: Key) -> Params:
        keys = jax.random.split(key, 4)
        encoder = {
            "classifier": classifier.init(keys[0]),
            "trunk": trunk.init(keys[1]),
            "head": head.init(keys[2]),
        }
        return Params(encoder=encoder, decoder=decoder.init(keys[3]), prior=())

    def classify(params: Params, x: Array) -> Float[Array, " C"]:
        logits = classifier.apply(params.encoder["classifier"], x - center)
        return jax.nn.log_softmax(logits)

    def encode(params: Params, example: Example) -> LabelledParams:
        seen = act(trunk.apply(params.encoder["trunk"], example.x - center))

        def given(y: Float[Array, " C"]) -> NormalParams:
            out = head.apply(params.encoder["head"], jnp.concatenate([seen, y]))
            return NormalParams(*out.reshape(2, latent_dim))

        log_probs = classify(params, example.x)
        if example.y is not None:
            told = jnp.where(jnp.arange(num_classes) == example.y, 0.0, EXCLUDED)
            log_probs = jnp.where(example.y < 0, log_probs, told)
        return LabelledParams(log_probs, jax.vmap(given)(classes))

    def decode(params: Params, z: Event, y: Array | None) -> DistParams:
        joined = jnp.concatenate([z.z, z.y])
        outputs = decoder.apply(params.decoder, joined).reshape(shape)
        return pixels_head.from_outputs(outputs)

    def prior(params: Params, y: Array | None) -> LabelledParams:
        alike = jnp.zeros((num_classes, latent_dim))
        uniform = jnp.full(num_classes, -math.log(num_classes))
        return LabelledParams(uniform, NormalParams(alike, alike))

    def penalty(model: Model, params: Params, key: Key, batch: Batch) -> Scalar:
        def one(example: Example) -> Scalar:
            if example.y is None:
                return jnp.zeros(())
            told = classify(params, example.x)[example.y]
            return jnp.where(example.y < 0, 0.0, -told)

        return classification_weight * jax.vmap(one)(batch.example).mean()

    latents = labelled_normal()
    classification = Regularizer(name="classification", penalty=penalty, compares=False)
    return Model(
        name="m2",
        init=init,
        encode=encode,
        decode=decode,
        prior=prior,
        posterior=latents,
        latent_prior=latents,
        likelihood=pixels,
        data_shape=event_of(pixels, data_shape).shape,
        latent_shape=jax.eval_shape(
            lambda: Labelled(jnp.zeros(num_classes), jnp.zeros(latent_dim))
        ),
        labels=Labels(num_classes=num_classes, unknown=True),
        extras=Extras(regularizers=(classification,), class_log_probs=classify),
    )
