"""A `Model` from two networks, a prior and two families."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import (
    DistParams,
    Encode,
    Event,
    Example,
    Extras,
    Family,
    IncompatibleError,
    Key,
    Model,
    Params,
    Prior,
    PyTree,
    VaejaxError,
    head_of,
)
from vaejax.core.doors import expect, expect_count
from vaejax.core.ranges import Shape, cut, mismatch, shown
from vaejax.nets import Network, mlp


def from_networks(
    name: str,
    *,
    encoder: Network,
    decoder: Network,
    prior: Prior,
    posterior: Family,
    likelihood: Family,
    data_shape: tuple[int, ...],
    latent_dim: int,
    data_mean: np.ndarray | None = None,
    label_size: int = 0,
) -> Model:
    """A model whose posterior and likelihood two networks parameterise.

    The encoder maps x, [*data_shape], to `posterior.head.outputs_per_coordinate`
    numbers for each of the latents; the decoder maps z, [latent_dim], to
    `likelihood.head.outputs_per_coordinate` numbers for each of the data's coordinates.

    With a `data_mean` the encoder sees x - data_mean: its bias could do the same, but
    centred inputs condition its first layer better (LeCun et al. 1998, "Efficient
    BackProp").

    With a `label_size` the networks take x and z flattened, followed by so many numbers
    of a label: `encode` and `decode` are for a caller who appends these numbers.

    Raises:
        IncompatibleError: a posterior that does not go with the prior, or a prior of
            another number of latents; a posterior or a likelihood without a head.
        VaejaxError: a network of another input or output width; names, functions or
            numbers in the place of objects; sizes that are no integers of at least 1.
    """
    for role, family in (("posterior", posterior), ("likelihood", likelihood)):
        expect(Family, role, family)
    expect(Prior, "prior", prior)
    for role, network in (("encoder", encoder), ("decoder", decoder)):
        expect(Network, role, network)
    latent_dim = expect_count("latent_dim", latent_dim)
    if expected := mismatch(Shape, data_shape):
        raise VaejaxError(f"data_shape is {shown(data_shape)}: give {expected}")
    data_shape = tuple(data_shape)
    part = posterior.restriction
    if part is not None and (reason := part.needs(prior.name)):
        raise IncompatibleError(f"{posterior.name} refuses {prior.name}: {reason}")
    center = 0.0 if data_mean is None else np.asarray(data_mean, jnp.result_type(float))
    x, z = event_of(likelihood, data_shape), event_of(posterior, (latent_dim,))
    of_x, of_z = (
        jax.ShapeDtypeStruct((event.size + label_size,), event.dtype)
        if label_size
        else event
        for event in (x, z)
    )
    encoder = _headed("encoder", encoder, of_x, posterior, (latent_dim,))
    decoder = _headed("decoder", decoder, of_z, likelihood, data_shape)

    def init(key: Key) -> Params:
        encoder_key, decoder_key, prior_key = jax.random.split(key, 3)
        return Params(
            encoder=encoder.init(encoder_key),
            decoder=decoder.init(decoder_key),
            prior=prior.init(prior_key),
        )

    def encode(params: Params, example: Example) -> DistParams:
        return encoder.apply(params.encoder, example.x - center)

    def decode(params: Params, z: Event, y: Array | None) -> DistParams:
        return decoder.apply(params.decoder, z)

    _check_prior(prior, posterior, latent_dim, init, encode)
    return Model(
        name=name,
        init=init,
        encode=encode,
        decode=decode,
        prior=partial(prior.apply, encode),
        posterior=posterior,
        latent_prior=prior.family,
        likelihood=likelihood,
        data_shape=x.shape,
        latent_shape=z,
        labels=prior.labels,
        extras=Extras(regularizers=prior.regularizers),
    )


def _check_prior(
    prior: Prior,
    posterior: Family,
    latent_dim: int,
    init: Callable[[Key], Params],
    encode: Encode,
) -> None:
    """Refuse a prior over another number of coordinates, which might be broadcast.

    A prior over another space is for `make_objective` to refuse.
    """
    if prior.family.space.kind != posterior.space.kind:
        return
    labelled = prior.labels.num_classes is not None or prior.labels.positions

    def sample(key: Key) -> Event:
        y = jnp.zeros((), int) if labelled else None
        return prior.family.sample(key, prior.apply(encode, init(key), y))

    def size(event: Event) -> int:
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(event))

    try:
        found = size(jax.eval_shape(sample, jax.random.key(0)))
    except VaejaxError:  # a prior that lacks its exemplars says so when it is used
        return
    expected = size(event_of(posterior, (latent_dim,)))
    if found != expected:
        raise IncompatibleError(
            f"the prior {prior.name} is over {found} numbers, and with latent_dim = "
            f"{latent_dim} the posterior {posterior.name} is over {expected}: give "
            "both the same number of latents"
        )


def _headed(
    role: str,
    network: Network,
    event: Event,
    family: Family,
    coordinates: tuple[int, ...],
) -> Network:
    """A network whose outputs at such an event are the parameters of a family.

    The family's weights, if any, are stored beside the network's.
    """
    head = head_of(family)
    shape = head.outputs_per_coordinate, *coordinates
    own = head.weights

    def init(key: Key) -> PyTree:
        if own is None:
            return network.init(key)
        network_key, family_key = jax.random.split(key)
        return {"network": network.init(network_key), "family": own(family_key)}

    def outputs(params: PyTree, x: Event) -> Array:
        try:
            found = network.apply(params, x)
        except (TypeError, ValueError) as error:
            shapes = " and ".join(str(leaf.shape) for leaf in jax.tree.leaves(x))
            raise VaejaxError(
                f"the {role} fails at an input of shape {shapes}: give a network that "
                f"takes this shape ({type(error).__name__}: {cut(str(error))})"
            ) from error
        is_array = hasattr(found, "size")
        if not is_array or found.size != math.prod(shape):
            given = f"{found.size} numbers" if is_array else f"a {type(found).__name__}"
            raise VaejaxError(
                f"the {role} returns {given}, and a {family.name} of "
                f"shape {coordinates} takes {math.prod(shape)}, "
                f"{head.outputs_per_coordinate} for each coordinate: give the network "
                "that width, in one array"
            )
        return found.reshape(shape)

    def apply(params: PyTree, x: Event) -> DistParams:
        if own is None:
            return head.read(outputs(params, x), ())
        return head.read(outputs(params["network"], x), params["family"])

    jax.eval_shape(
        lambda key, x: outputs(network.init(key), x), jax.random.key(0), event
    )
    return Network(init=init, apply=apply)


def event_of(family: Family, coordinates: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """The shape of the event that a network's outputs at these coordinates describe."""
    head = head_of(family)

    def event(outputs: Array, key: Key) -> Event:
        own = () if head.weights is None else head.weights(key)
        return family.mean(head.read(outputs, own))

    shape = head.outputs_per_coordinate, *coordinates
    outputs = jax.ShapeDtypeStruct(shape, jnp.result_type(float))
    return jax.eval_shape(event, outputs, jax.random.key(0))


def from_mlps(
    name: str,
    *,
    posterior: Family,
    prior: Prior,
    likelihood: Family,
    data_shape: tuple[int, ...],
    data_mean: np.ndarray | None,
    latent_dim: int,
    hidden: Sequence[int],
    activation: str,
) -> Model:
    """`from_networks` of an MLP encoder and a decoder with mirrored widths.

    Coordinates that are not numbers (one-hot vectors, say) enter networks flattened.
    With a `data_mean` the decoder's output bias starts at the mean's parameters.
    """
    return from_networks(
        name,
        encoder=mlp(
            event_of(likelihood, data_shape).size,
            hidden,
            head_of(posterior).outputs_per_coordinate * latent_dim,
            activation,
        ),
        decoder=mlp(
            event_of(posterior, (latent_dim,)).size,
            hidden[::-1],
            head_of(likelihood).outputs_per_coordinate * math.prod(data_shape),
            activation,
            out_bias=output_start(likelihood, data_mean),
        ),
        prior=prior,
        posterior=posterior,
        likelihood=likelihood,
        data_shape=data_shape,
        latent_dim=latent_dim,
        data_mean=data_mean,
    )


def output_start(
    likelihood: Family, data_mean: np.ndarray | Array | None
) -> Float[Array, " outputs"] | None:
    """The decoder's output bias at which the mean of x is `data_mean`, if given.

    For Bernoulli pixels it is the logit (Burda et al. 2016, arXiv:1509.00519).

    Raises:
        VaejaxError: a mean that no x of the likelihood can have.
    """
    if data_mean is None:
        return None
    space = likelihood.space
    low, high = {
        "bits": (0, 1),
        "levels": (0, 1),
        "interval": (space.low, space.high),
        "counts": (0, math.inf),
        "positive": (0, math.inf),
    }.get(space.kind, (-math.inf, math.inf))
    mean = np.asarray(data_mean)
    if not ((mean >= low - 1e-6) & (mean <= high + 1e-6)).all():
        raise VaejaxError(
            f"data_mean is from {mean.min():g} to {mean.max():g}, and the mean of a "
            f"{likelihood.name} lies from {low:g} to {high:g}: give the mean of the "
            "observations, such as that of intensities divided by 255"
        )
    return head_of(likelihood).to_outputs(jnp.asarray(data_mean)).reshape(-1)
