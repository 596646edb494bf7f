"""Small multiples: budget curves in one panel per training paradigm or query method, with the baseline in grey."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fathom.core.records import unique
from fathom.report.drawing import WIDTH, Drawing, finished, margins
from fathom.report.figures import BAND_SEEDS, final_values
from fathom.report.style import GREY, INK, STYLE, MethodStyle

if TYPE_CHECKING:
    import pandas as pd

MOST_LINES = 6  # more curves in one panel are hard to tell apart
ROW, HEAD, LEGEND = 1.5, 0.24, 0.19  # inches: height of a panel, of its title, and of a line of the legend


@dataclass(frozen=True, eq=False)
class Panel:
    """One panel.

    Args:
        title: Above it.
        curves: Its rows of `budget_curves`.
        full_data: Mean score of the classifier trained on all labels, a fraction; None for none.
    """

    title: str
    curves: "pd.DataFrame"
    full_data: float | None = None


def panel_figure(
    name: str,
    panels: Sequence[Panel],
    grey: "pd.DataFrame",
    grey_label: str,
    method_styles: Mapping[str, MethodStyle],
    metric: str,
) -> Drawing:
    """Budget curves, one panel each, all with the same axes.

    Args:
        name: File stem.
        panels: The panels.
        grey: Rows of one curve that stands in every panel for comparison.
        grey_label: Its name in the legend.
        method_styles: Styles of the query methods by spec string.
        metric: Name of the metric.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    queries = unique(str(q) for panel in panels for q in panel.curves["query"])
    handles = [_handle(method_styles[q]) for q in queries]
    handles.append(Line2D([], [], color=GREY, lw=2.2, label=grey_label))
    if any(panel.full_data is not None for panel in panels):
        handles.append(Line2D([], [], color=INK, lw=0.9, ls=(0, (5, 4)), label="full data"))
    legend_columns = 3 if max(len(str(h.get_label())) for h in handles) < 14 else 2
    top = LEGEND * -(-len(handles) // legend_columns) + HEAD + 0.1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, rows * (ROW + HEAD) + top - HEAD + 0.47))
        margins(figure, left=0.58, right=0.06, bottom=0.47, top=top, hspace=HEAD / ROW * 1.25, wspace=0.07)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _draw(axes, panel, grey, method_styles)
        for place, axes in enumerate(grid.flat):
            axes.set_visible(place < len(panels))
            axes.tick_params(labelbottom=place + columns >= len(panels))
        _limit(grid.flat[0], panels, grey)
        figure.supxlabel("labeled training samples", fontsize=9.5, y=0.06 / figure.get_size_inches()[1])
        figure.supylabel(f"{metric.replace('_', ' ')} (%)", fontsize=9.5, x=0.02)
        figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.1, 1.0), ncols=legend_columns,
                      handlelength=1.8, columnspacing=1.2, borderaxespad=0.1)  # fmt: skip
        ends = [f"{panel.title}: {final_values(panel.curves, method_styles)}" for panel in panels]
        return finished(figure, name, f"Budget curves. With the last budget, {'; '.join(ends)}.", method_styles)


def _handle(style: MethodStyle) -> Line2D:
    return Line2D([], [], color=style.light, lw=1.4, marker=style.marker, ms=4.5, mew=0, label=style.label)


def _draw(axes: Axes, panel: Panel, grey: "pd.DataFrame", method_styles: Mapping[str, MethodStyle]) -> None:
    axes.plot(grey["budget"].to_numpy(), 100 * grey["mean"].to_numpy(), color=GREY, lw=2.2, alpha=0.75)
    few = panel.curves["query"].nunique() <= 1  # bands of several methods would cover each other in a small panel
    for query, rows in panel.curves.groupby("query", sort=False):
        style = method_styles[str(query)]
        x, y = rows["budget"].to_numpy(), 100 * rows["mean"].to_numpy()
        known = rows["n"] >= BAND_SEEDS
        if few and known.any():
            low, high = (100 * rows[end].where(known).to_numpy() for end in ("low", "high"))
            axes.fill_between(x, low, high, color=style.light, alpha=0.13, lw=0)
        axes.plot(x, y, color=style.light, lw=1.3, marker=style.marker, ms=3.8, mew=0)
    if panel.full_data is not None:
        axes.axhline(100 * panel.full_data, color=INK, lw=0.9, ls=(0, (5, 4)))
    axes.set_title(panel.title, loc="left", pad=3)
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _limit(axes: Axes, panels: Sequence[Panel], grey: "pd.DataFrame") -> None:
    """Limit the shared y axis to the means; intervals are clipped."""
    means = np.concatenate([grey["mean"], *(panel.curves["mean"] for panel in panels)])
    full = [panel.full_data for panel in panels if panel.full_data is not None]
    known = 100 * np.array([*means[np.isfinite(means)], *full], dtype=np.float64)
    if len(known):
        room = max(1.0, 0.08 * float(known.max() - known.min()))
        axes.set_ylim(max(0.0, known.min() - room), min(100.8, known.max() + room))
