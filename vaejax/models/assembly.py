"""A `Model` from two networks, a prior and two families."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

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
from vaejax.core.ranges import Shape, mismatch, shown
from vaejax.families import diagonal_normal
from vaejax.nets import Network, as_network, mlp
from vaejax.nets.modules import fails_at


def from_networks(
    name: str = "from_networks",
    *,
    encoder: Any,
    decoder: Any,
    prior: Prior,
    likelihood: Family,
    posterior: Family | None = None,
    data_shape: tuple[int, ...] | None = None,
    latent_dim: int | None = None,
    data_mean: np.ndarray | None = None,
    label_size: int = 0,
) -> Model:
    """A model whose posterior and likelihood two networks parameterise.

    The encoder maps x, [*data_shape], to `posterior.head.outputs_per_coordinate`
    numbers for each of the latents; the decoder maps z, [latent_dim], to
    `likelihood.head.outputs_per_coordinate` numbers for each of the data's coordinates.

    A network is a `Network` or a pair (init, apply); a flax NNX module, or a function
    of `rngs` that makes one; a flax linen module; an equinox module. See
    `vaejax.nets` for what the adapters take and refuse.

    With a `data_mean` the encoder sees x - data_mean: its bias could do the same, but
    centred inputs condition its first layer better (LeCun et al. 1998, "Efficient
    BackProp").

    A likelihood with `space.missing` takes NaN for a coordinate that is not observed,
    and the encoder sees 0 there, after centring. A likelihood with `features` gives the
    encoder these in the place of x.

    With a `label_size` the networks take z, and what the encoder sees of x, flattened
    and followed by so many numbers of a label: `encode` and `decode` are for a caller
    who appends these numbers.

    Args:
        name: of the model, in messages and tables.
        encoder: a network.
        decoder: a network.
        prior: p(z).
        likelihood: the family of x given z.
        posterior: the family of z given x (default: `diagonal_normal`).
        data_shape: of x (default: the shape of `data_mean`, or else of the decoder's
            output, for a likelihood of one number per coordinate).
        latent_dim: number of latents (default: the prior's).
        data_mean: the mean observation.
        label_size: numbers of a label that the networks take.

    Raises:
        IncompatibleError: a posterior that does not go with the prior, or a prior of
            another number of latents; a posterior or a likelihood without a head.
        VaejaxError: a network of another input or output width; a module with active
            dropout or batch statistics; names, functions or numbers in the place of
            objects; sizes that are no integers of at least 1, or that do not follow.
    """
    posterior = diagonal_normal() if posterior is None else posterior
    for role, family in (("posterior", posterior), ("likelihood", likelihood)):
        expect(Family, role, family)
    expect(Prior, "prior", prior)
    if latent_dim is None:
        latent_dim = _latents_of(prior, posterior)
    latent_dim = expect_count("latent_dim", latent_dim)
    z = event_of(posterior, (latent_dim,))
    of_z = _joined(z, label_size)
    decoder = as_network("decoder", decoder, of_z)
    if data_shape is None:
        data_shape = (
            _outputs_of(decoder, of_z, likelihood)
            if data_mean is None
            else np.shape(data_mean)
        )
    if expected := mismatch(Shape, data_shape):
        raise VaejaxError(f"data_shape is {shown(data_shape)}: give {expected}")
    data_shape = tuple(data_shape)
    part = posterior.restriction
    if part is not None and (reason := part.needs(prior.name)):
        raise IncompatibleError(f"{posterior.name} refuses {prior.name}: {reason}")
    see = seen_by_encoder(likelihood, data_mean)
    x = event_of(likelihood, data_shape)
    of_x = _joined(jax.eval_shape(see, x), label_size)
    encoder = as_network("encoder", encoder, of_x)
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
        seen = example.x if label_size else see(example.x)
        return encoder.apply(params.encoder, seen)

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


def _joined(event: jax.ShapeDtypeStruct, label_size: int) -> jax.ShapeDtypeStruct:
    """The input of a network: the event, or the event flattened and a label."""
    if not label_size:
        return event
    return jax.ShapeDtypeStruct((event.size + label_size,), event.dtype)


def _latents_of(prior: Prior, posterior: Family) -> int:
    """The number of a posterior's latents at which it is over the prior's numbers.

    Raises:
        VaejaxError: a prior that takes its latents from the encoder.
    """

    def encode(params: Params, example: Example) -> DistParams:
        raise VaejaxError(
            f"latent_dim is missing, and the prior {prior.name} takes its latents from "
            "the encoder: give latent_dim"
        )

    def init(key: Key) -> Params:
        return Params(encoder=(), decoder=(), prior=prior.init(key))

    return _size_of_prior(prior, init, encode) // event_of(posterior, (1,)).size


def _outputs_of(
    decoder: Network, z: jax.ShapeDtypeStruct, likelihood: Family
) -> tuple[int, ...]:
    """The shape of the decoder's output, if it is that of x.

    Raises:
        VaejaxError: a likelihood of several numbers per coordinate.
    """
    if (numbers := head_of(likelihood).outputs_per_coordinate) > 1:
        raise VaejaxError(
            f"data_shape is missing, and of the decoder's outputs {likelihood.name} "
            f"takes {numbers} for each coordinate of x: give data_shape"
        )
    params = jax.eval_shape(decoder.init, jax.random.key(0))
    try:
        return jax.eval_shape(decoder.apply, params, z).shape
    except (TypeError, ValueError, AttributeError) as error:
        raise fails_at("decoder", z, error) from error


def _size_of_prior(prior: Prior, init: Callable[[Key], Params], encode: Encode) -> int:
    """The count of numbers in a sample of the prior."""
    labelled = prior.labels.num_classes is not None or prior.labels.positions

    def sample(key: Key) -> Event:
        y = jnp.zeros((), int) if labelled else None
        return prior.family.sample(key, prior.apply(encode, init(key), y))

    return _size(jax.eval_shape(sample, jax.random.key(0)))


def _size(event: Event) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(event))


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
    try:
        found = _size_of_prior(prior, init, encode)
    except VaejaxError:  # a prior that lacks its exemplars says so when it is used
        return
    expected = _size(event_of(posterior, (latent_dim,)))
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
            raise fails_at(role, x, error) from error
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


def seen_by_encoder(
    likelihood: Family, data_mean: np.ndarray | None
) -> Callable[[Array], Array]:
    """What an encoder sees of x: x - data_mean, or features, and 0 for the missing."""
    center = 0.0 if data_mean is None else np.asarray(data_mean, jnp.result_type(float))

    def see(x: Array) -> Array:
        features = likelihood.features
        seen = x - center if features is None else features(x)
        return jnp.where(jnp.isnan(seen), 0, seen) if likelihood.space.missing else seen

    return see


def input_size(likelihood: Family, data_shape: tuple[int, ...]) -> int:
    """How many numbers an encoder sees of an observation."""
    see = seen_by_encoder(likelihood, None)
    return jax.eval_shape(see, event_of(likelihood, data_shape)).size


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
            input_size(likelihood, data_shape),
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
