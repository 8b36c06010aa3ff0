"""Vector fields in the plane, side by side over the density that they belong to."""

from collections.abc import Mapping

import numpy as np
from matplotlib.tri import Triangulation, UniformTriRefiner
from numpy.typing import ArrayLike

from vaejax.plotting.style import (
    COLOURS,
    QUIET,
    WIDTH,
    Picture,
    PlottingError,
    panels,
    styled,
)

LEVELS = 9  # contour levels of the density


@styled
def vector_fields(
    points: ArrayLike, density: ArrayLike, fields: Mapping[str, ArrayLike], title: str
) -> Picture:
    """A panel for each field: its arrows, all at one scale, over the density.

    Args:
        points: where the fields are known, [N, 2], such as a grid.
        density: at these points, [N].
        fields: by name, the vectors at these points, [N, 2].
        title: the figure's caption.

    Raises:
        PlottingError: no fields, or shapes that do not fit together.
    """
    at, shade = np.asarray(points, float), np.asarray(density, float)
    arrows = {name: np.asarray(field, float) for name, field in fields.items()}
    shapes = {(*shade.shape, 2)} | {field.shape for field in arrows.values()}
    if not arrows or at.ndim != 2 or shapes != {at.shape}:
        raise PlottingError(
            f"the points have shape {at.shape}, density and fields {sorted(shapes)}: "
            "give [N, 2] and one or more fields like it, and a density of [N]"
        )
    side = WIDTH / len(arrows)
    figure, axes = panels(
        len(arrows), size=(side, side + 0.4), columns=len(arrows), sharey=True
    )
    smooth, values = UniformTriRefiner(Triangulation(*at.T)).refine_field(shade)
    # At this scale the arrows of a square grid hardly overlap.
    longest = np.quantile(
        [np.linalg.norm(field, axis=1) for field in arrows.values()], 0.9
    )
    step = np.ptp(at[:, 0]) / max(1.0, len(at) ** 0.5 - 1)
    for i, (panel, (name, field)) in enumerate(zip(axes, arrows.items(), strict=True)):
        panel.tricontourf(smooth, values, levels=LEVELS, cmap="Greys", alpha=0.6)
        panel.quiver(
            *at.T,
            *field.T,
            angles="xy",
            scale_units="xy",
            scale=longest / (1.2 * step),
            color=COLOURS[i],
            width=0.006,
        )
        panel.set_title(name)
        panel.set_aspect("equal")
        panel.set_xlim(at[:, 0].min() - step, at[:, 0].max() + step)
        panel.set_ylim(at[:, 1].min() - step, at[:, 1].max() + step)
        panel.set_xlabel("$x_1$")
        panel.grid(visible=False)
        panel.spines[:].set_color(QUIET)
    axes[0].set_ylabel("$x_2$")
    figure.set_label(title)
    return figure
