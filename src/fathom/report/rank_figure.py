"""Critical-difference diagram: mean ranks over datasets, with bars over methods that no test tells apart."""

from collections.abc import Mapping

import matplotlib as mpl
from matplotlib.figure import Figure

from fathom.report.drawing import WIDTH, Drawing, finished
from fathom.report.style import INK, STYLE, MethodStyle
from fathom.stats.ranks import RankComparison


def rank_figure(name: str, found: RankComparison, method_styles: Mapping[str, MethodStyle]) -> Drawing:
    """Draw a critical-difference diagram; rank 1, the best, is on the left.

    Args:
        name: File stem.
        found: Ranks and bars.
        method_styles: Styles by spec string.
    """
    count = len(found.methods)
    half = (count + 1) // 2  # the better half is named on the left, the others on the right
    with mpl.rc_context(STYLE):
        height = 0.75 + 0.2 * len(found.bars) + 0.22 * half
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots()
        axes.spines[["left", "right", "bottom"]].set_visible(False)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set(xlim=(1 - 0.7 * (count - 1), count + 0.7 * (count - 1)), xticks=range(1, count + 1), yticks=[])
        axes.set_xlabel(f"mean rank over {found.datasets} datasets (1 is best)")
        axes.spines["top"].set_bounds(1, count)
        first_label = 0.5 + len(found.bars)
        axes.set_ylim(first_label + 1.1 * half, 0)
        for number, (first, last) in enumerate(found.bars):
            ends = [found.ranks[first] - 0.04, found.ranks[last] + 0.04]
            axes.plot(ends, [0.5 + number] * 2, color=INK, lw=3, solid_capstyle="butt")
        for place, (query, rank) in enumerate(zip(found.methods, found.ranks, strict=True)):
            left = place < half
            line = first_label + 1.1 * ((place if left else count - 1 - place) + 0.4)
            end = 1 - 0.06 if left else count + 0.06
            style = method_styles[query]
            axes.plot([rank, rank, end], [0, line, line], color=style.light, lw=1.1)
            axes.plot([rank], [0], color=style.light, marker=style.marker, ms=4.5, mew=0, clip_on=False)
            text = f"{style.label} {rank:.2f}" if left else f"{rank:.2f} {style.label}"
            axes.text(end, line, f"{text} " if left else f" {text}", ha="right" if left else "left", va="center")
        ranks = ", ".join(f"{method_styles[q].label} {r:.2f}" for q, r in zip(found.methods, found.ranks, strict=True))
        return finished(figure, name, f"Mean ranks over {found.datasets} datasets: {ranks}.", method_styles)
