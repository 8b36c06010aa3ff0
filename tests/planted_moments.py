"""The moments of gradients that are given, draw by draw, as one group of parameters."""

import numpy as np

from vaejax.benchmark import GroupReport, Moments, fold_count, summarize
from vaejax.benchmark.tails import largest
from vaejax.core import Params


def of_encoder(values: np.ndarray) -> Params:
    return Params(values, (), ())


def report_on(draws: np.ndarray, target: np.ndarray) -> GroupReport:
    """The report on draws [n, P] against a target [P]: sums in float64, at once."""
    count, folds = len(draws), fold_count(len(draws))
    parts = draws.reshape(folds, -1, draws.shape[1])
    means = parts.mean(1)
    deviations = np.square(draws - draws.mean(0))
    tails = largest(np.stack([deviations.sum(1), deviations.max(1)]), count)
    moments = Moments(
        mean=of_encoder(draws.mean(0)),
        variance=of_encoder(draws.var(0, ddof=1)),
        fold_means=of_encoder(means),
        fold_squares=of_encoder(np.square(parts - means[:, None]).sum(1)),
        draws=count,
        tails={"encoder": tails},
        products=of_encoder(draws @ target),
        squared_norms=of_encoder(np.square(draws).sum(1)),
    )
    return summarize(moments, of_encoder(target))["encoder"]
