"""Schedules and multipliers for the weight of the KL divergence in training.

A weight beta multiplies the KL divergence in any bound: the log-weights become

    log p(x|z) + beta (log p(z) - log q(z|x))

and the KL of a bound in closed form is weighed likewise. A schedule depends on the
step, a multiplier on the metrics of the steps before: it is the Lagrange multiplier of

    maximise E log p(x|z)  subject to  KL(q(z|x) || p(z)) <= R            (kl_at_most)
    minimise KL(q(z|x) || p(z))  subject to  -E log p(x|z) <= D   (distortion_at_most)

whose Lagrangians are, up to a factor, the beta-ELBO: the first with beta the multiplier
of the KL, the second with 1 / beta the multiplier of the distortion. Where the
constraint holds with equality, beta is the weight of the unconstrained problem whose
solution has that KL (Karush, Kuhn and Tucker), as in the derivation of the beta-VAE.

Both multipliers update beta by v, the moving average over batches of the excess of KL
or log-likelihood over the limit, relative to the limit: by the sum of v over the steps,
as in dual ascent, and by v itself,

    log beta = step_size sum_t v_t + 3 v

The second term is the quadratic penalty of an augmented Lagrangian: it is 0 where the
constraint holds with equality, and damps the approach, where the sum alone winds up
while training is far from the limit, and overshoots it. Sum and beta stay within 1e-3
to 1e3, and return from an end as soon as v changes its sign: a beta that stays at an
end shows that the constraint does not bind, or cannot be met.

References:
    Bertsekas 1982, "Constrained optimization and Lagrange multiplier methods"; Shao et
    al. 2020, arXiv:2004.05988, for a controller of the KL with both terms.
"""

import math
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaejax.core import KLWeight, PyTree, Registry, Scalar, Stats, VaejaxError
from vaejax.core.build import check_calls
from vaejax.core.ranges import Steps, StepsOrZero


def linear(
    num_steps: Steps = 10_000, start: float = 0.0, end: float = 1.0, cycles: int = 1
) -> KLWeight:
    """A weight that moves from `start` to `end` linearly, then stays constant.

    Args:
        num_steps: until the weight is constant.
        start, end: the weight before the first step and after the last.
        cycles: how often it rises, for the first half of each cycle (cyclical
            annealing) where it is more than once.

    References:
        Bowman et al. 2016, arXiv:1511.06349; Fu et al. 2019, arXiv:1903.10145.
    """
    return _schedule("linear", lambda share: share, num_steps, start, end, cycles)


def cosine(
    num_steps: Steps = 10_000, start: float = 0.0, end: float = 1.0, cycles: int = 1
) -> KLWeight:
    """`linear` along half a cosine: `(1 - cos(pi share)) / 2` of the way."""

    def along(share: Scalar) -> Scalar:
        return (1 - jnp.cos(jnp.pi * share)) / 2

    return _schedule("cosine", along, num_steps, start, end, cycles)


def cyclical(
    num_steps: Steps = 10_000, start: float = 0.0, end: float = 1.0, cycles: int = 4
) -> KLWeight:
    """`linear` in four cycles: a rise in the first half of each, then constant.

    References:
        Fu et al. 2019, arXiv:1903.10145.
    """
    return linear(num_steps, start, end, cycles)


def constant(beta: float = 4.0) -> KLWeight:
    """A constant weight beta, for any bound.

    References:
        Higgins et al. 2017, "beta-VAE".
    """
    _check_weight("beta", beta)
    return KLWeight(name="constant", weight=lambda state: jnp.asarray(beta, float))


def kl_at_most(
    max_kl: float = 10.0, step_size: float = 0.01, num_steps: StepsOrZero = 0
) -> KLWeight:
    """The multiplier of `KL <= max_kl`, in nats: capacity control, or a target rate.

    Where the model would use more than `max_kl`, beta rises until it does not; where it
    uses less, beta falls, to 1e-3 if the constraint never binds.

    Args:
        max_kl: R, the mean KL divergence of an example.
        step_size: of log beta, for a violation as large as the limit.
        num_steps: over which the limit itself rises from 0, as the capacity does in
            Burgess et al. 2018, arXiv:1804.03599; 0: it is there from the start.

    References:
        Rezende and Viola 2018, arXiv:1810.00597 (GECO); Alemi et al. 2018,
        arXiv:1711.00464, for rate and distortion.
    """
    _check_limit("max_kl", max_kl)

    def above(step: Scalar, metrics: Stats) -> Scalar:
        limit = max_kl * (jnp.clip((step + 1) / num_steps, 0, 1) if num_steps else 1)
        return (metrics["kl"] - limit) / max_kl

    return _multiplier("kl_at_most", above, step_size, violated_above=True)


def distortion_at_most(
    max_distortion: float = 100.0, step_size: float = 0.01
) -> KLWeight:
    """The multiplier of `-E log p(x|z) <= max_distortion`, in nats: GECO.

    Args:
        max_distortion: D, the mean of an example. With densities it may be negative.
        step_size: of log beta, for a violation as large as the limit.

    References:
        Rezende and Viola 2018, arXiv:1810.00597.
    """
    if not math.isfinite(max_distortion) or max_distortion == 0:
        raise VaejaxError(
            f"max_distortion is {max_distortion}: use a finite number of nats, not 0"
        )

    def above(step: Scalar, metrics: Stats) -> Scalar:
        return (max_distortion + metrics["log_px_z"]) / abs(max_distortion)

    return _multiplier("distortion_at_most", above, step_size, violated_above=False)


KL_WEIGHTS: Registry[Callable[..., KLWeight]] = Registry("KL weight") | {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "cyclical": cyclical,
    "kl_at_most": kl_at_most,
    "distortion_at_most": distortion_at_most,
}
check_calls(globals(), KL_WEIGHTS)


def _schedule(
    name: str,
    along: Callable[[Scalar], Scalar],
    num_steps: int,
    start: float,
    end: float,
    cycles: int,
) -> KLWeight:
    _check_weight("start", start)
    _check_weight("end", end)
    if min(num_steps, cycles) < 1:
        raise VaejaxError(
            f"num_steps is {num_steps} and cycles {cycles}: use at least 1 of each"
        )
    if cycles * num_steps >= 2**31:
        raise VaejaxError(
            f"num_steps is {num_steps} and cycles {cycles}: use smaller numbers, with "
            "a product below 2^31"
        )
    rising = 0.5 if cycles > 1 else 1.0  # share of a cycle

    def weight(step: Scalar) -> Scalar:
        # Integers: a float quotient just below a whole number is in the cycle before.
        place = cycles * jnp.minimum(jnp.rint(step).astype(jnp.int32), num_steps)
        share = jnp.clip(place % num_steps / (rising * num_steps), 0, 1)
        ended = place == cycles * num_steps
        return start + (end - start) * along(jnp.where(ended, 1.0, share))

    # The step is a float32, exact to 16 million: micro-batches average the states.
    return KLWeight(
        name=name,
        init=lambda: jnp.zeros(()),
        weight=weight,
        update=lambda step, metrics: step + 1,
    )


MEMORY = 0.9  # decay of the moving average per step
PROPORTION = 3.0  # factor of v in log beta
BETA_RANGE = 1e-3, 1e3
TOLERANCE = 0.02  # share of the limit, well above the noise in an epoch's mean


def _multiplier(
    name: str,
    above: Callable[[Scalar, Stats], Scalar],
    step_size: float,
    *,
    violated_above: bool,
) -> KLWeight:
    """Damped dual ascent in log beta, which rises with the excess `above` the limit."""
    _check_limit("step_size", step_size)

    def update(
        state: dict[str, Float[Array, ""]], metrics: Stats
    ) -> dict[str, Float[Array, ""]]:
        # The clip bounds the speed of beta at a start far from the limit.
        now = jnp.clip(above(state["step"], metrics), -1, 1)
        average = MEMORY * state["above"] + (1 - MEMORY) * now
        total = state["total"] + step_size * average
        return {
            "step": state["step"] + 1,
            "above": average,
            "total": jnp.clip(total, *np.log(BETA_RANGE)),
        }

    def weight(state: dict[str, Float[Array, ""]]) -> Scalar:
        log_beta = state["total"] + PROPORTION * state["above"]
        return jnp.clip(jnp.exp(log_beta), *BETA_RANGE)

    def init() -> PyTree:
        zero = jnp.zeros(())
        return {"step": zero, "above": zero, "total": zero}

    def remark(metrics: Mapping[str, float]) -> str | None:
        arrays = {
            metric: jnp.asarray(value, float) for metric, value in metrics.items()
        }
        share = float(above(jnp.asarray(jnp.inf), arrays))
        if abs(share) <= TOLERANCE:
            return None
        beta, (lowest, highest) = metrics["beta"], BETA_RANGE
        violated = (share > 0) == violated_above
        if 1.1 * lowest < beta < highest / 1.1:
            found = "is not met" if violated else "is not reached"
            remedy = f"beta, {beta:.3g}, is on its way: train longer"
        elif violated:
            found, remedy = "cannot be met", f"beta is {beta:.3g}: use a larger limit"
        else:
            found, remedy = "does not bind", f"beta is {beta:.3g}: leave it out"
        return f"{name} {found} ({abs(share):.0%} off the limit) and {remedy}"

    return KLWeight(name=name, init=init, weight=weight, update=update, remark=remark)


def _check_weight(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise VaejaxError(f"{name} is {value}: use a finite KL weight of at least 0")


def _check_limit(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise VaejaxError(f"{name} is {value}: use a finite number above 0")
