"""Held-out examples: whose they are, how many of every class, and what stays together.

The positive control of every property is an independent count of the parts' rows.
"""

import numpy as np
import pytest

from vaejax.data import DataError, ImageData, hold_out, load
from vaejax.data.splits import divide

SHARES = (0.8, 0.15, 0.05)


def _numbered(count, **own):
    """Data in which every image is its own number."""
    images = np.arange(count, dtype=np.uint16)[:, None]
    return ImageData(images, own.get("labels"), groups=own.get("groups"))


@pytest.mark.parametrize("share", [0.03, 0.1, 0.5])
def test_every_class_has_its_share_held_out(share):
    labels = np.random.default_rng(0).choice(4, 999, p=[0.6, 0.3, 0.08, 0.02])
    rest, held = hold_out(_numbered(999, labels=labels), share, seed=3)
    both = np.concatenate([rest.images[:, 0], held.images[:, 0]])
    assert sorted(both) == list(range(999))  # each once
    for label in range(4):
        wanted = share * (labels == label).sum()
        assert abs((held.labels == label).sum() - wanted) <= 1
    np.testing.assert_array_equal(held.labels, labels[held.images[:, 0]])
    assert (np.diff(held.images[:, 0].astype(int)) > 0).all()


def test_held_out_examples_follow_from_the_seed_alone():
    first, again, other = (
        hold_out(_numbered(200), seed=seed)[1].images for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert len(first) == 20
    assert not np.array_equal(first, other)


def test_a_random_tenth_is_no_tenth_of_every_class():
    """The negative control of the first test: without labels it would fail."""
    labels = np.random.default_rng(0).choice(4, 999, p=[0.6, 0.3, 0.08, 0.02])
    _, held = divide((0.9, 0.1), 999)
    off = [abs((labels[held] == c).sum() - 0.1 * (labels == c).sum()) for c in range(4)]
    assert max(off) > 1


def test_groups_stay_together_in_parts_of_about_the_asked_size():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(100), rng.integers(1, 9, 100))[rng.permutation(400)]
    labels = groups % 3
    parts = divide(SHARES, 400, groups=groups, labels=labels)
    assert sorted(np.concatenate(parts)) == list(range(400))
    owners = [set(groups[part]) for part in parts]
    assert sum(map(len, owners)) == len(set(groups))  # none is in two parts
    for part, share in zip(parts, SHARES, strict=True):
        assert abs(len(part) - share * 400) <= 8  # the largest group
        assert abs((labels[part] == 1).sum() - share * (labels == 1).sum()) <= 8
    torn = divide(SHARES, 400, labels=labels)
    owners = [set(groups[part]) for part in torn]
    assert sum(map(len, owners)) > len(set(groups))


def test_held_out_groups_stay_together():
    groups = np.repeat(list("abcdefghij"), 3)
    rest, held = hold_out(_numbered(30, groups=groups))
    assert set(rest.groups).isdisjoint(held.groups)
    assert len(held.images) == 3


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_labels_and_factors_stay_together(split):
    data = load("sprites", split)
    _, held = hold_out(data, 0.01)
    found = [np.flatnonzero((data.factors == row).all(1)) for row in held.factors]
    rows = np.concatenate(found)
    np.testing.assert_array_equal(held.images, data.images[rows])
    np.testing.assert_array_equal(held.labels, data.labels[rows])
    assert held.protocol == "static"


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan"), 1e-6])
def test_a_share_that_leaves_a_part_empty_is_refused(share):
    with pytest.raises(DataError, match=r"use positive numbers of sum 1|too few"):
        hold_out(_numbered(50), share)
