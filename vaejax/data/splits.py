"""Fixed splits, in an order that a hash determines.

Sets that come without a split get one from the order of SHA-256 digests of
"tag index", or from such digests as numbers. Unlike a seeded generator, the digests are
the same with every version of NumPy.
"""

import hashlib

import numpy as np

from vaejax.core import VaejaxError


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
