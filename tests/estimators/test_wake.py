"""Wake-sleep, the thermodynamic covariance, and hierarchies of latents."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from jax.lax import stop_gradient
from scipy.stats import norm

from vaejax.benchmark import gradient_moments
from vaejax.bounds import (
    BOUNDS,
    beta_elbo,
    elbo,
    elbo_analytic_kl,
    iwae,
    jvi,
    miwae,
    renyi,
    tvo,
)
from vaejax.core import (
    Batch,
    Bound,
    Couplings,
    Estimator,
    Example,
    IncompatibleError,
    LossState,
    Model,
    Params,
    Problem,
    VaejaxError,
    Verdict,
)
from vaejax.estimators import (
    dreg,
    gdreg,
    pathwise,
    rws,
    rws_dreg,
    stl,
    tvo_covariance,
    wake_sleep,
)
from vaejax.exact import value_and_gradient
from vaejax.families import diagonal_normal
from vaejax.families.chain import chain, linear
from vaejax.kl_weights import constant
from vaejax.models import linear_gaussian
from vaejax.models.linear_gaussian import exact_log_px
from vaejax.models.two_layer_gaussian import exact_log_px as two_layer_log_px
from vaejax.objective import make_objective
from vaejax.priors import learned_diagonal_normal
from vaejax.terms import bound_value, log_terms, make_stats, sample_posterior

pytestmark = pytest.mark.slow

DRAWS = 50_000
# |z| = 5 of one test, by Bonferroni over the thousand coordinates compared here.
THRESHOLD = norm.isf(norm.sf(5) / 1000)


def with_learned_prior() -> Model:
    prior = learned_diagonal_normal(1)
    model = linear_gaussian(data_shape=(3,), latent_dim=1)

    def init(key):
        return model.init(key)._replace(prior=prior.init(key))

    return dataclasses.replace(
        model, init=init, prior=functools.partial(prior.apply, model.encode)
    )


MODELS = {
    **oracles.MODELS,
    "learned_prior": with_learned_prior(),
}
EXAMPLES = {
    name: oracles.examples_of(name if name in oracles.MODELS else "linear_gaussian")
    for name in MODELS
}


@functools.cache
def params_of(name: str) -> Params:
    return oracles.moved(MODELS[name].init(jax.random.key(1)))


@functools.cache
def exact(
    name: str, bound: Bound, num_samples: int, estimator: Estimator | None = None
) -> np.ndarray:
    """Value and gradient of the loss, flat."""
    problem = Problem(model=MODELS[name], bound=bound, num_samples=num_samples)
    found = value_and_gradient(
        problem, params_of(name), EXAMPLES[name], estimator=estimator
    )
    return oracles.flat(found) * (1 if bound.minimised else -1)


def draw(
    name: str, bound: Bound, num_samples: int, *estimators: Estimator
) -> list[oracles.Drawn]:
    """Values and gradients of estimators on the same noise."""
    objectives = [
        make_objective(
            MODELS[name], bound, estimator, num_samples=num_samples, allow_bias=True
        )
        for estimator in estimators
    ]
    together = oracles.side_by_side(objectives)
    start = Params(
        encoder=(),
        decoder=(),
        prior=(),
        auxiliary=tuple((jnp.zeros(()), params_of(name)) for _ in objectives),
    )
    examples = EXAMPLES[name]
    moments = gradient_moments(
        together,
        start,
        tuple(LossState() for _ in objectives),
        jax.random.key(0),
        Batch(examples, jnp.arange(len(examples.x))),
        draws=DRAWS,
    )
    return [
        oracles.Drawn(
            oracles.flat(mean), np.sqrt(oracles.flat(variance) / moments.draws)
        )
        for mean, variance in zip(
            moments.mean.auxiliary, moments.variance.auxiliary, strict=True
        )
    ]


def encoder_part(name: str, flat: np.ndarray) -> np.ndarray:
    """The encoder's gradient in a flat value and gradient: it is the first group."""
    size = oracles.flat(params_of(name).encoder).size
    return flat[1 : 1 + size]


def claimed(name: str, surrogate) -> Estimator:
    return Estimator(
        name=name,
        surrogate=surrogate,
        check=lambda problem: Verdict("unbiased", "so it says"),
    )


# Wake-sleep.


@pytest.mark.parametrize(
    ("name", "bound", "num_samples"),
    [
        ("linear_gaussian", iwae(), 4),
        ("linear_gaussian", jvi(), 4),
        ("two_layer_gaussian", iwae(), 2),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_wake_updates_have_their_own_target(name, bound, num_samples):
    """Both estimates against one expectation; it is not the bound's gradient."""
    plain_wake, reparameterised = draw(name, bound, num_samples, rws(), rws_dreg())
    truth = exact(name, bound, num_samples, rws())
    for estimate in (plain_wake, reparameterised):
        assert oracles.z_scores(estimate, truth).max() < THRESHOLD
        biased = oracles.z_scores(estimate, exact(name, bound, num_samples))
        assert biased[0] < THRESHOLD
        assert encoder_part(name, biased).max() > 20
        rest = biased[1 + encoder_part(name, biased).size :]
        assert rest.max() < THRESHOLD, "the model climbs the bound itself"


@pytest.mark.parametrize("num_samples", [2, 5])
def test_the_wake_update_needs_no_reparameterisation(num_samples):
    name = "sigmoid_belief_network"
    (estimate,) = draw(name, iwae(), num_samples, rws())
    truth = exact(name, iwae(), num_samples, rws())
    assert oracles.z_scores(estimate, truth).max() < THRESHOLD
    assert oracles.z_scores(estimate, exact(name, iwae(), num_samples)).max() > 20


def test_unweighted_wake_is_rejected():
    def surrogate(problem, params, state, key, example):
        dist_params, z = sample_posterior(problem, params, key, example)
        terms = log_terms(problem.model, params, dist_params, stop_gradient(z), example)
        value = bound_value(problem, params, dist_params, example, terms)
        return value + terms.log_qz.mean(), make_stats(value, terms)

    name = "sigmoid_belief_network"
    (estimate,) = draw(name, iwae(), 2, claimed("unweighted", surrogate))
    assert oracles.z_scores(estimate, exact(name, iwae(), 2, rws()))[1:].max() > 20


def test_the_wake_target_is_a_product_rule_too():
    """The sum of F'_k grad log q(z_k) over all pairs of outcomes, written out."""

    def target(problem, params, example, expectation):
        def pairs(terms):
            log_w = stop_gradient(terms.log_px_z + terms.log_pz - terms.log_qz)
            moves = terms.log_px_z + terms.log_pz + terms.log_qz
            return jnp.dot(jax.nn.softmax(log_w), moves)

        return expectation.through_densities(pairs)

    name, written_out = (
        "sigmoid_belief_network",
        dataclasses.replace(rws(), target=target),
    )
    np.testing.assert_allclose(
        exact(name, iwae(), 2, rws()), exact(name, iwae(), 2, written_out), rtol=1e-5
    )


def dreams(name: str) -> np.ndarray:
    """E_{p(x,z)} of minus log q(z|x), gradient in the encoder, by enumeration."""
    model, params = MODELS[name], params_of(name)
    prior_params = model.prior(params, None)
    assert model.latent_prior.outcomes is not None
    assert model.likelihood.outcomes is not None
    zs = model.latent_prior.outcomes.support(prior_params)
    xs = model.likelihood.outcomes.support(jnp.zeros(EXAMPLES[name].x.shape[1:]))

    def mean_log_q(encoder):
        moved = params._replace(encoder=encoder)

        def one(z, x):
            p = model.likelihood.log_prob(model.decode(params, z, None), x)
            p += model.latent_prior.log_prob(prior_params, z)
            q = model.posterior.log_prob(model.encode(moved, Example(x)), z)
            return jnp.exp(p) * q

        return jax.vmap(lambda z: jax.vmap(lambda x: one(z, x))(xs))(zs).sum()

    return -oracles.flat(jax.grad(mean_log_q)(params.encoder))


@pytest.mark.parametrize("wake_fraction", [0.0, 0.3])
def test_sleep_fits_the_posterior_to_dreams(wake_fraction):
    name, num_samples = "sigmoid_belief_network", 2
    (estimate,) = draw(name, iwae(), num_samples, rws(wake_fraction))
    wake = exact(name, iwae(), num_samples, rws())
    truth = wake.copy()
    slept = dreams(name)
    truth[1 : 1 + slept.size] *= wake_fraction
    truth[1 : 1 + slept.size] += (1 - wake_fraction) * slept
    assert oracles.z_scores(estimate, truth).max() < THRESHOLD
    assert oracles.z_scores(estimate, wake).max() > 20


def test_sleep_ignores_the_bound():
    """The model climbs the bound at hand, downwards too, and the encoder its dreams."""
    name = "sigmoid_belief_network"
    for bound, num_samples in [(elbo(), 1), (tvo(side="right"), 2)]:
        (estimate,) = draw(name, bound, num_samples, wake_sleep())
        truth = exact(name, bound, num_samples).copy()
        slept = dreams(name)
        truth[1 : 1 + slept.size] = slept
        assert oracles.z_scores(estimate, truth).max() < THRESHOLD


def test_the_wake_bias_falls_as_one_over_k():
    """The model's mean update tends to grad log p(x): slope -1 in log K.

    The proposal is widened, so that the weights have the finite variance which the law
    assumes.
    """
    name = "linear_gaussian"
    params = params_of(name)
    wider = params.encoder | {"log_scale": params.encoder["log_scale"] + 0.5}
    params = params._replace(encoder=wider)

    def log_px(params):
        return jax.vmap(exact_log_px, (None, 0))(params, EXAMPLES[name].x).mean()

    limit = oracles.flat(jax.grad(log_px)(params).decoder)

    def bias(num_samples: int) -> float:
        problem = Problem(model=MODELS[name], bound=iwae(), num_samples=num_samples)
        _, found = value_and_gradient(problem, params, EXAMPLES[name], estimator=rws())
        return np.linalg.norm(oracles.flat(found.decoder) - limit)

    assert 0.8 < np.log(bias(64) / bias(256)) / np.log(4) < 1.2


def test_the_reparameterised_wake_update_lands():
    """At the exact posterior it is 0, and the score of `rws` is not."""
    model, params, examples = at_exact_posterior()
    assert (
        np.abs(encoder_gradient(model, params, examples, iwae(), rws_dreg())).max()
        < 1e-5
    )
    assert np.abs(encoder_gradient(model, params, examples, iwae(), rws())).max() > 0.1


@pytest.mark.parametrize(
    ("estimator", "bound", "num_samples", "message"),
    [
        (rws(), elbo(), 4, "at least two samples, and elbo with K = 4 .*: use .*iwae"),
        (
            rws(),
            iwae(),
            1,
            "iwae with K = 1 has no such weights: use .* num_samples >= 2",
        ),
        (rws(), renyi(), 4, "normalised weights .*: use the bound 'iwae'"),
        (rws(), miwae(), 2, "normalised weights .*: use the bound 'iwae'"),
        (rws_dreg(), BOUNDS["ciwae"](), 4, "weights .*: use the bound 'iwae'"),
        (rws_dreg(), BOUNDS["cubo"](1.0), 1, "weights .*: use the bound 'iwae'"),
        (wake_sleep(), BOUNDS["elbo_analytic_kl"](), 4, "closed-form part .*: use"),
        (rws_dreg(), BOUNDS["elbo_analytic_kl"](), 4, "closed-form part .*: use"),
        (tvo_covariance(), iwae(), 4, "iwae has none: use the bound 'tvo'"),
        (tvo_covariance(), tvo(), 1, "no covariance .*: use num_samples >= 2"),
    ],
)
def test_refusals(estimator, bound, num_samples, message):
    model = MODELS["linear_gaussian"]
    with pytest.raises(IncompatibleError, match=message):
        make_objective(
            model, bound, estimator, num_samples=num_samples, allow_bias=True
        )


@pytest.mark.parametrize("estimator", [rws(), rws_dreg()])
def test_a_kl_weight_is_the_reason_for_its_refusal(estimator):
    with pytest.raises(
        IncompatibleError, match=r"KL weight .*: leave the KL weight ou"
    ):
        make_objective(
            MODELS["linear_gaussian"],
            iwae(),
            estimator,
            num_samples=4,
            allow_bias=True,
            kl_weight=constant(),
        )


def test_refusals_for_a_family():
    model = MODELS["sigmoid_belief_network"]
    for estimator in (rws_dreg(), gdreg()):
        with pytest.raises(
            IncompatibleError, match=r"no reparam.*: use vimco or score_fun"
        ):
            make_objective(model, iwae(), estimator, num_samples=2, allow_bias=True)
    normal = MODELS["learned_prior"]
    lost = dataclasses.replace(normal.latent_prior, couplings=Couplings())
    untraceable = dataclasses.replace(normal, latent_prior=lost)
    with pytest.raises(IncompatibleError, match="computed from the latents: use dreg"):
        make_objective(untraceable, iwae(), gdreg(), num_samples=2)


def test_own_targets_need_permission():
    model = MODELS["linear_gaussian"]
    for estimator, bound in [
        (rws(), iwae()),
        (rws_dreg(), iwae()),
        (wake_sleep(), elbo()),
        (tvo_covariance(), tvo()),
    ]:
        with pytest.raises(IncompatibleError, match=r"is biased .*: use .*allow_bias"):
            make_objective(model, bound, estimator, num_samples=2)


def test_a_share_is_between_0_and_1():
    with pytest.raises(VaejaxError, match="use a share from 0 to 1"):
        rws(wake_fraction=1.5)


# The thermodynamic covariance.


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("name", "num_samples"),
    [
        ("linear_gaussian", 2),
        ("sigmoid_belief_network", 4),
    ],
)
def test_the_covariance_gradient_has_its_own_target(name, num_samples, side):
    bound = tvo(side=side)
    (estimate,) = draw(name, bound, num_samples, tvo_covariance())
    truth = exact(name, bound, num_samples, tvo_covariance())
    assert oracles.z_scores(estimate, truth).max() < THRESHOLD
    z = oracles.z_scores(estimate, exact(name, bound, num_samples))
    assert z.max() > 20
    rest = z[1 + encoder_part(name, z).size :]
    assert rest.max() < THRESHOLD, "in the model it is the bound's gradient"


def test_a_covariance_without_the_posteriors_part_is_rejected():
    def surrogate(problem, params, state, key, example):
        dist_params, z = sample_posterior(problem, params, key, example)
        terms = log_terms(problem.model, params, dist_params, stop_gradient(z), example)
        value = bound_value(problem, params, dist_params, example, terms)
        return value, make_stats(value, terms)

    name, bound = "sigmoid_belief_network", tvo()
    (estimate,) = draw(name, bound, 4, claimed("half", surrogate))
    assert (
        oracles.z_scores(estimate, exact(name, bound, 4, tvo_covariance())).max() > 20
    )


def test_one_left_partition_is_the_elbo_with_its_own_mean_as_baseline():
    """1 - 1/K of the ELBO's gradient in the encoder, all of it in the model."""
    name, num_samples = "sigmoid_belief_network", 4
    bound = tvo(num_partitions=1)
    assert bound.path == ((1.0, 0.0),)
    found = exact(name, bound, num_samples, tvo_covariance())
    true = exact(name, elbo(), num_samples)
    np.testing.assert_allclose(
        encoder_part(name, found), (1 - 1 / num_samples) * encoder_part(name, true)
    )
    rest = slice(1 + encoder_part(name, true).size, None)
    np.testing.assert_allclose(found[rest], true[rest])


def test_the_covariance_gradient_tends_to_the_integrals():
    """E_{pi_beta} log w has a gradient by enumeration; the bias falls as 1/K."""
    name, bound = "sigmoid_belief_network", tvo()
    model, examples = MODELS[name], EXAMPLES[name]

    def objective(params):
        def one(x):
            q = model.encode(params, Example(x))
            assert model.posterior.outcomes is not None
            z = model.posterior.outcomes.support(q)
            terms = log_terms(model, params, q, z, Example(x))
            log_w = bound.log_weight(terms)
            return sum(
                width * jnp.dot(jax.nn.softmax(terms.log_qz + beta * log_w), log_w)
                for width, beta in bound.path
            )

        return jax.vmap(one)(examples.x).mean()

    limit = -oracles.flat(jax.grad(objective)(params_of(name)))
    bias = [
        np.linalg.norm(exact(name, bound, k, tvo_covariance())[1:] - limit)
        for k in (3, 6)
    ]
    assert 1.6 < bias[0] / bias[1] < 2.6


# Hierarchies, and learned priors.


def test_the_two_layer_models_evidence_is_the_integral():
    """IWAE at K = 2000 comes down to log p(x), and the ELBO is below both."""
    name = "two_layer_gaussian"
    log_px = jax.vmap(two_layer_log_px, (None, 0))(params_of(name), EXAMPLES[name].x)
    loose = -exact(name, elbo(), 1)[0]
    tight = -exact(name, iwae(), 2000)[0]
    assert loose < tight < log_px.mean()
    np.testing.assert_allclose(tight, log_px.mean(), atol=2e-2)


@pytest.mark.parametrize(
    ("bound", "num_samples"),
    [
        (beta_elbo(), 2),
        (elbo_analytic_kl(), 2),
        (renyi(2.5), 4),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_gdreg_is_unbiased_for_a_learned_prior(bound, num_samples):
    name = "learned_prior"
    (estimate,) = draw(name, bound, num_samples, gdreg())
    assert oracles.z_scores(estimate, exact(name, bound, num_samples)).max() < THRESHOLD


def test_a_prior_moved_without_its_density_is_rejected():
    """The path of log w through the prior's transport is not all of the score."""

    def surrogate(problem, params, state, key, example):
        model = problem.model
        dist_params, z = sample_posterior(problem, params, key, example)
        z = jax.vmap(model.latent_prior.couplings.retrace, (None, 0))(
            model.prior(params, None), z
        )
        closed = stop_gradient(params)
        half = dataclasses.replace(model, prior=lambda _, y: model.prior(closed, y))
        terms = log_terms(half, params, dist_params, z, example)
        value = bound_value(problem, params, dist_params, example, terms)
        return value, make_stats(value, terms)

    name = "learned_prior"
    (estimate,) = draw(name, iwae(), 2, claimed("half", surrogate))
    assert oracles.z_scores(estimate, exact(name, iwae(), 2)).max() > 20


def test_a_closed_way_between_the_layers_is_rejected():
    """DReG with log q(z2 | stopped z1) loses a part of d log q / dz."""

    def deaf(params, z):
        return linear(params, stop_gradient(z))

    name = "two_layer_gaussian"
    right = MODELS[name]
    hears = right.posterior
    wrong = dataclasses.replace(
        hears, log_prob=chain(diagonal_normal(), [deaf], top_down=False).log_prob
    )
    model = dataclasses.replace(right, posterior=wrong)

    def surrogate(problem, params, state, key, example):
        problem = dataclasses.replace(problem, model=model)
        return dreg().surrogate(problem, params, state, key, example)

    (estimate,) = draw(name, iwae(), 2, claimed("deaf", surrogate))
    z = oracles.z_scores(estimate, exact(name, iwae(), 2))
    assert encoder_part(name, z).max() > 20


def at_exact_posterior() -> tuple[Model, Params, Example]:
    """The two-layer model with q(z1|x) q(z2|z1) = p(z1, z2|x)."""
    name = "two_layer_gaussian"
    model, params, examples = MODELS[name], params_of(name), EXAMPLES[name]
    top, down = params.prior["first"], params.prior["conditional"]
    decoder = params.decoder
    slope, noise = down["weight"][0, 0], jnp.exp(2 * down["log_scale"][0])
    above = jnp.exp(2 * top["log_scale"][0])
    # p(z2|z1), with p(z2) as its prior.
    variance = 1 / (1 / above + slope**2 / noise)
    conditional = {
        "weight": jnp.reshape(variance * slope / noise, (1, 1)),
        "bias": variance * (top["loc"] / above - slope * down["bias"] / noise),
        "log_scale": 0.5 * jnp.log(variance)[None],
    }
    # p(z1|x), with p(z1) = int p(z2) p(z1|z2) as its prior.
    mean, spread = slope * top["loc"] + down["bias"], slope**2 * above + noise
    weight, data_noise = decoder["weight"][:, 0], jnp.exp(2 * decoder["log_scale"])
    variance = 1 / (1 / spread + weight @ weight / data_noise)
    first = {
        "weight": (variance * weight / data_noise)[None],
        "bias": variance * (mean / spread - weight @ decoder["bias"] / data_noise),
        "log_scale": 0.5 * jnp.log(variance)[None],
    }
    encoder = {"first": first, "conditional": conditional}
    return model, params._replace(encoder=encoder), examples


def gradient(model, params, examples, bound, estimator, num_samples=4) -> Params:
    objective = make_objective(
        model, bound, estimator, num_samples=num_samples, allow_bias=True
    )
    batch = Batch(examples, jnp.arange(len(examples.x)))
    return jax.jit(jax.grad(objective.loss, has_aux=True))(
        params, LossState(), jax.random.key(0), batch
    )[0]


def encoder_gradient(*arguments) -> np.ndarray:
    return oracles.flat(gradient(*arguments).encoder)


@pytest.mark.parametrize("bound", [elbo(), iwae()], ids=lambda bound: bound.name)
def test_paths_land_at_the_posterior_of_a_hierarchy(bound):
    model, params, examples = at_exact_posterior()
    for estimator in (stl(), dreg(), gdreg()):
        found = encoder_gradient(model, params, examples, bound, estimator)
        assert np.abs(found).max() < 1e-5, estimator.name
    found = encoder_gradient(model, params, examples, bound, pathwise())
    assert np.abs(found).max() > 0.1


@pytest.mark.parametrize("bound", [elbo(), iwae()], ids=lambda bound: bound.name)
def test_gdreg_is_exact_where_the_posterior_is_the_prior(bound):
    """With data that say nothing of z and q = p, log w and log q / p are constant."""
    model, params = MODELS["learned_prior"], params_of("learned_prior")
    encoder = dict(params.encoder)
    encoder["weight"] = jnp.zeros_like(encoder["weight"])
    encoder["bias"], encoder["log_scale"] = params.prior["outputs"]
    decoder = params.decoder | {"weight": jnp.zeros_like(params.decoder["weight"])}
    params = params._replace(encoder=encoder, decoder=decoder)
    at = model, params, EXAMPLES["learned_prior"], bound
    assert np.abs(oracles.flat(gradient(*at, gdreg()).prior)).max() < 1e-5
    assert np.abs(oracles.flat(gradient(*at, dreg()).prior)).max() > 0.1


def test_gdreg_is_dreg_where_nothing_of_the_prior_is_learned():
    name = "linear_gaussian"
    at = MODELS[name], params_of(name), EXAMPLES[name], iwae()
    a, b = (oracles.flat(gradient(*at, estimator)) for estimator in (gdreg(), dreg()))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_more_samples_help_dreg_through_a_hierarchy():
    """The encoder's signal-to-noise ratio grows as K^(1/2)."""
    model, params, examples = at_exact_posterior()
    params = jax.tree.map(jnp.array, params)
    for layer in params.encoder.values():  # off the posterior, and wider than it
        layer["log_scale"] += 0.3
        layer["bias"] += 0.3
    batch = Batch(examples, jnp.arange(len(examples.x)))

    def ratio(num_samples: int) -> float:
        objective = make_objective(model, iwae(), dreg(), num_samples=num_samples)
        moments = gradient_moments(
            objective, params, LossState(), jax.random.key(2), batch, draws=1000
        )
        mean, variance = (
            oracles.flat(tree.encoder) for tree in (moments.mean, moments.variance)
        )
        return np.linalg.norm(mean) / np.sqrt(variance.sum())

    assert ratio(128) > 2 * ratio(8)
