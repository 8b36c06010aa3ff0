"""Every estimator keeps its word on every bound, and on every exact model under IWAE.

The walk is over the registries, so that a new method is under it by its registry line:

    unbiased   every coordinate of the mean gradient, and the mean value, within 5
               standard errors of the exact ones, corrected for the number of tests
    biased     refused unless `allow_bias`, the value unbiased all the same; the bias is
               there, on one bound for each estimator; where the estimator has a target
               of its own, it meets that
    refused    before tracing, with the requirement and the remedy

Beside it stand wrong estimators, which the same comparison must reject.
"""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from jax.lax import stop_gradient
from scipy.stats import norm

from vaejax.bounds import BOUNDS, elbo, iwae, miwae
from vaejax.compatibility import check
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    Example,
    IncompatibleError,
    LogTerms,
    Objective,
    Problem,
    Verdict,
)
from vaejax.estimators import ESTIMATORS, dreg, pathwise, stl
from vaejax.objective import make_objective
from vaejax.terms import (
    bound_value,
    log_terms,
    make_stats,
    sample_posterior,
    scale_gradient,
    with_value,
)

pytestmark = pytest.mark.slow

# K is 2 but for the two bounds that all others are made of, and for bounds in groups:
# two groups of three, as M and K must differ for their exchange to be seen.
NUM_SAMPLES = {"elbo": (1, 2), "iwae": (2, 5), "miwae": (6,), "piwae": (6,)}
DRAWS = 25_000  # of every cell; twice as many where a bias is claimed
# So many times, where the score's noise drowns the gradient.
MORE_DRAWS = {"bernoulli_toy": 4, "poisson": 4}
CONTROL_DRAWS = 200_000  # of a wrong estimator, and of a right one beside it
BIAS_SEEN = 0.07  # a relative bias that some coordinate of every cell must show
ENCODER_BIAS_SEEN = 0.35  # and that some coordinate of the encoder must show
# Whose weights hold all of F, so that 10 or 20 times the draws would be needed for it:
# they are held to it where they are quietest.
NOISY = {"score_function", "constant_baseline", "moving_average", "nvil"}
QUIET = [("linear_gaussian", "elbo", 2), ("linear_gaussian", "iwae", 2)]
# Biased estimators leave the model's own gradient unbiased, but where it sees relaxed
# latents.
BIASED_MODEL_TOO = {"gumbel_softmax"}

bound_named = functools.cache(lambda name: BOUNDS[name]())
ESTIMATOR = {name: factory() for name, factory in ESTIMATORS.items()}
GROUPS = [
    (model, bound, k)
    for model in oracles.CORE
    for bound in BOUNDS
    for k in NUM_SAMPLES.get(bound, (2,))
]
# An estimator knows a bound by its derivatives and a family by its capabilities: every
# bound is under test on the core, every family under a bound with all derivatives.
GROUPS += [(name, "iwae", 2) for name in oracles.MODELS if name not in oracles.CORE]


def verdict(model: str, bound: str, num_samples: int, estimator: str) -> Verdict:
    problem = Problem(
        model=oracles.MODELS[model], bound=bound_named(bound), num_samples=num_samples
    )
    return check(problem, ESTIMATOR[estimator])


@functools.cache
def threshold() -> float:
    """The |z| = 5 of one two-sided test, by Bonferroni over all cells' coordinates."""
    tests = sum(
        1 + oracles.flat(oracles.params_of(model)).size
        for model, bound, k in GROUPS
        for name in ESTIMATOR
        if verdict(model, bound, k, name).status != "refused"
    )
    return norm.isf(norm.sf(5) / tests)


def build(model: str, bound: str, num_samples: int, estimator: str, **settings):
    return make_objective(
        oracles.MODELS[model],
        bound_named(bound),
        ESTIMATOR[estimator],
        num_samples=num_samples,
        **settings,
    )


def accepted(model: str, bound: str, num_samples: int) -> dict[str, Objective]:
    """The objectives of the estimators that the problem does not refuse."""
    return {
        name: build(model, bound, num_samples, name, allow_bias=True)
        for name in ESTIMATOR
        if verdict(model, bound, num_samples, name).status != "refused"
    }


def a_biased_cell(estimator: str) -> tuple[str, str, int] | None:
    """A cell where the estimator is biased, under IWAE with many samples if any."""
    biased = [cell for cell in GROUPS if verdict(*cell, estimator).status == "biased"]
    return max(biased, key=lambda cell: (cell[1] == "iwae", cell[2]), default=None)


CLAIMED = {name: cell for name in ESTIMATOR if (cell := a_biased_cell(name))}


@pytest.mark.parametrize(("model", "bound", "num_samples"), GROUPS)
def test_every_estimator_keeps_its_verdict(model, bound, num_samples):
    for name in ESTIMATOR:
        status, _ = verdict(model, bound, num_samples, name)
        if status == "refused":
            with pytest.raises(IncompatibleError, match=r"refuses .*: use "):
                build(model, bound, num_samples, name, allow_bias=True)
        elif status == "biased":
            with pytest.raises(
                IncompatibleError, match=rf"{name} is biased for {bound} .* use .*allow"
            ):
                build(model, bound, num_samples, name)
        else:
            assert status == "unbiased"
            build(model, bound, num_samples, name)

    objectives = accepted(model, bound, num_samples)
    if objectives:
        hold(model, bound, num_samples, objectives)


def hold(model: str, bound: str, num_samples: int, objectives: dict[str, Objective]):
    """Hold what the estimators draw against the exact values and gradients."""
    draws = DRAWS * MORE_DRAWS.get(model, 1)
    if (model, bound, num_samples) in CLAIMED.values():
        draws *= 2
    drawn = oracles.draw(model, list(objectives.values()), draws)
    of_bound = oracles.exact(model, bound_named(bound), num_samples)
    encoder_size = oracles.flat(oracles.params_of(model).encoder).size
    of_encoder, of_model = slice(1, 1 + encoder_size), slice(1 + encoder_size, None)
    for name, estimate in zip(objectives, drawn, strict=True):
        z = oracles.z_scores(estimate, of_bound)
        assert z[0] < threshold(), (name, "its value is the bound in any case")
        if CLAIMED.get(name) == (model, bound, num_samples):
            assert z[1:].max() > threshold(), (name, "claims a bias it has not")
        truth = of_bound
        if ESTIMATOR[name].target is not None:
            truth = oracles.exact(
                model, bound_named(bound), num_samples, ESTIMATOR[name]
            )
            z = oracles.z_scores(estimate, truth)
        elif verdict(model, bound, num_samples, name).status == "biased":
            if name not in BIASED_MODEL_TOO:
                assert z[of_model].max(initial=0) < threshold(), (name, z)
            continue
        assert z.max() < threshold(), (name, z)
        planted = oracles.z_scores(estimate, truth * (1 + BIAS_SEEN))
        assert planted[1:].max() > threshold(), (name, "too few draws")
        if name not in NOISY or (model, bound, num_samples) in QUIET:
            planted = oracles.z_scores(estimate, truth * (1 + ENCODER_BIAS_SEEN))
            assert planted[of_encoder].max() > threshold(), (name, "too few draws")


# An upper bound, one with a penalty, one in groups that trains the posterior apart.
STRANGE = [
    ("linear_gaussian", "cubo", 2),
    ("linear_gaussian", "elbo_analytic_kl", 2),
    ("sigmoid_belief_network", "piwae", 6),
]


@pytest.mark.parametrize(
    ("model", "bound", "num_samples"),
    [(model, "iwae", 2) for model in oracles.MODELS] + STRANGE,
)
def test_transformations_change_nothing(model, bound, num_samples):
    objectives = accepted(model, bound, num_samples)
    if bound == "iwae":  # under the ELBO where that is refused
        objectives = accepted(model, "elbo", num_samples) | objectives
    objectives = list(objectives.values())
    params, states = oracles.start_of(model, objectives)
    batch, key = oracles.batch_of(model), jax.random.key(5)
    gradient = jax.value_and_grad(oracles.side_by_side(objectives).loss, has_aux=True)

    chex.clear_trace_counter()  # it counts by the function's name, over all cells

    @jax.jit
    @chex.assert_max_traces(n=1)
    def compiled(*arguments):
        return gradient(*arguments)

    (value, (next_states, _)), together = compiled(params, states, key, batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(next_states, states)
    # Another key, parameters and the next state reuse the compiled program.
    moved = jax.tree.map(lambda leaf: leaf + 0.1, params)
    compiled(moved, next_states, jax.random.key(6), batch)

    # Not compiled, and in a loop over batches of one example.
    singles = [
        gradient(params, states, key, Batch(Example(x[None]), index[None]))
        for x, index in zip(batch.example.x, batch.global_index, strict=True)
    ]
    loop = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *singles)
    chex.assert_trees_all_close(
        (value, together), (loop[0][0], loop[1]), rtol=2e-4, atol=2e-4
    )


# Bounds that a user defines, as strange as they come.


def tempered_iwae(beta: float = 0.5) -> Bound:
    def log_weight(terms: LogTerms) -> jax.Array:
        return terms.log_px_z + beta * (terms.log_pz - terms.log_qz)

    return dataclasses.replace(iwae(), name="tempered_iwae", log_weight=log_weight)


def saturating() -> Bound:
    """No combination of log-means: integrated by the product rule."""
    return Bound(name="saturating", aggregate=lambda log_w: jnp.tanh(log_w / 9).sum())


def z_alone(model: str, bound: Bound, estimator: Estimator, k: int) -> np.ndarray:
    objective = make_objective(
        oracles.MODELS[model], bound, estimator, num_samples=k, allow_bias=True
    )
    (estimate,) = oracles.draw(model, [objective], CONTROL_DRAWS)
    return oracles.z_scores(estimate, oracles.exact(model, bound, k))


@pytest.mark.parametrize(
    "bound", [tempered_iwae(), saturating()], ids=lambda bound: bound.name
)
def test_a_users_bound_needs_no_registration(bound):
    assert z_alone("linear_gaussian", bound, dreg(), 2).max() < threshold()


# Estimators that are wrong.


def _claims_unbiased(problem: Problem) -> Verdict:
    return Verdict("unbiased", "so it says")


def paper_dreg() -> Estimator:
    """Squared normalised weights, which are right for plain weights only."""

    def surrogate(problem, params, state, key, example):
        dist_params, z = sample_posterior(problem, params, key, example)
        stopped = stop_gradient((params, dist_params, z))
        terms = log_terms(problem.model, *stopped, example)
        normalized = jax.nn.softmax(problem.bound.log_weight(terms))
        z = scale_gradient(z, normalized)
        open_terms = log_terms(problem.model, params, stopped[1], z, example)
        value = bound_value(problem, params, dist_params, example, terms)
        loss = jnp.dot(normalized, problem.bound.log_weight(open_terms))
        return with_value(loss, value), make_stats(value, terms)

    return Estimator(name="paper_dreg", surrogate=surrogate, check=_claims_unbiased)


def broken_score_function(weigh, direct: bool = True) -> Estimator:
    """The score function with weights of one's own, with or without its direct part."""

    def surrogate(problem, params, state, key, example):
        dist_params, z = sample_posterior(problem, params, key, example)
        z = stop_gradient(z)
        terms = log_terms(problem.model, params, dist_params, z, example)
        value = bound_value(problem, params, dist_params, example, terms)
        score = jnp.dot(
            stop_gradient(weigh(problem.bound.log_weight(terms))), terms.log_qz
        )
        if not direct:
            seen = stop_gradient(dist_params)
            terms = log_terms(problem.model, params, seen, z, example)
        open_value = bound_value(problem, params, dist_params, example, terms)
        return with_value(open_value + score, value), make_stats(value, terms)

    return Estimator(name="broken", surrogate=surrogate, check=_claims_unbiased)


WRONG = {
    "stl under iwae": (
        "linear_gaussian",
        iwae(),
        dataclasses.replace(stl(), check=_claims_unbiased),
        5,
    ),
    "squared weights on a tempered bound": (
        "linear_gaussian",
        tempered_iwae(),
        paper_dreg(),
        2,
    ),
    "a baseline that includes its own sample": (
        "sigmoid_belief_network",
        elbo(),
        broken_score_function(lambda f: (f - f.mean()) / f.size),
        2,
    ),
    "miwae with M and K swapped": (
        "linear_gaussian",
        dataclasses.replace(miwae(3), expectation=miwae(2).expectation),
        pathwise(),
        6,
    ),
    "no direct part under iwae": (
        "sigmoid_belief_network",
        iwae(),
        broken_score_function(
            lambda f: jnp.broadcast_to(iwae().aggregate(f), f.shape), direct=False
        ),
        2,
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_estimators_are_rejected(case):
    z = z_alone(*WRONG[case])
    if "swapped" not in case:
        assert z[0] < threshold()  # only the gradient gives it away
    assert z[1:].max() > 20


def test_right_ones_in_the_same_clothes_are_not():
    assert z_alone("linear_gaussian", iwae(), paper_dreg(), 2).max() < threshold()
    alone = broken_score_function(lambda f: jnp.broadcast_to(f.mean(), f.shape))
    assert z_alone("sigmoid_belief_network", elbo(), alone, 2).max() < threshold()
    assert z_alone("linear_gaussian", iwae(), pathwise(), 2).max() < threshold()
