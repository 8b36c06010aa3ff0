"""Topic coherence by NPMI: co-occurrence of a topic's top words in documents.

    NPMI(i, j) = log(p_ij / (p_i p_j)) / -log p_ij

with p_i the share of documents that hold word i and p_ij the share that hold both.
NPMI is 1 for words that only come together, 0 for independent ones, and -1, its limit,
for words that never meet.

Source: Bouma 2009; Lau, Newman and Baldwin 2014, "Machine reading tea leaves".
"""

from itertools import combinations

import numpy as np
from jaxtyping import Float, Num

from vaejax.core import VaejaxError, check_finite


def npmi(
    topics: Float[np.ndarray, "T V"],
    counts: Num[np.ndarray, "D V"],
    num_words: int = 10,
) -> Float[np.ndarray, " T"]:
    """The mean NPMI over all pairs of every topic's top words.

    Args:
        topics: a weight of every word in every topic; only their order counts.
        counts: how often each of V words comes up in each reference document.
        num_words: top words of a topic.

    Raises:
        VaejaxError: fewer than two top words, or more than there are words.
    """
    if not 2 <= num_words <= topics.shape[1]:
        raise VaejaxError(
            f"num_words is {num_words}: use 2 to {topics.shape[1]}, the number of words"
        )
    check_finite(topics=topics, counts=counts)
    top = np.argsort(-topics, axis=1, kind="stable")[:, :num_words]
    words = np.unique(top)
    present = (counts[:, words] > 0).astype(float)
    together = present.T @ present / len(counts)
    alone = np.diagonal(together)
    with np.errstate(divide="ignore", invalid="ignore"):
        pmi = np.log(together / (alone[:, None] * alone[None, :]))
        pairs = np.where(together == 0, -1, pmi / -np.log(together))
    pairs[together == 1] = 1  # both words in every document: the limit
    first, second = np.array(list(combinations(range(num_words), 2))).T
    place = np.searchsorted(words, top)
    return pairs[place[:, first], place[:, second]].mean(1)
