"""A first mistake at a door of the library is answered in one sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaejax
from vaejax import Batch, Estimator, Example, VaejaxError, Verdict
from vaejax.benchmark import advise
from vaejax.bounds import elbo
from vaejax.core.doors import expect_params
from vaejax.data import PROTOCOLS, load
from vaejax.estimators import dreg
from vaejax.evaluation import reconstruction
from vaejax.families import bernoulli, diagonal_normal
from vaejax.kl_weights import linear
from vaejax.models import gaussian_mlp, linear_gaussian, vq_vae
from vaejax.models.assembly import from_networks
from vaejax.models.parts import POSTERIORS
from vaejax.nets import Network, mlp
from vaejax.priors import standard_normal
from vaejax.regularizers import mmd
from vaejax.terms import log_terms, make_stats, sample_posterior
from vaejax.training import several_seeds

KEY = jax.random.key(0)
MODEL = linear_gaussian(data_shape=(2,), latent_dim=1)
PARAMS = MODEL.init(KEY)
X = jnp.zeros((4, 2))
DATA = Example(X)
WIDER = linear_gaussian(data_shape=(2,), latent_dim=3)
OBJECTIVE = vaejax.make_objective(MODEL, elbo(), dreg(), num_samples=1)


KEYS = jax.random.split(KEY, 2)
ONE_KEY = r"key is an array of key<fry> of shape \(2,\): give one key, as in jax.random"
CODES = vq_vae(data_shape=(4, 4, 1), codebook="ema", channels=(2,), blocks=0)


def fit(objective=OBJECTIVE, data=DATA, optimizer=None, **changes):
    settings = {"epochs": 1, "batch_size": 2, "key": KEY} | changes
    return vaejax.fit(objective, optimizer or optax.adam(1e-3), data, **settings)


def make_step(objective=OBJECTIVE, **changes):
    return vaejax.make_step(objective, optax.adam(1e-3), **changes)


def is_unbiased(estimator=None, params=PARAMS, **changes):
    given = {"num_samples": 1, "draws": 80, "key": KEY} | changes
    return vaejax.check_unbiased(
        estimator or dreg(), elbo(), MODEL, params, DATA, **given
    )


def objective(model=MODEL, **changes):
    return vaejax.make_objective(model, elbo(), dreg(), **{"num_samples": 1} | changes)


def own_bound(**changes):
    bound = vaejax.Bound(**{"name": "own", "aggregate": jnp.mean} | changes)
    return vaejax.make_objective(MODEL, bound, dreg(), num_samples=4)


SURE = Verdict("unbiased", "by construction")


def own_estimator(surrogate, verdict=SURE):
    """Train by an estimator of one's own."""
    own = Estimator(name="own", surrogate=surrogate, check=lambda problem: verdict)
    return fit(vaejax.make_objective(MODEL, elbo(), own, num_samples=4))


def weights(problem, params, key, example):
    lam, z = sample_posterior(problem, params, key, example)
    terms = log_terms(problem.model, params, lam, z, example)
    return problem.bound.log_weight(terms), terms


def vector(problem, params, state, key, example):
    log_w, terms = weights(problem, params, key, example)
    return log_w, make_stats(log_w.mean(), terms)


def without_stats(problem, params, state, key, example):
    return weights(problem, params, key, example)[0].mean()


def with_terms(problem, params, state, key, example):
    log_w, terms = weights(problem, params, key, example)
    return log_w.mean(), terms


def networks(name="own", **changes):
    given = {
        "encoder": mlp(4, (3,), 2 * 2, "tanh"),
        "decoder": mlp(2, (3,), 4, "tanh"),
        "prior": standard_normal(2),
        "posterior": diagonal_normal(),
        "likelihood": bernoulli(),
        "data_shape": (4,),
        "latent_dim": 2,
    }
    return from_networks(name, **given | changes)


def fit_on(changes=None, **first):
    """Train by the settings `first`, and go on by the settings `changes`."""
    return fit(state=fit(**first), epochs=2, **changes or {})


def fit_twice(use):
    """Use a state after `fit` took it over."""
    state = fit()
    fit(state=state, epochs=2)
    return use(state)


def log_likelihood(params=PARAMS, examples=DATA, key=KEY):
    return vaejax.log_likelihood(MODEL, params, examples, key, num_samples=2)


def compare(**changes):
    given = {"bounds": [elbo()], "estimators": [dreg()], "num_samples": 1}
    given |= {"draws": 80, "key": KEY} | changes
    return vaejax.compare_estimators(MODEL, PARAMS, DATA, **given)


MISTAKES = {
    "a name for the bound": (
        lambda: vaejax.make_objective(MODEL, "elbo", dreg(), num_samples=1),
        "bound must be a Bound, and is the name 'elbo': build it",
    ),
    "a factory for the estimator": (
        lambda: vaejax.make_objective(MODEL, elbo(), dreg, num_samples=1),
        r"estimator must be an Estimator, and is the function dreg: call it",
    ),
    "no number of samples to check": (
        lambda: is_unbiased(num_samples=None),
        "num_samples is None: give an integer from 1",
    ),
    "a float for the samples to check": (
        lambda: is_unbiased(num_samples=4.0),
        "num_samples is 4.0: give an integer from 1",
    ),
    "no number of draws": (
        lambda: is_unbiased(draws=None),
        "draws is None: give an integer from 1",
    ),
    "parameters of another size to check": (
        lambda: is_unbiased(params=WIDER.init(KEY)),
        r"params.encoder\['bias'\] is of shape \(3,\)",
    ),
    "a name for a regularizer": (
        lambda: objective(regularizers=["mmd"]),
        r"regularizers\[0\] must be a Regularizer, and is the name 'mmd': build it, as "
        r"in vaejax.build\(vaejax.REGULARIZERS, 'mmd'\)",
    ),
    "a factory for a regularizer": (
        lambda: objective(regularizers=[mmd]),
        r"regularizers\[0\] .* is the function mmd: call it, as in mmd\(...\)",
    ),
    "nothing for the regularizers": (
        lambda: objective(regularizers=None),
        r"regularizers\[0\] must be a Regularizer, and is None: build one",
    ),
    "a number for the KL weight": (
        lambda: objective(kl_weight=0.5),
        r"kl_weight must be a KLWeight, and is a float: build one, as in "
        r"vaejax.build\(vaejax.KL_WEIGHTS, name\)",
    ),
    "a name for the KL weight": (
        lambda: objective(kl_weight="linear"),
        r"kl_weight .* is the name 'linear': .*\(vaejax.KL_WEIGHTS, 'linear'\)",
    ),
    "a factory for the KL weight": (
        lambda: objective(kl_weight=linear),
        r"kl_weight must be a KLWeight, and is the function linear: call it",
    ),
    "a schedule of optax for the KL weight": (
        lambda: objective(kl_weight=optax.linear_schedule(0.0, 1.0, 10)),
        r"kl_weight .* is the function schedule: make one of your functions, as in "
        r"KLWeight\(.*, or build one, as in vaejax.build\(vaejax.KL_WEIGHTS, name\)",
    ),
    "a float for the number of samples": (
        lambda: objective(num_samples=2.0),
        "^num_samples is 2.0: give an integer from 1",
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
    "a word that a bound does not know": (
        lambda: own_bound(relation="below"),
        "relation of a Bound is 'below': give one of lower, upper, debiased, none",
    ),
    "a bound of several values": (
        lambda: own_bound(aggregate=lambda log_w: log_w),
        r"bound 'own': its aggregate returns an array of shape \(4,\) for K = 4: ret",
    ),
    "an inference bound of several values": (
        lambda: own_bound(inference=vaejax.Bound(name="q", aggregate=jnp.exp)),
        r"bound 'q': its aggregate returns an array of shape \(4,\)",
    ),
    "a surrogate of several values": (
        lambda: own_estimator(vector),
        r"estimator 'own': its surrogate returns an array of shape \(4,\): return a sc",
    ),
    "a surrogate without statistics": (
        lambda: own_estimator(without_stats),
        r"estimator 'own': its surrogate must return \(scalar, stats\), as "
        "vaejax.terms.make_stats makes them, and returns a scalar",
    ),
    "a surrogate that returns nothing": (
        lambda: own_estimator(lambda *given: None),
        r"'own': its surrogate must return \(scalar, stats\), .*, and returns None",
    ),
    "a surrogate with terms for statistics": (
        lambda: own_estimator(with_terms),
        r"must return \(scalar, stats\), .* returns \(a scalar, a LogTerms\)",
    ),
    "a surrogate of four arguments": (
        lambda: own_estimator(lambda problem, params, key, example: None),
        "'own': its surrogate must take problem, params, state, key, example",
    ),
    "a check that returns nothing": (
        lambda: own_estimator(vector, None),
        "estimator 'own': its check must return a Verdict, .*, and returns None",
    ),
    "a check that returns a word": (
        lambda: own_estimator(vector, "unbiased"),
        "'own': its check must return a Verdict, .*, and returns 'unbiased'",
    ),
    "a check that returns an unknown status": (
        lambda: own_estimator(vector, Verdict("biassed", "by design")),
        "whose status is one of unbiased, biased, refused, and returns .*'biassed'",
    ),
    "a bound that is in no registry": (
        lambda: vaejax.BOUNDS["iwea"],
        "^unknown bound 'iwea': did you mean 'iwae'",
    ),
    "a protocol that is in no registry": (
        lambda: PROTOCOLS["binarized"],
        "^unknown protocol 'binarized': use one of counts, dequantized",
    ),
    "a posterior that is in no registry": (
        lambda: POSTERIORS["diagonal"],
        "^unknown posterior 'diagonal': ",
    ),
    "a model to fit": (lambda: fit(MODEL), "objective must be an Objective, and is a"),
    "a factory for the optimizer": (
        lambda: fit(optimizer=optax.adam),
        r"optimizer must be a GradientTransformation, and is the function adam: call",
    ),
    "a name for the optimizer": (
        lambda: fit(optimizer="adam"),
        r"optimizer .* is the name 'adam': give one, as in optax.adam\(1e-3\)",
    ),
    "a learning rate for the optimizer": (
        lambda: fit(optimizer=1e-3),
        r"optimizer .* is a float: give one, as in optax.adam\(1e-3\)",
    ),
    "a number for the mesh": (
        lambda: fit(mesh=1),
        r"mesh must be a Mesh, and is an int: give one, as in vaejax.sharding.training",
    ),
    "a name for what is observed": (
        lambda: fit(observe="dynamic"),
        r"observe is 'dynamic': give a function .*PROTOCOLS\['dynamic'\].sample",
    ),
    "a protocol for what is observed": (
        lambda: fit(observe=PROTOCOLS["dynamic"]),
        r"observe is Protocol\('dynamic'\): give a function .*\['dynamic'\].sample",
    ),
    "a function of the example alone for what is observed": (
        lambda: fit(observe=lambda x: x),
        r"observe fails at a key and an example of shape \(2,\): give a function of "
        "both, as vaejax.data.PROTOCOLS",
    ),
    "a number for a callback": (
        lambda: fit(on_epoch=3),
        "on_epoch is 3: give a function, or leave it out",
    ),
    "a number for another callback": (
        lambda: fit(on_dispatch=3),
        "on_dispatch is 3: give a function, or leave it out",
    ),
    "a batch larger than the data": (
        lambda: fit(batch_size=400),
        "batch_size is 400, and there are only 4 training examples: use a smaller",
    ),
    "no number of epochs": (lambda: fit(epochs=None), "epochs is None: give an int"),
    "no examples per gradient": (
        lambda: make_step(micro_batch_size=0),
        "micro_batch_size is 0: give an integer from 1",
    ),
    "a float for the examples per gradient": (
        lambda: make_step(micro_batch_size=2.0),
        "micro_batch_size is 2.0: give an integer from 1",
    ),
    "a word for the examples per gradient": (
        lambda: make_step(micro_batch_size="a"),
        "micro_batch_size is 'a': give an integer from 1",
    ),
    "less than no steps to skip": (
        lambda: make_step(max_skipped=-1),
        "max_skipped is -1: give an integer from 0",
    ),
    "no number of steps to skip": (
        lambda: make_step(max_skipped=None),
        "max_skipped is None: give an integer from 0",
    ),
    "parts of a batch whose examples are compared": (
        lambda: make_step(objective(regularizers=mmd()), micro_batch_size=4),
        "micro_batch_size is 4, and a regularizer of the objective compares all "
        "examples of a batch: leave micro_batch_size out",
    ),
    "keys to fit": (lambda: fit(key=KEYS), ONE_KEY),
    "keys to evaluate": (lambda: log_likelihood(key=KEYS), ONE_KEY),
    "keys to compare": (lambda: compare(key=KEYS), ONE_KEY),
    "keys to check": (lambda: is_unbiased(key=KEYS), ONE_KEY),
    "numbers for the key": (
        lambda: fit(key=jnp.zeros(2)),
        r"key is an array of float32 of shape \(2,\): give one key",
    ),
    "an integer for the key of the parameters": (
        lambda: OBJECTIVE.init(0),
        r"key is the integer 0: give a key, as in jax.random.key\(0\)",
    ),
    "an integer for the key of the parameters of several seeds": (
        lambda: several_seeds(OBJECTIVE, 2).init(0),
        r"key is the integer 0: give a key, as in jax.random.key\(0\)",
    ),
    "an integer for the key of a state": (
        lambda: vaejax.training.init_state(OBJECTIVE, optax.adam(1e-3), 0),
        r"key is an array of int32 of shape \(\): give one key",
    ),
    "the name of a registry": (
        lambda: vaejax.build("models", "gaussian_mlp"),
        "registry is 'models': give factories by name, as in vaejax.BOUNDS, .*MODELS",
    ),
    "records for the registry": (
        lambda: vaejax.build({"own": MODEL}, "own"),
        r"registry is \{'own': Model.*: give factories by name",
    ),
    "an unknown KL weight": (
        lambda: vaejax.build(vaejax.KL_WEIGHTS, "lineal"),
        "unknown KL weight 'lineal': did you mean 'linear'",
    ),
    "a number for the name of a model": (
        lambda: networks(name=3),
        "the name of a Model is 3: give a word",
    ),
    "a setting without a name": (
        lambda: gaussian_mlp((8, 8, 1), 16),
        "gaussian_mlp takes data_shape without a name, and was given 2 values: write "
        "name=value for the others",
    ),
    "an unknown setting of a model": (
        lambda: gaussian_mlp(latent=16),
        "'gaussian_mlp' has no setting 'latent': did you mean 'latent_dim'",
    ),
    "a missing setting of a network": (
        lambda: mlp(3, (4,)),
        "mlp needs out_size: add out_size=... to the call",
    ),
    "an unknown setting of an objective": (
        lambda: objective(k=1),
        "'make_objective' has no setting 'k': use one of allow_bias",
    ),
    "an unknown setting of a training": (
        lambda: fit(epoch=3),
        "'fit' has no setting 'epoch': did you mean 'epochs'",
    ),
    "an unknown setting of a step": (
        lambda: make_step(micro_batch=3),
        "'make_step' has no setting 'micro_batch': did you mean 'micro_batch_size'",
    ),
    "an unknown setting of a comparison": (
        lambda: compare(bound=elbo()),
        "'compare_estimators' has no setting 'bound': did you mean 'bounds'",
    ),
    "an unknown setting of a check": (
        lambda: is_unbiased(draw=80),
        "'check_unbiased' has no setting 'draw': did you mean 'draws'",
    ),
    "a likelihood without a key": (
        lambda: vaejax.log_likelihood(MODEL, PARAMS, DATA),
        "log_likelihood needs key: add key=... to the call",
    ),
    "advice without a key": (
        lambda: advise(
            MODEL,
            PARAMS,
            DATA,
            bound=elbo(),
            estimators=[dreg()],
            num_samples=1,
            batch_size=2,
        ),
        "advise needs key: add key=... to the call",
    ),
    "an objective without a number of samples": (
        lambda: vaejax.make_objective(MODEL, elbo(), dreg()),
        "make_objective needs num_samples: add num_samples=... to the call",
    ),
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
        r"state must be a TrainState, and is a Params: give one, as in "
        r"vaejax.training.init_state\(objective, optimizer, key\)",
    ),
    "a folder for the state": (
        lambda: fit(state="runs/x"),
        "state .* is the name 'runs/x': give one, as in .*, or as vaejax.training.rest",
    ),
    "a state that an earlier call took over": (
        lambda: fit_twice(lambda state: fit(state=state, epochs=2)),
        "the arrays of state are freed, .*: give what that call returned, or let it "
        "take a copy",
    ),
    "a freed state to save": (
        lambda: fit_twice(lambda state: vaejax.training.save("runs/x", state)),
        "the arrays of state are freed",
    ),
    "a freed state to load": (
        lambda: fit_twice(lambda state: vaejax.training.restore("runs/x", like=state)),
        "the arrays of like are freed",
    ),
    "freed parameters": (
        lambda: fit_twice(lambda state: log_likelihood(state.params)),
        "the arrays of params are freed",
    ),
    "a state of SGD for Adam": (
        lambda: fit_on(optimizer=optax.sgd(0.1)),
        r"state.opt_state\[0\].count is absent, and in this training it is of shape "
        r"\(\): give a state of this objective and optimizer, or none to start anew",
    ),
    "a state of Adam for SGD": (
        lambda: fit_on({"optimizer": optax.sgd(0.1)}),
        r"state.opt_state\[0\].count is of shape \(\), and in this training it is abs",
    ),
    "a state of Adam for Adam with decay": (
        lambda: fit_on({"optimizer": optax.adamw(0.1)}),
        "state.opt_state has another structure than in this training: give a state of",
    ),
    "a state of a model of another size": (
        lambda: fit_on({"objective": objective(model=WIDER)}),
        r"state.params.encoder\['bias'\] is of shape \(1,\), and in .* \(3,\): give",
    ),
    "parameters for a state to load": (
        lambda: vaejax.training.restore("runs/x", like=PARAMS),
        "like must be a TrainState, and is a Params: give one",
    ),
    "a model for a state to load": (
        lambda: vaejax.training.restore("runs/x", like=MODEL),
        "like must be a TrainState, and is a Model: give one",
    ),
    "a data set to fit": (
        lambda: fit(data=load("digits")),
        r"data is an ImageData: .* vaejax.Example\(data.observations\(\)\)",
    ),
    "a data set to evaluate": (
        lambda: log_likelihood(examples=load("digits")),
        r"examples is an ImageData: .* vaejax.Example\(examples.observations\(\)\)",
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
        "params must be a Params, and is the state of a training: .* in state.params",
    ),
    "parameters of another size": (
        lambda: vaejax.log_likelihood(MODEL, WIDER.init(KEY), DATA, KEY),
        r"params.encoder\['bias'\] is of shape \(3,\), and in the model "
        r"linear_gaussian it is of shape \(1,\): give parameters of this model",
    ),
    "parameters of another model": (
        lambda: reconstruction(MODEL, networks().init(KEY), DATA),
        r"params.encoder\['bias'\] is absent, and in the model linear_gaussian it is "
        r"of shape \(1,\)",
    ),
    "parameters without the averages": (
        lambda: reconstruction(
            CODES, CODES.init(KEY)._replace(prior=()), Example(jnp.zeros((1, 4, 4, 1)))
        ),
        r"give vaejax.whole_params of the trained ones",
    ),
    "a prior of another dimension": (
        lambda: networks(prior=standard_normal(1)),
        "prior standard_normal is over 1 numbers, and with latent_dim = 2",
    ),
    "a network that is none": (
        lambda: networks(encoder=lambda x: x),
        "what <lambda> makes of rngs is not a flax NNX module: give a function that ",
    ),
    "a factory for the posterior": (
        lambda: networks(posterior=diagonal_normal),
        "posterior must be a Family, and is the function diagonal_normal: call it",
    ),
    "a name for the likelihood": (
        lambda: networks(likelihood="bernoulli"),
        r"likelihood .* the name 'bernoulli': build it, as in vaejax.build\("
        r"vaejax.FAMILIES, 'bernoulli'\)",
    ),
    "a factory for the prior": (
        lambda: networks(prior=standard_normal),
        "prior must be a Prior, and is the function standard_normal: call it",
    ),
    "a float for the latents": (
        lambda: networks(latent_dim=2.0),
        "latent_dim is 2.0: give an integer from 1",
    ),
    "a number for the shape of the data": (
        lambda: networks(data_shape=4),
        r"data_shape is 4: give a sequence, as in \(4,\)",
    ),
    "a word for the sizes of the layers": (
        lambda: gaussian_mlp((4,), hidden="128x128"),
        r"gaussian_mlp's setting hidden='128x128' must be a sequence, as in \(64,\)",
    ),
    "a number for the sizes of the layers": (
        lambda: gaussian_mlp((4,), hidden=200),
        r"gaussian_mlp's setting hidden=200 must be a sequence, as in \(200,\)",
    ),
    "a family for its name": (
        lambda: gaussian_mlp((4,), likelihood=bernoulli()),
        r"likelihood=Family\('bernoulli'\) must be a name, as in 'bernoulli'",
    ),
    "settings that a comma separates": (
        lambda: vaejax.build(vaejax.MODELS, "linear_gaussian", ["latent_dim=16,"]),
        r"latent_dim=\(16,\) must be an integer .* \(separate settings by spaces\)",
    ),
    "settings in one word": (
        lambda: vaejax.build(vaejax.MODELS, "linear_gaussian", ["latent_dim=1, a=2"]),
        r"latent_dim='1, a=2' must be .* \(separate settings by spaces\)",
    ),
    "a key for the seed of a draw": (
        lambda: load("digits").observations(KEY),
        "seed is .*: give an integer from 0",
    ),
    "an encoder of another input": (
        lambda: networks(encoder=mlp(5, (3,), 4, "tanh")),
        r"the encoder fails at an input of shape \(4,\): give a network that takes",
    ),
    "a decoder of another input": (
        lambda: networks(decoder=mlp(3, (3,), 4, "tanh")),
        r"the decoder fails at an input of shape \(2,\): give a network that takes",
    ),
    "encoder and decoder exchanged": (
        lambda: networks(encoder=mlp(2, (3,), 4), decoder=mlp(4, (3,), 2 * 2)),
        r"the encoder fails at an input of shape \(4,\): give a network that takes",
    ),
    "an encoder of two arrays": (
        lambda: networks(
            encoder=Network(init=lambda key: (), apply=lambda _, x: (x, x))
        ),
        r"encoder returns a tuple, and .* that width, in one array",
    ),
    "a decoder of another width": (
        lambda: networks(decoder=mlp(2, (3,), 5, "tanh")),
        r"decoder returns 5 numbers, and a bernoulli of shape \(4,\) takes 4",
    ),
    "an encoder of another width": (
        lambda: networks(encoder=mlp(4, (3,), 5, "tanh")),
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
    state = fit()
    fit(state=jax.tree.map(jnp.copy, state), epochs=2)
    assert int(fit(state=state, epochs=2).step) == 4


def test_a_name_that_is_in_no_registry_is_also_a_key_error():
    with pytest.raises(KeyError, match="unknown model 'vea'"):
        vaejax.MODELS["vea"]
    assert vaejax.MODELS.get("vea") is None


@pytest.mark.usefixtures("untyped")
def test_an_integer_of_numpy_and_a_single_regularizer_go_through():
    made = objective(num_samples=np.int64(2), regularizers=mmd())
    params, state = made.init(KEY)
    batch = Batch(DATA, jnp.arange(4))
    _, (_, metrics) = made.loss(params, state, KEY, batch)
    assert "mmd" in metrics


@pytest.mark.usefixtures("untyped")
def test_gradients_of_several_steps_are_summed_up_by_optax():
    """`optax.MultiSteps` is no `GradientTransformation`, but has its two functions."""
    sgd = optax.MultiSteps(optax.sgd(0.1), every_k_schedule=2)
    state = vaejax.fit(OBJECTIVE, sgd, DATA, epochs=1, batch_size=2, key=KEY)
    assert int(state.opt_state.gradient_step) == 1


def test_a_traced_key_and_a_key_of_the_older_kind_go_through():
    for key in (KEY, jax.random.PRNGKey(0)):
        params, _ = jax.jit(OBJECTIVE.init)(key)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
            params,
            OBJECTIVE.init(key)[0],
        )


def test_the_whole_batch_is_no_part_of_it():
    compares = objective(regularizers=[mmd()])
    assert int(fit(compares, micro_batch_size=2).step) == 2


def test_traced_parameters_are_no_mistake():
    """No array that a user's own jit traces knows whether it is freed."""
    passed = jax.jit(lambda params: expect_params(params, MODEL))
    jax.tree.map(np.testing.assert_array_equal, passed(PARAMS), PARAMS)


def test_values_print_what_they_hold_in_a_line():
    assert repr(PARAMS) == (
        "Params(encoder: 4 numbers in 3 arrays, decoder: 5 numbers in 3 arrays, "
        "prior: 0 numbers in 0 arrays, auxiliary: 0 numbers in 0 arrays)"
    )
    shown = "Objective(init=init, loss=loss, data=DataRules(check=check_data))"
    assert repr(OBJECTIVE) == shown
