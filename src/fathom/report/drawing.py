"""What all figures share: panels and legends, and the forms in which a drawing is needed.

Drawn without pyplot, so nothing global changes; the same table gives the same bytes.
"""

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
from matplotlib.ticker import MaxNLocator

from fathom.report.style import STYLE, MethodStyle
from fathom.report.svg import inline

WIDTH = 4.4  # inches: fits a phone without shrinking, two fit side by side on a desk


@dataclass(frozen=True, eq=False)
class Drawing:
    """One figure in the forms it is needed in.

    Args:
        name: File stem.
        svg: The file's bytes.
        inline: The SVG as part of a page.
        alt: What it shows, for those who do not see it.
        figure: What was drawn.
    """

    name: str
    svg: bytes
    inline: str
    alt: str
    figure: Figure

    def pdf(self) -> bytes:
        """The file's bytes, fonts embedded as TrueType. Drawn when asked for: fonts take most of a report's time."""
        with mpl.rc_context(STYLE):
            return _printed(self.figure, "pdf", {"CreationDate": None, "Creator": None, "Producer": None})


@contextmanager
def one_panel(height: float, width: float = WIDTH) -> Iterator[tuple[Figure, Axes]]:
    """A figure with one panel below a legend of two lines. Margins in inches: computing them takes most of the time."""
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


def cut(axes: Axes, least: float, most: float, floor: float, top: float) -> None:
    """Cut the axis where only intervals reach: with two seeds they would dwarf what they are of."""
    low, high = axes.get_ylim()
    room = max(most - least, 4.0)
    if np.isfinite(room):
        axes.set_ylim(max(low, least - room, floor), min(high, most + room, top))


def frame(axes: Axes, below: str, left: str, budgets: Iterable[float]) -> None:
    """Axis labels and grid, with a tick at each budget while there is room."""
    axes.set(xlabel=below, ylabel=left)
    axes.grid(axis="y")
    ticks = sorted(set(budgets))
    if len(ticks) <= 12:
        every = 1 if len(ticks) <= 6 else 2
        axes.set_xticks(ticks[::every], [f"{t:,.0f}".replace(",", " ") for t in ticks[::every]])
    axes.yaxis.set_major_locator(MaxNLocator(6))


def legend(figure: Figure, axes: Axes, more: Sequence[Artist] = (), wide: bool = False) -> None:
    """A legend above the panel, read line by line; long ones grow the figure upwards.

    Args:
        figure: With one panel.
        axes: Whose labeled lines are told.
        more: Further artists with labels.
        wide: Whether the figure has room for one more column, and dashes are to be told apart.
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
    left = 0.74 if wide else 0.58  # a narrow range of many curves has levels such as 97.5
    margins(figure, left=left, right=0.06, bottom=0.47, top=0.52 + grow)
    order = [i for column in range(columns) for i in range(column, len(handles), columns)]  # they fill by column
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
    """The drawing of a figure that is complete; `looks` are the query methods in it, whose colors follow the page."""
    if figure.get_layout_engine() is not None:
        with _any_letters():
            figure.draw_without_rendering()  # lays out once; both files take the same layout
        figure.set_layout_engine("none")
    svg = _printed(figure, "svg", {"Date": None, "Creator": None})
    return Drawing(name, svg, inline(svg.decode(), name, alt, method_styles), alt, figure)


def _printed(figure: Figure, form: str, metadata: dict[str, None]) -> bytes:
    buffer = BytesIO()
    with _any_letters():
        figure.canvas.print_figure(buffer, format=form, metadata=metadata)
    return buffer.getvalue()


@contextmanager
def _any_letters() -> Iterator[None]:
    """Names in letters that the font lacks stay text in the SVG, where the reader's font has them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        yield
