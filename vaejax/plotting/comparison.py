"""The figures of a comparison of gradient estimators, by the names of their files."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from vaejax.benchmark.rows import Row, at_last_step, of_whole_groups
from vaejax.benchmark.statistics import values_of
from vaejax.plotting.bias import bias_forest
from vaejax.plotting.estimator_map import estimator_map
from vaejax.plotting.frontier import cost_frontier
from vaejax.plotting.gradients import gradient_statistic
from vaejax.plotting.replay import replay_curves
from vaejax.plotting.style import Picture
from vaejax.plotting.variance_split import variance_split

CURVES = ("variance", "rms_snr", "work_normalized_variance")
REPLAYED = ("variance", "bias_squared", "rms_snr")
COSTS = {  # the costs of the frontiers
    "frontier": "seconds_per_gradient",
    "evaluations": "decoder_evaluations",
}
MOST_BIASES = 200  # the most rows in one figure; else the largest K


def comparison_figures(rows: Sequence[Row]) -> dict[str, Callable[[], Picture]]:
    """The figures for the rows of one model, M and batch size; call to draw."""
    latest = at_last_step(rows)
    groups = of_whole_groups(latest)
    refused = [row for row in latest if row.refused]
    figures: dict[str, Callable[[], Picture]] = {}

    def known(*names: str) -> bool:
        return bool(np.isfinite([values_of(groups, n) for n in names]).all(0).any())

    replayed = len({row.cell.step for row in rows}) > 1
    for statistic in REPLAYED if replayed else ():
        if known(statistic):
            own = of_whole_groups(rows)
            figures[f"replay_{statistic}"] = partial(replay_curves, own, statistic)
    several = len({row.cell.num_samples for row in groups}) > 1
    for statistic in CURVES:
        if known(statistic) and (several or not replayed):
            figures[statistic] = partial(gradient_statistic, groups, statistic)
    if known("bias_squared", "bias_squared_stderr"):
        shown = [*groups, *refused]
        if len(shown) > MOST_BIASES:
            most = max(row.cell.num_samples for row in groups)
            shown = [row for row in shown if row.cell.num_samples == most]
        figures["bias"] = partial(bias_forest, shown)
    for name, cost in COSTS.items():
        if known("variance", cost):
            figures[name] = partial(cost_frontier, groups, cost=cost)
    figures["map"] = partial(estimator_map, [*groups, *refused])
    if known("variance_data", "variance_latents"):
        figures["split"] = partial(variance_split, groups)
    return figures
