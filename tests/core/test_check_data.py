"""Data of a user are checked: shape, dtype, support, labels, finiteness."""

import dataclasses
import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import vaejax
from vaejax import Batch, Example, VaejaxError, benchmark, evaluation, exact, training
from vaejax.bounds import elbo
from vaejax.core import Family, LossState, Space, check_data, check_finite
from vaejax.data import PROTOCOLS, load
from vaejax.estimators import pathwise
from vaejax.families import FAMILIES
from vaejax.models import MODELS, conditional_vae, gaussian_mlp, m2
from vaejax.models.parts import LIKELIHOODS
from vaejax.terms import log_px_given

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
SHAPE = (4, 4, 1)
BITS = np.random.default_rng(0).integers(0, 2, (6, *SHAPE)).astype(np.float32)
SMALL = {"data_shape": SHAPE, "hidden": (5,), "latent_dim": 2}
MODEL = gaussian_mlp(**SMALL)
PARAMS = MODEL.init(KEY)


def of_likelihood(name: str) -> vaejax.Model:
    shape = (16,) if name == "multinomial" else SHAPE  # of words
    return gaussian_mlp(**SMALL | {"data_shape": shape}, likelihood=name)


def of_family(family: Family) -> vaejax.Model:
    """A model of this likelihood whose x has any shape."""
    return dataclasses.replace(MODEL, likelihood=family, data_shape=None)


# Each is no observation of a Bernoulli model, with what the refusal says.
HOSTILE = {
    "intensities": (
        255 * BITS,
        r"bernoulli takes 0 and 1.* first is 255, at x\[.*binar",
    ),
    "from -1 to 1": (2 * BITS - 1, "first is -1"),
    "fractions": (BITS / 2, "first is 0.5"),
    "NaN": (
        np.where(np.arange(6)[:, None, None, None] == 2, np.nan, BITS),
        "not finite",
    ),
    "flat": (BITS.reshape(6, 16), r"takes \[.*4, 4, 1\]: reshape"),
    "no channels": (BITS[..., 0], r"takes \[.*4, 4, 1\]: reshape"),
    "words": (np.full(BITS.shape, "a"), "dtype"),
    "masked": (np.ma.masked_equal(BITS, 0), "x is a masked array"),
    "lists of intensities": ((255 * BITS).tolist(), "first is 255"),
}
OBJECTIVE = vaejax.make_objective(MODEL, elbo(), pathwise(), num_samples=1)
OF_LAYERS = MODELS["ladder_mlp"](
    data_shape=SHAPE, hidden=(6, 5), latent_dims=(3, 2), num_hidden=1
)
NORMALIZED = gaussian_mlp(**SMALL, prior="implicit_optimal")
MASK = jnp.zeros(SHAPE, bool).at[0].set(True)


def batch(x):
    return Batch(Example(x), jnp.arange(len(x)))


def first(x):
    return Example(x[2])


def measured(function, **settings):
    return lambda x: function(OBJECTIVE, PARAMS, LossState(), KEY, batch(x), **settings)


def of_model(function, *args, **settings):
    return lambda x: function(MODEL, PARAMS, Example(x), *args, **settings)


# How every public function takes observations.
DOORS = {
    "check_data": lambda x: vaejax.check_data(MODEL, Example(x)),
    "fit": lambda x: vaejax.fit(
        OBJECTIVE, optax.sgd(0.1), Example(x), epochs=1, batch_size=2, key=KEY
    ),
    "grad_report": measured(benchmark.grad_report, draws=8, reference=PARAMS),
    "gradient_moments": measured(benchmark.gradient_moments, draws=8),
    "variance_split": measured(benchmark.variance_split, draws=40, batch_size=2),
    "cost_report": measured(benchmark.cost_report),
    "compare_estimators": of_model(
        vaejax.compare_estimators,
        bounds=[elbo()],
        estimators=[pathwise()],
        num_samples=1,
        draws=8,
        key=KEY,
        cost="none",
    ),
    "advise": of_model(
        benchmark.advise,
        bound=elbo(),
        estimators=[pathwise()],
        num_samples=1,
        batch_size=1,
        draws=8,
        key=KEY,
    ),
    "check_unbiased": lambda x: vaejax.check_unbiased(
        *(pathwise(), elbo(), MODEL, PARAMS, Example(x)),
        num_samples=1,
        draws=8,
        key=KEY,
    ),
    "cost_reports": lambda x: benchmark.cost_reports(
        [(OBJECTIVE, PARAMS, LossState(), batch(x))], KEY
    ),
    "value_and_gradient": lambda x: exact.value_and_gradient(
        vaejax.Problem(model=MODEL, bound=elbo(), num_samples=1), PARAMS, Example(x)
    ),
    "log_moment": of_model(exact.log_moment),
    "log_likelihood": of_model(evaluation.log_likelihood, KEY, num_samples=2),
    "log_normalizer": lambda x: evaluation.log_normalizer(
        NORMALIZED, NORMALIZED.init(KEY), Example(x), KEY
    ),
    "active_units": of_model(evaluation.active_units),
    "posterior_means": of_model(evaluation.posterior_means),
    "amortization_gap": of_model(evaluation.amortization_gap, KEY),
    "anomaly_scores": of_model(
        evaluation.anomaly_scores, KEY, background=(MODEL, PARAMS)
    ),
    "expected_log_px_z": of_model(evaluation.expected_log_px_z, KEY, num_samples=2),
    "collapse_report": of_model(evaluation.collapse_report, KEY),
    "elbo_surgery": of_model(evaluation.elbo_surgery, KEY),
    "layer_kl": lambda x: evaluation.layer_kl(
        OF_LAYERS, OF_LAYERS.init(KEY), Example(x), KEY
    ),
    "reconstruction": of_model(evaluation.reconstruction),
    "impute": of_model(evaluation.impute, KEY),
    "pseudo_gibbs": lambda x: evaluation.pseudo_gibbs(
        MODEL, PARAMS, first(x), jnp.zeros(np.shape(x)[1:], bool), KEY, num_draws=1
    ),
    "metropolis_within_gibbs": lambda x: evaluation.metropolis_within_gibbs(
        MODEL, PARAMS, first(x), jnp.zeros(np.shape(x)[1:], bool), KEY, num_draws=1
    ),
    "denoise": lambda x: evaluation.denoise(
        MODEL, PARAMS, first(x), evaluation.bit_flips(0.1), KEY, num_samples=2
    ),
}

# What takes observations and does not check them, and why.
UNCHECKED = {
    "zero_totals": "traces a step for its shapes; `fit` has checked",
    "run_steps": "is compiled: no value is known, and `fit` has checked",
}

CODES = np.random.default_rng(1).normal(size=(50, 3))
WITH_NAN = np.where(np.arange(50)[:, None] == 7, np.nan, CODES)
FACTORS = np.stack([np.arange(50) % 5, np.arange(50) // 5 % 2], 1)
LABELS = FACTORS[:, 1]
IMAGES = np.repeat(CODES[:, :1, None, None] ** 0, 12, 1).repeat(12, 2)
NO_IMAGES = np.where(np.arange(50)[:, None, None, None] == 7, np.nan, IMAGES)

# How every other public function of an evaluation takes numbers of examples.
OF_NUMBERS = {
    **{
        name: lambda codes, name=name: getattr(evaluation, name)(codes, FACTORS)
        for name in (
            *("beta_vae_score", "factor_vae_score", "mutual_information_gap"),
            *("separated_attribute_predictability", "modularity", "dci"),
        )
    },
    "auroc": lambda codes: evaluation.auroc(codes[:, 0], CODES[:, 0]),
    "code_use": lambda codes: evaluation.code_use(abs(codes)),
    "compressed_bits": lambda codes: evaluation.compressed_bits(0 * codes, 256),
    "fine_tuned_accuracy": lambda codes: evaluation.fine_tuned_accuracy(
        lambda weights, x: x,
        (),
        (jnp.asarray(codes), jnp.asarray(LABELS)),
        (jnp.asarray(CODES), jnp.asarray(LABELS)),
        KEY,
    ),
    "linear_probe": lambda codes: evaluation.linear_probe(codes, LABELS, CODES, LABELS),
    "mmd_test": lambda codes: evaluation.mmd_test(codes, CODES),
    "npmi": lambda codes: evaluation.npmi(CODES, codes, 2),
    "perplexity": lambda codes: evaluation.perplexity(CODES[:, 0], abs(codes)),
    "psnr": lambda codes: evaluation.psnr(_images(codes), IMAGES),
    "ssim": lambda codes: evaluation.ssim(_images(codes), IMAGES),
    "total_correlation_bound": evaluation.total_correlation_bound,
}
OF_NO_NUMBERS = {
    "bits_per_dim": "takes one number",
    "bit_flips": "takes a probability",
    "gaussian_noise": "takes a scale",
    "clustering_accuracy": "takes integers",
    "clustering_scores": "takes integers",
}


# What goes with examples, and holds one row too few of them.
UNEQUAL = {
    "fit": lambda: vaejax.fit(
        OBJECTIVE,
        optax.sgd(0.1),
        Example(BITS.astype(np.uint8), np.zeros(5, int)),
        epochs=1,
        batch_size=2,
        key=KEY,
        observe=lambda key, x: x.astype(float),
    ),
    "check_data": lambda: check_data(MODEL, Example(BITS, np.zeros(5))),
    "log_likelihood": lambda: vaejax.log_likelihood(
        MODEL, PARAMS, Example(BITS, np.zeros(5)), KEY, num_samples=2
    ),
    "log_normalizer": lambda: evaluation.log_normalizer(
        NORMALIZED, NORMALIZED.init(KEY), Example(BITS, np.zeros(5)), KEY
    ),
    "beta_vae_score": lambda: evaluation.beta_vae_score(CODES, FACTORS[:-1]),
    "clustering_accuracy": lambda: evaluation.clustering_accuracy(LABELS, LABELS[:-1]),
    "clustering_scores": lambda: evaluation.clustering_scores(LABELS, LABELS[:-1]),
    "fine_tuned_accuracy": lambda: evaluation.fine_tuned_accuracy(
        lambda weights, x: x, (), (CODES, LABELS), (CODES, LABELS[:-1]), KEY
    ),
    "linear_probe": lambda: evaluation.linear_probe(CODES, LABELS, CODES, LABELS[:-1]),
    "linear_probe of lists": lambda: evaluation.linear_probe(
        CODES.tolist(), LABELS.tolist()[:-1], CODES, LABELS
    ),
    "perplexity": lambda: evaluation.perplexity(CODES[:-1, 0], abs(CODES)),
    "psnr": lambda: evaluation.psnr(IMAGES, IMAGES[:-1]),
    "ssim": lambda: evaluation.ssim(IMAGES, IMAGES[:-1]),
}


def _images(codes):
    return NO_IMAGES if np.isnan(codes).any() else IMAGES


def public(module) -> dict:
    """The public functions of a module, compiled ones too."""
    if names := getattr(module, "__all__", None):
        found = {name: getattr(module, name) for name in names}  # imports them, if lazy
    else:
        found = {n: v for n, v in vars(module).items() if value_of(module, v)}
    return {
        name: value
        for name, value in found.items()
        if callable(value) and not inspect.isclass(value) and name[0] != "_"
    }


def value_of(module, value) -> bool:
    """True if a module without `__all__`, or a file of its folder, defines it."""
    return getattr(value, "__module__", "").startswith(module.__name__)


def takes_observations(function) -> bool:
    return any(
        "Example" in str(one.annotation) or "Batch" in str(one.annotation)
        for one in inspect.signature(function).parameters.values()
    )


def test_every_public_function_of_observations_is_a_door_or_says_why_not():
    ours = {
        name
        for module in (vaejax, evaluation, training, benchmark, exact)
        for name, function in public(module).items()
        if takes_observations(function)
    }
    assert ours == DOORS.keys() | UNCHECKED.keys()
    others = public(evaluation).keys() - ours
    assert others == OF_NUMBERS.keys() | OF_NO_NUMBERS.keys()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_every_door_refuses_what_the_model_cannot_take(door, kind):
    x, message = HOSTILE[kind]
    with pytest.raises(VaejaxError, match=message):
        DOORS[door](x)


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_every_evaluation_of_numbers_refuses_nan(name):
    with pytest.raises(VaejaxError, match=r"finite|nan|NaN|at least 0"):
        OF_NUMBERS[name](WITH_NAN)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", UNEQUAL)
def test_unequal_numbers_of_examples_are_refused(name):
    with pytest.raises(VaejaxError, match=r"use one|give (both|a numeric y)"):
        UNEQUAL[name]()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (None, "x is of dtype object"),
        ([[0.0, 1.0], [0.0]], "x is not an array"),
        (0.0, r"x is of shape \(\)"),
    ],
)
@pytest.mark.parametrize("observe", [None, lambda key, x: x])
def test_what_is_no_array_of_examples_is_refused(x, message, observe):
    with pytest.raises(VaejaxError, match=message):
        vaejax.fit(
            OBJECTIVE,
            optax.sgd(0.1),
            Example(x),
            epochs=1,
            batch_size=2,
            key=KEY,
            observe=observe,
        )
    with pytest.raises(VaejaxError, match=message):
        vaejax.log_likelihood(MODEL, PARAMS, Example(x), KEY, num_samples=2)


OF_ONE_EXAMPLE = {"pseudo_gibbs", "metropolis_within_gibbs", "denoise"}


@pytest.mark.parametrize("door", sorted(DOORS.keys() - OF_ONE_EXAMPLE))
def test_no_examples_at_all_are_refused(door):
    with pytest.raises(VaejaxError, match=r"at least one example|hold no examples"):
        DOORS[door](BITS[:0])


# Each is given a count that is none; the doors without counts have no line.
WRONG_COUNTS = {
    "fit": lambda n: vaejax.fit(
        *(OBJECTIVE, optax.sgd(0.1), Example(BITS)),
        epochs=n,
        batch_size=2,
        key=KEY,
    ),
    "gradient_moments": lambda n: benchmark.gradient_moments(
        *(OBJECTIVE, PARAMS, LossState(), KEY, batch(BITS)), draws=n
    ),
    "compare_estimators": lambda n: vaejax.compare_estimators(
        *(MODEL, PARAMS, Example(BITS)),
        bounds=[elbo()],
        estimators=[pathwise()],
        num_samples=1,
        draws=n,
        key=KEY,
    ),
    **{
        name: lambda n, name=name, count=count: getattr(evaluation, name)(
            MODEL, PARAMS, Example(BITS), KEY, **{count: n}
        )
        for name, count in (
            ("log_likelihood", "num_samples"),
            ("amortization_gap", "num_steps"),
            ("elbo_surgery", "chunk_size"),
            ("expected_log_px_z", "num_samples"),
        )
    },
    "layer_kl": lambda n: evaluation.layer_kl(
        OF_LAYERS, OF_LAYERS.init(KEY), Example(BITS), KEY, num_samples=n
    ),
    "log_normalizer": lambda n: evaluation.log_normalizer(
        NORMALIZED, NORMALIZED.init(KEY), Example(BITS), KEY, num_chains=n
    ),
    "pseudo_gibbs": lambda n: evaluation.pseudo_gibbs(
        MODEL, PARAMS, Example(BITS[0]), MASK, KEY, num_draws=n
    ),
    "denoise": lambda n: evaluation.denoise(
        *(MODEL, PARAMS, Example(BITS[0]), evaluation.bit_flips(0.1), KEY),
        num_samples=n,
    ),
}


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("count", [2.5, "1", True, -1, 10**30])
@pytest.mark.parametrize("door", WRONG_COUNTS)
def test_what_is_no_count_is_refused(door, count):
    with pytest.raises(VaejaxError, match=r"is .*: give an integer from "):
        WRONG_COUNTS[door](count)


@pytest.mark.usefixtures("untyped")
def test_an_array_is_no_example_and_a_batch_holds_one():
    with pytest.raises(VaejaxError, match=r"examples is an array of shape .* wrap it"):
        check_data(MODEL, BITS)
    with pytest.raises(VaejaxError, match=r"examples is an array of shape .* wrap it"):
        evaluation.reconstruction(MODEL, PARAMS, BITS)
    with pytest.raises(VaejaxError, match=r"example is an array of shape .* wrap it"):
        evaluation.pseudo_gibbs(MODEL, PARAMS, BITS[0], MASK, KEY, num_draws=1)
    np.testing.assert_array_equal(check_data(MODEL, batch(BITS)).x, BITS)


def test_a_step_checks_shapes_and_converts_dtypes():
    step = training.make_step(OBJECTIVE, optax.sgd(0.1))

    def after(x):
        return step(training.init_state(OBJECTIVE, optax.sgd(0.1), KEY), batch(x))[1]

    with pytest.raises(VaejaxError, match="reshape x"):
        after(BITS[..., 0])
    for dtype in (np.uint8, bool):
        assert after(BITS.astype(dtype))["loss"] == after(BITS)["loss"]


def test_masked_labels_and_codes_are_refused():
    labels = np.ma.masked_equal([0, 1, 2, 0, 1, 2], 1)
    for model in (MODEL, LABELLED["conditional_vae"]):
        with pytest.raises(VaejaxError, match="y is a masked array"):
            check_data(model, Example(BITS, labels))
    with pytest.raises(VaejaxError, match="codes is a masked array"):
        evaluation.total_correlation_bound(np.ma.masked_less(CODES, 0))


@pytest.mark.parametrize("observe", [None, lambda key, x: x])
@pytest.mark.parametrize("convert", [np.ndarray.tolist, np.longdouble])
def test_lists_and_long_floats_train(convert, observe):
    data = Example(convert(BITS))
    state = vaejax.fit(
        OBJECTIVE,
        optax.sgd(0.1),
        data,
        epochs=1,
        batch_size=3,
        key=KEY,
        observe=observe,
    )
    assert state.step == 2


def test_the_refusal_names_count_place_and_examples():
    x = BITS.copy()
    x[1, 0], x[4, 0] = np.nan, np.inf
    with pytest.raises(
        VaejaxError,
        match=r"8 of 96 values .* 2 of 6 examples \(1, 4\).*x\[1, 0, 0, 0\]",
    ):
        check_data(MODEL, Example(x))
    x = BITS.copy()
    x[3, 2, 1, 0], x[5] = 0.25, 2
    with pytest.raises(VaejaxError, match=r"17 of 96 .* 0.25, at x\[3, 2, 1, 0\]"):
        check_data(MODEL, Example(x))
    with pytest.raises(
        VaejaxError, match=r"codes .* 7 of 50 examples \(0, 1, 2, 3, 4, "
    ):
        check_finite(codes=np.where(np.arange(50)[:, None] < 7, np.inf, CODES))


def test_grey_images_no_longer_have_a_positive_log_likelihood_of_bits():
    """Once grey digits had +8,289 nats each; the mean of their observations is -23."""
    test = load("digits", "test")
    model = gaussian_mlp((8, 8, 1), hidden=(5,), latent_dim=2)
    params = model.init(KEY)
    for x in (test.images, test.images / 255, test.images / 127.5 - 1):
        with pytest.raises(VaejaxError, match="binarize"):
            vaejax.log_likelihood(model, params, Example(x), KEY, num_samples=5)
    x = test.observations()[:20]
    found = vaejax.log_likelihood(model, params, Example(x), KEY, num_samples=5)
    assert (found.log_px < 0).all()


# Legal data pass.

DTYPES = (np.uint8, np.int8, np.uint16, np.int32, np.int64, bool, np.float16, float)


@pytest.mark.parametrize("dtype", [*DTYPES, jnp.bfloat16])
@pytest.mark.parametrize("wrap", [np.asarray, jnp.asarray])
def test_every_dtype_that_holds_the_values_is_converted(dtype, wrap):
    x = check_data(MODEL, Example(wrap(BITS.astype(dtype)))).x
    assert isinstance(x, jax.Array)
    assert x.dtype == jnp.float32
    np.testing.assert_array_equal(x, BITS)


def test_booleans_train():
    """Booleans once ended in a TypeError of float0 inside JAX."""
    data = Example(BITS.astype(bool))
    state = vaejax.fit(OBJECTIVE, optax.sgd(0.1), data, epochs=1, batch_size=3, key=KEY)
    assert state.step == 2


def test_integers_that_floats_round_are_refused():
    model = of_family(FAMILIES["poisson"]())
    kept = np.array([[2**24]])
    np.testing.assert_array_equal(check_data(model, Example(kept)).x, kept)
    for wrong in (np.array([[2**24 + 1]]), np.array([[2**40 + 1]])):
        with pytest.raises(VaejaxError, match="float32 rounds"):
            check_data(model, Example(wrong))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_zeros_and_ones_of_its_shape(name):
    model = MODELS[name]()
    assert model.data_shape is not None
    x = np.arange(2 * np.prod(model.data_shape)).reshape(2, *model.data_shape) % 2
    y = None if model.labels.num_classes is None else np.ones(2, int)
    np.testing.assert_array_equal(check_data(model, Example(x, y)).x, x)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_takes_its_own_draws_alone(name):
    model = of_likelihood(name)
    params = model.init(KEY)
    given = model.decode(params, jnp.ones(2), None)
    family = model.likelihood
    kind = family.space.kind
    drawn = kind in ("bits", "counts", "levels")  # others take longer to draw
    x = family.sample(KEY, given) if drawn else family.mean(given)
    check_data(model, Example(x[None]))
    wrong = (
        [-jnp.inf]
        + [jnp.nan] * (not family.space.missing)
        + [-2.5, 0.3] * (kind == "counts")
    )
    if kind in ("bits", "levels", "interval"):
        wrong += [-0.1, 1.1, 7.0, 255.0] + [0.501] * (kind != "interval")
    place = (3, 1, 0)[: x.ndim]
    for value in wrong:
        with pytest.raises(VaejaxError, match=r"1 of 16 .* x\[0, 3"):
            check_data(model, Example(x.at[place].set(value)[None]))


# Of every space of outcomes: a few, and others next to them.
SPACES = {
    "bits": ([0, 1, 1], [0.5, 2, -1]),
    "counts": ([0, 3, 1e6], [-1, 0.3]),
    "levels": ([0, 1, 17 / 255], [17.5 / 255, 1.001, -0.01]),
    "interval": ([0, 0.3, 1], [-0.001, 1.001]),
    "positive": ([1e-30, 3, 1e6], [0, -1]),
    "reals": ([-1e30, 0, 7], []),
    "simplex": ([0.2, 0.3, 0.5], [0, 0.6, -0.2]),
    "sphere": ([0.6, 0, -0.8], [0.7, 1]),
    "one_hot": ([0, 1, 0], [1, 0.5]),
}


@pytest.mark.parametrize("kind", SPACES)
def test_every_space_has_its_outcomes_and_no_others(kind):
    inside, outside = SPACES[kind]
    family = dataclasses.replace(FAMILIES["bernoulli"](), space=Space(kind, 256))
    model = of_family(family)
    x = np.tile(np.array(inside, np.float32), (4, 1))
    check_data(model, Example(x))
    for value in [*outside, np.nan, np.inf]:
        wrong = x.copy()
        wrong[2, 0] = value
        with pytest.raises(VaejaxError, match="of 12 values"):
            check_data(model, Example(wrong))


def test_every_family_is_of_a_space_that_is_tested():
    assert {FAMILIES[name]().space.kind for name in FAMILIES} <= SPACES.keys()


def test_the_ends_of_an_interval_are_the_familys():
    for family, ends in [
        (FAMILIES["truncated_normal"](-1.0, 3.0), Space("interval", None, -1.0, 3.0)),
        (FAMILIES["beta"](), Space("interval", None, 0.0, 1.0, open=True)),
        (FAMILIES["pixel_beta"](), Space("interval", None, 0.0, 1.0)),
    ]:
        assert family.space == ends
        model, x = of_family(family), np.array([[ends.low], [ends.high]], np.float32)
        if not ends.open:
            check_data(model, Example(x))
            continue
        with pytest.raises(VaejaxError, match=r"both left out.* 2 of 2"):
            check_data(model, Example(x))


@settings(deadline=None, max_examples=30)
@given(
    x=hnp.arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32)),
    place=st.tuples(st.integers(0, 2), st.integers(0, 3)),
    value=st.floats(width=32).filter(lambda value: not 0 <= value <= 1),
)
def test_one_number_outside_is_found_wherever_it_is(x, place, value):
    model = of_family(FAMILIES["continuous_bernoulli"]())
    np.testing.assert_array_equal(check_data(model, Example(x)).x, x)
    x[place] = value
    with pytest.raises(VaejaxError, match=rf"1 of 12 .*x\[{place[0]}, {place[1]}\]"):
        check_data(model, Example(x))


# Shapes.


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_no_likelihood_broadcasts_an_x_of_another_shape(name):
    """One image of three shapes once had -77.07, -624.39 or -4,977.77 laplace nats."""
    model = of_likelihood(name)
    given = jax.eval_shape(model.decode, model.init(KEY), jnp.ones(2), None)
    for other in (model, dataclasses.replace(model, data_shape=None)):

        def log_px(given, x, other=other):
            return log_px_given(other, given, x)

        jax.eval_shape(log_px, given, jnp.zeros(model.data_shape))
        for shape in {(4, 4), (16,), (4, 4, 4), ()} - {model.data_shape}:
            with pytest.raises(VaejaxError, match=r"decodes to .*: reshape"):
                jax.eval_shape(log_px, given, jnp.zeros(shape))


# Labels.

LABELLED = {
    "conditional_vae": conditional_vae(**SMALL, num_classes=3),
    "conditional_normal": gaussian_mlp(
        **SMALL, prior="conditional_normal", prior_settings={"num_classes": 3}
    ),
    "m2": m2(**SMALL, num_classes=3),
}


@pytest.mark.parametrize("name", LABELLED)
def test_labels_outside_the_classes_are_refused(name):
    model = LABELLED[name]
    good = np.array([0, 1, 2, 0, 1, 2])
    for dtype in (np.int8, np.uint8, np.int32, np.int64):
        y = check_data(model, Example(BITS, good.astype(dtype))).y
        assert y.dtype == jnp.int32
        np.testing.assert_array_equal(y, good)
    for wrong, message in [
        (good + 1, r"from 0 to 2.*2 of 6 .* first is 3, at y\[2\]. Number .* from 0"),
        (good - 2, r"first is -2, at y\[0\]"),
        (good.astype(float), "integer labels"),
        (good[:5], r"\[6\]"),
        (good[:, None], r"\[6\]"),
        (np.where(good == 2, 10, good), "first is 10"),
    ]:
        with pytest.raises(VaejaxError, match=message):
            check_data(model, Example(BITS, wrong))


@pytest.mark.parametrize("name", LABELLED)
def test_unknown_labels_are_for_m2_alone(name):
    model = LABELLED[name]
    for y in (None, np.array([0, 1, 2, -1, -1, -1])):
        if name == "m2":
            check_data(model, Example(BITS, y))
            continue
        with pytest.raises(VaejaxError, match=r"given none|first is -1"):
            check_data(model, Example(BITS, y))


@pytest.mark.parametrize("name", LABELLED)
def test_fit_and_log_likelihood_refuse_labels_from_1(name):
    """Models took such labels for zeros, for the last class, or for no class at all."""
    model = LABELLED[name]
    objective = vaejax.make_objective(model, elbo(), pathwise_of(name), num_samples=1)
    data = Example(BITS, np.array([1, 2, 3, 1, 2, 3]))
    with pytest.raises(VaejaxError, match="first is 3"):
        vaejax.fit(objective, optax.sgd(0.1), data, epochs=1, batch_size=2, key=KEY)
    with pytest.raises(VaejaxError, match="first is 3"):
        vaejax.log_likelihood(model, model.init(KEY), data, KEY, num_samples=2)


def pathwise_of(name: str) -> vaejax.Estimator:
    return vaejax.ESTIMATORS["stratified" if name == "m2" else "pathwise"]()


# Under compilation no value is known.


def test_traced_data_have_their_shapes_checked_and_pass_otherwise():
    def value(x):
        return check_data(MODEL, Example(x)).x

    for x in (BITS, BITS / 2):
        np.testing.assert_array_equal(jax.jit(value)(x), x)
        np.testing.assert_array_equal(jax.vmap(value)(x[None])[0], x)
    with pytest.raises(VaejaxError, match="reshape"):
        jax.jit(value)(BITS[..., 0])
    # A constant in what is compiled.
    jax.jit(lambda: value(jnp.asarray(BITS)))()


# Doors of their own kind.


@pytest.mark.parametrize("chain", ["pseudo_gibbs", "metropolis_within_gibbs"])
def test_missing_pixels_may_be_nan_and_observed_ones_may_not(chain):
    """The encoder once saw the NaN: all pixels were 0, and no draw was accepted."""
    x = jnp.where(MASK, jnp.nan, BITS[0])
    draw = getattr(evaluation, chain)
    found = draw(MODEL, PARAMS, Example(x), MASK, KEY, num_draws=20)
    np.testing.assert_array_equal(found.x[:, 1:], np.tile(BITS[0, 1:], (20, 1, 1, 1)))
    assert set(np.unique(found.x)) == {0, 1}
    assert np.isfinite(found.mean).all()
    assert found.accepted.mean() > 0.2
    assert len(np.unique(found.x[:, 0], axis=0)) > 1
    with pytest.raises(VaejaxError, match=r"1 of 16 values .* x\[2, 3, 0\]"):
        draw(MODEL, PARAMS, Example(x.at[2, 3].set(jnp.nan)), MASK, KEY, num_draws=1)


@pytest.mark.parametrize("chain", ["pseudo_gibbs", "metropolis_within_gibbs"])
@pytest.mark.parametrize("start", [np.inf, -np.inf])
def test_an_infinity_at_a_missing_pixel_is_as_nan(chain, start):
    draw = getattr(evaluation, chain)
    same = [
        draw(MODEL, PARAMS, Example(x), MASK, KEY, num_draws=5)
        for x in (jnp.where(MASK, fill, BITS[0]) for fill in (start, np.nan))
    ]
    jax.tree.map(np.testing.assert_array_equal, *same)
    assert np.isfinite(same[0].mean).all()


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("chain", ["pseudo_gibbs", "metropolis_within_gibbs"])
def test_a_mask_may_be_lists_and_must_be_of_booleans(chain):
    def draw(x, missing):
        found = getattr(evaluation, chain)(
            MODEL, PARAMS, Example(x), missing, KEY, num_draws=3
        )
        return found.x

    mask = np.asarray(MASK)
    found = draw(BITS[0].tolist(), mask.tolist())
    np.testing.assert_array_equal(found, draw(BITS[0], MASK))
    for wrong in (mask.astype(float), mask.astype(int), mask.astype(int).tolist()):
        with pytest.raises(VaejaxError, match=r"missing is of dtype .*booleans"):
            draw(BITS[0], wrong)
    with pytest.raises(VaejaxError, match="missing is a masked array"):
        draw(BITS[0], np.ma.masked_equal(mask, 0))


def test_a_summary_names_the_examples_whose_likelihood_is_nan():
    found = vaejax.log_likelihood(MODEL, PARAMS, Example(BITS), KEY, num_samples=3)
    found.log_px[[2, 5]] = np.nan
    with pytest.raises(VaejaxError, match=r"NaN for 2 of 6 examples \(2, 5\)"):
        found.summary()


def test_fit_checks_what_is_observed():
    """Bytes that a protocol turns into other numbers than the likelihood's."""
    train = load("digits", "train")
    model = gaussian_mlp((8, 8, 1), hidden=(5,), latent_dim=2)
    objective = vaejax.make_objective(model, elbo(), pathwise(), num_samples=1)

    def train_by(protocol, x):
        vaejax.fit(
            objective,
            optax.sgd(0.1),
            Example(x),
            epochs=1,
            batch_size=100,
            key=KEY,
            observe=PROTOCOLS[protocol].sample,
        )

    for protocol in ("none", "dequantized"):
        with pytest.raises(
            VaejaxError,
            match=r"^the likelihood .* \(examples 0 to 1,437 of 1,438, as `obs",
        ):
            train_by(protocol, train.images)
    # One image of 1,438, whichever it is.
    bits = np.asarray(train.observations(), np.uint8)
    bits[1001] = train.images[1001]
    for x in (bits, bits.astype(np.float32)):
        with pytest.raises(
            VaejaxError, match=r"^the likelihood .* as `observe` gives them\)"
        ):
            train_by("static", x)
    flat = bits.reshape(-1, 64)
    with pytest.raises(VaejaxError, match=r"^x is of shape .* takes \[N, 8, 8, 1\]"):
        train_by("static", flat)
    with pytest.raises(VaejaxError, match="observations without `observe`"):
        train_by("dynamic", train.images / 255)
    with pytest.raises(VaejaxError, match=r"as observe=vaejax.data.PROTOCOLS"):
        vaejax.fit(
            *(objective, optax.sgd(0.1), Example(train.images)),
            **{"epochs": 1, "batch_size": 100, "key": KEY},
        )


@pytest.fixture
def parts(monkeypatch):
    """Observe 1,438 digits in parts, the last of which overlaps the one before."""
    module = importlib.import_module("vaejax.training.start")
    monkeypatch.setattr(module, "AT_ONCE", 1000 * 64)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("row", [3, 1000, 1437])
def test_fit_observes_every_pixel(row):
    """One of 92,032 bytes is neither the least nor the greatest."""
    x = 255 * np.asarray(load("digits", "train").observations(), np.uint8)
    x[row, 4, 4] = 77
    model = gaussian_mlp((8, 8, 1), hidden=(5,), latent_dim=2)
    with pytest.raises(VaejaxError, match=r"first is 0\.30196.* of 1,438, as `obs"):
        vaejax.fit(
            vaejax.make_objective(model, elbo(), pathwise(), num_samples=1),
            optax.sgd(0.1),
            Example(x),
            epochs=1,
            batch_size=100,
            key=KEY,
            observe=lambda key, x: x / 255.0,
        )


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("wrong", [77, 10, -1])
@pytest.mark.parametrize("row", [3, 1437])
def test_fit_looks_at_every_label(wrong, row):
    """`fit` looks at the labels of all examples, also where examples are bytes."""
    train = load("digits", "train")
    y = np.array(train.labels)
    y[row] = wrong
    model = conditional_vae((8, 8, 1), num_classes=10, hidden=(5,), latent_dim=2)
    message = rf"first is {wrong}, at y.* of 1,438, as `observe` gives"
    with pytest.raises(VaejaxError, match=message):
        vaejax.fit(
            vaejax.make_objective(model, elbo(), pathwise(), num_samples=1),
            optax.sgd(0.1),
            Example(train.images, y),
            epochs=1,
            batch_size=100,
            key=KEY,
            observe=PROTOCOLS["dynamic"].sample,
        )


def test_a_mean_that_the_data_cannot_have_is_refused():
    mean = np.full(SHAPE, 0.5)
    for name in ("bernoulli", "discretized_logistic", "poisson"):
        build = {**SMALL, "likelihood": name}
        gaussian_mlp(**build, data_mean=mean)
        for wrong in (-mean, np.nan * mean, 255 * mean):
            if name == "poisson" and wrong.max() > 1:
                continue
            with pytest.raises(VaejaxError, match="data_mean is from"):
                gaussian_mlp(**build, data_mean=wrong)


@pytest.mark.parametrize("name", ["vade", "vq_vae", "stacked_denoising_autoencoder"])
def test_a_start_from_data_checks_them(name):
    model = MODELS[name](data_shape=SHAPE)
    with pytest.raises(VaejaxError, match="not finite"):
        model.extras.start(
            vaejax.Params((), (), ()), Example(np.full((6, *SHAPE), np.nan)), KEY
        )
