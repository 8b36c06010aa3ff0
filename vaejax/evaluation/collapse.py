"""Posterior collapse in one record: the information on x left in the latents."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vaejax.core import Example, Key, Model, Params, check_data
from vaejax.evaluation.active_units import THRESHOLD, posterior_means
from vaejax.evaluation.elbo_surgery import Estimate, elbo_surgery


class CollapseReport(NamedTuple):
    """Values in nats, all near 0 where the posterior has collapsed to the prior."""

    mean_variance: Float[np.ndarray, " Z"]  # Var_x(E_q(z|x)[z_j]), not in nats
    kl: Estimate  # E_x KL(q(z|x) || p(z))
    kl_per_unit: Estimate | None  # [Z]; None where coordinates are not independent
    mutual_information: Estimate  # I_q(x; z), at most log N

    @property
    def active_units(self) -> int:
        """The number of latents with a `mean_variance` above 0.01."""
        return int((self.mean_variance > THRESHOLD).sum())


def collapse_report(
    model: Model,
    params: Params,
    examples: Example,
    key: Key,
    *,
    num_samples: int = 2,
) -> CollapseReport:
    """Active units, the KL of every latent and I_q(x; z) of these examples.

    A latent whose KL is positive but that is not active has a posterior that differs
    from the prior in the same way for all x; I_q(x; z) does not count such a latent.

    Args:
        model: with a prior that is the same for all examples.
        params: its parameters.
        examples: every leaf [N, ...], as the model sees it.
        key: consumed.
        num_samples: of each example, 2 or more; the cost is N^2 times as much.

    Raises:
        VaejaxError: see `elbo_surgery`.
    """
    examples = check_data(model, examples)
    surgery = elbo_surgery(model, params, examples, key, num_samples=num_samples)
    return CollapseReport(
        mean_variance=posterior_means(model, params, examples).var(axis=0),
        kl=surgery.kl,
        kl_per_unit=surgery.kl_per_unit,
        mutual_information=surgery.mutual_information,
    )
