"""Disentanglement scores from groups of examples that have one factor in common.

Groups are drawn with replacement from the examples given, which must hold several
of every value of a factor. Half of the groups train a classifier of the common factor,
the other half score it. Chance is about 1 / F for F factors.
"""

import numpy as np
from jaxtyping import Float, Int

from vaejax.core.doors import expect_counts
from vaejax.evaluation.active_units import THRESHOLD
from vaejax.evaluation.disentanglement import check_factors


def factor_vae_score(
    codes: Float[np.ndarray, "N Z"],
    factors: Int[np.ndarray, "N F"],
    *,
    num_groups: int = 1600,
    group_size: int = 64,
    seed: int = 0,
) -> float:
    """The accuracy of predicting a group's common factor by its least-varying latent.

    For each group the latent of the least variance, relative to that over all examples,
    votes for the common factor; the votes of half of the groups classify the rest.
    Latents whose variance is at most 0.01 count as collapsed and have no vote; where
    all latents are, a constant guess is scored.

    Args:
        codes: posterior means.
        factors: known factors of the same examples.
        num_groups: for both halves together.
        group_size: examples in each.
        seed: of the groups.

    Returns:
        The accuracy on the groups that did not vote.

    References:
        Kim and Mnih 2018, arXiv:1802.05983, section 4.
    """
    expect_counts(num_groups=num_groups, group_size=group_size)
    check_factors(codes, factors)
    rng = np.random.default_rng(seed)
    active = codes[:, codes.var(0) > THRESHOLD]
    common = rng.integers(factors.shape[1], size=num_groups)
    least = np.zeros(num_groups, int)
    if active.shape[1]:
        first = rng.integers(len(codes), size=(num_groups, 1))
        rows = np.repeat(first, group_size, axis=1)
        groups = active[_share_factor(rng, factors, common, rows)]
        least = (groups.var(1, ddof=1) / active.var(0)).argmin(1)
    votes = np.zeros((max(1, active.shape[1]), factors.shape[1]))
    half = num_groups // 2
    np.add.at(votes, (least[:half], common[:half]), 1)
    return float((votes.argmax(1)[least[half:]] == common[half:]).mean())


def beta_vae_score(
    codes: Float[np.ndarray, "N Z"],
    factors: Int[np.ndarray, "N F"],
    *,
    num_groups: int = 1600,
    group_size: int = 64,
    seed: int = 0,
) -> float:
    """The accuracy of predicting pairs' common factor linearly by mean |z - z'|.

    Args:
        codes: posterior means.
        factors: known factors of the same examples.
        num_groups: for training and scoring the classifier together.
        group_size: pairs in each.
        seed: of the pairs.

    Returns:
        The accuracy of logistic regression on the groups that it has not seen.

    References:
        Higgins et al. 2017, "beta-VAE: Learning basic visual concepts with a
        constrained variational framework", section 3.
    """
    from vaejax.evaluation.linear_probe import linear_probe

    expect_counts(num_groups=num_groups, group_size=group_size)
    check_factors(codes, factors)
    rng = np.random.default_rng(seed)
    common = rng.integers(factors.shape[1], size=num_groups)
    first = rng.integers(len(codes), size=(num_groups, group_size))
    second = _share_factor(rng, factors, common, first)
    differences = abs(codes[first] - codes[second]).mean(1)
    half = num_groups // 2
    return linear_probe(
        differences[:half], common[:half], differences[half:], common[half:]
    )


def _share_factor(
    rng: np.random.Generator,
    factors: Int[np.ndarray, "N F"],
    common: Int[np.ndarray, " G"],
    rows: Int[np.ndarray, "G L"],
) -> Int[np.ndarray, "G L"]:
    """A random row for every row, with the group's factor in common."""
    partners = np.empty_like(rows)
    for k, factor in enumerate(factors.T):
        order = np.argsort(factor, kind="stable")
        value = factor[rows[common == k]]
        start = np.searchsorted(factor[order], value, side="left")
        stop = np.searchsorted(factor[order], value, side="right")
        partners[common == k] = order[rng.integers(start, stop)]
    return partners
