"""Figures: budget curves, gains, the penalty matrix, what was bought. SVG for the page, SVG and PDF for the paper.

Drawn without pyplot, so nothing global changes; the same table gives the same bytes.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from fathom.study.inline import inline
from fathom.study.numbers import DASH, number
from fathom.study.penalty import Penalty
from fathom.study.style import FILL, INK, STYLE, Look

if TYPE_CHECKING:
    import pandas as pd

BAND_SEEDS = 3  # below, a t-interval is nine or more standard deviations to each side, and would paint the panel
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


# ------------------------------------------------------------------------------------------------------- figures


def curve_figure(
    name: str, curves: "pd.DataFrame", looks: Mapping[str, Look], metric: str, ceiling: float | None = None
) -> Drawing:
    """Budget curves of one setting: mean over seeds, band = 95 % t-interval, dashed line = full-data classifier.

    Args:
        name: File stem.
        curves: Rows of `budget_curves` of one setting.
        looks: Looks by call-string.
        metric: What the score is.
        ceiling: Mean score of the classifier trained on the whole pool, a fraction.
    """
    with _figure(3.1) as (figure, axes):
        for query, rows in curves.groupby("query", sort=False):
            _line(axes, rows, looks[str(query)])
        if ceiling is not None:
            axes.axhline(100 * ceiling, color=INK, lw=0.9, ls=(0, (5, 4)), label="full data")
        _frame(axes, "labeled training samples", f"{metric.replace('_', ' ')} (%)", curves["budget"])
        shown = [*100 * curves["mean"], *([] if ceiling is None else [100 * ceiling])]
        _cut(axes, min(shown), max(shown), 0.0, 100.8)
        _legend(figure, axes)
        return _drawing(figure, name, f"Budget curves: {_spoken(curves, looks)}", looks)


def gain_figure(name: str, curves: "pd.DataFrame", looks: Mapping[str, Look], baseline: str, metric: str) -> Drawing:
    """Gain over the baseline at each budget, paired by seed; bars = 95 % t-interval of the paired difference.

    Args:
        name: File stem.
        curves: Rows of one setting as `budget_curves` gives them, of paired differences.
        looks: Looks by call-string.
        baseline: What the differences are to.
        metric: What the score is.
    """
    with _figure(3.1) as (figure, axes):
        queries = list(curves["query"].unique())
        budgets = sorted(curves["budget"].unique())
        step = min(np.diff(budgets), default=1.0)
        for place, query in enumerate(queries):
            rows = curves[curves["query"] == query]
            shift = (place - (len(queries) - 1) / 2) * 0.11 * step
            look = looks[query]
            x, y = rows["budget"].to_numpy() + shift, 100 * rows["mean"].to_numpy()
            bars = 100 * (rows["high"] - rows["low"]).to_numpy() / 2
            axes.errorbar(x, y, yerr=np.nan_to_num(bars), fmt="none", ecolor=look.light, elinewidth=1.1, alpha=0.75)
            axes.plot(x, y, color=look.light, lw=1.1, marker=look.marker, ms=4, mew=0, label=look.label)
        axes.axhline(0, color=INK, lw=0.9)
        most = 100 * curves["mean"].abs().max()
        _cut(axes, -most, most, -100.0, 100.0)
        _frame(axes, "labeled training samples", f"gain over {looks[baseline].label} (points)", curves["budget"])
        _legend(figure, axes)
        alt = f"Gain in {metric.replace('_', ' ')} over {looks[baseline].label}: {_spoken(curves, looks, sign=True)}"
        return _drawing(figure, name, alt, looks)


def penalty_figure(name: str, penalty: Penalty, looks: Mapping[str, Look]) -> Drawing:
    """The pairwise penalty matrix as a heat-map: row beats column, in settings; pale and bracketed = inside the band.

    A dash: never compared. An asterisk: not compared in every setting, so the mean of the comparisons made.

    Args:
        name: File stem.
        penalty: The matrix.
        looks: Looks by call-string.
    """
    size = len(penalty.queries)
    labels = [looks[q].label for q in penalty.queries]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.0 + 0.42 * (size + 1)), layout="constrained")
        axes = figure.subplots()
        axes.spines[:].set_visible(False)
        most = max(1.0, float(penalty.settings.max(initial=0)))
        for i in range(size):
            for j in range(size):
                if i != j and penalty.settings[i, j]:
                    _cell(axes, j, i, float(penalty.raw[i, j]), most, bool(penalty.outside[i, j]))
                elif i != j:
                    axes.text(j, i, DASH, ha="center", va="center", fontsize=9, alpha=0.6)
        for j, (value, partly) in enumerate(zip(penalty.overall(), penalty.partial, strict=True)):
            text = number(value, 2) + ("*" if partly else "")
            axes.text(j, size + 0.15, text, ha="center", va="center", fontsize=9, fontweight="bold")
        axes.axhline(size - 0.42, color=INK, lw=0.6)
        axes.set(xlim=(-0.5, max(size, 1) - 0.5), ylim=(size + 0.6, -0.5))
        axes.set_xticks(range(size), labels, rotation=30, ha="left", rotation_mode="anchor")
        axes.set_yticks([*range(size), size + 0.15], [*labels, "penalty"])
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        pairs = [(penalty.raw[i, j], labels[i], labels[j]) for i in range(size) for j in range(size) if i != j]
        said = "; ".join(f"{a} beats {b}: {v:.2f}" for v, a, b in sorted(pairs, reverse=True) if v > 0)
        return _drawing(figure, name, f"Pairwise penalty matrix. {said or 'No method beats another'}.", looks)


def bought_figure(
    name: str,
    pool: Sequence[float],
    bought: Mapping[str, Sequence[int]],
    classes: Sequence[str],
    looks: Mapping[str, Look],
) -> Drawing:
    """Classes of what each method bought (bars) against the classes of the pool (line), one panel a method.

    Args:
        name: File stem.
        pool: Share of each class in the pool.
        bought: Call-string -> labels bought of each class, over rounds and seeds.
        classes: Class names.
        looks: Looks by call-string.
    """
    columns = 2 if len(bought) > 1 else 1
    rows = -(-len(bought) // columns)
    share = np.asarray(pool)
    own = {query: np.asarray(counts) / max(1, sum(counts)) for query, counts in bought.items()}
    x = np.arange(len(classes))
    named = len(classes) <= 12
    shown = [c if len(c) < 12 else f"{c[:10]}…" for c in classes]
    top = 115 * max([share.max(), *(s.max() for s in own.values())])
    with mpl.rc_context(STYLE):
        below = 0.12 + (0.085 * max(map(len, shown)) if named else 0.0)
        figure = Figure(figsize=(WIDTH, 1.15 * rows + below))
        _margins(figure, left=0.58, right=0.06, bottom=below, top=0.25, hspace=0.42, wspace=0.08)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (query, part) in zip(grid.flat, own.items(), strict=False):
            look = looks[query]
            axes.bar(x, 100 * part, color=look.light, alpha=0.75, width=0.74)
            axes.step(np.append(x, x[-1] + 1) - 0.5, 100 * np.append(share, share[-1]), where="post", color=INK, lw=0.9)
            axes.set_title(look.label, loc="left", pad=2)
            axes.set_ylim(0, top)
            axes.yaxis.set_major_locator(MaxNLocator(3))
            axes.grid(axis="y")
            if named:
                axes.set_xticks(x, shown, rotation=90, fontsize=7.5)
        for axes in list(grid.flat)[len(own) :]:
            axes.set_visible(False)
        _label_bottom(grid, len(own), named)
        figure.supylabel("share of labels (%)", fontsize=9)
        far = {looks[q].label: 50 * float(np.abs(part - share).sum()) for q, part in own.items()}
        said = "; ".join(f"{q} {v:.0f} %" for q, v in far.items())
        return _drawing(figure, name, f"Classes bought. Share that differs from the pool: {said}.", looks)


# --------------------------------------------------------------------------------------------------------- parts


@contextmanager
def _figure(height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure with one panel below a legend of two lines. Margins in inches: computing them takes most of the time."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.subplots()
        _margins(figure, left=0.58, right=0.06, bottom=0.47, top=0.52)
        yield figure, axes


def _margins(figure: Figure, *, left: float, right: float, bottom: float, top: float, **gaps: float) -> None:
    width, height = figure.get_size_inches()
    edges = {"left": left / width, "right": 1 - right / width, "bottom": bottom / height, "top": 1 - top / height}
    figure.subplots_adjust(**edges, **gaps)


def _line(axes: Axes, rows: "pd.DataFrame", look: Look) -> None:
    x, y = rows["budget"].to_numpy(), 100 * rows["mean"].to_numpy()
    if (rows["n"] >= BAND_SEEDS).any():
        known = rows["n"] >= BAND_SEEDS
        low, high = (100 * rows[end].where(known).to_numpy() for end in ("low", "high"))
        axes.fill_between(x, low, high, color=look.light, alpha=0.13, lw=0)
    axes.plot(x, y, color=look.light, lw=1.5, marker=look.marker, ms=4.5, mew=0, label=look.label)


def _cut(axes: Axes, least: float, most: float, floor: float, top: float) -> None:
    """Cut the axis where only intervals reach: with two seeds they would dwarf what they are of."""
    low, high = axes.get_ylim()
    room = max(most - least, 4.0)
    if np.isfinite(room):
        axes.set_ylim(max(low, least - room, floor), min(high, most + room, top))


def _frame(axes: Axes, below: str, left: str, budgets: "pd.Series[Any]") -> None:
    axes.set(xlabel=below, ylabel=left)
    axes.grid(axis="y")
    ticks = sorted(set(budgets))
    if len(ticks) <= 12:
        every = 1 if len(ticks) <= 6 else 2
        axes.set_xticks(ticks[::every], [f"{t:,.0f}".replace(",", " ") for t in ticks[::every]])
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _legend(figure: Figure, axes: Axes) -> None:
    """A legend above the panel, read line by line; long ones grow the figure upwards."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    columns = 3 if max(map(len, labels)) < 14 else 2 if max(map(len, labels)) < 26 else 1
    lines = -(-len(handles) // columns)
    grow = max(0, lines - 2) * 0.19
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + grow)
    _margins(figure, left=0.58, right=0.06, bottom=0.47, top=0.52 + grow)
    order = [i for column in range(columns) for i in range(column, len(handles), columns)]  # they fill by column
    figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="upper left",
        bbox_to_anchor=(0.1, 1.0),
        ncols=columns,
        handlelength=1.8,
        columnspacing=1.2,
        borderaxespad=0.1,
    )


def _label_bottom(grid: Any, used: int, named: bool) -> None:
    """Class names under the last row only: the columns share their axis."""
    columns = grid.shape[1]
    for place in range(used):
        bottom = place // columns == (used - 1) // columns
        grid.flat[place].tick_params(labelbottom=bottom and named, bottom=bottom and named)


def _cell(axes: Axes, x: int, y: int, value: float, most: float, outside: bool) -> None:
    depth = value / most
    alpha = (0.12 + 0.6 * depth if outside else 0.07) if value else 0.0
    axes.add_patch(Rectangle((x - 0.46, y - 0.42), 0.92, 0.84, color=FILL, alpha=alpha, lw=0))
    text = f"{value:.2f}" if outside or not value else f"({value:.2f})"
    axes.text(x, y, text, ha="center", va="center", fontsize=9, alpha=1 if outside else 0.6)


def _spoken(curves: "pd.DataFrame", looks: Mapping[str, Look], sign: bool = False) -> str:
    """The ends of the curves in words."""
    ends = curves.sort_values("budget", kind="stable").groupby("query", sort=False).last()
    told = [f"{looks[str(q)].label} {100 * v:{'+' if sign else ''}.1f}" for q, v in ends["mean"].items()]
    return f"at {curves['budget'].max():.0f} labels {', '.join(told)}."


# --------------------------------------------------------------------------------------------------------- output


def _drawing(figure: Figure, name: str, alt: str, looks: Mapping[str, Look]) -> Drawing:
    if figure.get_layout_engine() is not None:
        with _any_letters():
            figure.draw_without_rendering()  # lays out once; both files take the same layout
        figure.set_layout_engine("none")
    svg = _printed(figure, "svg", {"Date": None, "Creator": None})
    return Drawing(name, svg, inline(svg.decode(), name, alt, looks), alt, figure)


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
