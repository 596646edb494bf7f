"""Figure of published studies and the pitfalls they avoid, drawn from data (paper Fig. 1b)."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from fathom.audit.literature import PublishedAudit
from fathom.audit.rules import PITFALLS, VERDICTS, Verdict, rules
from fathom.core.records import FathomError
from fathom.report.drawing import Drawing, finished, margins
from fathom.report.style import FAINT, INK, STYLE
from fathom.store import atomic_files

# Color, and a sign with the same meaning for readers who cannot see the color.
SIGNS: dict[Verdict, tuple[str, str]] = {
    "pass": ("#0b8f6c", "✓"),
    "partly": ("#d98200", "◐"),
    "fail": ("#c1272d", "✗"),
    "unknown": ("#8a929d", "?"),
}
ROW, TOP, LEFT, COLUMN = 0.27, 0.95, 1.75, 0.98  # inches


def comparison_figure(studies: Sequence[PublishedAudit]) -> Drawing:
    """One row per study, one column per pitfall."""
    width, height = LEFT + COLUMN * len(PITFALLS) + 0.1, TOP + ROW * len(studies) + 0.1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), facecolor="white")
        axes = figure.subplots()
        margins(figure, left=LEFT, right=0.1, bottom=0.1, top=TOP)
        axes.set(xlim=(-0.5, len(PITFALLS) - 0.5), ylim=(len(studies) - 0.5, -0.5))
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.set_yticks(range(len(studies)), [s.title for s in studies])
        heads = [f"{p}\n" + rules()[p].title.replace(" ", "\n", 1) for p in PITFALLS]
        axes.set_xticks(range(len(PITFALLS)), heads)
        axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
        for row, study in enumerate(studies):
            axes.axhline(row + 0.5, color=FAINT, linewidth=0.6)
            for column, finding in enumerate(study.findings):
                color, sign = SIGNS[finding.verdict]
                axes.text(column, row, sign, color=color, ha="center", va="center", fontsize=11)
        for number, verdict in enumerate(VERDICTS):
            color, sign = SIGNS[verdict]
            x = (0.1 + number * 0.98) / width
            figure.text(x, 1 - 0.14 / height, sign, color=color, va="center", fontsize=11)
            figure.text(x + 0.18 / width, 1 - 0.14 / height, verdict, color=INK, va="center", fontsize=9)
        alt = f"{len(studies)} studies against the five pitfalls: pass, partly, fail or unknown in each cell"
        return finished(figure, "pitfalls", alt, {})


def write_comparison(studies: Sequence[PublishedAudit], path: Path) -> None:
    """Write the figure as SVG.

    Raises:
        FathomError: The path does not end in .svg, or the file cannot be written.
    """
    if path.suffix != ".svg":
        raise FathomError(f"--figure: expected a file that ends in .svg; got {path}")
    atomic_files.write(path, comparison_figure(studies).svg, replace=True)
