"""One self-contained HTML file with the findings of an experiment.

The answer stands first, in words; then sections with their tables, figures and the
command that gave them. Pictures, style and script are inside the file: it opens
offline, in light and dark, on paper and on a phone. The same input gives the same
bytes.
"""

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from vaejax.benchmark.findings import Finding
from vaejax.core.files import write_whole
from vaejax.plotting.page import PAGE, SCRIPT, STYLE
from vaejax.plotting.slider import Slider, slider_html
from vaejax.plotting.style import png, typeset
from vaejax.plotting.tables import Table, render

PADDING = 5  # pixels around a picture
SHOWN_PER_INCH = 110  # pixels of the page: a paper's figure a little enlarged


class Section(NamedTuple):
    """A heading, the text under it, and its tables, figures and sliders.

    Blank lines in `text` separate paragraphs and `backticks` mark code. A figure's
    caption is its label, `figure.set_label(...)`.
    """

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    command: str = ""  # the command that gave the numbers
    sliders: Sequence[Slider] = ()


def write_report(
    path: str | Path,
    *,
    title: str,
    lead: Sequence[str | Finding],
    cautions: Sequence[str] = (),
    sections: Sequence[Section],
) -> Path:
    """Write the report to `path`, whole or not at all, and return the path.

    Args:
        path: the file; its folder is made if need be.
        title: the heading of the page.
        lead: the answer, a line a sentence or finding.
        cautions: what a reader has to know before relying on it, a line each.
        sections: what stands behind it.

    Raises:
        PlottingError: a table row has not as many cells as there are columns.
    """
    links = [
        f'<a href="#section-{i}">{html.escape(section.title)}</a>'
        for i, section in enumerate(sections)
    ]
    page = PAGE.substitute(
        title=html.escape(title),
        style=STYLE,
        lead="".join(map(_finding, lead)),
        cautions=_cautions(cautions),
        contents=f"<nav>{''.join(links)}</nav>" if len(links) > 2 else "",
        sections="\n".join(_section(i, s) for i, s in enumerate(sections)),
        script=SCRIPT,
    )
    return write_whole(Path(path), page.encode("utf-8", "xmlcharrefreplace"))


def _finding(finding: str | Finding) -> str:
    """The sentence, its numbers in small; an open question is quieter."""
    if isinstance(finding, str):
        finding = Finding(finding)
    kind = "" if finding.decided else ' class="open"'
    text = _prose(str(finding))
    if finding.numbers:
        numbers = _prose(f"({finding.numbers}).")
        text = f"{_prose(finding.claim[:-1])} <small>{numbers}</small>"
    return f"<p{kind}>{text}</p>"


def _cautions(cautions: Sequence[str]) -> str:
    if not cautions:
        return ""
    items = "".join(f"<li>{_prose(caution)}</li>" for caution in cautions)
    return (
        '<details class="cautions" open><summary>Before relying on it</summary>'
        f"<ul>{items}</ul></details>"
    )


def _section(i: int, section: Section) -> str:
    paragraphs = re.split(r"\n\s*\n", section.text.strip()) if section.text else []
    command = section.command.strip()
    return "\n".join(
        [
            f'<section id="section-{i}">',
            f"<h2>{html.escape(section.title)}</h2>",
            *(f"<p>{_prose(paragraph)}</p>" for paragraph in paragraphs),
            *([_panel(section.figures)] if section.figures else []),
            *([_sliders(section.sliders)] if section.sliders else []),
            *(render(table) for table in section.tables),
            *([f"<pre>{html.escape(command)}</pre>"] if command else []),
            "</section>",
        ]
    )


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(typeset(text)))


def _panel(figures: Sequence[Figure]) -> str:
    """The figures side by side, where they keep most of their size."""
    return f'<div class="figures">{"".join(map(_figure, figures))}</div>'


def _sliders(sliders: Sequence[Slider]) -> str:
    return f'<div class="sliders">{"".join(map(slider_html, sliders))}</div>'


def _figure(figure: Figure) -> str:
    width, height = (
        round(inches * SHOWN_PER_INCH) for inches in figure.get_size_inches()
    )
    data = base64.b64encode(png(figure)).decode()
    caption = html.escape(str(figure.get_label()))
    return (
        f'<figure style="--width: {width + 2 * PADDING}px"><div class="wide">'
        f'<img alt="{caption}" width="{width}" height="{height}" '
        f'src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
