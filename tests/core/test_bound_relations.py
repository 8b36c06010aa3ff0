"""Every bound's stated relation to log p(x), on a model of three outcomes.

The oracle is NumPy's: E F is the sum of F over all samples of K outcomes, each as often
as the multinomial distribution says, so that no expectation is drawn or expanded.
"""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.bounds import (
    BOUNDS,
    beta_elbo,
    ciwae,
    cubo,
    elbo,
    iwae,
    jvi,
    miwae,
    piwae,
    renyi,
    train_apart,
    tvo,
)
from vaejax.core import LogTerms, Problem
from vaejax.models import bernoulli_toy
from vaejax.problems import weigh_kl

# Log p(x|z), log p(z) and log q(z|x) of every outcome.
PX_Z, PZ, QZ = np.array([[0.9, 0.5, 0.1], [0.3, 0.3, 0.4], [0.45, 0.5, 0.05]])
LOG_PX = math.log(PX_Z @ PZ)
KL = float(QZ @ np.log(QZ / PZ))
ROUNDING = 1e-9
LARGE = 32

VARIANTS = {
    "beta_elbo 0.5": beta_elbo(0.5),
    "beta_elbo 1": beta_elbo(1.0),
    "renyi 0": renyi(0.0),
    "renyi 1": renyi(1.0),
    "renyi 2": renyi(2.0),
    "renyi -1": renyi(-1.0),
    "ciwae 1": ciwae(1.0),
    "miwae 1": miwae(1),
    "piwae 1": piwae(1),
    "tvo 1": tvo(1),
    "tvo right": tvo(side="right"),
    "tvo 1 right": tvo(1, side="right"),
    "cubo 1": cubo(1.0),
    "cubo 4": cubo(4.0),
    "jvi 2": jvi(2),
    "apart": train_apart("apart", iwae(), cubo()),
}
CASES = {name: factory() for name, factory in BOUNDS.items()} | VARIANTS
RELATIONS = {
    "beta_elbo": "lower",
    "beta_elbo 0.5": "none",
    "reconstruction": "none",
    "renyi -1": "upper",
    "tvo right": "upper",
    "tvo 1 right": "upper",
    "cubo": "upper",
    "cubo 4": "upper",
    "jvi": "debiased",
    "jvi 2": "debiased",
}


def expected(bound, num_samples: int) -> float:
    """E F of K samples, less the closed-form KL where the bound has one."""
    if bound.name == "miwae":  # F depends on the order of the samples: list them all
        samples = np.array(list(itertools.product(range(3), repeat=num_samples)))
        probability = QZ[samples].prod(1)
    else:
        counts = np.array(
            [
                (a, b, num_samples - a - b)
                for a in range(num_samples + 1)
                for b in range(num_samples + 1 - a)
            ]
        )
        samples = np.array([np.repeat(range(3), count) for count in counts])
        orders = [
            math.factorial(num_samples) / math.prod(map(math.factorial, count))
            for count in counts.tolist()
        ]
        probability = np.array(orders) * (QZ**counts).prod(1)
    with jax.enable_x64(True):
        terms = LogTerms(*(jnp.log(p) for p in (PX_Z, PZ, QZ)))
        log_w = bound.log_weight(terms)[samples]
        values = np.asarray(jax.jit(jax.vmap(bound.aggregate))(log_w))
    return probability @ values - (KL if bound.penalty else 0.0)


def holds(bound) -> bool:
    """True if the bound is to log p(x) what it states."""
    if bound.relation == "lower":
        sizes = (2, 4, 6) if bound.name == "miwae" else (2, 6, LARGE)
        return all(expected(bound, k) < LOG_PX + ROUNDING for k in sizes)
    if bound.relation == "upper":
        return expected(bound, LARGE) > LOG_PX - ROUNDING
    if bound.relation == "debiased":  # IWAE's bias halves
        few, many = (abs(expected(bound, k) - LOG_PX) for k in (LARGE // 2, LARGE))
        return many < 0.35 * few
    return expected(bound, 6) > LOG_PX  # no lower bound, and not upper for all models


@pytest.mark.parametrize("name", CASES)
def test_every_bound_is_to_log_px_what_it_states(name):
    assert CASES[name].relation == RELATIONS.get(name, "lower")
    assert holds(CASES[name])


@pytest.mark.parametrize(
    ("bound", "relation"),
    [
        (beta_elbo(0.5), "lower"),
        (BOUNDS["reconstruction"](), "lower"),
        (renyi(-1.0), "lower"),
        (cubo(), "lower"),
        (iwae(), "upper"),
        (elbo(), "upper"),
        (iwae(), "debiased"),
        (cubo(), "debiased"),
    ],
)
def test_a_wrong_relation_is_found(bound, relation):
    assert not holds(dataclasses.replace(bound, relation=relation))


def test_a_bound_under_a_kl_weight_states_none():
    problem = Problem(model=bernoulli_toy(), bound=elbo(), num_samples=1)
    assert weigh_kl(problem, 0.5).bound.relation == "none"
