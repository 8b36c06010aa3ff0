"""Bounds on log p(x): scalar functions F of K importance log-weights.

With `log_w_k = log p(x, z_k) - log q(z_k | x)` and `z_k ~ q(z | x)` independent, most
are combinations of one statistic, the log of a power mean of n weights,

    L(n, p) = 1/p log 1/n sum_{k <= n} w_k^p,

which rises with n for p > 0 and with p, in expectation: ELBO = E L(1, 1),
IWAE_K = E L(K, 1) <= log p(x) <= L(inf, p) for p >= 1. The `expectation` of a bound
lists the L whose sum is its expectation; `vaejax.exact` integrates them at any K.

All values are in nats.
"""

from collections.abc import Callable

from vaejax.bounds.beta_elbo import beta_elbo
from vaejax.bounds.ciwae import ciwae
from vaejax.bounds.cubo import cubo
from vaejax.bounds.elbo import elbo, elbo_analytic_kl
from vaejax.bounds.iwae import iwae
from vaejax.bounds.jvi import jvi
from vaejax.bounds.miwae import miwae
from vaejax.bounds.piwae import piwae
from vaejax.bounds.reconstruction import reconstruction
from vaejax.bounds.renyi import renyi
from vaejax.bounds.train_apart import train_apart
from vaejax.bounds.tvo import tvo
from vaejax.core import Bound, Registry
from vaejax.core.build import check_calls

BOUNDS: Registry[Callable[..., Bound]] = Registry("bound") | {
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
check_calls(globals(), BOUNDS)

__all__ = [
    "BOUNDS",
    "beta_elbo",
    "ciwae",
    "cubo",
    "elbo",
    "elbo_analytic_kl",
    "iwae",
    "jvi",
    "miwae",
    "piwae",
    "reconstruction",
    "renyi",
    "train_apart",
    "tvo",
]
