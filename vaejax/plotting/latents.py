"""The latent space: the codes of the data in at most two dimensions."""

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from vaejax.plotting.style import (
    COLOURS,
    LINES,
    Look,
    Picture,
    PlottingError,
    panels,
    series,
    styled,
)

MOST_CLASSES = 20  # more distinct labels than this are read as a scale


@styled
def latent_space(means: ArrayLike, labels: ArrayLike | None = None) -> Picture:
    """The posterior means of the data, coloured by label.

    One latent dimension gives a histogram, two a scatter plot, more their first two
    principal components with the share of the variance that each explains.

    Args:
        means: [N, Z], the posterior means. Rows that are not finite are left out, and
            the title says how many.
        labels: [N]. Up to 20 distinct ones are classes, more a scale.

    Raises:
        PlottingError: the shapes disagree, or more than 20 labels are no numbers.
    """
    means = np.asarray(means, dtype=float)
    given = None if labels is None else np.asarray(labels)
    if means.ndim != 2 or 0 in means.shape:
        raise PlottingError(f"means must be [N, Z], both at least 1: got {means.shape}")
    if given is not None and given.shape != means.shape[:1]:
        raise PlottingError(
            f"labels must be [N] = {means.shape[:1]}: got {given.shape}"
        )
    finite = np.isfinite(means).all(axis=1)
    points, names = _project(means[finite])
    given = None if given is None else given[finite]
    figure, (axes,) = panels(1, size=(4.4, 3.3))
    if not finite.all():
        axes.set_title(f"{(~finite).sum()} of {len(means)} means are not finite")
    axes.set_xlabel(names[0])
    if points.shape[1] == 1:
        _histogram(axes, points[:, 0], given)
    else:
        axes.set_ylabel(names[1])
        _scatter(figure, axes, points, given)
    figure.set_label("Posterior means of the latent variables, one point per example.")
    return figure


def _project(means: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The coordinates to draw, [N, 1] or [N, 2], and their names."""
    count, dims = means.shape
    if dims <= 2 or count < 2:
        names = [f"$z_{i + 1}$ (posterior mean)" for i in range(dims)]
        return means[:, :2], names
    centred = means - means.mean(axis=0)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    # The sign of a component is free: make its largest loading positive.
    largest = np.abs(axes[:2]).argmax(axis=1)
    axes = axes[:2] * np.sign(axes[[0, 1], largest])[:, None]
    share = scale[:2] ** 2 / max((scale**2).sum(), np.finfo(float).tiny)
    names = [
        f"principal component {i + 1} of {dims} ({share[i]:.0%} of variance)"
        for i in range(2)
    ]
    return centred @ axes.T, names


def _classes(labels: np.ndarray | None, count: int) -> dict[str, np.ndarray]:
    """The members of each class, [N] booleans; one nameless class without labels."""
    if labels is None:
        return {"": np.full(count, True)}
    return {str(label): labels == label for label in np.unique(labels)}


def _histogram(axes: Axes, values: np.ndarray, labels: np.ndarray | None) -> None:
    edges = np.histogram_bin_edges(values, bins=min(60, 5 + int(len(values) ** 0.5)))
    classes = _classes(labels, len(values))
    for i, (name, members) in enumerate(classes.items()):
        axes.hist(
            values[members],
            bins=list(edges),
            histtype="step",
            linewidth=1.3,
            color=COLOURS[i % len(COLOURS)],
            linestyle=LINES[i % len(LINES)],
            label=name,
        )
    axes.set_ylabel("examples")
    if labels is not None:
        axes.legend(title="label", loc="center left", bbox_to_anchor=(1, 0.5))


def _scatter(
    figure: Picture, axes: Axes, points: np.ndarray, labels: np.ndarray | None
) -> None:
    size = float(np.clip(4000 / max(len(points), 1), 3, 22))
    look: Look = {"s": size, "linewidths": 0, "alpha": 0.75, "rasterized": True}
    if labels is not None and len(np.unique(labels)) > MOST_CLASSES:
        if labels.dtype.kind not in "iuf":
            raise PlottingError(
                f"{len(np.unique(labels))} distinct labels that are no numbers: "
                f"give at most {MOST_CLASSES} classes, or a number per example"
            )
        first, second = points.T
        drawn = axes.scatter(first, second, c=labels, cmap="viridis", **look)
        figure.colorbar(drawn, ax=axes, label="label")
        return
    for i, (name, members) in enumerate(_classes(labels, len(points)).items()):
        first, second = points[members].T
        axes.scatter(first, second, label=name, **series(i), **look)
        if labels is not None:
            # The name at the centre of its class reads without colour.
            axes.annotate(
                name,
                np.median(points[members], axis=0),
                ha="center",
                va="center",
                weight="bold",
                size=9,
                zorder=4,
                path_effects=[patheffects.withStroke(linewidth=3, foreground="w")],
            )
    if labels is not None:
        axes.legend(
            title="label",
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            markerscale=(20 / size) ** 0.5,
        )
