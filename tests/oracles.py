"""The models whose expected bounds are known exactly, and draws to hold against them.

Every statistical test draws gradients of a small model at parameters off any symmetric
point, where no term vanishes by accident, and reads them in standard errors.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.benchmark import gradient_moments
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    Example,
    Family,
    Key,
    Model,
    Objective,
    Params,
    Problem,
    PyTree,
)
from vaejax.exact import value_and_gradient
from vaejax.families import FAMILIES
from vaejax.models import (
    bernoulli_toy,
    categorical_mlp,
    family_mlp,
    gaussian_mlp,
    linear_gaussian,
    sigmoid_belief_network,
    two_layer_gaussian,
    two_layer_sigmoid_belief_network,
)
from vaejax.terms import enter, with_value


def _jitted(bundle, *names):
    functions = {name: getattr(bundle, name) for name in names}
    return dataclasses.replace(
        bundle, **{name: f and jax.jit(f) for name, f in functions.items()}
    )


def _traced_once(model: Model) -> Model:
    """The model, each function of which is traced and compiled once, not at each call.

    Dozens of estimators call them in one program, the exact integrals several times.
    """

    def family(of: Family) -> Family:
        outcomes, couplings = of.outcomes, of.couplings
        relax = couplings.relax
        return dataclasses.replace(
            _jitted(of, "sample", "log_prob", "mean", "kl"),
            quadrature=of.quadrature and jax.jit(of.quadrature, static_argnums=1),
            outcomes=outcomes and _jitted(outcomes, "support"),
            own_samples=_jitted(of.own_samples, "sample_and_log_prob"),
            couplings=dataclasses.replace(
                _jitted(couplings, "measure", "antithetic", "retrace"),
                relax=relax and _jitted(relax, *vars(relax)),
            ),
        )

    return dataclasses.replace(
        _jitted(model, "encode", "decode", "prior"),
        posterior=family(model.posterior),
        latent_prior=family(model.latent_prior),
        likelihood=family(model.likelihood),
    )


# A continuous and a discrete model, on which everything is held against everything.
CORE: dict[str, Model] = {
    "linear_gaussian": linear_gaussian(data_shape=(3,), latent_dim=1),
    "sigmoid_belief_network": sigmoid_belief_network(data_shape=(3,), latent_dim=3),
}


def _of_family(posterior: str) -> Model:
    of_vectors = ("dirichlet", "full_normal", "von_mises_fisher")
    return family_mlp(
        data_shape=(3,),
        posterior=posterior,
        latent_dim=2 if posterior in of_vectors else 1,
        hidden=(),
    )


# Families that `exact` integrates, by name: those that need no model of their own, and
# are none of these by other parameters.
INTEGRABLE = [
    name
    for name, family in FAMILIES.items()
    if family().quadrature is not None and family().law == name
]
MODELS: dict[str, Model] = {
    **CORE,
    "two_normals": gaussian_mlp(data_shape=(3,), latent_dim=2, hidden=(2,)),
    "bernoulli_toy": bernoulli_toy(),
    "mixture_model": categorical_mlp(
        data_shape=(3,),
        latent_dim=1,
        num_categories=3,
        likelihood="diagonal_normal",
    ),
    "categories": categorical_mlp(data_shape=(3,), latent_dim=2, num_categories=3),
    "two_layer_gaussian": two_layer_gaussian(data_shape=(3,)),
    "two_layers_of_bits": two_layer_sigmoid_belief_network(
        data_shape=(3,), latent_dims=(2, 1)
    ),
    "two_layers_of_bits, factorised": two_layer_sigmoid_belief_network(
        data_shape=(3,), latent_dims=(2, 1), factorised=True
    ),
    **{posterior: _of_family(posterior) for posterior in INTEGRABLE},
}
MODELS = {name: _traced_once(model) for name, model in MODELS.items()}
CORE = {name: MODELS[name] for name in CORE}

# Rounding of one float32 gradient, in units of its largest part; 1% of a typical
# standard error, it only matters where an estimate has no variance at all.
ROUNDING = 4e-6


@functools.cache
def params_of(name: str) -> Params:
    """Parameters of the model, moved off the zeros that its biases start at."""
    with jax.enable_x64(False):  # the same numbers in either precision
        params = moved(MODELS[name].init(jax.random.key(1)))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), params)


def moved(params: Params) -> Params:
    """Move parameters off the zeros at which some of them start."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(6), len(leaves))
    others = [
        leaf + 0.4 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, others)


def examples_of(name: str) -> Example:
    """Two observations."""
    if name == "bernoulli_toy":
        return Example(jnp.array([[-0.2], [-0.4]]))
    if MODELS[name].likelihood.space.kind == "bits":
        return Example(jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]))
    return Example(jnp.array([[0.9, -0.4, 1.3], [-0.7, 0.5, 0.2]]))


def batch_of(name: str) -> Batch:
    examples = examples_of(name)
    return Batch(examples, jnp.arange(len(examples.x)))


@functools.cache
def exact(
    name: str, bound: Bound, num_samples: int, estimator: Estimator | None = None
) -> np.ndarray:
    """The expected loss and its gradient, flat: [1 + number of model parameters]."""
    problem = Problem(model=MODELS[name], bound=bound, num_samples=num_samples)
    params, examples = params_of(name), examples_of(name)
    found = value_and_gradient(problem, params, examples, estimator=estimator)
    return flat(found) * (1 if bound.minimised else -1)


def side_by_side(objectives: Sequence[Objective]) -> Objective:
    """All the objectives on the same noise, each with its own copy of the parameters.

    The gradient of a copy is that objective's own, and beside each copy there is a
    number whose gradient is the loss's value: values and gradients of many estimators
    are drawn in one compiled pass. All are taken at the first copy, as XLA then
    compiles once what they have in common.
    """

    def init(key: Key) -> tuple[Params, tuple]:
        params, states = zip(*(o.init(key) for o in objectives), strict=True)
        return _copies(params), states

    def loss(params, states, key, batch):
        copies = params.auxiliary
        stopped = jax.lax.stop_gradient(copies)
        total, next_states = jnp.zeros(()), []
        for i, objective in enumerate(objectives):
            at = stopped[0][1]._replace(auxiliary=stopped[i][1].auxiliary)
            (value, (state, _)), gradient = jax.value_and_grad(
                objective.loss, has_aux=True
            )(at, states[i], key, batch)
            total += with_value(enter((value, gradient), copies[i]), value)
            next_states.append(state)
        return total, (tuple(next_states), {})

    return Objective(init=init, loss=loss)


def _copies(params: Sequence[Params]) -> Params:
    copies = tuple((jnp.zeros(()), copy) for copy in params)
    return Params(encoder=(), decoder=(), prior=(), auxiliary=copies)


def start_of(name: str, objectives: Sequence[Objective]) -> tuple[Params, tuple]:
    """Parameters and states at which the objectives run side by side."""
    params, states = side_by_side(objectives).init(jax.random.key(3))
    moved = [
        params_of(name)._replace(auxiliary=copy.auxiliary)
        for _, copy in params.auxiliary
    ]
    return _copies(moved), states


class Drawn(NamedTuple):
    """Sample mean of a loss and its gradient, flat as `exact`, and standard errors."""

    mean: np.ndarray
    stderr: np.ndarray


def draw(name: str, objectives: Sequence[Objective], draws: int) -> list[Drawn]:
    """Loss and gradient of every objective, `draws` times on the two observations."""
    params, states = start_of(name, objectives)
    moments = gradient_moments(
        side_by_side(objectives),
        params,
        states,
        jax.random.key(0),
        batch_of(name),
        draws=draws,
    )
    return [
        Drawn(*(flat((probe, copy._replace(auxiliary=()))) for probe, copy in found))
        for found in zip(
            moments.mean.auxiliary,
            jax.tree.map(
                lambda variance: np.sqrt(variance / draws), moments.variance.auxiliary
            ),
            strict=True,
        )
    ]


def flat(tree: PyTree) -> np.ndarray:
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([np.zeros(0), *leaves])


def z_scores(drawn: Drawn, truth: np.ndarray) -> np.ndarray:
    """|mean - truth| in standard errors, of every coordinate."""
    rounding = ROUNDING * max(1.0, np.abs(truth).max())
    return np.abs(drawn.mean - truth) / np.hypot(drawn.stderr, rounding)
