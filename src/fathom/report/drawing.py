"""Common parts of all figures: panels, legends, and the output formats.

Figures are drawn without pyplot, so no global state changes and the same table gives the same bytes.
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fathom.core.html import escape
from fathom.core.text import printable
from fathom.report.style import FAINT, FILL, INK, STYLE, MethodStyle

PAGE = {INK: "currentColor", FAINT: "var(--line)", FILL: "var(--heat)"}  # color in the file -> color on the page
WIDTH = 4.4  # inches: fits a phone without shrinking, two fit side by side on a desk


@dataclass(frozen=True, eq=False)
class Drawing:
    """One figure in all output formats.

    Args:
        name: File stem.
        svg: Content of the SVG file.
        inline: SVG markup to embed in an HTML page.
        alt: Description for screen readers.
        figure: Matplotlib figure.
    """

    name: str
    svg: bytes
    inline: str
    alt: str
    figure: Figure

    def pdf(self) -> bytes:
        """Content of the PDF file, with fonts embedded as TrueType.

        Drawn on demand, since embedding fonts takes most of a report's time.
        """
        with mpl.rc_context(STYLE):
            return _printed(self.figure, "pdf", {"CreationDate": None, "Creator": None, "Producer": None})


@contextmanager
def one_panel(height: float, width: float = WIDTH) -> Iterator[tuple[Figure, Axes]]:
    """Figure with one panel below a legend of two lines.

    The margins are fixed, in inches: a layout engine would take most of the drawing time.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        axes = figure.subplots()
        margins(figure, left=0.58, right=0.06, bottom=0.47, top=0.52)
        yield figure, axes


def margins(figure: Figure, *, left: float, right: float, bottom: float, top: float, **gaps: float) -> None:
    """Set the margins, in inches."""
    width, height = figure.get_size_inches()
    edges = {"left": left / width, "right": 1 - right / width, "bottom": bottom / height, "top": 1 - top / height}
    figure.subplots_adjust(**edges, **gaps)


def clip_axis(axes: Axes, least: float, most: float, floor: float, top: float) -> None:
    """Limit the y axis to the range around the means, and cut off long intervals.

    With few seeds the intervals are so wide that differences between means could not be seen.

    Args:
        axes: Panel.
        least, most: Lowest and highest mean.
        floor, top: Bounds that the axis never exceeds, in data units.
    """
    low, high = axes.get_ylim()
    room = max(most - least, 4.0)
    if np.isfinite(room):
        axes.set_ylim(max(low, least - room, floor), min(high, most + room, top))


def frame(axes: Axes, below: str, left: str, budgets: Iterable[float]) -> None:
    """Set axis labels and grid, with a tick at each budget where there is room."""
    axes.set(xlabel=below, ylabel=left)
    axes.grid(axis="y")
    ticks = sorted(set(budgets))
    if len(ticks) <= 12:
        every = 1 if len(ticks) <= 6 else 2
        axes.set_xticks(ticks[::every], [f"{t:,.0f}".replace(",", " ") for t in ticks[::every]])
    axes.yaxis.set_major_locator(MaxNLocator(6))


def epoch_frame(axes: Axes, below: str, left: str) -> None:
    """Set axis labels, grid and ticks of a panel over epochs."""
    axes.set(xlabel=below, ylabel=left)
    axes.grid(axis="y")
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def legend(figure: Figure, axes: Axes, more: Sequence[Artist] = (), wide: bool = False) -> None:
    """Add a legend above the panel, read line by line; a long legend makes the figure higher.

    Args:
        figure: Figure with one panel.
        axes: Panel with the labeled lines.
        more: Further artists with labels.
        wide: Add one more column, and longer handles so that dashes can be told apart.
    """
    handles, labels = axes.get_legend_handles_labels()
    handles, labels = [*handles, *more], [*labels, *(str(artist.get_label()) for artist in more)]
    if not handles:
        return
    columns = 3 if max(map(len, labels)) < 14 else 2 if max(map(len, labels)) < 26 else 1
    columns += wide
    lines = -(-len(handles) // columns)
    grow = max(0, lines - 2) * 0.19
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + grow)
    left = 0.74 if wide else 0.58  # wide figures can have tick labels such as 97.5
    margins(figure, left=left, right=0.06, bottom=0.47, top=0.52 + grow)
    # matplotlib fills a legend by column.
    order = [i for column in range(columns) for i in range(column, len(handles), columns)]
    figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="upper left",
        bbox_to_anchor=(0.1, 1.0),
        ncols=columns,
        handlelength=3.0 if wide else 1.8,
        columnspacing=1.2,
        borderaxespad=0.1,
    )


def finished(figure: Figure, name: str, alt: str, method_styles: Mapping[str, MethodStyle]) -> Drawing:
    """Turn a complete figure into a drawing; the colors of `method_styles` follow the page (light or dark)."""
    _show_control_characters(figure)
    if figure.get_layout_engine() is not None:
        with _any_letters():
            figure.draw_without_rendering()  # compute the layout once, so that SVG and PDF have the same
        figure.set_layout_engine("none")
    svg = _printed(figure, "svg", {"Date": None, "Creator": None})
    return Drawing(name, svg, inline(svg.decode(), name, alt, method_styles), alt, figure)


def _show_control_characters(figure: Figure) -> None:
    """Replace control characters, which XML forbids, in all texts and in the labels of ticks, which are texts later."""
    for text in figure.findobj(Text):
        text.set_text(printable(text.get_text()))
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if isinstance(formatter := axis.get_major_formatter(), FuncFormatter):  # of `set_xticks` with labels
            formatter.func = lambda *place, own=formatter.func: printable(own(*place))


def _printed(figure: Figure, form: str, metadata: dict[str, None]) -> bytes:
    buffer = BytesIO()
    with _any_letters():
        figure.canvas.print_figure(buffer, format=form, metadata=metadata)
    return buffer.getvalue()


@contextmanager
def _any_letters() -> Iterator[None]:
    """Silence warnings about letters that the font lacks: in the SVG they stay text, and the reader's font has them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")  # names longer than the figure
        yield


def inline(svg: str, name: str, alt: str, method_styles: Mapping[str, MethodStyle]) -> str:
    """Convert an SVG file to a part of a page.

    Args:
        svg: File that matplotlib wrote, with text as text.
        name: Prefix of all ids, so that a page can hold several figures.
        alt: Description for screen readers.
        method_styles: Styles of the query methods, whose colors become the page's `--q0`, `--q1`, ...
    """
    svg = svg[svg.index("<svg") :]
    for unwanted in (r"<metadata>.*?</metadata>", r"<!--.*?-->", r"<style[^>]*>.*?</style>"):
        svg = re.sub(unwanted + r"\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s(?:xmlns(?::xlink)?|version)="[^"]*"', "", svg)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    svg = re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m.group()):.2f}".rstrip("0").rstrip("."), svg)
    colors = PAGE | {style.light: f"var(--q{style.number})" for style in method_styles.values()}
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda m: colors.get(m.group(), m.group()), svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", svg)
    opening = f'<svg class="figure" role="img" aria-label="{escape(alt)}" fill="currentColor" '
    return svg.replace("<svg ", opening, 1)
