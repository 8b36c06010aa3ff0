"""Priors: densities, samples and gradients, each against integrals on a small model.

And what they need: the stratified estimator of mixtures, the density ratio.
"""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from jax.lax import stop_gradient
from scipy.stats import norm

from experiments.training.config import Config
from experiments.training.protocol import exemplars
from experiments.training.run import prepare
from vaejax.benchmark import gradient_moments
from vaejax.bounds import beta_elbo, elbo, iwae, piwae
from vaejax.core import (
    Batch,
    Bound,
    Estimator,
    Example,
    Extras,
    IncompatibleError,
    LossState,
    Model,
    Params,
    Problem,
    VaejaxError,
    check_data,
)
from vaejax.data import ImageData
from vaejax.estimators import dreg, pathwise, stratified
from vaejax.exact import value_and_gradient
from vaejax.families import NormalParams, bernoulli, mixture
from vaejax.models import gaussian_mlp
from vaejax.objective import make_objective
from vaejax.priors import autoregressive, conditional_normal, exemplar
from vaejax.training import fit

pytestmark = pytest.mark.slow

X = jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
LABELS = jnp.array([0, 1])
SETTINGS = {
    "autoregressive": {"hidden": 4},
    "conditional_normal": {"num_classes": 2},
    "exemplar": {"num_components": 2},
    "flow": {"depth": 2, "hidden": (4,)},
    "gaussian_mixture": {"num_components": 2},
    "implicit_optimal": {"hidden": (4,)},
    "vamp": {"num_components": 2},
}
every_prior = pytest.mark.parametrize("name", SETTINGS)


@functools.cache
def model_of(name: str, latent_dim: int = 2) -> Model:
    model = gaussian_mlp(
        data_shape=(3,),
        exemplars=np.array([[1.0, 0.2, 0.0], [0.3, 0.9, 0.7]]),
        latent_dim=latent_dim,
        hidden=(),
        prior=name,
        prior_settings=SETTINGS[name],
    )
    return dataclasses.replace(model, name=name)


def moved_params(model: Model) -> Params:
    return oracles.moved(model.init(jax.random.key(1)))


def log_prior(model: Model, params: Params, z: jax.Array) -> jax.Array:
    return model.latent_prior.log_prob(model.prior(params, LABELS[1]), z)


# Densities and samples.


@every_prior
def test_a_density_integrates_to_one_and_samples_follow_it(name):
    model, draws = model_of(name), 20_000
    params = moved_params(model)
    t = np.linspace(-5.3, 5.3, 401)  # to +-100, densely around 0
    axis, width = np.sinh(t), np.cosh(t) * (t[1] - t[0])
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    log_p = jax.jit(jax.vmap(lambda z: log_prior(model, params, z)))(grid)
    p = np.exp(np.asarray(log_p, float)) * np.outer(width, width).reshape(-1)
    if name == "implicit_optimal":
        # Unnormalised, by exactly the mean of exp T over the reference.
        reference = jax.random.normal(jax.random.key(2), (draws, 2))
        log_q = jax.vmap(lambda z: log_prior(model, params, z))(reference)
        ratio = np.exp(log_q - norm.logpdf(reference).sum(1))
        assert abs(p.sum() - 1) > 0.05
        assert abs(ratio.mean() - p.sum()) < 4 * ratio.std() / np.sqrt(draws)
        p /= p.sum()
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-4)

    keys = jax.random.split(jax.random.key(0), draws)
    own = model.prior(params, LABELS[1])
    z = np.asarray(jax.jit(jax.vmap(model.latent_prior.sample, (0, None)))(keys, own))

    def moments(z):
        return np.stack([z[:, 0], z[:, 1], *(z**2).T, z[:, 0] * z[:, 1]])

    found, truth = moments(z), moments(grid) @ p
    away = np.abs(found.mean(1) - truth)
    # Of 100 candidates, resampled: a bias of some hundredths of what is resampled.
    slack = 0.03 if name == "implicit_optimal" else 0.0
    assert ((away - slack) / (found.std(1) / np.sqrt(draws))).max() < 4.5
    # A standard normal, where most of them start, would be seen.
    others = np.array([0.0, 0.0, 1.0, 1.0, 0.0])
    assert (np.abs(others - truth) / (found.std(1) / np.sqrt(draws))).max() > 10


@every_prior
def test_a_density_has_the_gradient_of_its_differences(name):
    """Along a direction in all parameters, the encoder's too, and one in z."""
    model = model_of(name)
    with jax.enable_x64(True):
        at = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, float),
            (moved_params(model), jnp.array([0.4, -0.9])),
        )
        flat, restore = jax.flatten_util.ravel_pytree(at)
        of_flat = jax.jit(lambda flat: log_prior(model, *restore(flat)))
        slope = jax.grad(of_flat)(flat)
        to_params, to_z = restore(slope)
        reached = optax.tree.norm(to_params.encoder)
        assert (reached > 1e-2) == (name in ("exemplar", "vamp"))
        direction = jax.random.normal(jax.random.key(3), flat.shape, float)
        if name == "implicit_optimal":  # whose parameters the bound holds fixed
            assert optax.tree.norm(to_params) == 0
            direction = direction.at[:-2].set(0)
        step = 1e-5 * direction
        difference = (of_flat(flat + step) - of_flat(flat - step)) / 2e-5
        np.testing.assert_allclose(slope @ direction, difference, rtol=1e-7)
        assert jnp.abs(to_z).min() > 1e-3


def test_a_vamp_prior_is_encoded_once_a_batch():
    model = gaussian_mlp(
        data_shape=(3,),
        latent_dim=2,
        hidden=(11,),
        prior="vamp",
        prior_settings={"num_components": 7},
    )
    params, state = jax.eval_shape(model.init, jax.random.key(0)), LossState()

    def hidden_layers(model: Model) -> set[str]:
        """Shapes of the arrays that hold hidden layers: "5,11" for 5 examples."""
        objective = make_objective(model, elbo(), dreg(), num_samples=1)
        batch = Batch(Example(jnp.zeros((5, 3)), jnp.zeros(5)), jnp.arange(5))
        traced = jax.make_jaxpr(jax.grad(objective.loss, has_aux=True))(
            params, state, jax.random.key(0), batch
        )
        return set(re.findall(r"f32\[([\d,]+,11)\]", str(traced)))

    per_example = "5,7,11"
    assert {"5,11", "7,11"} <= hidden_layers(model)
    assert per_example not in hidden_layers(model)
    varied = dataclasses.replace(
        model,
        prior=lambda params, y: model.prior(
            params._replace(prior=params.prior * y), None
        ),
    )
    assert per_example in hidden_layers(varied)


# Gradients of bounds, against quadrature.


def drawn(models: list[Model], bound: Bound, estimators: list[Estimator], **settings):
    """The z-scores of every model under every estimator, in a row, to the first's."""
    k, draws = settings.pop("num_samples"), settings.pop("draws", 25_000)
    labels = settings.pop("labels", None)
    examples = Example(X, labels)
    params = moved_params(models[0])
    problem = Problem(model=models[0], bound=bound, num_samples=k)
    truth = -oracles.flat(value_and_gradient(problem, params, examples))
    pairs = [(model, estimator) for model in models for estimator in estimators]
    objectives = [
        make_objective(
            dataclasses.replace(model, extras=Extras()), bound, estimator, num_samples=k
        )
        for model, estimator in pairs
    ]
    start = Params((), (), (), tuple((jnp.zeros(()), params) for _ in objectives))
    moments = gradient_moments(
        oracles.side_by_side(objectives),
        start,
        (LossState(),) * len(objectives),
        jax.random.key(0),
        Batch(examples, jnp.arange(2)),
        draws=draws,
    )
    return [
        oracles.z_scores(
            oracles.Drawn(oracles.flat(mean), np.sqrt(oracles.flat(variance) / draws)),
            truth,
        )
        for mean, variance in zip(
            moments.mean.auxiliary, moments.variance.auxiliary, strict=True
        )
    ]


def threshold(scores: list[np.ndarray], cells: int) -> float:
    """The |z| = 5 of one two-sided test, by Bonferroni."""
    return norm.isf(norm.sf(5) / (cells * sum(z.size for z in scores)))


@every_prior
def test_bounds_have_their_exact_gradients(name):
    # One latent, for a quick integral, where that leaves no conditional out.
    model = model_of(name, latent_dim=2 if name == "autoregressive" else 1)
    scores = drawn([model], iwae(), [pathwise(), dreg()], num_samples=2, labels=LABELS)
    for z in scores:
        assert z.max() < threshold(scores, len(SETTINGS)), z


def test_a_vamp_prior_belongs_to_the_model_where_the_posterior_is_trained_apart():
    model = model_of("vamp", latent_dim=1)

    def without_its_way(params, y):
        return model.prior(params._replace(encoder=stop_gradient(params.encoder)), y)

    right, wrong = drawn(
        [model, dataclasses.replace(model, prior=without_its_way)],
        piwae(),
        [pathwise()],
        num_samples=4,
    )
    assert right.max() < threshold([right], 1)
    assert wrong[0] < 5
    assert wrong.max() > 20


@pytest.mark.parametrize("bound", [elbo(), beta_elbo()], ids=lambda bound: bound.name)
def test_stratified_gradients_are_exact_and_reach_the_weights(bound):
    family = mixture(num_components=2)

    model = gaussian_mlp(
        data_shape=(3,),
        latent_dim=1,
        hidden=(),
        posterior="mixture",
        posterior_settings={"num_components": 2},
    )

    def closed(params):
        log_weights, components = family.strata.split(params)
        return stop_gradient(log_weights), components

    strata = dataclasses.replace(family.strata, split=closed)
    broken = dataclasses.replace(
        model, posterior=dataclasses.replace(model.posterior, strata=strata)
    )
    right, wrong = drawn([model, broken], bound, [stratified()], num_samples=2)
    assert right.max() < threshold([right], 2)
    assert wrong[0] < 5  # only the gradient gives it away
    assert wrong.max() > 20


# The implicit optimal prior.


def test_the_ratio_is_trained_by_its_regularizer_alone_and_splits_the_kl():
    model = model_of("implicit_optimal")
    objective = make_objective(model, elbo(), pathwise(), num_samples=1)
    params, draws = moved_params(model), 20_000
    batch = Batch(Example(jnp.broadcast_to(X[0], (draws, 3))), jnp.arange(draws))

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def of_all(params, key):
        loss, (_, metrics) = objective.loss(params, LossState(), key, batch)
        return loss, metrics

    (regularizer,) = model.extras.regularizers
    of_ratio = jax.jit(
        jax.grad(lambda params, key: regularizer.penalty(model, params, key, batch))
    )
    key = jax.random.key(4)
    slopes, metrics = of_all(params, key)
    alone = of_ratio(params, jax.random.fold_in(jax.random.split(key)[1], 0))
    assert optax.tree.norm(alone.prior) > 1e-2
    assert optax.tree.norm(alone._replace(prior=())) == 0
    for one, two in zip(
        *map(jax.tree.leaves, (slopes.prior, alone.prior)), strict=True
    ):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
    split = metrics["kl_to_reference"] - metrics["log_ratio"]
    assert abs(metrics["kl"] - split) < 0.05
    assert abs(metrics["kl"] - metrics["kl_to_reference"]) > 0.1  # T has its part


def test_the_ratio_is_right_among_samples_and_wrong_far_from_them():
    """q(z) = N(1.5, 1/4) against N(0, 1), whose ratio is known everywhere."""
    loc, scale, batch = 1.5, 0.5, Batch(Example(jnp.zeros((256, 3))), jnp.arange(256))
    model = gaussian_mlp(
        data_shape=(3,),
        latent_dim=1,
        hidden=(),
        prior="implicit_optimal",
        prior_settings={"hidden": (32,)},
    )
    q = NormalParams(jnp.array([loc]), jnp.log(jnp.array([scale])))
    model = dataclasses.replace(model, encode=lambda params, example: q)
    (regularizer,) = model.extras.regularizers
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-2, 3000))

    def step(carry, key):
        params, state = carry
        slopes = jax.grad(lambda p: regularizer.penalty(model, p, key, batch))(params)
        updates, state = optimizer.update(slopes, state)
        return (optax.apply_updates(params, updates), state), None

    params = model.init(jax.random.key(0))
    start = params, optimizer.init(params)
    keys = jax.random.split(jax.random.key(1), 3000)
    (params, _), _ = jax.jit(lambda start: jax.lax.scan(step, start, keys))(start)

    def error(z):
        own = [float(log_prior(model, params, jnp.array([one]))) for one in z]
        return np.abs(np.array(own) - norm.logpdf(z, loc, scale))

    assert error(np.array([0.5, 1.0, 1.5, 2.0])).max() < 0.2
    assert error(np.array([-4.0, 6.0])).min() > 5


# Refusals, and what the command line gives.


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: mixture(num_components=0),
            "num_components=0 must be an integer from 1",
        ),
        (lambda: autoregressive(hidden=0), "hidden=0 must be an integer from 1"),
        (lambda: exemplar(np.zeros((3, 2))), "are 3 exemplars: use fewer components"),
        (lambda: exemplar(num_components=1), "num_components is 1: use at least 2"),
    ],
)
def test_settings_that_cannot_be_are_refused(build, message):
    with pytest.raises(VaejaxError, match=message):
        build()


@pytest.mark.parametrize("y", [None, jnp.array(0.5), jnp.array([1, 0])])
def test_a_conditional_prior_refuses_examples_without_a_label(y):
    prior = conditional_normal(latent_dim=2)
    params = Params((), (), prior.init(jax.random.key(0)))
    with pytest.raises(VaejaxError, match=r"was given .*: use Example\(x, y\)"):
        prior.apply(lambda *_: None, params, y)


def test_an_exemplar_prior_without_exemplars_says_so():
    model = gaussian_mlp(data_shape=(3,), prior="exemplar")
    params = model.init(jax.random.key(0))
    with pytest.raises(VaejaxError, match="was given none: use exemplar"):
        model.prior(params, None)


@pytest.mark.parametrize(
    ("family", "bound", "message"),
    [
        (None, elbo(), "diagonal_normal latents have no components: use pathwise"),
        (mixture(), iwae(), "iwae is not a mean over samples: use vimco"),
        (
            mixture(bernoulli()),
            elbo(),
            "bernoulli components have no reparam.*: use score",
        ),
    ],
)
def test_stratified_refuses_what_has_no_strata(family, bound, message):
    model = gaussian_mlp(data_shape=(3,))
    if family is not None:
        prior = dataclasses.replace(model.latent_prior, space=family.space)
        model = dataclasses.replace(model, posterior=family, latent_prior=prior)
    with pytest.raises(IncompatibleError, match=message):
        make_objective(model, bound, stratified(), num_samples=2)


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [("dynamic", [0.2, 1.0]), ("threshold", [0.0, 1.0]), ("static", [51.0, 255.0])],
)
def test_exemplars_are_the_expected_observations(protocol, expected):
    images = np.array([51, 255], np.uint8).reshape(1, 1, 2, 1)
    found = exemplars(ImageData(images, None), protocol)
    np.testing.assert_allclose(found.reshape(-1), expected, rtol=1e-6)


def test_the_command_line_gives_training_images_to_an_exemplar_prior():
    config = Config(
        dataset="digits",
        model_settings=("prior=exemplar", "prior.num_components=3", "latent_dim=2"),
    )
    run = prepare(config)
    model, data = run.model, run.data
    params = model.init(jax.random.key(0))
    images = data.train.x[:3] / 255
    encoded = jax.vmap(lambda x: model.encode(params, Example(x)))(images)
    np.testing.assert_allclose(
        model.prior(params, None).components.loc, encoded.loc, rtol=1e-5, atol=1e-6
    )
    # A training example leaves its own out; all count for those of the test split.
    own = jax.vmap(lambda y: model.prior(params, y).log_weights)(data.train.y[:4])
    np.testing.assert_array_equal(np.isinf(own), np.eye(4, 3, dtype=bool))
    assert data.train.y.tolist() == list(range(len(data.train.x)))
    assert data.test.y is None


def exemplar_model(x, num_components):
    return gaussian_mlp(
        data_shape=(3,),
        exemplars=x,
        latent_dim=2,
        hidden=(),
        prior="exemplar",
        prior_settings={"num_components": num_components},
    )


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "was given no y to train on: use Example"),
        (np.zeros(4, int), "and position 0 comes 4 times"),
        (np.full(4, -5), "4 of 4 positions are below -1, the lowest -5"),
        (np.arange(4.0), "given float64 of shape"),
        (np.arange(4) == 1, "given bool of shape"),
        (np.arange(8).reshape(4, 2), r"of shape \(4, 2\)"),
    ],
)
@pytest.mark.parametrize("observe", [None, lambda key, x: x])
def test_training_asks_which_exemplar_each_example_is(y, message, observe):
    """Without positions, the prior would explain each example by itself."""
    x = np.eye(4, 3, dtype="float32")
    objective = make_objective(exemplar_model(x, 2), elbo(), pathwise(), num_samples=1)

    def train(y):
        return fit(
            objective,
            optax.sgd(1e-3),
            Example(jnp.asarray(x), y),
            epochs=1,
            batch_size=4,
            key=jax.random.key(0),
            observe=observe,
        )

    with pytest.raises(VaejaxError, match=message):
        train(y)
    if y is None:
        train(np.array([3, 0, -1, -1]))


def test_evaluation_takes_no_positions_but_refuses_what_are_none():
    x = np.eye(4, 3, dtype="float32")
    model = exemplar_model(x, 2)
    assert check_data(model, Example(x)).y is None
    assert check_data(model, Example(x, np.zeros(4, int))).y.tolist() == [0] * 4
    for y in (np.full(4, -2), np.arange(4.0), 0):
        with pytest.raises(VaejaxError, match="takes as y the position of the example"):
            check_data(model, Example(x, y))
    other = gaussian_mlp(data_shape=(3,), hidden=())
    for y in (np.array(list("abcd")), np.zeros(3)):
        with pytest.raises(VaejaxError, match="give a numeric y for every example"):
            check_data(other, Example(x, y))


def test_training_leaves_an_examples_own_component_out_of_its_exemplar_prior():
    """The truths are SciPy's mixtures, without and with the own component."""
    x = np.random.default_rng(0).integers(0, 2, (4, 3)).astype("float32")
    model = exemplar_model(x, 3)
    params = moved_params(model)._replace(prior=jnp.float32(-0.7))
    # The posterior is as narrow as a point, so that the bound is at its mean.
    narrow = dataclasses.replace(
        model,
        encode=lambda *given: model.encode(*given)._replace(
            log_scale=jnp.full(2, -9.0)
        ),
    )
    objective = make_objective(narrow, elbo(), pathwise(), num_samples=1)

    def log_pz(y):
        batch = Batch(Example(jnp.asarray(x), y), jnp.arange(4))
        return float(
            objective.loss(params, LossState(), jax.random.key(0), batch)[1][1][
                "log_pz"
            ]
        )

    means = np.stack([model.encode(params, Example(row)).loc for row in jnp.asarray(x)])
    density = norm.pdf(means[:, None], means[None, :3], np.exp(-0.7)).prod(-1)
    own = np.eye(4, 3, dtype=bool)  # the fourth is no exemplar
    others = np.where(own, 0, density).sum(1) / [2, 2, 2, 3]
    positions = jnp.arange(4)
    assert log_pz(positions) == pytest.approx(np.log(others).mean(), abs=1e-3)
    all_three = np.log(density.mean(1)).mean()
    for y in (None, jnp.full(4, -1), positions + 3):
        assert log_pz(y) == pytest.approx(all_three, abs=1e-3)
    ratio = np.diagonal(density) / others[:3]
    excess = np.log(2 / 3 * (1 + ratio / 2)).sum() / 4
    assert log_pz(None) - log_pz(positions) == pytest.approx(excess, abs=2e-3)
    assert excess > 0.1
