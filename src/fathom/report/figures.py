"""Figures: budget curves, gains, the penalty matrix, what was bought. SVG for the page, SVG and PDF for the paper."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from fathom.report.drawing import WIDTH, Drawing, cut, finished, frame, legend, margins, one_panel
from fathom.report.numbers import DASH, number
from fathom.report.style import FILL, INK, STYLE, MethodStyle
from fathom.results.classifiers import CROSSED
from fathom.stats.penalty import Penalty

if TYPE_CHECKING:
    import pandas as pd

BAND_SEEDS = 3  # below, a t-interval is nine or more standard deviations to each side, and would paint the panel

# ------------------------------------------------------------------------------------------------------- figures


def curve_figure(
    name: str,
    curves: "pd.DataFrame",
    method_styles: Mapping[str, MethodStyle],
    metric: str,
    full_data: float | None = None,
) -> Drawing:
    """Budget curves of one setting: mean over seeds, band = 95 % t-interval, dashed line = full-data classifier.

    Args:
        name: File stem.
        curves: Rows of `budget_curves` of one setting.
        looks: Looks by call-string.
        metric: What the score is.
        ceiling: Mean score of the classifier trained on the whole pool, a fraction.
    """
    with one_panel(3.1) as (figure, axes):
        for query, rows in curves.groupby("query", sort=False):
            _line(axes, rows, method_styles[str(query)])
        if full_data is not None:
            axes.axhline(100 * full_data, color=INK, lw=0.9, ls=(0, (5, 4)), label="full data")
        frame(axes, "labeled training samples", f"{metric.replace('_', ' ')} (%)", curves["budget"])
        shown = [*100 * curves["mean"], *([] if full_data is None else [100 * full_data])]
        cut(axes, min(shown), max(shown), 0.0, 100.8)
        legend(figure, axes)
        return finished(figure, name, f"Budget curves: {_spoken(curves, method_styles)}", method_styles)


def gain_figure(
    name: str, curves: "pd.DataFrame", method_styles: Mapping[str, MethodStyle], baseline: str, metric: str
) -> Drawing:
    """Gain over the baseline at each budget, paired by seed; bars = 95 % t-interval of the paired difference.

    Args:
        name: File stem.
        curves: Rows of one setting as `budget_curves` gives them, of paired differences.
        looks: Looks by call-string.
        baseline: What the differences are to.
        metric: What the score is.
    """
    with one_panel(3.1) as (figure, axes):
        queries = list(curves["query"].unique())
        budgets = sorted(curves["budget"].unique())
        step = min(np.diff(budgets), default=1.0)
        for place, query in enumerate(queries):
            rows = curves[curves["query"] == query]
            shift = (place - (len(queries) - 1) / 2) * 0.11 * step
            style = method_styles[query]
            x, y = rows["budget"].to_numpy() + shift, 100 * rows["mean"].to_numpy()
            bars = 100 * (rows["high"] - rows["low"]).to_numpy() / 2
            axes.errorbar(x, y, yerr=np.nan_to_num(bars), fmt="none", ecolor=style.light, elinewidth=1.1, alpha=0.75)
            axes.plot(x, y, color=style.light, lw=1.1, marker=style.marker, ms=4, mew=0, label=style.label)
        axes.axhline(0, color=INK, lw=0.9)
        most = 100 * curves["mean"].abs().max()
        cut(axes, -most, most, -100.0, 100.0)
        frame(axes, "labeled training samples", f"gain over {method_styles[baseline].label} (points)", curves["budget"])
        legend(figure, axes)
        gains = _spoken(curves, method_styles, sign=True)
        alt = f"Gain in {metric.replace('_', ' ')} over {method_styles[baseline].label}: {gains}"
        return finished(figure, name, alt, method_styles)


def penalty_figure(
    name: str, penalty: Penalty, method_styles: Mapping[str, MethodStyle], crossed: Collection[tuple[str, str]] = ()
) -> Drawing:
    """The pairwise penalty matrix as a heat-map: row beats column, in settings; pale and bracketed = inside the band.

    A dash: never compared. An asterisk: not compared in every setting, so the mean of the comparisons made.

    Args:
        name: File stem.
        penalty: The matrix.
        looks: Looks by call-string.
        crossed: Pairs that somewhere have different classifiers; their cells carry a dagger.
    """
    size = len(penalty.queries)
    labels = [method_styles[q].label for q in penalty.queries]
    with mpl.rc_context(STYLE):
        # Names stand to the left, and slanted above, where the last one sticks out to the right.
        width = max(WIDTH, 0.52 * size + 0.135 * max(map(len, labels), default=0))
        figure = Figure(figsize=(width, 1.0 + 0.42 * (size + 1)), layout="constrained")
        axes = figure.subplots()
        axes.spines[:].set_visible(False)
        most = max(1.0, float(penalty.settings.max(initial=0)))
        for i in range(size):
            for j in range(size):
                if i != j and penalty.settings[i, j]:
                    mark = CROSSED if (penalty.queries[i], penalty.queries[j]) in crossed else ""
                    _cell(axes, j, i, float(penalty.raw[i, j]), most, bool(penalty.outside[i, j]), mark)
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
        return finished(figure, name, f"Pairwise penalty matrix. {said or 'No method beats another'}.", method_styles)


def bought_figure(
    name: str,
    pool: Sequence[float],
    bought: Mapping[str, Sequence[int]],
    classes: Sequence[str],
    method_styles: Mapping[str, MethodStyle],
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
        margins(figure, left=0.58, right=0.06, bottom=below, top=0.25, hspace=0.42, wspace=0.08)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (query, part) in zip(grid.flat, own.items(), strict=False):
            style = method_styles[query]
            axes.bar(x, 100 * part, color=style.light, alpha=0.75, width=0.74)
            axes.step(np.append(x, x[-1] + 1) - 0.5, 100 * np.append(share, share[-1]), where="post", color=INK, lw=0.9)
            axes.set_title(style.label, loc="left", pad=2)
            axes.set_ylim(0, top)
            axes.yaxis.set_major_locator(MaxNLocator(3))
            axes.grid(axis="y")
            if named:
                axes.set_xticks(x, shown, rotation=90, fontsize=7.5)
        for axes in list(grid.flat)[len(own) :]:
            axes.set_visible(False)
        _label_bottom(grid, len(own), named)
        figure.supylabel("share of labels (%)", fontsize=9)
        far = {method_styles[q].label: 50 * float(np.abs(part - share).sum()) for q, part in own.items()}
        said = "; ".join(f"{q} {v:.0f} %" for q, v in far.items())
        return finished(figure, name, f"Classes bought. Share that differs from the pool: {said}.", method_styles)


# --------------------------------------------------------------------------------------------------------- parts


def _line(axes: Axes, rows: "pd.DataFrame", style: MethodStyle) -> None:
    x, y = rows["budget"].to_numpy(), 100 * rows["mean"].to_numpy()
    if (rows["n"] >= BAND_SEEDS).any():
        known = rows["n"] >= BAND_SEEDS
        low, high = (100 * rows[end].where(known).to_numpy() for end in ("low", "high"))
        axes.fill_between(x, low, high, color=style.light, alpha=0.13, lw=0)
    axes.plot(x, y, color=style.light, lw=1.5, marker=style.marker, ms=4.5, mew=0, label=style.label)


def _label_bottom(grid: Any, used: int, named: bool) -> None:
    """Class names under the last row only: the columns share their axis."""
    columns = grid.shape[1]
    for place in range(used):
        bottom = place // columns == (used - 1) // columns
        grid.flat[place].tick_params(labelbottom=bottom and named, bottom=bottom and named)


def _cell(axes: Axes, x: int, y: int, value: float, most: float, outside: bool, mark: str) -> None:
    depth = value / most
    alpha = (0.12 + 0.6 * depth if outside else 0.07) if value else 0.0
    axes.add_patch(Rectangle((x - 0.46, y - 0.42), 0.92, 0.84, color=FILL, alpha=alpha, lw=0))
    text = (f"{value:.2f}" if outside or not value else f"({value:.2f})") + mark
    axes.text(x, y, text, ha="center", va="center", fontsize=9, alpha=1 if outside else 0.6)


def _spoken(curves: "pd.DataFrame", method_styles: Mapping[str, MethodStyle], sign: bool = False) -> str:
    """The ends of the curves in words."""
    ends = curves.sort_values("budget", kind="stable").groupby("query", sort=False).last()
    told = [f"{method_styles[str(q)].label} {100 * v:{'+' if sign else ''}.1f}" for q, v in ends["mean"].items()]
    return f"at {curves['budget'].max():.0f} labels {', '.join(told)}."
