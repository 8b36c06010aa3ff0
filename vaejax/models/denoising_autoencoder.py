"""The denoising autoencoder: it reconstructs x from a corrupted x.

    loss = -log p(x | r(x~)),    x~ ~ C(x~ | x)

With Gaussian corruption and normal pixels the best r is the posterior mean of x, and so

    (r(x~) - x~) / sigma^2 = grad log p_sigma(x~),    p_sigma = p * N(0, sigma^2 I)

the score of the smoothed density (Vincent et al. 2008, "Extracting and composing robust
features with denoising autoencoders"; Vincent 2011, "A connection between score
matching and denoising autoencoders"; Alain and Bengio 2014, arXiv:1211.4246).
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import Event, Example, Key, Model, Params
from vaejax.core.ranges import Shape
from vaejax.families import point_mass
from vaejax.models.autoencoder import autoencoder
from vaejax.models.corruption import Corrupt, corruption
from vaejax.models.parts import NONE, Settings


def denoising_autoencoder(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dim: int = 500,
    hidden: Sequence[int] = (),
    activation: str = "relu",
    units: str = "sigmoid",
    noise: str = "masking",
    level: float = 0.25,
    likelihood: str = "fixed_normal",
    likelihood_settings: Settings = NONE,
) -> Model:
    """An `autoencoder` whose encoder sees a corrupted x in training.

    Valid for: the bound `reconstruction` by the estimator `pathwise`.

    Args:
        data_shape, data_mean, latent_dim, hidden, activation: as of `autoencoder`.
        units: of the code, linear, relu or sigmoid.
        noise: masking or gaussian.
        level: the probability nu that a coordinate is masked, or sigma.
        likelihood, likelihood_settings: as of `autoencoder`.
    """
    clean = autoencoder(
        data_shape=data_shape,
        data_mean=data_mean,
        latent_dim=latent_dim,
        hidden=hidden,
        activation=activation,
        posterior_settings={"units": units},
        likelihood=likelihood,
        likelihood_settings=likelihood_settings,
    )
    return with_corruption(clean, "denoising_autoencoder", corruption(noise, level))


class Uncorrupted(NamedTuple):
    """The inputs of the code, besides the noise."""

    params: Params
    example: Example


def with_corruption(model: Model, name: str, corrupt: Corrupt) -> Model:
    """An autoencoder with codes of corrupted x; the posterior's mean is the clean code.

    The noise is the posterior's: each of K samples has its own.
    """

    def sample(key: Key, seen: Uncorrupted) -> Event:
        noise_key, code_key = jax.random.split(key)
        noisy = seen.example._replace(x=corrupt(noise_key, seen.example.x))
        return model.posterior.sample(code_key, model.encode(seen.params, noisy))

    def code(seen: Uncorrupted) -> Event:
        return model.posterior.mean(model.encode(seen.params, seen.example))

    return dataclasses.replace(
        model,
        name=name,
        encode=Uncorrupted,
        posterior=dataclasses.replace(
            point_mass(),
            name="corrupted",
            sample=sample,
            mean=code,
            head=None,
            exact_mean=False,
        ),
    )


def denoise(model: Model, params: Params, x: Float[Array, "*event"]) -> Array:
    """r(x): the mean of p(x | z) at the code of the uncorrupted x."""
    z = model.posterior.mean(model.encode(params, Example(x)))
    return model.likelihood.mean(model.decode(params, z, None))
