"""Bounds on log p(x): scalar functions F of K importance log-weights.

With `log_w_k = log p(x, z_k) - log q(z_k | x)` and `z_k ~ q(z | x)` independent, most
are combinations of one statistic, the log of a power mean of n weights,

    L(n, p) = 1/p log 1/n sum_{k <= n} w_k^p,

which rises with n for p > 0 and with p, in expectation: ELBO = E L(1, 1),
IWAE_K = E L(K, 1) <= log p(x) <= L(inf, p) for p >= 1. The `expectation` of a bound
lists the L whose sum is its expectation; `vaejax.exact` integrates them at any K.

All values are in nats.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from vaejax.core import (
    Bound,
    DistParams,
    Example,
    LogMean,
    LogTerms,
    Model,
    Params,
    Scalar,
    VaejaxError,
)
from vaejax.core.naming import named_by_settings
from vaejax.core.ranges import Depth


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
        expectation=_mean_of_singles,
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
        expectation=_mean_of_singles,
    )


@named_by_settings
def beta_elbo(beta: float = 4.0) -> Bound:
    """The beta-VAE's bound: `mean_k log p(x|z_k) + beta (log p(z_k) - log q(z_k|x))`.

    Relation to log p(x): a lower bound for beta >= 1, below the ELBO by
    `(beta - 1) KL(q(z|x) || p(z))`; below 1 it bounds nothing.

    References:
        Higgins et al. 2017, "beta-VAE".

    Examples:
        >>> terms = LogTerms(*(jnp.array([x]) for x in (-5.0, -2.0, -1.0)))
        >>> float(beta_elbo(beta=4.0).log_weight(terms)[0])  # -5 + 4 (-2 + 1)
        -9.0
    """
    if not 0 <= beta < math.inf:
        raise VaejaxError(f"beta is {beta}: use a finite KL weight of at least 0")

    def tempered(terms: LogTerms) -> Float[Array, " K"]:
        return terms.log_px_z + beta * (terms.log_pz - terms.log_qz)

    return Bound(
        name="beta_elbo",
        aggregate=jnp.mean,
        log_weight=tempered,
        separable=True,
        curvature=jnp.zeros_like,
        relation="lower" if beta >= 1 else "none",
        expectation=_mean_of_singles,
    )


def reconstruction() -> Bound:
    """An autoencoder's objective: `mean_k log p(x|z_k)`, the prior left out.

    Relation to log p(x): none; with normal pixels of fixed scale s it is a constant
    less the squared error over 2 s^2. The posterior may be a point mass.

    References:
        Hinton and Salakhutdinov 2006, "Reducing the dimensionality of data with neural
        networks", Science 313.

    Examples:
        >>> terms = LogTerms(*(jnp.array([x]) for x in (-5.0, -2.0, -1.0)))
        >>> float(reconstruction().log_weight(terms)[0])
        -5.0
    """
    return Bound(
        name="reconstruction",
        aggregate=jnp.mean,
        log_weight=lambda terms: terms.log_px_z,
        separable=True,
        curvature=jnp.zeros_like,
        expectation=_mean_of_singles,
    )


def iwae() -> Bound:
    """The importance-weighted bound: `log mean_k w_k`.

    Relation to log p(x): a lower bound, tighter with every K, `-> log p(x)` as K grows.

    References:
        Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519.

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0]))
        >>> round(float(iwae().aggregate(log_w)), 3)  # log 2
        0.693
    """
    return _power_mean("iwae", 1.0)


@named_by_settings
def renyi(alpha: float = 0.5) -> Bound:
    """The variational Renyi bound: `1 / (1 - alpha) log mean_k w_k^(1 - alpha)`.

    Relation to log p(x): falls with alpha; the ELBO at alpha = 1 (the limit), IWAE at
    0. A lower bound for alpha >= 0. For alpha < 0 it is an upper bound as K -> inf
    only: at finite K its expectation can lie on either side.

    References:
        Li and Turner 2016, arXiv:1602.02311.

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0]))
        >>> round(float(renyi(alpha=2.0).aggregate(log_w)), 3)  # -log mean(1, 1/3)
        0.405
    """
    if not math.isfinite(alpha):
        raise VaejaxError(f"alpha is {alpha}: use a finite number")
    return _power_mean("renyi", 1.0 - alpha)


@named_by_settings
def miwae(num_groups: int = 2) -> Bound:
    """M groups of K samples: `mean_m log mean_k w_mk`; num_samples is M K.

    Relation to log p(x): the expectation of IWAE_K, K = num_samples / M, with M times
    less variance.

    References:
        Rainforth et al. 2018, arXiv:1802.04537.

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0, 2.0, 2.0]))
        >>> round(float(miwae(num_groups=2).aggregate(log_w)), 3)  # log 2, twice
        0.693
    """
    if num_groups < 1:
        raise VaejaxError(f"num_groups is {num_groups}: use at least 1")
    inner = iwae()

    def mean_of_groups(log_w: Float[Array, " MK"]) -> Scalar:
        return jax.vmap(inner.aggregate)(log_w.reshape(num_groups, -1)).mean()

    def curvature(log_w: Float[Array, " MK"]) -> Float[Array, " MK"]:
        assert inner.curvature is not None
        groups = jax.vmap(inner.curvature)(log_w.reshape(num_groups, -1))
        return groups.reshape(-1) / num_groups

    def needs(model: Model, num_samples: int) -> str | None:
        if num_samples % num_groups == 0:
            return None
        return (
            f"{num_samples} samples do not make {num_groups} equal groups: use a "
            "num_samples that num_groups divides"
        )

    return Bound(
        name="miwae",
        aggregate=mean_of_groups,
        curvature=curvature,
        needs=needs,
        relation="lower",
        expectation=lambda num_samples: [LogMean(1.0, num_samples // num_groups)],
    )


@named_by_settings
def ciwae(beta: float = 0.5) -> Bound:
    """A convex combination: `beta ELBO + (1 - beta) IWAE_K`.

    Relation to log p(x): a lower bound, between the ELBO and IWAE_K.

    References:
        Rainforth et al. 2018, arXiv:1802.04537.

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0]))
        >>> round(float(ciwae(beta=0.5).aggregate(log_w)), 3)  # 0.549 and 0.693
        0.621
    """
    if not 0 <= beta <= 1:
        raise VaejaxError(f"beta is {beta}: use a weight from 0 to 1")
    loose, tight = elbo(), iwae()

    def curvature(log_w: Float[Array, " K"]) -> Float[Array, " K"]:
        assert tight.curvature is not None
        return (1 - beta) * tight.curvature(log_w)

    return Bound(
        name="ciwae",
        aggregate=lambda log_w: (
            beta * loose.aggregate(log_w) + (1 - beta) * tight.aggregate(log_w)
        ),
        curvature=curvature,
        relation="lower",
        expectation=lambda num_samples: [
            LogMean(beta, 1),
            LogMean(1 - beta, num_samples),
        ],
    )


@named_by_settings
def piwae(num_groups: int = 2) -> Bound:
    """IWAE_{M K} for the model, MIWAE(M, K) for the inference network.

    Its value is IWAE_{M K}; the encoder climbs the bound of smaller K, whose gradient
    has the greater signal-to-noise ratio.

    Relation to log p(x): that of IWAE with all of the num_samples.

    References:
        Rainforth et al. 2018, arXiv:1802.04537.

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0, 2.0, 2.0]))
        >>> round(float(piwae(num_groups=2).aggregate(log_w)), 3)  # log 2, of all four
        0.693
    """
    return train_apart("piwae", iwae(), miwae(num_groups))


@named_by_settings
def cubo(order: float = 2.0) -> Bound:
    """The chi upper bound, to be minimised: `1/n log mean_k w_k^n` with n >= 1.

    Relation to log p(x): `1/n log E w^n >= log p(x)`, the limit in K. At finite K the
    logarithm biases it downwards: it is at least IWAE_K, yet can lie below log p(x).
    Of order 1 it is IWAE_K, a lower bound.
    Minimising the bound fits q to a model, but would also lower log p(x), so train the
    model by another bound: `train_apart("chi_vae", iwae(), cubo())`.

    References:
        Dieng et al. 2017, arXiv:1611.00328.

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0]))
        >>> round(float(cubo(order=2.0).aggregate(log_w)), 3)  # log(5) / 2
        0.805
    """
    if not 1 <= order < math.inf:
        raise VaejaxError(f"the order of cubo is {order}: use one of at least 1")
    return _power_mean("cubo", order, minimised=True)


def jvi(order: Literal[1, 2] = 1) -> Bound:
    """IWAE debiased by the jackknife, of first or second order.

        JVI_1 = K L_K - (K - 1) mean L_{K-1}
        JVI_2 = K^2/2 L_K - (K - 1)^2 mean L_{K-1} + (K - 2)^2/2 mean L_{K-2}

    with the means over all subsets of this size of the K samples. In float32 the terms
    of JVI_1, each K times its size, would round off; the code computes, with normalized
    weights w~,

        JVI_1 = L_K - (K - 1) (mean_k log(1 - w~_k) + log K / (K - 1))

    Relation to log p(x): its bias is O(K^-(1 + order)) instead of O(1/K); no bound, as
    it can lie on either side. Second order takes O(K^3) operations and memory.

    References:
        Nowozin 2018, "Debiasing evidence approximations" (coefficients of Sharot 1976).

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0]))
        >>> round(float(jvi().aggregate(log_w)), 3)  # 2 log 2 - 0.549
        0.837
    """
    if order not in (1, 2):
        raise VaejaxError(f"the order of jvi is {order!r}: use 1 or 2")

    def coefficients(k: int) -> list[float]:
        if order == 1:
            return [float(k), 1.0 - k]
        return [k**2 / 2, -((k - 1.0) ** 2), (k - 2) ** 2 / 2]

    def first_order(log_w: Float[Array, " K"]) -> Scalar:
        k = log_w.shape[0]
        largest = stop_gradient(log_w.max())
        below = log_w - largest
        total = logsumexp(below)
        # log(1 - w~), which rounds off for a weight above 1/2: at most the largest one.
        first = jnp.arange(k) == jnp.argmax(log_w)
        others = logsumexp(jnp.where(first, -jnp.inf, below))
        rest = jnp.log1p(-jnp.where(first, 0.0, jnp.exp(below - total)))
        rest = jnp.where(first, others - total, rest)
        jackknife = (k - 1) * (rest.mean() + np.log(k / (k - 1)))
        return largest + (total - np.log(k) - jackknife)

    def second_order(log_w: Float[Array, " K"]) -> Scalar:
        k = log_w.shape[0]
        same = np.eye(k, dtype=bool)
        first, second = np.triu_indices(k, 1)
        left_out = [np.zeros((1, k), bool), same, same[first] | same[second]]
        total = jnp.zeros(())
        for dropped, (coefficient, out) in enumerate(
            zip(coefficients(k), left_out, strict=True)
        ):
            subsets = jnp.where(out, -jnp.inf, log_w[None])
            values = logsumexp(subsets, axis=1) - np.log(k - dropped)
            total += coefficient * values.mean()
        return total

    def needs(model: Model, num_samples: int) -> str | None:
        if num_samples > order:
            return None
        return (
            f"the jackknife of order {order} leaves {order} of the samples out, and "
            f"there are {num_samples}: use num_samples of at least {order + 1}"
        )

    return Bound(
        name="jvi" if order == 1 else "jvi2",
        aggregate=first_order if order == 1 else second_order,
        needs=needs,
        relation="debiased",
        expectation=lambda k: [
            LogMean(coefficient, k - dropped)
            for dropped, coefficient in enumerate(coefficients(k))
        ],
    )


@named_by_settings
def tvo(
    num_partitions: Depth = 5,
    first_beta: float = 0.05,
    side: Literal["left", "right"] = "left",
) -> Bound:
    """The thermodynamic variational objective: a Riemann sum along the geometric path.

        sum_s (beta_s - beta_{s-1}) sum_k softmax(beta log_w)_k log_w_k

    with beta = beta_{s-1} ("left") or beta_s ("right") between beta_0 = 0 and
    beta_S = 1, in logarithmic steps from `first_beta`. Each term is the derivative of
    the convex `log mean_k w_k^beta`, so that

    Relation to log p(x): left <= IWAE_K <= right at any K, hence left is a lower bound;
    one left partition is the ELBO, as is K = 1. Right bounds log p(x) from above as
    K -> inf only.

    References:
        Masrani, Le and Wood 2019, arXiv:1907.00031.

    Examples:
        >>> log_w = jnp.log(jnp.array([1.0, 3.0]))
        >>> round(float(tvo(num_partitions=1).aggregate(log_w)), 3)  # the ELBO
        0.549
    """
    if num_partitions < 1:
        raise VaejaxError(f"num_partitions is {num_partitions}: use at least 1")
    if not 0 < first_beta < 1:
        raise VaejaxError(f"first_beta is {first_beta}: use one between 0 and 1")
    if side not in ("left", "right"):
        raise VaejaxError(f"unknown side {side!r}: use 'left' or 'right'")
    inner = np.geomspace(first_beta, 1.0, num_partitions) if num_partitions > 1 else [1]
    knots = np.concatenate([[0.0], inner])
    steps = np.diff(knots)
    betas = knots[:-1] if side == "left" else knots[1:]

    def riemann_sum(log_w: Float[Array, " K"]) -> Scalar:
        # The gradient is shift-invariant: subtracting the largest reduces cancellation.
        largest = stop_gradient(log_w.max())
        below = log_w - largest

        def expected(beta: Scalar) -> Scalar:
            normalized = jax.nn.softmax(beta * below)
            # An impossible sample has weight 0, unless beta is 0.
            return jnp.dot(normalized, jnp.where(normalized > 0, below, 0.0))

        return largest + jnp.dot(
            jnp.asarray(steps, log_w.dtype),
            jax.vmap(expected)(jnp.asarray(betas, log_w.dtype)),
        )

    is_elbo = side == "left" and num_partitions == 1

    def expectation(num_samples: int) -> list[LogMean] | None:
        return [LogMean(1.0, 1)] if is_elbo or num_samples == 1 else None

    return Bound(
        name="tvo",
        aggregate=riemann_sum,
        separable=is_elbo,
        expectation=expectation,
        relation="lower" if side == "left" else "upper",
        minimised=side == "right",
        path=tuple(zip(steps.tolist(), betas.tolist(), strict=True)),
    )


def train_apart(name: str, model_bound: Bound, inference_bound: Bound) -> Bound:
    """The value of `model_bound`; the posterior is trained by `inference_bound`.

    The model's parameters receive the gradient of `model_bound` with the posterior
    fixed, and the posterior's that of `inference_bound` with the model fixed.

    Examples:
        >>> bound = train_apart("chi_vae", iwae(), cubo())
        >>> bound.name, bound.inference.name
        ('chi_vae', 'cubo')
    """

    def needs(model: Model, num_samples: int) -> str | None:
        return model_bound.needs(model, num_samples) or inference_bound.needs(
            model, num_samples
        )

    return dataclasses.replace(
        model_bound, name=name, needs=needs, inference=inference_bound
    )


def _mean_of_singles(num_samples: int) -> list[LogMean]:
    return [LogMean(1.0, 1)]


def _power_mean(name: str, power: float, minimised: bool = False) -> Bound:
    """`1/p log mean_k w_k^p`, and its limit at p = 0, the mean of the log-weights."""
    if power == 0:
        return Bound(
            name=name,
            aggregate=jnp.mean,
            separable=True,
            curvature=jnp.zeros_like,
            expectation=_mean_of_singles,
            relation="lower",
            minimised=minimised,
        )

    def aggregate(log_w: Float[Array, " K"]) -> Scalar:
        if abs(power) >= 1e-3:
            return (logsumexp(power * log_w) - jnp.log(log_w.shape[0])) / power
        # The difference of logarithms would round off before the division by `power`.
        largest = stop_gradient(log_w.max())
        below = jnp.expm1(power * (log_w - largest)).mean()
        return largest + jnp.log1p(below) / power

    def curvature(log_w: Float[Array, " K"]) -> Float[Array, " K"]:
        normalized = jax.nn.softmax(power * log_w)
        return power * normalized * (1 - normalized)

    return Bound(
        name=name,
        aggregate=aggregate,
        curvature=curvature,
        expectation=lambda num_samples: [LogMean(1.0, num_samples, power)],
        relation="lower" if power <= 1 else "upper",
        minimised=minimised,
    )


BOUNDS: dict[str, Callable[..., Bound]] = {
    "elbo": elbo,
    "elbo_analytic_kl": elbo_analytic_kl,
    "beta_elbo": beta_elbo,
    "reconstruction": reconstruction,
    "iwae": iwae,
    "renyi": renyi,
    "miwae": miwae,
    "ciwae": ciwae,
    "piwae": piwae,
    "tvo": tvo,
    "cubo": cubo,
    "jvi": jvi,
}
