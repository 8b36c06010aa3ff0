"""The evidence lower bound, its KL divergence by Monte Carlo or in closed form."""

import jax.numpy as jnp

from vaejax.bounds.power_mean import mean_of_singles
from vaejax.core import Bound, DistParams, Example, Model, Params, Scalar


def elbo() -> Bound:
    """The evidence lower bound, KL by Monte Carlo: `mean_k log_w_k`.

    Relation to log p(x): `E[elbo] = log p(x) - KL(q(z|x) || p(z|x))`.

    References:
        Kingma and Welling 2014, arXiv:1312.6114.

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0]))
        >>> round(float(elbo().aggregate(log_w)), 3)  # (log 1 + log 3) / 2
        0.549
    """
    return Bound(
        name="elbo",
        aggregate=jnp.mean,
        separable=True,
        curvature=jnp.zeros_like,
        relation="lower",
        expectation=mean_of_singles,
    )


def elbo_analytic_kl() -> Bound:
    """The evidence lower bound, KL in closed form: `mean_k log p(x|z_k) - KL(q || p)`.

    Its expectation is that of `elbo`. Valid for: a posterior and a prior of one family
    whose KL divergence is known.

    References:
        Kingma and Welling 2014, arXiv:1312.6114, appendix B.

    Examples:
        >>> bound = elbo_analytic_kl()
        >>> problem = Problem(model=gaussian_toy(), bound=bound, num_samples=1)
        >>> pathwise().check(problem).status
        'unbiased'
    """

    def closed_form_kl(
        model: Model, params: Params, dist_params: DistParams, example: Example
    ) -> Scalar:
        assert model.posterior.kl is not None  # `needs` refused the others
        return model.posterior.kl(dist_params, model.prior(params, example.y))

    def needs(model: Model, num_samples: int) -> str | None:
        if model.posterior.kl and model.posterior.law == model.latent_prior.law:
            return None
        return (
            f"no closed-form KL is known between a {model.posterior.name} posterior "
            f"and a {model.latent_prior.name} prior: use the bound 'elbo'"
        )

    return Bound(
        name="elbo_analytic_kl",
        aggregate=jnp.mean,
        log_weight=lambda terms: terms.log_px_z,
        penalty=closed_form_kl,
        separable=True,
        curvature=jnp.zeros_like,
        needs=needs,
        relation="lower",
        expectation=mean_of_singles,
    )
