"""The theory of signal-to-noise ratios, as thin lines in their panels.

References:
    Rainforth et al. 2018, arXiv:1802.04537; Tucker et al. 2019, arXiv:1810.04152.
"""

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vaejax.benchmark.reference import EXACT
from vaejax.benchmark.rows import Row
from vaejax.benchmark.statistics import near_floor, noise_floor, number, values_of
from vaejax.plotting.style import QUIET, Look

RATIOS = ("snr", "rms_snr", "norm_snr")  # signal-to-noise ratios, which obey the laws
# The power of K with which the signal-to-noise ratio grows under IWAE, where the
# weights and their gradients have finite variance.
LAWS = {
    ("encoder", "pathwise"): -0.5,  # Rainforth et al., theorem 1
    ("encoder", "dreg"): 0.5,  # Tucker et al., section 4
    ("decoder", "pathwise"): 0.5,
    ("decoder", "dreg"): 0.5,
}
ASYMPTOTIC = r"asymptotic: $\propto K^{\pm 1/2}$"


def draw_theory(axes: Axes, rows: list[Row], statistic: str) -> list[Line2D]:
    """Draw the law and the noise floor of an estimator's rows, in order of K."""
    if statistic not in RATIOS or not rows:
        return []
    drawn = []
    last = next((row for row in rows[::-1] if number(row.get(statistic)) > 0), None)
    power = LAWS.get((rows[0].group, rows[0].cell.estimator))
    if last and power and rows[0].cell.bound == "iwae" and all(map(_lawful, rows)):
        x = values_of(rows, "num_samples")
        y = number(last.get(statistic)) * (x / last.cell.num_samples) ** power
        drawn += axes.plot(x, y, color=QUIET, linewidth=0.7, label=ASYMPTOTIC, zorder=1)
    floor = max(map(noise_floor, rows))
    if statistic == "snr" and any(map(near_floor, rows)):
        look: Look = {"color": QUIET, "linewidth": 0.7, "linestyle": (0, (1, 3))}
        drawn.append(axes.axhline(floor, label="noise floor", zorder=1, **look))
    return drawn


def _lawful(row: Row) -> bool:
    """True where the laws may hold.

    None is known where the data vary, and none was seen to hold on trained networks,
    whose gradients are not exact.
    """
    return (
        row.reference == EXACT
        and not row.trained
        and row.cell.step is None
        and row.split is None
    )
