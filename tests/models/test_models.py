"""Models and registries: everything builds, fits its data's shape, and can learn."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import (
    BOUNDS,
    ESTIMATORS,
    FAMILIES,
    MODELS,
    PRIORS,
    REGULARIZERS,
    Batch,
    Example,
    Model,
    UnknownNameError,
    VaejaxError,
    build,
    make_objective,
)
from vaejax.estimators import nvil
from vaejax.evaluation import active_units, posterior_means
from vaejax.families import NormalParams, categorical, diagonal_normal
from vaejax.models import gaussian_conv, gaussian_mlp, linear_gaussian
from vaejax.models.assembly import from_mlps, from_networks
from vaejax.models.parts import LIKELIHOODS
from vaejax.nets import Network
from vaejax.priors import standard_normal

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)

SMALL = {
    "autoencoder": {"hidden": (6,), "latent_dim": 3},
    "denoising_autoencoder": {"latent_dim": 3},
    "sparse_autoencoder": {"latent_dim": 3},
    "stacked_denoising_autoencoder": {"hidden": (6,), "latent_dim": 3},
    "masked_autoencoder": {
        **{"patch_size": 1, "width": 4, "depth": 1, "heads": 1},
        **{"decoder_width": 4, "decoder_depth": 1},
    },
    "hierarchical_mlp": {"hidden": (6, 5), "latent_dims": (3, 2), "num_hidden": 1},
    "ladder_mlp": {"hidden": (6, 5), "latent_dims": (3, 2), "num_hidden": 1},
    "bernoulli_toy": {},
    "categorical_mlp": {"hidden": (6,), "latent_dim": 3, "num_categories": 2},
    "conditional_vae": {"hidden": (6,), "latent_dim": 3, "num_classes": 2},
    "family_mlp": {"hidden": (6,), "latent_dim": 3},
    "two_layer_gaussian": {"latent_dims": (3, 2)},
    "two_layer_sigmoid_belief_network": {"hidden": (6,), "latent_dims": (3, 2)},
    "gaussian_mlp": {"hidden": (6,), "latent_dim": 3},
    "gaussian_conv": {"channels": (2, 3), "latent_dim": 3},
    "gaussian_toy": {},
    "linear_gaussian": {"latent_dim": 3},
    "prod_lda": {"hidden": (6,), "num_topics": 3},
    "m2": {"hidden": (6,), "latent_dim": 3, "num_classes": 2},
    "semi_amortized_mlp": {"hidden": (6,), "latent_dim": 3},
    "sigmoid_belief_network": {"hidden": (6,), "latent_dim": 3},
    "vade": {"hidden": (6,), "latent_dim": 3, "num_components": 2},
    "vq_vae": {
        **{"channels": (2, 3), "blocks": 0},
        **{"latent_dim": 3, "num_codes": 4},
    },
}
CASES = [
    (name, shape)
    for name in SMALL
    # Whose codes are of tokens or of a grid, and have their own tests.
    if name not in ("masked_autoencoder", "vq_vae")
    for shape in [(28, 20, 1), (13, 9, 3), (1, 1, 1), (5,)]
    if len(shape) == 3 or name != "gaussian_conv"
    if len(shape) == 1 or name != "prod_lda"
]


def labels(model, *shape):
    """Labels of class 1, for a model that needs labels."""
    return None if model.labels.num_classes is None else jnp.ones(shape, int)


def binary(shape, count=None):
    size = shape if count is None else (count, *shape)
    return jax.random.bernoulli(KEY, 0.3, size).astype(jnp.float32)


@pytest.mark.parametrize(
    "registry", [MODELS, PRIORS, FAMILIES, BOUNDS, ESTIMATORS, REGULARIZERS]
)
def test_every_factory_builds_without_arguments(registry):
    for name in registry:
        assert build(registry, name).name == name


def test_every_model_has_its_small_settings_here():
    assert set(SMALL) == set(MODELS)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_a_model_fits_the_shape_of_its_data(name, shape):
    model = MODELS[name](shape, **SMALL[name])

    def shapes(key):
        params, y = model.init(key), labels(model)
        q = model.encode(params, Example(jnp.zeros(shape), y))
        z = model.posterior.sample(key, q)
        p = model.decode(params, z, y)
        x = model.likelihood.sample(key, p)
        prior = model.prior(params, y)
        densities = (
            model.likelihood.log_prob(p, x),
            model.latent_prior.log_prob(prior, z),
            model.posterior.log_prob(q, z),
        )
        return z, x, model.likelihood.mean(p), densities

    z, x, mean, densities = jax.eval_shape(shapes, KEY)
    latents = {leaf.shape for leaf in jax.tree.leaves(z)}
    assert latents <= {(3,), (2,), (3, 2), (math.prod(shape),)}
    assert x.shape == mean.shape == shape
    assert all(density.shape == () for density in densities)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns(name):
    shape = (30,) if name == "prod_lda" else (6, 5, 1)
    model = MODELS[name](shape, **SMALL[name])
    estimator = "pathwise" if model.posterior.reparam else "rloo"
    bound = "elbo" if model.posterior.has_density else "reconstruction"
    objective = make_objective(
        model, BOUNDS[bound](), ESTIMATORS[estimator](), num_samples=8
    )
    y = None if model.labels.unknown else labels(model, 16)
    batch = Batch(Example(binary(shape, 16), y), jnp.arange(16))
    init = jax.jit(objective.init)
    params, state = init(KEY)
    other, _ = init(jax.random.key(1))

    @jax.jit
    def loss_and_gradient(params):
        return jax.value_and_grad(objective.loss, has_aux=True)(
            params, state, KEY, batch
        )

    (before, _), gradient = loss_and_gradient(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.any(leaf != 0), f"no gradient reaches {jax.tree_util.keystr(path)}"
    step = 1e-3 / optax.tree.norm(gradient)
    after = jax.tree.map(lambda p, g: p - step * g, params, gradient)
    assert loss_and_gradient(after)[0][0] < before
    same = jax.tree.map(
        lambda a, b: bool(jnp.all(a == b)), params.encoder, other.encoder
    )
    assert not all(jax.tree.leaves(same))


@pytest.mark.parametrize("name", SMALL)
def test_a_model_compiles_in_float32_after_it_was_traced_in_float64(name):
    # As where an exact gradient is refused, and draws take its place.
    shape = (6,) if name == "prod_lda" else (4, 4, 1)
    takes_mean = "data_mean" in inspect.signature(MODELS[name]).parameters
    told = {"data_mean": np.full(shape, 0.5)} if takes_mean else {}
    model = build(MODELS, name, data_shape=shape, **SMALL[name], **told)

    def arrays(dtype):
        params = jax.eval_shape(model.init, KEY)
        x = jax.ShapeDtypeStruct(model.data_shape, dtype)
        y = (
            None
            if model.labels.num_classes is None
            else jax.ShapeDtypeStruct((), jnp.int32)
        )
        params = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, dtype), params)
        return params, Example(x, y)

    with jax.enable_x64(True):
        jax.eval_shape(model.encode, *arrays(np.float64))
    jax.jit(model.encode).lower(*arrays(np.float32))


def test_the_default_network_is_the_papers():
    params = jax.eval_shape(gaussian_mlp().init, KEY)
    sizes = {
        group: [layers[i]["kernel"].shape for i in range(3)]
        for group, layers in [
            ("encoder", params.encoder["layers"]),
            ("decoder", params.decoder["layers"]),
        ]
    }
    assert sizes["encoder"] == [(784, 200), (200, 200), (200, 100)]
    assert sizes["decoder"] == [(50, 200), (200, 200), (200, 784)]
    counted = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    assert counted == 425_284


def test_the_output_bias_starts_at_the_logit_of_the_mean():
    mean = np.random.default_rng(0).uniform(size=(4, 3, 1))
    mean[0, 0], mean[1, 0] = 0.0, 1.0
    clipped = np.clip(mean, 0.001, 0.999)
    params = gaussian_mlp((4, 3, 1), data_mean=mean, hidden=(3,)).init(KEY)
    bias = params.decoder["layers"][1]["bias"]
    expected = np.log(clipped / (1 - clipped)).reshape(-1)
    np.testing.assert_allclose(bias, expected, rtol=1e-4)

    params = gaussian_conv((4, 3, 1), data_mean=mean, channels=(3,)).init(KEY)
    logit = np.log(mean.mean() / (1 - mean.mean()))
    last = params.decoder["doubling"]["convs"][0]
    np.testing.assert_allclose(last["bias"], [logit], rtol=1e-4)

    params = linear_gaussian((4, 3, 1), data_mean=mean).init(KEY)
    np.testing.assert_allclose(params.decoder["bias"], mean.reshape(-1), rtol=1e-6)


@pytest.mark.parametrize("likelihood", ["diagonal_normal", "fixed_normal"])
def test_real_likelihoods_start_at_the_mean_itself(likelihood):
    mean = np.random.default_rng(0).uniform(size=(4, 3, 2))
    given = {"data_mean": mean, "latent_dim": 2, "likelihood": likelihood}
    mlp = gaussian_mlp((4, 3, 2), hidden=(3,), **given)
    conv = gaussian_conv((4, 3, 2), channels=(3,), **given)
    channel_means = np.broadcast_to(mean.mean((0, 1)), mean.shape)
    for model, last, expected in [
        (mlp, lambda decoder: decoder["layers"][1], mean),
        (conv, lambda decoder: decoder["doubling"]["convs"][0], channel_means),
    ]:
        params = model.init(KEY)
        last(params.decoder)["kernel"] *= 0  # only the bias speaks
        p = model.decode(params, jnp.ones(2), None)
        np.testing.assert_allclose(model.likelihood.mean(p), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "known"),
    [
        ({"activation": "swiss"}, ["gelu", "relu", "silu", "tanh"]),
        ({"likelihood": "cauchy"}, sorted(LIKELIHOODS)),
        ({"depth": 3}, sorted(inspect.signature(gaussian_mlp).parameters)),
    ],
)
def test_an_unknown_setting_lists_the_known(settings, known):
    (wrong,) = [str(v) if v != 3 else "depth" for v in settings.values()]
    with pytest.raises(UnknownNameError, match=wrong) as caught:
        build(MODELS, "gaussian_mlp", **settings)
    assert all(name in str(caught.value) for name in known)


def test_an_unknown_model_lists_the_known():
    with pytest.raises(UnknownNameError, match="'gausian_mlp'") as caught:
        build(MODELS, "gausian_mlp")
    assert all(name in str(caught.value) for name in MODELS)


def test_convolutions_refuse_what_is_no_image():
    with pytest.raises(VaejaxError, match="use gaussian_mlp"):
        gaussian_conv((784,))


def hand_made(scale: np.ndarray) -> Model:
    """A model of which latent i has the posterior mean `scale[i] * x[i]`."""
    dim = len(scale)
    normal = FAMILIES["diagonal_normal"]()
    encoder = Network(
        init=lambda key: (),
        apply=lambda params, x: jnp.concatenate([scale * x, jnp.zeros(dim)]),
    )
    decoder = Network(
        init=lambda key: (),
        apply=lambda params, z: jnp.zeros((2, dim)),
    )
    return from_networks(
        "hand_made",
        encoder=encoder,
        decoder=decoder,
        prior=standard_normal(dim),
        posterior=normal,
        likelihood=normal,
        data_shape=(dim,),
        latent_dim=dim,
    )


def test_active_units_are_those_whose_posterior_mean_moves():
    x = np.random.default_rng(0).normal(size=(500, 5))
    x = jnp.asarray((x - x.mean(0)) / x.std(0), jnp.float32)
    scale = np.array([0.0, 0.09, 0.11, 1.0, -3.0], np.float32)  # threshold: sd of 0.1
    model = hand_made(scale)
    params = model.init(KEY)
    assert active_units(model, params, Example(x)) == 3
    means = posterior_means(model, params, Example(x))
    np.testing.assert_allclose(means, np.asarray(x) * scale, rtol=1e-6)
    assert isinstance(model.encode(params, Example(x[0])), NormalParams)


def test_the_shape_of_one_hot_data_counts_their_categories():
    """Networks that others put on x, such as NVIL's baseline, then fit it."""
    model = from_mlps(
        "words",
        posterior=diagonal_normal(),
        prior=standard_normal(2),
        likelihood=categorical(4),
        data_shape=(3,),
        data_mean=None,
        latent_dim=2,
        hidden=(5,),
        activation="tanh",
    )
    assert model.data_shape == (3, 4)
    assert model.latent_shape.shape == (2,)
    objective = make_objective(model, BOUNDS["elbo"](), nvil(), num_samples=2)
    params, state = objective.init(KEY)
    words = jax.nn.one_hot(jnp.array([[0, 3, 1], [2, 2, 0]]), 4)
    loss, _ = objective.loss(params, state, KEY, Batch(Example(words), jnp.arange(2)))
    assert np.isfinite(loss)
