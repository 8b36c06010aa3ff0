"""Location-scale families whose scale is not a network output."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.core import DistParams, Family, Head, Key, VaejaxError, head_of
from vaejax.families.heads import one_output


def with_fixed_scale(name: str, family: Family, scale: float) -> Family:
    """The family at a fixed scale; the parameter is the location.

    Args:
        name: of the new family.
        family: whose outputs are a location and a log-scale.
        scale: in the units of the data.

    Raises:
        VaejaxError: a scale that is not positive and finite.
    """
    head, log_scale = head_of(family), _log(scale)

    def with_scale(loc: Float[Array, "*event"]) -> DistParams:
        return head.from_outputs(jnp.stack([loc, jnp.full_like(loc, log_scale)]))

    return Family(
        name=name,
        sample=lambda key, loc: family.sample(key, with_scale(loc)),
        log_prob=lambda loc, x: family.log_prob(with_scale(loc), x),
        mean=lambda loc: loc,
        head=one_output(lambda mean: mean),
        space=family.space,
        factorised=family.factorised,
        reparam=family.reparam,
    )


def with_shared_scale(
    name: str, family: Family, channels: int, initial_scale: float
) -> Family:
    """The family with a learned scale for each channel, which no network puts out.

    The log-scales, [channels], are the family's weights. Adam moves a number by no more
    than the learning rate a step: log-scales must start near their final values.

    Args:
        name: of the new family.
        family: whose outputs are a location and a log-scale.
        channels: the length of the data's last axis, or 1: one scale for all of them.
        initial_scale: in the units of the data.

    Raises:
        VaejaxError: a scale that is not positive and finite; once the data's shape is
            known, if they have other channels.
    """
    head, start = head_of(family), _log(initial_scale)

    def from_outputs(
        outputs: Float[Array, "1 ..."], log_scales: Float[Array, " channels"]
    ) -> DistParams:
        loc = outputs[0]
        if channels not in (1, loc.shape[-1]):
            raise VaejaxError(
                f"{name} was given {channels} channels, but the data's last axis has "
                f"{loc.shape[-1]}: use channels={loc.shape[-1]}, or 1 for one scale"
            )
        return head.from_outputs(
            jnp.stack([loc, jnp.broadcast_to(log_scales, loc.shape)])
        )

    def weights(key: Key) -> Float[Array, " channels"]:
        return jnp.full(channels, start)

    return Family(
        name=name,
        sample=family.sample,
        log_prob=family.log_prob,
        mean=family.mean,
        head=Head(
            outputs_per_coordinate=1,
            from_outputs=from_outputs,
            to_outputs=lambda mean: mean[None],
            weights=weights,
        ),
        space=family.space,
        factorised=family.factorised,
        reparam=family.reparam,
    )


def _log(scale: float) -> float:
    if not 0 < scale < math.inf:  # so that NaN is refused too
        raise VaejaxError(f"the scale is {scale}: use a finite number above 0")
    return math.log(scale)
