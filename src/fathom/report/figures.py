"""Figures of a study: budget curves, gains, penalty matrix, classes of the queried labels; as SVG and PDF."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from fathom.report.drawing import WIDTH, Drawing, clip_axis, finished, frame, legend, margins, one_panel
from fathom.report.numbers import DASH, number
from fathom.report.style import FILL, INK, STYLE, MethodStyle
from fathom.results.classifiers import CROSSED
from fathom.stats.penalty import Penalty

if TYPE_CHECKING:
    import pandas as pd

BAND_SEEDS = 3  # the t-interval of two seeds is nine standard deviations to each side and would fill the panel

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
        method_styles: Styles by spec string.
        metric: Name of the metric.
        full_data: Mean score of the classifier trained on all labels, a fraction.
    """
    with one_panel(3.1) as (figure, axes):
        for query, rows in curves.groupby("query", sort=False):
            _line(axes, rows, method_styles[str(query)])
        if full_data is not None:
            axes.axhline(100 * full_data, color=INK, lw=0.9, ls=(0, (5, 4)), label="full data")
        frame(axes, "labeled training samples", f"{metric.replace('_', ' ')} (%)", curves["budget"])
        shown = [*100 * curves["mean"], *([] if full_data is None else [100 * full_data])]
        clip_axis(axes, min(shown), max(shown), 0.0, 100.8)
        legend(figure, axes)
        alt = f"Budget curves: at {curves['budget'].max():.0f} labels {final_values(curves, method_styles)}."
        return finished(figure, name, alt, method_styles)


def gain_figure(
    name: str,
    curves: "pd.DataFrame",
    method_styles: Mapping[str, MethodStyle],
    baseline: str,
    metric: str,
    points: "pd.DataFrame | None" = None,
) -> Drawing:
    """Gain over the baseline at each budget, paired by seed; bars = 95 % t-interval of the paired difference.

    Single seeds are small pale points behind the means; those beyond the panel are cut off, as the bars are.

    Args:
        name: File stem.
        curves: Rows of one setting as `budget_curves` gives them, of paired differences.
        method_styles: Styles by spec string.
        baseline: Query method that the differences are from.
        metric: Name of the metric.
        points: Rows of the same setting as `seed_gains` gives them.
    """
    with one_panel(3.1) as (figure, axes):
        queries = list(curves["query"].unique())
        budgets = sorted(curves["budget"].unique())
        step = min(np.diff(budgets), default=1.0)
        for place, query in enumerate(queries):
            rows = curves[curves["query"] == query]
            # Methods are moved apart so that their bars do not cover each other.
            shift = (place - (len(queries) - 1) / 2) * 0.11 * step
            style = method_styles[query]
            x, y = rows["budget"].to_numpy() + shift, 100 * rows["mean"].to_numpy()
            bars = 100 * (rows["high"] - rows["low"]).to_numpy() / 2
            if points is not None and (rows["n"] > 1).any():
                _seeds(axes, points[points["query"] == query], rows, shift, style)
            axes.errorbar(x, y, yerr=np.nan_to_num(bars), fmt="none", ecolor=style.light, elinewidth=1.1, alpha=0.75)
            axes.plot(x, y, color=style.light, lw=1.1, marker=style.marker, ms=4, mew=0, label=style.label)
        axes.axhline(0, color=INK, lw=0.9)
        most = 100 * curves["mean"].abs().max()
        clip_axis(axes, -most, most, -100.0, 100.0)
        frame(axes, "labeled training samples", f"gain over {method_styles[baseline].label} (points)", curves["budget"])
        legend(figure, axes)
        gains = f"at {curves['budget'].max():.0f} labels {final_values(curves, method_styles, sign=True)}."
        alt = f"Gain in {metric.replace('_', ' ')} over {method_styles[baseline].label}: {gains}"
        return finished(figure, name, alt, method_styles)


def penalty_figure(
    name: str, penalty: Penalty, method_styles: Mapping[str, MethodStyle], crossed: Collection[tuple[str, str]] = ()
) -> Drawing:
    """Pairwise penalty matrix as a heat-map: wins of row over column, in settings; pale, in brackets = chance.

    A dash: never compared. An asterisk: not compared in every setting, so a mean over the comparisons.

    Args:
        name: File stem.
        penalty: The matrix.
        method_styles: Styles by spec string.
        crossed: Pairs with different classifiers in any setting; their cells have a dagger.
    """
    size = len(penalty.queries)
    labels = [method_styles[q].label for q in penalty.queries]
    with mpl.rc_context(STYLE):
        # The slanted name of the last column needs room on the right.
        width = max(WIDTH, 0.52 * size + 0.135 * max(map(len, labels), default=0))
        figure = Figure(figsize=(width, 1.0 + 0.42 * (size + 1)), layout="constrained")
        axes = figure.subplots()
        axes.spines[:].set_visible(False)
        most = max(1.0, float(penalty.settings.max(initial=0)))
        for i in range(size):
            for j in range(size):
                if i != j and penalty.settings[i, j]:
                    mark = CROSSED if (penalty.queries[i], penalty.queries[j]) in crossed else ""
                    _cell(axes, j, i, float(penalty.raw[i, j]), most, bool(penalty.beyond_chance[i, j]), mark)
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
        wins = "; ".join(f"{a} beats {b}: {value:.2f}" for value, a, b in sorted(pairs, reverse=True) if value > 0)
        return finished(figure, name, f"Pairwise penalty matrix. {wins or 'No method beats another'}.", method_styles)


def queried_figure(
    name: str,
    pool: Sequence[float],
    queried: Mapping[str, Sequence[int]],
    classes: Sequence[str],
    method_styles: Mapping[str, MethodStyle],
) -> Drawing:
    """Classes of the queried labels (bars) and of the pool (line), one panel per method.

    Args:
        name: File stem.
        pool: Share of each class in the pool.
        queried: Spec string -> number of queried labels of each class, over rounds and seeds.
        classes: Class names.
        method_styles: Styles by spec string.
    """
    columns = 2 if len(queried) > 1 else 1
    rows = -(-len(queried) // columns)
    share = np.asarray(pool)
    own = {query: np.asarray(counts) / max(1, sum(counts)) for query, counts in queried.items()}
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
        moved = {method_styles[query].label: 50 * float(np.abs(part - share).sum()) for query, part in own.items()}
        distances = [f"{label} {percent:.0f} %" for label, percent in moved.items()]
        alt = f"Classes of the queried labels. Difference from the pool: {'; '.join(distances)}."
        return finished(figure, name, alt, method_styles)


# --------------------------------------------------------------------------------------------------------- parts


def _line(axes: Axes, rows: "pd.DataFrame", style: MethodStyle) -> None:
    x, y = rows["budget"].to_numpy(), 100 * rows["mean"].to_numpy()
    if (rows["n"] >= BAND_SEEDS).any():
        known = rows["n"] >= BAND_SEEDS
        low, high = (100 * rows[end].where(known).to_numpy() for end in ("low", "high"))
        axes.fill_between(x, low, high, color=style.light, alpha=0.13, lw=0)
    axes.plot(x, y, color=style.light, lw=1.5, marker=style.marker, ms=4.5, mew=0, label=style.label)


def _seeds(axes: Axes, points: "pd.DataFrame", rows: "pd.DataFrame", shift: float, style: MethodStyle) -> None:
    """Gains of single seeds, each at the mean budget of its round, behind the line of the means."""
    budgets = points["round"].map(rows.set_index("round")["budget"]).to_numpy()
    scores = 100 * points["score"].to_numpy()
    axes.plot(budgets + shift, scores, ls="none", color=style.light, marker="o", ms=2.2, mew=0, alpha=0.4, zorder=1)


def _label_bottom(grid: Any, used: int, named: bool) -> None:
    """Show class names under the last row only, since the panels of a column share their axis."""
    columns = grid.shape[1]
    for place in range(used):
        bottom = place // columns == (used - 1) // columns
        grid.flat[place].tick_params(labelbottom=bottom and named, bottom=bottom and named)


def _cell(axes: Axes, x: int, y: int, value: float, most: float, shown: bool, mark: str) -> None:
    depth = value / most
    alpha = (0.12 + 0.6 * depth if shown else 0.07) if value else 0.0
    axes.add_patch(Rectangle((x - 0.46, y - 0.42), 0.92, 0.84, color=FILL, alpha=alpha, lw=0))
    text = (f"{value:.2f}" if shown or not value else f"({value:.2f})") + mark
    axes.text(x, y, text, ha="center", va="center", fontsize=9, alpha=1 if shown else 0.6)


def final_values(curves: "pd.DataFrame", method_styles: Mapping[str, MethodStyle], sign: bool = False) -> str:
    """Final values of the curves in words."""
    ends = curves.sort_values("budget", kind="stable").groupby("query", sort=False).last()["mean"]
    return ", ".join(f"{method_styles[str(q)].label} {100 * v:{'+' if sign else ''}.1f}" for q, v in ends.items())
