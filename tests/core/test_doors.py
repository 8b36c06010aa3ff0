"""A first mistake at a door of the library is answered in one sentence."""

import jax
import jax.numpy as jnp
import optax
import pytest

import vaejax
from vaejax import Example, VaejaxError
from vaejax.bounds import elbo
from vaejax.estimators import dreg
from vaejax.families import bernoulli, diagonal_normal
from vaejax.models import linear_gaussian
from vaejax.models.assembly import from_networks
from vaejax.nets import mlp
from vaejax.priors import standard_normal

KEY = jax.random.key(0)
MODEL = linear_gaussian(data_shape=(2,), latent_dim=1)
PARAMS = MODEL.init(KEY)
X = jnp.zeros((4, 2))
DATA = Example(X)
OBJECTIVE = vaejax.make_objective(MODEL, elbo(), dreg(), num_samples=1)


def fit(objective=OBJECTIVE, data=DATA, **changes):
    settings = {"epochs": 1, "batch_size": 2, "key": KEY} | changes
    return vaejax.fit(objective, optax.adam(1e-3), data, **settings)


def networks(**changes):
    given = {
        "encoder": mlp(4, (3,), 2 * 2, "tanh"),
        "decoder": mlp(2, (3,), 4, "tanh"),
        "prior": standard_normal(2),
        "posterior": diagonal_normal(),
        "likelihood": bernoulli(),
        "data_shape": (4,),
        "latent_dim": 2,
    }
    return from_networks("own", **given | changes)


MISTAKES = {
    "a name for the bound": (
        lambda: vaejax.make_objective(MODEL, "elbo", dreg(), num_samples=1),
        "bound must be a Bound, and is the name 'elbo': build it",
    ),
    "a factory for the estimator": (
        lambda: vaejax.make_objective(MODEL, elbo(), dreg, num_samples=1),
        r"estimator must be an Estimator, and is the function dreg: call it",
    ),
    "parameters for the model": (
        lambda: vaejax.make_objective(PARAMS, elbo(), dreg(), num_samples=1),
        "model must be a Model, and is a Params",
    ),
    "fields without names": (
        lambda: vaejax.Bound("own", jnp.mean),
        r"Bound takes its fields by name, and was given 2 without a name: write "
        r"Bound\(name=",
    ),
    "a model to fit": (lambda: fit(MODEL), "objective must be an Objective, and is a"),
    "an array to fit": (
        lambda: fit(data=X),
        r"data is an array .* vaejax.Example\(data",
    ),
    "an integer for the key": (
        lambda: fit(key=3),
        r"give a key, as in jax.random.key\(3",
    ),
    "parameters for the state": (
        lambda: fit(state=PARAMS),
        "state must be a TrainState, and is a Params",
    ),
    "an array to evaluate": (
        lambda: vaejax.log_likelihood(MODEL, PARAMS, X, KEY),
        "examples is an array of shape",
    ),
    "a state for parameters": (
        lambda: vaejax.log_likelihood(
            MODEL,
            vaejax.TrainState(PARAMS, *[()] * 6),
            Example(X),
            KEY,
        ),
        "params must be a Params, and is the state of a training",
    ),
    "a prior of another dimension": (
        lambda: networks(prior=standard_normal(1)),
        "prior standard_normal is over 1 numbers, and with latent_dim = 2",
    ),
    "a network that is none": (
        lambda: networks(encoder=lambda x: x),
        "encoder must be a Network, and is the function <lambda>",
    ),
    "an encoder of another width": (
        lambda: (
            model := networks(encoder=mlp(4, (3,), 5, "tanh")),
            model.encode(model.init(KEY), Example(jnp.zeros(4))),
        ),
        r"encoder returns 5 numbers, and a diagonal_normal of shape \(2,\) takes 4",
    ),
}


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_first_mistake_is_answered(mistake):
    make, message = MISTAKES[mistake]
    with pytest.raises(VaejaxError, match=message):
        make()


def test_what_is_right_goes_through():
    assert networks().name == "own"
    assert int(fit().step) == 2
