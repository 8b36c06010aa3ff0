"""The combination of several passes of draws into one."""

from collections.abc import Sequence
from functools import partial

import jax
import numpy as np
from jaxtyping import Array

from vaejax.benchmark.moments import Moments
from vaejax.benchmark.tails import largest

Leaf = Array | np.ndarray  # of a pass, and of passes that are combined already


def combine(parts: Sequence[Moments]) -> Moments:
    """The moments of all draws of several passes with equally many folds."""
    draws = sum(part.draws for part in parts)
    folds = len(jax.tree.leaves(parts[0].fold_means)[0])
    counts = [part.draws / folds for part in parts]
    per_fold = draws / folds

    def weighted(*means: Leaf) -> np.ndarray:
        return np.average(np.asarray(means, float), 0, counts)

    def squares(whole: np.ndarray, *pairs: Leaf) -> np.ndarray:
        means, own = pairs[: len(parts)], pairs[len(parts) :]
        shifts = np.square(np.asarray(means, float) - whole)
        return np.tensordot(counts, shifts, 1) + np.sum(np.asarray(own, float), 0)

    def variance(square: np.ndarray, means: np.ndarray) -> np.ndarray:
        between = per_fold * np.square(means - means.mean(0))
        return np.asarray((square + between).sum(0) / (draws - 1))

    means_of = [part.fold_means for part in parts]
    fold_means = jax.tree.map(weighted, *means_of)
    fold_squares = jax.tree.map(
        squares, fold_means, *means_of, *(part.fold_squares for part in parts)
    )
    together = partial(jax.tree.map, lambda *leaves: np.concatenate(leaves))
    return Moments(
        mean=jax.tree.map(lambda leaf: np.asarray(leaf.mean(0)), fold_means),
        variance=jax.tree.map(variance, fold_squares, fold_means),
        fold_means=fold_means,
        fold_squares=fold_squares,
        draws=draws,
        tails={
            name: largest(np.hstack([part.tails[name] for part in parts]), draws)
            for name in parts[0].tails
        },
        products=together(*(part.products for part in parts)),
        squared_norms=together(*(part.squared_norms for part in parts)),
    )
