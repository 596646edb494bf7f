"""Figures of the training itself: pre-training of encoders, pseudo-labels."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from fathom.report.drawing import Drawing, epoch_frame, finished, frame, legend, margins, one_panel
from fathom.report.figures import final_values
from fathom.report.style import FILL, GREY, INK, MethodStyle
from fathom.stats.inference import Array

if TYPE_CHECKING:
    import pandas as pd


def probe_figure(name: str, curves: Mapping[int, tuple[Sequence[float], Sequence[float]]]) -> Drawing:
    """kNN accuracy of encoders during pre-training, one line per seed.

    Args:
        name: File stem.
        curves: Seed -> (epochs, accuracy after each, a fraction).
    """
    with one_panel(2.7) as (figure, axes):
        for number, (seed, (epochs, accuracy)) in enumerate(curves.items()):
            marker = "osDv^P"[number % 6]
            values = 100 * np.asarray(accuracy)
            axes.plot(epochs, values, color=FILL, lw=1.2, marker=marker, ms=3.5, mew=0, alpha=0.8, label=f"seed {seed}")
        epoch_frame(axes, "epoch of pre-training", "kNN accuracy (%)")
        legend(figure, axes)
        ends = ", ".join(f"seed {seed} {100 * accuracy[-1]:.1f} %" for seed, (_, accuracy) in curves.items())
        return finished(figure, name, f"kNN accuracy during pre-training; at the end {ends}.", {})


def rate_figure(name: str, curves: "pd.DataFrame", method_styles: Mapping[str, MethodStyle], what: str) -> Drawing:
    """A rate over budgets, one line per query method.

    Args:
        name: File stem.
        curves: Rows of `budget_curves`, a fraction as the score.
        method_styles: Styles by spec string.
        what: Name of the rate, for the axis.
    """
    with one_panel(2.7) as (figure, axes):
        for query, rows in curves.groupby("query", sort=False):
            style = method_styles[str(query)]
            x, y = rows["budget"].to_numpy(), 100 * rows["mean"].to_numpy()
            axes.plot(x, y, color=style.light, lw=1.4, marker=style.marker, ms=4.5, mew=0, label=style.label)
        frame(axes, "labeled training samples", f"{what} (%)", curves["budget"])
        legend(figure, axes)
        alt = f"{what.capitalize()} in %: {final_values(curves, method_styles)}."
        return finished(figure, name, alt, method_styles)


def mask_figure(name: str, rates: Sequence[tuple[int, Array, Array]]) -> Drawing:
    """Mask rate over training, one line per budget; the last one is the darkest.

    Args:
        name: File stem.
        rates: (budget, epochs, rate after each, a fraction), in order of budgets.
    """
    with one_panel(2.7) as (figure, axes):
        for place, (budget, epochs, rate) in enumerate(rates):
            # Only the first and the last budget are in the legend; those between follow by their shade.
            alpha = 0.3 + 0.7 * (place + 1) / len(rates)
            named = f"{budget:,} labels".replace(",", " ") if place in (0, len(rates) - 1) else None
            marker = "o" if len(epochs) < 2 else ""
            axes.plot(epochs, 100 * rate, color=FILL, lw=1.3, alpha=alpha, label=named, marker=marker, ms=4, mew=0)
        epoch_frame(axes, "epoch of training", "mask rate (%)")
        legend(figure, axes)
        ends = "; ".join(f"{budget} labels {100 * rate[-1]:.0f} %" for budget, _, rate in rates)
        return finished(figure, name, f"Mask rate at the end of training: {ends}.", {})


def marginal_figure(
    name: str, marginals: Array, lines: Mapping[str, Sequence[float] | Array], classes: Sequence[str]
) -> Drawing:
    """Mean predicted share of each class (bars), with the target of the alignment and the pool as lines.

    Args:
        name: File stem.
        marginals: Mean predicted share of each class, a fraction.
        lines: Name -> share of each class.
        classes: Class names.
    """
    x = np.arange(len(marginals))
    named = len(classes) == len(marginals) <= 12
    with one_panel(2.7 + (0.5 if named else 0.0)) as (figure, axes):
        axes.bar(x, 100 * marginals, color=FILL, alpha=0.55, width=0.74, label="predicted")
        for (line, share), (color, dashes) in zip(lines.items(), ((INK, "-"), (GREY, (0, (4, 2)))), strict=False):
            y = 100 * np.append(share, share[-1])
            axes.step(np.append(x, x[-1] + 1) - 0.5, y, where="post", color=color, lw=1.0, ls=dashes, label=line)
        axes.set(ylabel="share of predictions (%)")
        axes.grid(axis="y")
        axes.yaxis.set_major_locator(MaxNLocator(5))
        legend(figure, axes)
        if named:
            axes.set_xticks(x, [c if len(c) < 12 else f"{c[:10]}…" for c in classes], rotation=90, fontsize=7.5)
            margins(figure, left=0.58, right=0.06, bottom=0.97, top=0.52)
        # Half the absolute difference is the share of predictions that would have to move to another class.
        moved = {line: 50 * float(np.abs(np.asarray(share) - marginals).sum()) for line, share in lines.items()}
        distances = [f"{line} {percent:.0f} %" for line, percent in moved.items()]
        alt = f"Mean predicted share by class. Difference from: {'; '.join(distances) or 'nothing known'}."
        return finished(figure, name, alt, {})
