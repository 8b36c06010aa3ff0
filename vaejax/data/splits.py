"""Fixed splits, in an order that a hash determines.

Sets that come without a split get one from the order of SHA-256 digests of
"tag index", or from such digests as numbers. Unlike a seeded generator, the digests are
the same with every version of NumPy.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Shaped

from vaejax.core import VaejaxError
from vaejax.core.ranges import shown
from vaejax.data.types import DataError, ImageData


def hold_out(
    data: ImageData, share: float = 0.1, seed: int = 0
) -> tuple[ImageData, ImageData]:
    """Part a split in two: the examples that remain, and a random share of them.

    Every class has this share of its examples held out, up to one example, and a group
    goes to one part as a whole (see `divide`). The examples keep their order.

    Args:
        data: a training split, as `load` returns it.
        share: of the examples that are held out, between 0 and 1.
        seed: of the draw, from 0.

    Returns:
        The split without the examples held out, and these.

    Raises:
        DataError: a share that leaves a part empty.

    Examples:
        >>> train, validation = hold_out(load("digits"), share=0.1)
        >>> len(train.images), len(validation.images)
        (1294, 144)
    """
    rest, held = divide(
        (1 - share, share),
        len(data.images),
        seed=seed,
        labels=data.labels,
        groups=data.groups,
    )
    return data.take(rest), data.take(held)


def divide(
    shares: Sequence[float],
    count: int,
    *,
    seed: int = 0,
    labels: Int[np.ndarray, " N"] | None = None,
    groups: Shaped[np.ndarray, " N"] | None = None,
) -> list[Int[np.ndarray, " M"]]:
    """Divide N examples at random into parts of these shares, class by class.

    Every class, in random order, fills the parts from the first to the last, so that it
    has within one example the same share of every part. The examples of a group stay
    together; a group counts as of the class of its first example.

    Args:
        shares: of the parts, positive numbers of sum 1.
        count: N.
        seed: of the random order.
        labels: the classes; None is a single class.
        groups: equal where examples belong together; None is a group for each example.

    Returns:
        The positions of every part's examples, in rising order.

    Raises:
        DataError: other shares, or examples too few for all parts.
    """
    if not (min(shares) > 0 and abs(sum(shares) - 1) < 1e-6):
        raise DataError(
            f"the shares of the splits are {shown(tuple(shares))}: use positive "
            "numbers of sum 1, as in 0.8, 0.1, 0.1"
        )
    if groups is None:
        groups = np.arange(count)
    _, first, group_of, sizes = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    classes = np.zeros(count, int) if labels is None else labels
    order = fixed_order(f"split {seed}", len(sizes))
    place = np.empty(len(sizes))
    for label in np.unique(classes):
        own = order[classes[first][order] == label]
        place[own] = _places(sizes[own])
    order = order[np.argsort(place[order], kind="stable")]
    place[order] = _places(sizes[order])
    part = np.searchsorted(np.cumsum(shares)[:-1], place)[group_of]
    parts = [np.flatnonzero(part == i) for i in range(len(shares))]
    if not all(map(len, parts)):
        raise DataError(
            f"{count:,} examples in {len(sizes):,} groups are too few for parts of "
            f"shares {shown(tuple(shares))}: use larger shares, or more examples"
        )
    return parts


def _places(sizes: Int[np.ndarray, " G"]) -> np.ndarray:
    """The middle of every group on the line of all examples, from 0 to 1."""
    ends = np.cumsum(sizes)
    return (ends - sizes / 2) / ends[-1]


def fixed_order(tag: str, count: int) -> np.ndarray:
    """Return a permutation of range(count) that depends on `tag` and `count` alone."""
    digests = [hashlib.sha256(f"{tag} {i}".encode()).digest() for i in range(count)]
    return np.array(sorted(range(count), key=digests.__getitem__))


def draw_split(
    tag: str, split: str, num_train: int, num_test: int, population: int
) -> np.ndarray:
    """Return the members of range(population) that are in "train", or in "test".

    They are drawn without replacement in an order that depends on `tag` and
    `population` alone: first the test examples, then the training examples.

    Raises:
        VaejaxError: more than there are.
    """
    total = num_test + num_train
    if min(num_train, num_test) < 1 or total > population:
        raise VaejaxError(
            f"cannot draw {num_train:,} training and {num_test:,} test examples from "
            f"the {population:,} of {tag}: use at least one of each, and no more than "
            "there are"
        )
    drawn: dict[int, None] = {}  # in order, each once
    i = 0
    while len(drawn) < total:
        digest = hashlib.sha256(f"{tag} {i}".encode()).digest()
        drawn[int.from_bytes(digest, "big") % population] = None
        i += 1
    order = np.array(list(drawn))
    return order[:num_test] if split == "test" else order[num_test:]
