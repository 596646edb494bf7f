"""Styles of figures and query methods: one color, marker and label per method in figures, tables and legends.

The colors are those of the published study (BALD blue, Core-Set green, Entropy orange, BADGE purple, Random red,
BatchBALD cyan), moved apart in lightness so that they can be told apart with the common color deficiencies. The marker
repeats the information of the color.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fathom.core.records import unique
from fathom.results.names import label

if TYPE_CHECKING:
    from fathom.results.results import StudyResults


@dataclass(frozen=True)
class MethodStyle:
    """Style of one query method.

    Args:
        label: Name as in the paper, with the arguments of its spec string.
        light, dark: Color on a light and on a dark page.
        marker: A matplotlib marker.
        number: Position in the study; gives the CSS variable `--q<number>`.
    """

    label: str
    light: str
    dark: str
    marker: str
    number: int


INK, FAINT, FILL = "#1b1f24", "#d9dde3", "#5b3f9e"  # text and axes, grid, heat
GREY = "#808791"  # readable on a light and on a dark page

# matplotlib's settings
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "svg.fonttype": "none",  # keep text as text: it can be searched, read aloud, and has the color of the page
    "svg.hashsalt": "fathom",
    "pdf.fonttype": 42,  # TrueType, embedded
    "path.simplify": False,
    "text.parse_math": False,  # a class name may contain "$"
}

COLORS = {
    "random": ("#c1272d", "#ff7b72"),
    "entropy": ("#d98200", "#f2b046"),
    "bald": ("#1f6fb4", "#67b0f2"),
    "core-set": ("#0b8f6c", "#3fcf9f"),
    "badge": ("#7d4bb0", "#c39bf0"),
    "batch-bald": ("#1797b0", "#5fd4e8"),
    "margin": ("#8a5a2b", "#cfa070"),
    "least-confidence": ("#b8478f", "#f08fce"),
    "variation-ratios": ("#6b7d1e", "#b7cc57"),
}
SPARE = [("#4a5568", "#a9b4c4"), ("#93294f", "#ef86ad"), ("#2f6f5f", "#7cc7b4"), ("#5a5ac9", "#a2a2ff")]
MARKERS = {"random": "o", "entropy": "s", "bald": "^", "core-set": "D", "badge": "P", "batch-bald": "v"}
SPARE_MARKERS = ["X", "<", ">", "p", "h", "*", "d"]


def method_styles(queries: Sequence[str]) -> dict[str, MethodStyle]:
    """Styles of query methods by spec string; a second variant of a known method gets a spare color."""
    found: dict[str, MethodStyle] = {}
    taken: set[str] = set()
    spare = 0
    for number, query in enumerate(queries):
        name = query.split("(")[0]
        if name in COLORS and name not in taken:
            taken.add(name)
            (light, dark), marker = COLORS[name], MARKERS.get(name, SPARE_MARKERS[number % len(SPARE_MARKERS)])
        else:
            (light, dark), marker = SPARE[spare % len(SPARE)], SPARE_MARKERS[spare % len(SPARE_MARKERS)]
            spare += 1
        found[query] = MethodStyle(label(query), light, dark, marker, number)
    return found


def styles_of(results: "StudyResults") -> dict[str, MethodStyle]:
    """Styles of a study's query methods and of its baseline, by spec string."""
    return method_styles(unique([*results.queries, results.baseline]))
