"""RELAX: a control variate by relaxation with a learned network.

`rebar` holds with any function c of the relaxed latents. Here a network r adds to the
relaxed log-weights, or replaces them, so that c is a function of K samples as F is:

    c(zeta) = F(log_w(zeta) + r(zeta))   or   c(zeta) = F(r(zeta))

For the ELBO family the first is REBAR's F(zeta) + mean_k r(zeta_k).
"""

from collections.abc import Sequence
from typing import Literal

import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from vaejax.core import (
    Estimator,
    EstState,
    Event,
    Key,
    Model,
    Problem,
    PyTree,
    VaejaxError,
    Verdict,
)
from vaejax.core.naming import named_by_settings
from vaejax.estimators.rebar import controlled, start_of
from vaejax.nets import activation_named, mlp
from vaejax.terms import require


@named_by_settings
def relax(
    network: Literal["added", "alone"] = "added",
    hidden: Sequence[int] = (50,),
    activation: str = "tanh",
    temperature: float = 0.5,
    eta: float = 1.0,
) -> Estimator:
    """The score function with a learned control variate of the relaxed latents.

        dF/dlam + sum_k (F(b) - eta c(zeta~)) grad log q(b_k; lam)
            + eta grad [c(zeta) - c(zeta~)]

    For a separable bound sample k is weighed by its terms of F and c. The network,
    `eta` and the temperature are learned.

    Valid for: posteriors with a relaxation, every bound, models that give their
    `latent_shape`; unbiased. It costs three
    forward passes, or one and the network's where it stands alone.

    Args:
        network: "added" to the relaxed log-weights, or "alone" in their place.
        hidden: widths of its hidden layers.
        activation: a name in `vaejax.nets.ACTIVATIONS`.
        temperature: of the relaxation, to start from.
        eta: weight of the control variate, to start from.

    Returns:
        An estimator whose surrogate is a scalar whose value is the bound and whose
        gradient is the RELAX estimate; beside it the variance of the estimate is
        descended in the network, eta and log temperature.

    References:
        Grathwohl, Choi, Wu, Roeder and Duvenaud 2018, arXiv:1711.00123.

    Examples:
        >>> problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
        >>> relax(network="alone").check(problem).status
        'unbiased'
    """
    if network not in ("added", "alone"):
        raise VaejaxError(f"unknown network {network!r}: use 'added' or 'alone'")
    activation_named(activation)
    start = start_of(temperature, eta)

    def init(problem: Problem, key: Key) -> tuple[PyTree, EstState]:
        latents = jax.tree.leaves(problem.model.latent_shape)
        size = sum(leaf.size for leaf in latents)
        weights = mlp(size, hidden, 1, activation).init(key)
        return start() | {"network": weights}, ()

    def log_control(
        auxiliary: PyTree, log_w: Float[Array, " K"], zeta: Event
    ) -> Float[Array, " K"]:
        def one(zeta: Event) -> Float[Array, ""]:
            flat, _ = ravel_pytree(zeta)
            apply = mlp(flat.size, hidden, 1, activation).apply
            return apply(auxiliary["network"], flat)[0]

        learned = jax.vmap(one)(zeta)
        return log_w + learned if network == "added" else learned

    def needs(model: Model) -> Verdict | None:
        return require(
            model.latent_shape is not None,
            "relax's control variate is a network on z, and the model does not give "
            "the shape of z",
            "use a Model with latent_shape, or rebar",
        )

    return controlled("relax", init, log_control, needs)
