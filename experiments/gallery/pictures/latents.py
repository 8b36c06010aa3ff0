"""Pictures of the effect of latents, for models of one layer of real latents."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from experiments.gallery.entry import Trained
from vaejax.core import Example
from vaejax.evaluation import posterior_means
from vaejax.plotting import image_grid

STEPS = 11
SEEN = 2000  # test examples for ranking the latents by use


def traversals(trained: Trained, title: str, rows: int = 8) -> Figure:
    """The first test image with one latent moved at a time, the most used ones first.

    The range is -3 to 3 standard deviations of the aggregated posterior's means.
    """
    model, params, data = trained.model, trained.params, trained.data
    examples = jax.tree.map(lambda leaf: leaf[:SEEN], data.test)
    means = posterior_means(model, params, examples)
    spread = means.std(0)
    used = np.argsort(-spread)[:rows]
    paths = np.repeat(means[None, None, 0], len(used), 0).repeat(STEPS, 1)
    for row, latent in enumerate(used):
        middle = means[:, latent].mean()
        paths[row, :, latent] = middle + np.linspace(-3, 3, STEPS) * spread[latent]
    flat = jnp.asarray(paths.reshape(-1, means.shape[1]))
    y = jax.tree.map(lambda leaf: leaf[0], examples.y)
    images = decoded(trained, flat, y)
    return image_grid(images, title, columns=STEPS)


def decoded(
    trained: Trained, z: Float[Array, "N Z"], y: Array | None = None
) -> Float[Array, "N ..."]:
    """The means of p(x | z, y)."""
    model, params = trained.model, trained.params
    return jax.vmap(lambda one: model.likelihood.mean(model.decode(params, one, y)))(z)


def first(trained: Trained, count: int) -> Example:
    """The first `count` test examples."""
    return jax.tree.map(lambda leaf: leaf[:count], trained.data.test)
