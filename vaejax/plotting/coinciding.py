"""The panels of a comparison in which the estimators differ.

Estimators that share their random keys may give one gradient: of the decoder, say, all
that leave its path alone. A line names such panels, and the others have their space.
"""

import textwrap
from collections.abc import Sequence

import numpy as np

from vaejax.benchmark.rows import Cell, Row
from vaejax.benchmark.statistics import distinct, number
from vaejax.plotting.style import QUIET, Look, Picture

ROUNDING = 1e-3  # relative difference of values that are called the same
LETTERS = 17  # of a note of size 7, in an inch
Panel = tuple[str, str]  # bound, parameter group


def panels_that_differ(
    rows: Sequence[Row], statistic: str
) -> tuple[list[Panel], list[Panel]]:
    """The panels in which estimators differ, and those in which all coincide.

    Where they coincide in every panel, all are to be drawn.
    """
    bounds = distinct(row.cell.bound for row in rows)
    groups = distinct(row.group for row in rows)
    found: dict[bool, list[Panel]] = {False: [], True: []}
    for bound in bounds:
        for group in groups:
            members = [r for r in rows if (r.cell.bound, r.group) == (bound, group)]
            found[_coincide(members, statistic)].append((bound, group))
    return (found[False], found[True]) if found[False] else (found[True], [])


def groups_that_differ(
    rows: Sequence[Row], statistic: str
) -> tuple[list[str], list[Panel]]:
    """The groups in which estimators differ under a bound, and the other panels."""
    shown, alike = panels_that_differ(rows, statistic)
    groups = distinct(group for _, group in shown)
    return groups, [panel for panel in alike if panel[1] not in groups]


def line_about(alike: Sequence[Panel]) -> str:
    """The line about panels that are not drawn, "" if there are none."""
    if not alike:
        return ""
    texts = []
    for group in distinct(group for _, group in alike):
        bounds = ", ".join(bound for bound, of in alike if of == group)
        texts.append(f"{group} ({bounds})")
    return f"All estimators coincide, and are not drawn: {'; '.join(texts)}"


def name_alike(figure: Picture, alike: Sequence[Panel]) -> None:
    """Name the panels that are not drawn above the others."""
    if alike:
        look: Look = {"x": 0.01, "ha": "left", "fontsize": 7, "color": QUIET}
        letters = int(LETTERS * figure.get_figwidth())
        figure.suptitle(textwrap.fill(line_about(alike), letters), **look)


def columns_of(panels: Sequence[Panel]) -> int:
    """The columns of a grid of panels: one a group, where each bound has all groups."""
    groups = distinct(group for _, group in panels)
    bounds = distinct(bound for bound, _ in panels)
    whole = len(panels) == len(groups) * len(bounds)
    return (
        len(groups) if whole and len(groups) > 1 < len(bounds) else min(len(panels), 3)
    )


def _coincide(rows: Sequence[Row], statistic: str) -> bool:
    values: dict[Cell, list[float]] = {}
    for row in rows:
        cell = row.cell._replace(estimator="")
        values.setdefault(cell, []).append(number(row.get(statistic)))
    several = [found for found in values.values() if len(found) > 1]
    return bool(several) and all(
        np.ptp(found) <= ROUNDING * np.abs(found).max() for found in several
    )
