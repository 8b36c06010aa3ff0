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

from vaejax.core.files import write_whole
from vaejax.plotting.page import PAGE, SCRIPT, STYLE
from vaejax.plotting.style import png
from vaejax.plotting.tables import Table, render

SHOWN_PER_INCH = 110  # pixels of the page: a paper's figure a little enlarged


class Section(NamedTuple):
    """A heading, the text under it, and its tables and figures.

    Blank lines in `text` separate paragraphs and `backticks` mark code. A figure's
    caption is its label, `figure.set_label(...)`.
    """

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    command: str = ""  # the command that gave the numbers


def write_report(
    path: str | Path, *, title: str, lead: Sequence[str], sections: Sequence[Section]
) -> Path:
    """Write the report to `path`, whole or not at all, and return the path.

    Args:
        path: the file; its folder is made if need be.
        title: the heading of the page.
        lead: sentences, a line each: the answer.
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
        lead="".join(f"<p>{_prose(sentence)}</p>" for sentence in lead),
        contents=f"<nav>{''.join(links)}</nav>" if len(links) > 2 else "",
        sections="\n".join(_section(i, s) for i, s in enumerate(sections)),
        script=SCRIPT,
    )
    return write_whole(Path(path), page.encode("utf-8", "xmlcharrefreplace"))


def _section(i: int, section: Section) -> str:
    paragraphs = re.split(r"\n\s*\n", section.text.strip()) if section.text else []
    command = section.command.strip()
    return "\n".join(
        [
            f'<section id="section-{i}">',
            f"<h2>{html.escape(section.title)}</h2>",
            *(f"<p>{_prose(paragraph)}</p>" for paragraph in paragraphs),
            *(render(table) for table in section.tables),
            *(_figure(figure) for figure in section.figures),
            *([f"<pre>{html.escape(command)}</pre>"] if command else []),
            "</section>",
        ]
    )


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _figure(figure: Figure) -> str:
    width, height = (
        round(inches * SHOWN_PER_INCH) for inches in figure.get_size_inches()
    )
    data = base64.b64encode(png(figure)).decode()
    caption = html.escape(str(figure.get_label()))
    return (
        f'<figure><div class="wide"><img alt="{caption}" width="{width}" '
        f'height="{height}" style="min-width: min({width}px, 26rem)" '
        f'src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
