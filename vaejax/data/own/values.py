"""What the numbers of a user are: their kind, the form to store them in, in words.

    kind       stored as            protocols
    bits       uint8                static
    counts     uint16               counts, reals
    levels     uint8, 0 to 255      none, dequantized, dynamic, threshold
    others     float32              reals

Numbers of dtype uint8 are grey levels, and a matrix of them may be used as counts;
floats i / 255 are the same levels. Large counts, and numbers of which some are missing
(NaN), are stored as float32.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from vaejax.core import LIKELIHOODS_OF, Kind, kind_of
from vaejax.data.binarization import PHOTOGRAPH
from vaejax.data.own.raw import without
from vaejax.data.types import DataError

PROTOCOLS_OF: dict[Kind, tuple[str, ...]] = {
    "bits": ("static",),
    "counts": ("counts", "reals"),
    "levels": PHOTOGRAPH,
}
REALS = ("reals",)
WORDS: dict[Kind, str] = {
    "bits": "bits (0 and 1)",
    "counts": "counts (whole numbers from 0)",
    "levels": "256 grey levels",
    "interval": "numbers in [0, 1]",
    "positive": "numbers above 0",
    "reals": "real numbers",
}


class Values(NamedTuple):
    """Numbers in the form in which they are stored, and what they are."""

    x: Shaped[np.ndarray, " N *event"]
    kind: Kind
    protocols: tuple[str, ...]
    num_missing: int

    @property
    def likelihoods(self) -> tuple[str, ...]:
        """The names of the likelihoods that take the observations of a protocol."""
        kinds: list[Kind] = [self.kind]
        if "dynamic" in self.protocols:
            kinds.append("bits")
        if "counts" in self.protocols:
            kinds.append("counts")
        return tuple(
            dict.fromkeys(name for kind in kinds for name in LIKELIHOODS_OF[kind])
        )

    def as_reals(self) -> "Values":
        """The same numbers as real numbers."""
        return Values(self.x.astype(np.float32), "reals", REALS, self.num_missing)

    def __str__(self) -> str:
        """The kind and the share that is missing, in words."""
        words = WORDS[self.kind]
        if self.num_missing:
            words += f", {self.num_missing / self.x.size:.1%} missing"
        return words


def find_values(
    name: str,
    x: Shaped[np.ndarray, " N *event"],
    missing: float | str | None = None,
    levels: int | None = 256,
) -> Values:
    """Judge numbers: name their kind, and store them in its form.

    Args:
        name: of the file, for messages.
        x: numbers.
        missing: the number that marks what is missing, beside NaN.
        levels: 256 where grey levels are looked for, None where not.

    Raises:
        DataError: no numbers, none at all, infinities.
    """
    if x.dtype.kind not in "buif" or not x.size:
        raise DataError(
            f"the examples of {name} are {x.dtype} of shape {x.shape}: give at least "
            "one, of numbers or booleans"
        )
    x = without(x, missing)
    if x.dtype == np.uint8 and x.max() > 1:
        as_counts = ("counts",) if x.ndim <= 2 else ()  # images are no counts
        return Values(x, "levels", (*PHOTOGRAPH, *as_counts), 0)
    with np.errstate(over="ignore"):  # and found to be infinite
        floats = x.astype(np.float32)
    if (infinite := np.isinf(floats)).any():
        place = tuple(map(int, np.argwhere(infinite)[0]))
        raise DataError(
            f"{infinite.sum():,} of {x.size:,} values of {name} are infinite, or "
            f"beyond float32: the first is {x[place]:g}, at x{list(place)}. Correct "
            "them, or give them as the missing_value"
        )
    kind = kind_of(floats, levels)
    num_missing = int(np.isnan(floats).sum())
    if kind == "levels" and num_missing:  # which intensities cannot say
        kind = "interval"
    protocols = PROTOCOLS_OF.get(kind, REALS)
    if num_missing or kind not in PROTOCOLS_OF:
        return Values(floats, kind, protocols, num_missing)
    if kind == "levels":
        return Values(np.rint(255 * floats).astype(np.uint8), kind, protocols, 0)
    small = np.uint8 if kind == "bits" else np.uint16
    fits = x.max() <= np.iinfo(small).max
    return Values(x.astype(small) if fits else floats, kind, protocols, 0)
