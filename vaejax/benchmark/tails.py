"""The largest squared deviations of draws, which show how heavy the tails are.

A draw's deviation is from the mean of the chunks before it, as the mean of all is not
known yet: after n draws its square is too large by tr Cov / n, which no tail notices.
Only the tail is kept.
"""

import numpy as np
from jaxtyping import Float

from vaejax.evaluation.psis import tail_size


def tail_of_group(
    deviations: Float[np.ndarray, "N leaves 2"],
) -> Float[np.ndarray, "2 M_plus_1"]:
    """A group's largest squares, from every array's sum and maximum of squares."""
    whole = np.stack([deviations[:, :, 0].sum(1), deviations[:, :, 1].max(1)])
    return largest(whole, len(deviations))


def largest(squares: Float[np.ndarray, "2 N"], draws: int) -> np.ndarray:
    """The largest squares, which a Pareto tail is fitted to, and the next one."""
    return np.sort(squares)[:, ::-1][:, : tail_size(draws) + 1]
