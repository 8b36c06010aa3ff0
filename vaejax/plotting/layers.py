"""A number for each layer of a hierarchy, models side by side."""

from collections.abc import Mapping, Sequence

import numpy as np

from vaejax.plotting.style import (
    COLOURS,
    WIDTH,
    Picture,
    PlottingError,
    panels,
    styled,
)


@styled
def bars_by_layer(values: Mapping[str, Sequence[int | float]], what: str) -> Picture:
    """Bars of every model's layers, from the data up.

    Args:
        values: the layers' numbers by the model's name.
        what: they are, for the axis.

    Raises:
        PlottingError: no models, or models of different numbers of layers.
    """
    counts = {len(layers) for layers in values.values()}
    if len(counts) != 1:
        raise PlottingError(
            f"the models have {sorted(counts) or 'no'} layers: give one model or more, "
            "of equally many"
        )
    at = np.arange(1, counts.pop() + 1)
    width = 0.8 / len(values)
    figure, (axes,) = panels(1, size=(WIDTH * 0.7, 2.4))
    for i, (name, layers) in enumerate(values.items()):
        place = at + (i - (len(values) - 1) / 2) * width
        hatch = (None, "//", "..", "xx")[i % 4]
        bars = axes.bar(
            place, layers, 0.9 * width, label=name, color=COLOURS[i], hatch=hatch
        )
        axes.bar_label(bars, fontsize=7)
    axes.set_xticks(at)
    axes.grid(visible=False, axis="x")
    axes.set(xlabel="layer, 1 next to the data", ylabel=what)
    axes.legend()
    figure.set_label(f"{what.capitalize()} of every layer.")
    return figure
