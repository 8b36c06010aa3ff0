"""Modules of flax and equinox in a model: their function, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import vaejax
from vaejax import from_networks
from vaejax.bounds import elbo
from vaejax.core import Example, VaejaxError
from vaejax.estimators import stl
from vaejax.families import bernoulli, categorical, diagonal_normal
from vaejax.nets import Network, as_network, from_equinox, from_linen, from_nnx, mlp
from vaejax.priors import learned_categorical, standard_normal, vamp

KEY = jax.random.key(0)
X = jnp.linspace(-1.0, 1.0, 6)


def nnx_net(*layers, size=6):
    """A linear layer and others, as a function of `rngs`."""

    def build(rngs):
        return nnx.Sequential(
            nnx.Linear(size, 4, rngs=rngs), *(layer(rngs) for layer in layers)
        )

    return build


def linen_net(*layers):
    return linen.Sequential([linen.Dense(4), *layers])


def equinox_net(*layers, key=KEY):
    eqx = pytest.importorskip("equinox")
    return eqx.nn.Sequential([eqx.nn.Linear(6, 4, key=key), *layers])


def plain():
    return (
        lambda key: {"w": jax.random.normal(key, (6, 4))},
        lambda params, x: x @ params["w"],
    )


MADE = nnx_net()(nnx.Rngs(3))
# The network, and its own function of the parameters that `init` gives.
FORMS = {
    "a Network": lambda: (mlp(6, (), 4), None),
    "a pair": lambda: (plain(), lambda p, x: x @ p["w"]),
    "a function of rngs": lambda: (
        nnx_net(),
        lambda p, x: x @ p["layers"][0]["kernel"] + p["layers"][0]["bias"],
    ),
    "an NNX module": lambda: (MADE, lambda p, x: MADE(x)),
    "a linen module": lambda: (
        linen_net(),
        lambda p, x: linen_net().apply({"params": p}, x),
    ),
    "an equinox module": lambda: (equinox_net(), lambda p, x: equinox_net()(x)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_network_in_any_form_is_its_own_function_over_plain_dicts(form):
    given, own = FORMS[form]()
    network = as_network("encoder", given, X)
    params = network.init(KEY)
    assert {type(leaf) for leaf in jax.tree.leaves(params)} == {type(X)}
    assert type(params) is dict
    found = jax.jit(network.apply)(params, X)
    if own is not None:
        np.testing.assert_allclose(found, own(params, X), rtol=1e-6)
    gradient = jax.grad(lambda params: network.apply(params, X).sum())(params)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient))
    batch = jax.vmap(network.apply, (None, 0))(params, jnp.stack([X, 2 * X]))
    np.testing.assert_allclose(batch[0], found, rtol=1e-6)


@pytest.mark.parametrize("form", ["a function of rngs", "a linen module"])
def test_other_keys_start_from_other_parameters(form):
    network = as_network("encoder", FORMS[form]()[0], X)
    one, other = (network.init(jax.random.key(n)) for n in (0, 1))
    assert not jnp.array_equal(network.apply(one, X), network.apply(other, X))


def test_an_equinox_module_is_made_anew_by_a_function_of_a_key():
    network = from_equinox(lambda key: equinox_net(key=key))
    other = jax.random.key(1)
    np.testing.assert_allclose(
        network.apply(network.init(other), X), equinox_net(key=other)(X), rtol=1e-6
    )


def test_a_module_that_is_made_keeps_its_arrays_when_training_takes_its_state():
    made = nnx_net(size=2)(nnx.Rngs(0))
    model = from_networks(
        encoder=nnx_net(size=4),
        decoder=made,
        prior=standard_normal(2),
        likelihood=bernoulli(),
    )
    before = np.asarray(made(X[:2]))
    data = Example(jnp.eye(4))
    state = vaejax.fit(
        vaejax.make_objective(model, elbo(), stl(), num_samples=1),
        optax.adam(0.1),
        data,
        epochs=2,
        batch_size=2,
        key=KEY,
    )
    np.testing.assert_array_equal(made(X[:2]), before)
    assert not jnp.array_equal(
        model.decode(state.params, X[:2], None),
        model.decode(model.init(KEY), X[:2], None),
    )


class Noisy(nnx.Module):
    """Adds noise of its own stream."""

    def __init__(self, rngs):
        self.rngs = rngs

    def __call__(self, x):
        return x + jax.random.normal(self.rngs.noise(), x.shape)


class Counting(nnx.Module):
    """Keeps a variable that is no parameter."""

    def __init__(self, rngs):
        self.calls = nnx.Variable(jnp.zeros(()))

    def __call__(self, x):
        return x


class Scaled(nnx.Module):
    """Holds a plain array."""

    def __init__(self, rngs):
        self.scale = jnp.arange(4.0)

    def __call__(self, x):
        return x * self.scale


def test_a_plain_array_in_a_module_is_a_constant():
    plain, scaled = from_nnx(nnx_net()), from_nnx(nnx_net(Scaled))
    params = scaled.init(KEY)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, plain.init(KEY))
    expected = plain.apply(params, X) * jnp.arange(4.0)
    np.testing.assert_allclose(jax.jit(scaled.apply)(params, X), expected)


def eqx_layer(name, *args, **settings):
    return getattr(pytest.importorskip("equinox").nn, name)(*args, **settings)


def without_dropout():
    eqx = pytest.importorskip("equinox")
    return eqx.nn.inference_mode(equinox_net(eqx.nn.Dropout(0.5)))


def dropout(**settings):
    return lambda rngs: nnx.Dropout(0.5, rngs=rngs, **settings)


EVALUATING = nnx_net(dropout())(nnx.Rngs(0))
EVALUATING.eval()
IDLE = {
    "nnx": lambda: nnx_net(dropout(deterministic=True)),
    "nnx .eval()": lambda: EVALUATING,
    "linen": lambda: linen_net(linen.Dropout(0.5, deterministic=True)),
    "equinox": without_dropout,
}


@pytest.mark.parametrize("form", IDLE)
def test_dropout_that_is_off_is_the_identity(form):
    network = as_network("encoder", IDLE[form](), X)
    params = network.init(KEY)
    first, second = (jax.jit(network.apply)(params, X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.all(first != 0)


RANDOM = "draws random numbers, and a network is a function of its parameters and one"
LAYER_NORM = "use layer norm or group norm"
REFUSED = {
    "nnx dropout": (
        lambda: nnx_net(dropout()),
        f"Dropout at layers.1 {RANDOM} example: set its deterministic=True",
    ),
    "nnx batch norm": (
        lambda: nnx_net(lambda rngs: nnx.BatchNorm(4, rngs=rngs)),
        f"BatchNorm at layers.1 keeps the BatchStat mean .*{LAYER_NORM}",
    ),
    "a made module with batch norm": (
        lambda: nnx_net(lambda rngs: nnx.BatchNorm(4, rngs=rngs))(nnx.Rngs(0)),
        f"BatchNorm at layers.1 keeps the BatchStat mean .*{LAYER_NORM}",
    ),
    "nnx noise": (lambda: nnx_net(Noisy), f"Noisy at layers.1 {RANDOM}"),
    "nnx variable": (
        lambda: nnx_net(Counting),
        "Counting at layers.1 keeps the Variable calls .*make it an nnx.Param",
    ),
    "linen dropout": (
        lambda: linen_net(linen.Dropout(0.5, deterministic=False)),
        f"Sequential {RANDOM} .*deterministic=True of its dropout",
    ),
    "linen batch norm": (
        lambda: linen_net(linen.BatchNorm(use_running_average=False)),
        f"Sequential keeps batch_stats besides its parameters.*{LAYER_NORM}",
    ),
    "equinox dropout": (
        lambda: equinox_net(eqx_layer("Dropout", 0.5)),
        f"Dropout at layers.1 {RANDOM} .*equinox.nn.inference_mode",
    ),
    "equinox batch norm": (
        lambda: equinox_net(eqx_layer("BatchNorm", 4, "batch", mode="batch")),
        f"BatchNorm at layers.1 keeps a state .*{LAYER_NORM}",
    ),
    "a class that needs more": (
        lambda: nnx.Linear,
        "Linear makes no module of rngs alone .*out_features.*lambda rngs",
    ),
    "a factory that is not called": (lambda: mlp, "mlp makes no module of rngs alone"),
    "a function that makes no module": (
        lambda: lambda rngs: 3,
        "what <lambda> makes of rngs is not a flax NNX module: give a function",
    ),
    "a linen class": (
        lambda: linen.Dense,
        "Dense makes no module of rngs alone",
    ),
    "linen of another input": (
        lambda: linen.Conv(3, (3, 3)),
        r"module Conv fails at an input of shape \(6,\)",
    ),
    "a number": (lambda: 3, "encoder must be a Network, and is an int"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_is_no_function_of_one_example_is_refused_by_name(mistake):
    given, expected = REFUSED[mistake]
    with pytest.raises(VaejaxError, match=expected) as caught:
        as_network("encoder", given(), X)
    assert "\n" not in str(caught.value)


def model(**changes):
    given = {
        "encoder": linen_net(),
        "decoder": lambda rngs: nnx.Linear(2, 6, rngs=rngs),
        "prior": standard_normal(2),
        "likelihood": bernoulli(),
    }
    return from_networks(**given | changes)


def test_the_shapes_of_a_model_follow_from_its_prior_and_its_decoder():
    found = model()
    assert found.data_shape == (6,)
    assert found.latent_shape.shape == (2,)
    assert found.posterior.name == "diagonal_normal"
    given = model(posterior=diagonal_normal(), data_shape=(6,), latent_dim=2)
    one, other = found.init(KEY), given.init(KEY)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, one, other))


def test_the_mean_of_the_data_tells_their_shape():
    def flat(rngs):
        return nnx.Sequential(jnp.ravel, nnx.Linear(6, 4, rngs=rngs))

    found = model(encoder=flat, data_mean=np.full((2, 3), 0.5))
    assert found.data_shape == (2, 3)


def test_latents_are_counted_as_the_posterior_has_them():
    found = model(
        encoder=lambda rngs: nnx.Linear(6, 6, rngs=rngs),
        decoder=lambda rngs: nnx.Sequential(jnp.ravel, nnx.Linear(6, 6, rngs=rngs)),
        posterior=categorical(3),
        prior=learned_categorical(latent_dim=2, num_categories=3),
    )
    assert found.latent_shape.shape == (2, 3)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"likelihood": diagonal_normal()}, "data_shape is missing.*takes 2 for each"),
        (
            {"prior": vamp(data_shape=(6,), num_components=2)},
            "latent_dim is missing, and the prior vamp takes its latents from the enc",
        ),
        ({"decoder": nnx_net()}, "the decoder fails at an input of shape"),
    ],
)
def test_what_does_not_follow_is_asked_for(changes, expected):
    with pytest.raises(VaejaxError, match=expected):
        model(**changes)


def test_a_linen_module_trains():
    state = vaejax.fit(
        vaejax.make_objective(model(), elbo(), stl(), num_samples=1),
        optax.adam(1e-2),
        Example(jnp.eye(6)),
        epochs=1,
        batch_size=3,
        key=KEY,
    )
    assert np.isfinite(jax.tree.leaves(state.params)[0]).all()
    assert isinstance(from_linen(linen_net(), X), Network)
