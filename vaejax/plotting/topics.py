"""The coherence of the topics of models, topic by topic."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from vaejax.plotting.style import WIDTH, Picture, panels, require_rows, series, styled


@styled
def topic_coherences(coherences: Mapping[str, ArrayLike]) -> Picture:
    """Every model's topics in the order of their coherence, the best first.

    Args:
        coherences: a number for every topic, by the model's name.

    Raises:
        PlottingError: no models.
    """
    require_rows([{"name": name} for name in coherences], "topic_coherences")
    figure, (axes,) = panels(1, size=(WIDTH * 0.7, 2.8))
    for i, (name, values) in enumerate(coherences.items()):
        ordered = np.sort(np.asarray(values, float))[::-1]
        label = f"{name}, mean {ordered.mean():.2f}"
        look = series(i) | {"markersize": 3}
        axes.plot(np.arange(1, len(ordered) + 1), ordered, label=label, **look)
    axes.axhline(0, linewidth=0.8, color="black")
    axes.set(xlabel="topics, the most coherent first", ylabel="NPMI")
    axes.legend()
    figure.set_label(
        "Coherence of every topic: 0 if its words appear independently, 1 if they only "
        "appear together."
    )
    return figure
