"""Pictures of models that decode a class and latents of everything else."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from experiments.gallery.judges.classifier import Labelled
from vaejax.core import Example
from vaejax.plotting import image_grid

Decode = Callable[[Array, Array], Array]  # z and y to the mean image


def samples_by_class(
    decode: Decode, z: Float[Array, "N Z"], num_classes: int
) -> Figure:
    """A row for every class, a column for every z."""
    images = _of_every_class(decode, z, num_classes).swapaxes(0, 1)
    return image_grid(
        images.reshape(-1, *images.shape[2:]),
        "Samples by class, a row for each; a column shares its z",
        columns=len(z),
    )


def analogies(
    decode: Decode,
    x: Float[Array, "N ..."],
    z: Float[Array, "N Z"],
    num_classes: int,
) -> Figure:
    """Images, each beside its z decoded as every class."""
    images = _of_every_class(decode, z, num_classes)
    rows = jnp.concatenate([x[:, None], images], 1)
    return image_grid(
        rows.reshape(-1, *x.shape[1:]),
        "A test image, then its z as every class",
        columns=1 + num_classes,
    )


def one_of_each_class(examples: Labelled, num_classes: int) -> Example:
    """The first example of every class."""
    first = jnp.stack([jnp.argmax(examples.y == y) for y in range(num_classes)])
    return Example(examples.x[first], examples.y[first])


def _of_every_class(
    decode: Decode, z: Float[Array, "N Z"], num_classes: int
) -> Float[Array, "N C ..."]:
    y = jnp.arange(num_classes)
    return jax.jit(jax.vmap(jax.vmap(decode, (None, 0)), (0, None)))(z, y)
