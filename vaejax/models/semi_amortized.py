"""Semi-amortized inference: the encoder's parameters, refined for each example.

    lam_0 = encoder(x),   lam_{t+1} = lam_t + Adam step on ELBO(lam_t; x)

The gradient of any bound goes through these steps, into the encoder and the model.

Every step draws new noise: with fixed noise, an ELBO of K samples is unbounded, as a
growing scale with z held in place raises -log q for ever. The gradient is the path
derivative, that of log p(x, z) - log q(z; lam) through z alone: Adam's steps are as
long for noise as for a slope, and the path derivative's noise vanishes at the exact
posterior.

Source: Kim et al. 2018, arXiv:1802.02550; Marino et al. 2018, arXiv:1807.09356; the
path derivative: Roeder, Wu and Duvenaud 2017, arXiv:1703.09194.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from vaejax.core import (
    DistParams,
    Example,
    IncompatibleError,
    Key,
    Model,
    Params,
    Scalar,
    VaejaxError,
    plain,
)
from vaejax.core.ranges import CountOrZero, Shape
from vaejax.models.gaussian_mlp import gaussian_mlp
from vaejax.models.parts import NONE, Settings
from vaejax.terms import log_terms


def refine(
    model: Model,
    params: Params,
    dist_params: DistParams,
    example: Example,
    key: Key,
    *,
    num_steps: int,
    step_size: float | optax.Schedule,
    num_samples: int = 8,
) -> DistParams:
    """The posterior's parameters after some steps of Adam on the example's ELBO.

    Args:
        model: with a reparameterisable posterior; what it decodes with stays as it is.
        params: of the model.
        dist_params: where to start.
        example: one.
        key: of the noise that the ELBO is averaged over, anew at every step.
        num_steps: 0 or more.
        step_size: of Adam, in the units of the parameters, such as log standard
            deviations.
        num_samples: of the average.
    """
    optimizer = optax.adam(step_size, eps_root=1e-8)  # differentiable at 0 too

    # The density's parameters are an argument, not stopped, as the gradient through the
    # steps includes their change.
    def loss(own: DistParams, of_density: DistParams, key: Key) -> Scalar:
        keys = jax.random.split(key, num_samples)
        z = jax.vmap(model.posterior.sample, (0, None))(keys, own)
        return -plain(log_terms(model, params, of_density, z, example)).mean()

    def step(carry: tuple, number: jax.Array) -> tuple[tuple, None]:
        own, state = carry
        slope = jax.grad(loss)(own, own, jax.random.fold_in(key, number))
        updates, state = optimizer.update(slope, state)
        own = optax.apply_updates(own, updates)
        if model.posterior.restriction is not None:
            own = model.posterior.restriction.project(own)
        return (own, state), None

    start = dist_params, optimizer.init(dist_params)
    (refined, _), _ = jax.lax.scan(step, start, jnp.arange(num_steps))
    return refined


def require_refinable(model: Model) -> None:
    """Refuse a posterior whose parameters cannot, or should not, be refined.

    Raises:
        IncompatibleError: one without a path to its parameters, or with weights of its
            own, which would be refined for every example.
    """
    if model.posterior.reparam is None:
        raise IncompatibleError(
            f"the parameters of {model.posterior.name} latents cannot be refined by a "
            "gradient through samples: use a reparameterisable posterior"
        )
    head = model.posterior.head
    if head is not None and head.weights is not None:
        raise IncompatibleError(
            f"{model.posterior.name} latents have weights of their own, which would "
            "be refined for every example: use a posterior without weights, such as "
            "diagonal_normal"
        )


def with_refinement(
    model: Model, num_steps: int, step_size: float, num_samples: int = 8
) -> Model:
    """The model whose encoder is followed by `refine`.

    The noise follows from x, so that `encode` stays a function of the example.

    Raises:
        IncompatibleError: as `require_refinable` does.
        VaejaxError: a step size that is no finite number above 0.
    """
    require_refinable(model)
    if not 0 < step_size < math.inf:
        raise VaejaxError(f"step_size is {step_size}: use a finite number above 0")

    def encode(params: Params, example: Example) -> DistParams:
        return refine(
            model,
            params,
            model.encode(params, example),
            example,
            key_of(example.x),
            num_steps=num_steps,
            step_size=step_size,
            num_samples=num_samples,
        )

    return dataclasses.replace(
        model,
        name=f"semi_amortized_{model.name}",
        encode=encode,
        extras=dataclasses.replace(model.extras, exact_elbo=None),
    )


def key_of(x: Array) -> Key:
    """A random key that is a function of the numbers in x, bit for bit."""
    bits = jax.lax.bitcast_convert_type(
        jax.lax.stop_gradient(x).astype(jnp.float32), jnp.uint32
    )
    odd = np.random.default_rng(0).integers(2**32, size=x.shape, dtype=np.uint32) | 1
    # The low bits of a small whole number are zeros, as would be those of products.
    digest = ((bits ^ (bits >> 16)) * odd).sum(dtype=jnp.uint32)
    return jax.random.fold_in(jax.random.key(0), digest)


def semi_amortized_mlp(
    data_shape: Shape = (28, 28, 1),
    *,
    data_mean: np.ndarray | None = None,
    latent_dim: int = 50,
    hidden: Sequence[int] = (200, 200),
    activation: str = "tanh",
    posterior: str = "diagonal_normal",
    posterior_settings: Settings = NONE,
    prior: str = "standard_normal",
    prior_settings: Settings = NONE,
    likelihood: str = "bernoulli",
    likelihood_settings: Settings = NONE,
    num_steps: CountOrZero = 5,
    step_size: float = 0.02,
    num_samples: int = 8,
) -> Model:
    """`gaussian_mlp` with a few steps of refinement.

    Args:
        data_shape, data_mean, latent_dim, hidden, activation: as for `gaussian_mlp`.
        posterior, prior, likelihood: likewise, with their settings.
        num_steps, step_size, num_samples: as for `refine`.
    """
    model = gaussian_mlp(
        data_shape,
        data_mean=data_mean,
        latent_dim=latent_dim,
        hidden=hidden,
        activation=activation,
        posterior=posterior,
        posterior_settings=posterior_settings,
        prior=prior,
        prior_settings=prior_settings,
        likelihood=likelihood,
        likelihood_settings=likelihood_settings,
    )
    refined = with_refinement(model, num_steps, step_size, num_samples)
    return dataclasses.replace(refined, name="semi_amortized_mlp")
