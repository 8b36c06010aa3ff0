"""The kind of the numbers is found, and the likelihoods that are named take them."""

import dataclasses

import numpy as np
import pytest

import vaejax
from vaejax import Example, VaejaxError, check_data
from vaejax.core import LIKELIHOODS_OF, kind_of
from vaejax.data import load
from vaejax.models import gaussian_mlp
from vaejax.models.parts import LIKELIHOODS

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (30, 6), dtype=np.uint8)
OF_KIND = {
    "bits": GREY % 2,
    "counts": RNG.poisson(3.0, (30, 6)),
    "levels": GREY / 255,
    "interval": RNG.random((30, 6)),
    "positive": RNG.gamma(2.0, size=(30, 6)) + 2,
    "reals": RNG.normal(size=(30, 6)),
}
MODEL = gaussian_mlp((6,), hidden=(4,), latent_dim=2)


def takes(likelihood: str, x: np.ndarray) -> bool:
    model = dataclasses.replace(MODEL, likelihood=LIKELIHOODS[likelihood]())
    try:
        check_data(model, Example(x.astype(np.float32)))
    except VaejaxError:
        return False
    return True


@pytest.mark.parametrize("kind", OF_KIND)
def test_the_likelihoods_of_a_kind_take_its_numbers_and_others_do_not(kind):
    assert kind_of(OF_KIND[kind].astype(np.float32)) == kind
    found = {name for name in LIKELIHOODS if takes(name, OF_KIND[kind])}
    assert set(LIKELIHOODS_OF[kind]) <= found
    # A density is no likelihood of bits, and neither are counts; `optimal_normal` is
    # no distribution, and `columns` takes what its words say.
    others = found - set(LIKELIHOODS_OF[kind]) - {"optimal_normal", "columns"}
    assert not others or kind == "bits"


@pytest.mark.parametrize("kind", LIKELIHOODS_OF)
def test_a_refusal_names_the_likelihoods_that_would_do(kind):
    x = OF_KIND[kind].astype(np.float32)
    wrong = "bernoulli" if kind != "bits" else None
    if wrong is None:
        assert takes("bernoulli", x)
        return
    with pytest.raises(VaejaxError) as refused:
        check_data(MODEL, Example(x))
    message = str(refused.value)
    first = tuple(np.argwhere((x != 0) & (x != 1))[0].tolist())
    assert f"the first is {x[first]:.6g}, at x{list(first)}" in message
    assert message.endswith("takes them: " + ", ".join(LIKELIHOODS_OF[kind]))


STORED = {
    "bits": (OF_KIND["bits"], np.uint8, ("static",)),
    "booleans": (OF_KIND["bits"].astype(bool), np.uint8, ("static",)),
    "bits as floats": (OF_KIND["bits"].astype(float), np.uint8, ("static",)),
    "counts": (OF_KIND["counts"], np.uint16, ("counts", "reals")),
    "large counts": (OF_KIND["counts"] * 70_000, np.float32, ("counts", "reals")),
    "intensities": (
        GREY,
        np.uint8,
        ("none", "dequantized", "dynamic", "threshold", "counts"),
    ),
    "grey levels": (
        GREY / 255,
        np.uint8,
        ("none", "dequantized", "dynamic", "threshold"),
    ),
    "shares": (OF_KIND["interval"], np.float32, ("reals",)),
    "positive": (OF_KIND["positive"], np.float32, ("reals",)),
    "reals": (OF_KIND["reals"], np.float32, ("reals",)),
}


@pytest.mark.parametrize("name", STORED)
def test_numbers_are_stored_without_loss_and_have_their_protocols(name):
    x, dtype, protocols = STORED[name]
    info = vaejax.data.open({"x_train": x, "x_test": x})
    train = load(info)
    assert train.images.dtype == dtype
    assert info.protocols == protocols
    seen = train.observations()
    scale = 255 if name == "intensities" else 1
    np.testing.assert_allclose(seen, x / scale, rtol=1e-6)


def test_missing_bits_and_counts_keep_their_protocols_and_missing_greys_are_numbers():
    for name, protocols in [
        ("bits", ("static",)),
        ("counts", ("counts", "reals")),
        ("levels", ("reals",)),
    ]:
        x = OF_KIND[name].astype(float)
        x[3, 2] = np.nan
        info = vaejax.data.open({"x_train": x, "x_test": x})
        assert info.protocols == protocols
        assert info.missing
        np.testing.assert_allclose(load(info).observations(), x, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, float])
def test_grey_images_have_a_channel_and_other_arrays_keep_their_shape(dtype):
    images = RNG.integers(0, 256, (30, 5, 4), dtype=np.uint8)
    given = images if dtype is np.uint8 else images / 255
    assert vaejax.data.open(given).shape == (5, 4, 1)
    assert vaejax.data.open(RNG.normal(size=(30, 5, 4))).shape == (5, 4)


def test_a_line_says_what_was_found():
    labels = np.array(["cat", "dog"] * 15)
    assert vaejax.data.open({"x": OF_KIND["counts"], "y": labels}).found == (
        "the arrays: 30 examples of shape [6], counts (whole numbers from 0), classes "
        "2 (cat, dog); train 24, validation 3, test 3; protocols counts, reals; "
        "likelihoods poisson, negative_binomial, multinomial, fixed_normal, "
        "diagonal_normal, shared_normal, laplace, fixed_laplace"
    )


def test_standardised_data_are_of_mean_0_and_deviation_1_in_the_training_split():
    x = RNG.normal(5.0, (1.0, 20.0), (50, 2))
    info = vaejax.data.open(x, standardize=True)
    plain = vaejax.data.open(x)
    train = load(info).images
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(0), 1, atol=1e-6)
    test = load(info, "test").images
    assert abs(test.mean(0)).max() > 1e-3  # the test split had no part in it
    own = info.standardization.undo(test)
    np.testing.assert_allclose(own, load(plain, "test").images, rtol=1e-5)


def test_categories_are_not_standardised():
    table = {"city": ["Rome", "Oslo"] * 20, "age": [30.0, 50.0] * 20}
    info = vaejax.data.open(table, standardize=True)
    train = load(info).images
    assert set(np.unique(train[:, 0])) == {0, 1}
    np.testing.assert_allclose(train[:, 1].std(), 1, rtol=1e-6)
