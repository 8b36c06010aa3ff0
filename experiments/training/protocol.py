"""The protocol of the observations: its choice, and what a model needs of it."""

import numpy as np

from vaejax.core import Family, VaejaxError, check_support
from vaejax.data import LEVELS, DatasetInfo, ImageData, load

BITS = ("dynamic", "static", "threshold")  # protocols of 0 and 1
MAX_EXEMPLARS = 5000  # limit of training examples in a prior


def choose_protocol(
    dataset: DatasetInfo, protocol: str | None, likelihood: Family
) -> str:
    """The requested protocol, or the data set's first that fits the likelihood.

    Raises:
        VaejaxError: a likelihood of bits on grey values, whose "log-likelihood" would
            be a cross-entropy; a density of real numbers on bits: unbounded; grey
            levels of numbers between them; counts of what is not counted.
    """
    allowed = dataset.protocols
    kind, fit = _outcomes(likelihood)
    fitting = [name for name in allowed if name in fit]
    chosen = protocol or (*fitting, *allowed)[0]
    if dataset.found and (chosen in fitting or not fitting):
        _check_own(dataset, chosen, likelihood)
    if protocol is None and fitting:
        return fitting[0]
    if protocol is None or (protocol in allowed and protocol not in fitting):
        asked = protocol or allowed[0]
        raise VaejaxError(
            f"the model's likelihood takes {kind}, which the protocol {asked!r} of "
            f"{dataset.name} does not give: use "
            + (f"--protocol {' or '.join(fitting)}, or " if fitting else "")
            + "a model with another likelihood, as in --model-settings likelihood="
            + _likelihood_of(asked)
        )
    return protocol


def _likelihood_of(protocol: str) -> str:
    if protocol == "counts":
        return "multinomial"
    return "bernoulli" if protocol in BITS else "fixed_normal"


def _check_own(dataset: DatasetInfo, protocol: str, likelihood: Family) -> None:
    """Refuse a user's own values that the likelihood does not take, by their values."""
    for column in dataset.columns:
        if column.categories and likelihood.name != "columns":
            raise VaejaxError(
                f"column {column.name!r} of {dataset.name} holds text, of "
                f"{len(column.categories)} categories, and the likelihood "
                f"{likelihood.name} takes numbers: use likelihood=columns, or "
                f"--label-column {column.name}, or leave the column out of the file"
            )
    check_support(likelihood, load(dataset, protocol=protocol).observations())


def _outcomes(likelihood: Family) -> tuple[str, tuple[str, ...]]:
    """The outcomes that the likelihood is for, and the protocols that give them."""
    space = likelihood.space
    if likelihood.name == "columns":
        return "rows of a table", ("reals", "counts", "static")
    if space.kind == "bits":
        return "bits", BITS
    if space.kind == "counts":
        return "counts", ("counts",)
    if space.levels is not None:
        return "grey levels", ("none",)
    return "real numbers", ("none", "dequantized", "reals")


def mean_observation(data: ImageData, protocol: str) -> np.ndarray:
    """E x of the training split under a protocol; in [0, 1] for images.

    What is missing (NaN) is left out.
    """
    if protocol == "threshold":
        return (data.images > 127).mean(0)
    return _expected(np.nanmean(data.images, 0), protocol)


def exemplars(data: ImageData, protocol: str) -> np.ndarray:
    """The first `MAX_EXEMPLARS` images as E x of each, in [0, 1]."""
    first = data.images[:MAX_EXEMPLARS]
    shown = first > 127 if protocol == "threshold" else _expected(first, protocol)
    return shown.astype(float)


def _expected(grey: np.ndarray, protocol: str) -> np.ndarray:
    """E x of intensities, or of their mean, under a protocol that is linear in them."""
    if protocol == "dequantized":
        return (grey + 0.5) / LEVELS
    return grey / (1 if protocol in ("static", "counts", "reals") else 255)
