"""Sprites: what their factors say is what is drawn."""

import numpy as np
import pytest

from experiments.training.config import Config
from experiments.training.run import prepare
from vaejax.core import VaejaxError
from vaejax.data import DATASETS, load, render_sprites, sprite_factors
from vaejax.data.datasets import sprites
from vaejax.data.sprites import FACTOR_SIZES, NUM_SPRITES, RADIUS, SHAPES

LARGEST = FACTOR_SIZES["scale"] - 1


def draw(
    shape: str, scale: int = LARGEST, orientation: int = 0, x: int = 0, y: int = 0
):
    factors = np.array([[SHAPES.index(shape), scale, orientation, x, y]])
    return render_sprites(factors)[0, :, :, 0]


def test_the_numbers_count_every_combination_of_factors_once():
    assert NUM_SPRITES == 737_280
    factors = sprite_factors(np.arange(NUM_SPRITES))
    weights = np.array([6 * 40 * 32 * 32, 40 * 32 * 32, 32 * 32, 32, 1])
    np.testing.assert_array_equal(factors @ weights, np.arange(NUM_SPRITES))
    assert (factors.max(0) + 1).tolist() == list(FACTOR_SIZES.values())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_position_is_a_shift_by_pixels_and_nothing_is_cut_off(shape):
    here = draw(shape, x=3, y=5)
    assert not here[[0, -1]].any()
    assert not here[:, [0, -1]].any()
    there = draw(shape, x=10, y=20)
    np.testing.assert_array_equal(np.roll(here, (15, 7), (0, 1)), there)
    # The extreme positions mirror each other about the middle of the image.
    rows = [np.argwhere(draw("square", x=i, y=i)).mean() for i in (0, 31)]
    assert sum(rows) == 63


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("square", 4 * RADIUS**2),
        ("ellipse", np.pi * 1.4 * 0.7 * RADIUS**2),
        ("heart", 3.6624 * 1.1**2 * RADIUS**2),  # of the sextic, by quadrature
    ],
)
def test_areas_grow_with_the_square_of_the_scale(shape, area):
    for scale, factor in enumerate(np.linspace(0.5, 1, 6)):
        orientations = [draw(shape, scale, o).sum() for o in range(40)]
        # A count of pixels whose centres are inside, one of them the middle.
        assert np.mean(orientations) == pytest.approx(area * factor**2, rel=0.03)


@pytest.mark.parametrize(
    ("shape", "distinct"), [("square", 10), ("ellipse", 20), ("heart", 40)]
)
def test_orientations_differ_but_for_the_symmetry_of_the_shape(shape, distinct):
    for scale in range(6):
        drawn = np.stack([draw(shape, scale, o).ravel() for o in range(40)])
        assert len(np.unique(drawn[:distinct], axis=0)) == distinct
        np.testing.assert_array_equal(drawn, drawn[np.arange(40) % distinct])
    quarter = draw("heart", orientation=10, x=15, y=15)
    np.testing.assert_array_equal(
        np.rot90(draw("heart", x=15, y=15)[:63, :63]), quarter[:63, :63]
    )


def test_splits_are_fixed_disjoint_and_true_to_their_factors():
    train, test = load("sprites"), load("sprites", "test")
    assert (len(train.images), len(test.images)) == (20_000, 2_000)
    assert set(np.unique(test.images)) == {0, 1}
    weights = np.array([6 * 40 * 32 * 32, 40 * 32 * 32, 32 * 32, 32, 1])
    numbers = np.concatenate([test.factors, train.factors]) @ weights
    assert len(np.unique(numbers)) == 22_000
    assert numbers[:3].tolist() == [312223, 311169, 420196]
    np.testing.assert_array_equal(test.images, render_sprites(test.factors))
    np.testing.assert_array_equal(train.labels, train.factors[:, 0])
    more = sprites(num_train=20_100).read("train", None)
    np.testing.assert_array_equal(more.factors[:20_000], train.factors)
    for column, size in zip(train.factors.T, FACTOR_SIZES.values(), strict=True):
        counts, p = np.bincount(column), 1 / size
        z = (counts - 20_000 * p) / np.sqrt(20_000 * p * (1 - p))
        assert len(counts) == size
        assert np.abs(z).max() < 4.5


def test_a_training_takes_them_at_their_size():
    settings = ("latent_dim=2", "hidden=4")
    config = Config(dataset="sprites", estimator="pathwise", model_settings=settings)
    run = prepare(config)
    model, data = run.model, run.data
    assert data.protocol == "static"
    assert data.train.x.shape == (20_000, *model.data_shape) == (20_000, 64, 64, 1)
    assert data.test.x.min() == 0
    assert data.test.x.max() == 1


def test_what_is_no_sprite_is_refused():
    with pytest.raises(VaejaxError, match="use 0 to 737,279"):
        sprite_factors(np.array([NUM_SPRITES]))
    with pytest.raises(VaejaxError, match="scale 0 to 5"):
        draw("heart", scale=6)
    with pytest.raises(VaejaxError, match="737,280 of sprites"):
        sprites(num_train=737_280).read("train", None)
    assert DATASETS["sprites"]().factor_names == tuple(FACTOR_SIZES)
