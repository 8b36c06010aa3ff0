"""Tables of mixed kinds: scipy's densities, samples in z-scores, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vaejax import MODELS, Example, VaejaxError, build, check_data
from vaejax.families import columns, schema_of

pytestmark = pytest.mark.slow

WORDS = (
    *("normal:3:2", "categorical:4", "poisson", "log_normal:1:0.5", "bernoulli"),
    *("categorical:3", "normal", "categorical:4"),
)
FAMILY = columns(WORDS)
OUTPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(4, len(WORDS))))
DRAWS = 20_000
NAN = np.nan


def twins() -> list:
    """The distribution of every column by scipy."""
    o = np.asarray(OUTPUTS, float)

    def categories(outputs):
        shares = scipy.special.softmax(outputs)
        return scipy.stats.rv_discrete(values=(np.arange(len(shares)), shares))

    return [
        scipy.stats.norm(3 + 2 * o[0, 0], 2 * np.exp(o[1, 0])),
        categories(o[:, 1]),
        scipy.stats.poisson(np.exp(o[0, 2])),
        scipy.stats.lognorm(0.5 * np.exp(o[1, 3]), scale=np.exp(1 + 0.5 * o[0, 3])),
        scipy.stats.bernoulli(scipy.special.expit(o[0, 4])),
        categories(o[:3, 5]),
        scipy.stats.norm(o[0, 6], np.exp(o[1, 6])),
        categories(o[:, 7]),
    ]


def log_density(twin, x) -> np.ndarray:
    return getattr(twin, "logpdf", None)(x) if _real(twin) else twin.logpmf(x)


def _real(twin) -> bool:
    return getattr(twin, "dist", twin).name in ("norm", "lognorm")


@pytest.fixture(scope="module")
def drawn():
    keys = jax.random.split(jax.random.key(1), DRAWS)
    return np.asarray(jax.vmap(FAMILY.sample, (0, None))(keys, OUTPUTS), float)


def test_every_columns_log_prob_is_scipys(drawn):
    """Each column agrees alone, with all others missing, and all agree together."""
    log_prob = jax.jit(jax.vmap(FAMILY.log_prob, (None, 0)))
    x, total = drawn[:50], np.zeros(50)
    for d, twin in enumerate(twins()):
        alone = np.full_like(x, NAN)
        alone[:, d] = x[:, d]
        expected = log_density(twin, x[:, d])
        np.testing.assert_allclose(
            log_prob(OUTPUTS, jnp.asarray(alone)), expected, rtol=2e-5, atol=2e-5
        )
        total += expected
    np.testing.assert_allclose(
        log_prob(OUTPUTS, jnp.asarray(x)), total, rtol=2e-5, atol=1e-4
    )


def test_the_outputs_of_a_missing_column_do_not_matter():
    x = jnp.array([NAN, NAN, 2.0, NAN, 1.0, NAN, 0.5, 3.0])
    slope = jax.grad(FAMILY.log_prob)(OUTPUTS, x)
    assert np.isfinite(slope).all()
    observed = np.asarray(~jnp.isnan(x))
    np.testing.assert_array_equal(np.asarray(slope != 0).any(0), observed)


def test_samples_follow_the_columns_distributions(drawn):
    for d, twin in enumerate(twins()):
        mean, variance, kurtosis = twin.stats(moments="mvk")
        error = np.sqrt(variance / DRAWS)
        assert abs(drawn[:, d].mean() - mean) < 4.5 * error, d
        spread = variance * np.sqrt((kurtosis + 2) / DRAWS)
        assert abs(drawn[:, d].var() - variance) < 4.5 * spread + 1e-9, d
        other = twins()[(d + 1) % len(WORDS)]  # the negative control
        assert abs(drawn[:, d].mean() - other.mean()) > 10 * error, d
    correlation = np.corrcoef(drawn.T)[np.triu_indices(len(WORDS), 1)]
    assert np.abs(correlation).max() < 4.5 / np.sqrt(DRAWS)


def test_means_are_scipys_and_of_classes_the_mode():
    found = FAMILY.mean(OUTPUTS)
    for d, (word, twin) in enumerate(zip(WORDS, twins(), strict=True)):
        if word.startswith("categorical"):
            assert found[d] == np.argmax(OUTPUTS[: int(word[-1]), d])
        else:
            np.testing.assert_allclose(found[d], twin.mean(), rtol=1e-5)
    assert not FAMILY.exact_mean
    assert columns(("normal", "poisson")).exact_mean


def test_networks_start_at_the_columns_means():
    mean = jnp.array([5.0, 1.3, 2.2, 4.0, 0.3, 0.8, -1.0, 2.0])
    start = FAMILY.mean(FAMILY.head.to_outputs(mean))
    numbers = np.array([0, 2, 3, 4, 6])
    np.testing.assert_allclose(start[numbers], mean[numbers], rtol=1e-5)


def test_the_encoder_sees_units_classes_and_gaps():
    seen = FAMILY.features(jnp.array([5.0, 2, NAN, np.e**2, 1, NAN, NAN, 0]))
    # By groups: normal columns, the two of 4 classes, counts, log-normal, bits, 3.
    expected = [
        *(1, NAN),
        *(0, 0, 1, 0, 1, 0, 0, 0),
        *(NAN, 2, 1),
        *(0, 0, 0),
        *(0, 0, 1, 0, 0, 1, 1, 0),
    ]
    np.testing.assert_allclose(seen, expected, rtol=1e-6)


def test_one_word_describes_columns_of_any_shape():
    model = build(
        MODELS,
        "gaussian_mlp",
        ["likelihood=columns", "likelihood.columns=poisson", "data_shape=2,3"],
    )
    x = jnp.array([[0.0, 1, NAN], [4, NAN, 2]])
    z = jnp.zeros(50)
    params = model.init(jax.random.key(0))
    given = model.decode(params, z, None)
    rates = np.exp(np.asarray(given[0], float))
    expected = np.nansum(scipy.stats.poisson(rates).logpmf(np.asarray(x, float)))
    np.testing.assert_allclose(model.likelihood.log_prob(given, x), expected, rtol=1e-5)
    assert np.isfinite(model.encode(params, Example(x)).loc).all()


ROW = [5.0, 2, 3, 4.0, 1, 2, -1.0, 0]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (1, 4, "whole numbers from 0 to 3 in column 1, .*number the classes"),
        (5, 0.5, "whole numbers from 0 to 2 in column 5"),
        (2, -1, "whole numbers from 0 in column 2"),
        (3, 0, "numbers above 0 in column 3"),
        (4, 0.5, "0 and 1 in column 4"),
        (0, np.inf, r"not finite, .* at x\[0, 0\]"),
    ],
)
def test_a_value_that_its_column_cannot_have_is_refused(column, value, message):
    model = build(
        MODELS,
        "gaussian_mlp",
        data_shape=(8,),
        likelihood="columns",
        likelihood_settings={"columns": WORDS},
    )
    check_data(model, Example(np.array([ROW, [NAN] * 8])))
    row = np.array(ROW)
    row[column] = value
    with pytest.raises(VaejaxError, match=message):
        check_data(model, Example(row[None]))


@pytest.mark.parametrize(
    "word",
    [
        *("gamma", "categorical", "categorical:1", "categorical:x", "categorical:101"),
        *("normal:1", "normal:1:0", "normal:nan:1", "normal:1:2:3", "poisson:3", ""),
    ],
)
def test_a_word_that_describes_no_column_is_refused(word):
    with pytest.raises(VaejaxError, match=r"describes no column: write normal"):
        columns(("poisson", word))


def test_words_and_columns_have_one_number():
    with pytest.raises(VaejaxError, match="describes 2 columns, and the data are"):
        build(
            MODELS,
            "gaussian_mlp",
            ["likelihood=columns", "likelihood.columns=normal,poisson", "data_shape=3"],
        )
    with pytest.raises(VaejaxError, match="give a word for each column"):
        columns(())


# The schema of a table.


def table() -> np.ndarray:
    rng = np.random.default_rng(0)
    x = np.stack(
        [
            rng.integers(0, 2, 500),
            rng.integers(0, 5, 500),
            rng.poisson(20, 500),
            np.exp(rng.normal(3, 1.2, 500)),
            rng.normal(-4, 3, 500),
            rng.normal(50_000, 20_000, 500).round(),
            np.full(500, 7.5),
        ],
        1,
    )
    x[rng.random(x.shape) < 0.2] = NAN
    return x


def test_a_schema_names_the_kind_of_every_column():
    found = schema_of(table())
    kinds = [word.partition(":")[0] for word in found.columns]
    assert kinds == [
        *("bernoulli", "categorical", "poisson", "log_normal", "normal", "normal"),
        "normal",
    ]
    assert found.columns[1] == "categorical:5"
    loc, scale = map(float, found.columns[4].split(":")[1:])
    np.testing.assert_allclose([loc, scale], [-4, 3], rtol=0.1)
    loc, scale = map(float, found.columns[3].split(":")[1:])
    np.testing.assert_allclose([loc, scale], [3, 1.2], rtol=0.1)
    assert found.columns[6] == "normal:7.5:1"
    said = str(found)
    assert "column 0: bernoulli, as its values are 0 and 1" in said
    assert "column 2: poisson, as its values are whole numbers" in said
    assert said.count("\n") == 6


def test_a_schema_describes_its_table():
    """Its words build a likelihood that takes every row, and more kinds do not."""
    x = table()
    model = build(
        MODELS,
        "gaussian_mlp",
        data_shape=(7,),
        likelihood="columns",
        likelihood_settings={"columns": schema_of(x).columns},
    )
    check_data(model, Example(x))
    with pytest.raises(VaejaxError, match="in column 1"):
        check_data(model, Example(x + np.eye(7)[1] * 10))


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(3), "is of shape .3,.: give a table"),
        (np.zeros((0, 3)), "give a table"),
        (np.array([[0.0, np.inf]]), "not finite"),
        (np.array([["a"]]), "numbers"),
        (np.array([[0.0, NAN]]), "column 1 has no value"),
    ],
)
def test_a_schema_of_no_table_is_refused(x, message):
    with pytest.raises(VaejaxError, match=message):
        schema_of(x)
