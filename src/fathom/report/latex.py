"""Tables as LaTeX with booktabs."""

from collections.abc import Iterable
from dataclasses import replace

from fathom.core.text import printable
from fathom.report.numbers import DASH, MINUS
from fathom.report.tables import ReportTable
from fathom.results.classifiers import CROSSED, MATCHED

_TEX = {
    "\\": r"\textbackslash{}",
    **{c: "\\" + c for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    MINUS: r"$-$",
    "≤": r"$\leq$",
    "<": r"$<$",
    ">": r"$>$",
    "\u00d7": r"$\times$",
    DASH: "--",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
}


def tex(text: str) -> str:
    """Escape text for LaTeX; a line feed would end a caption or a cell."""
    return "".join(_TEX.get(c, c) for c in printable(text).replace("\n", " "))


def latex(table: ReportTable, note: str = "") -> str:
    """Table as LaTeX with booktabs, caption and label.

    Args:
        table: The table.
        note: What its marks mean: added to the caption of a table that has one, since it stands alone.
    """
    texts = [table.caption, table.note, *(cell.text for row in table.rows for cell in row)]
    if note and any(mark in text for mark in (CROSSED, MATCHED) for text in texts):
        table = replace(table, note=f"{table.note} {note}".strip())
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{tex(f'{table.caption} {table.note}'.strip())}}}",
        f"  \\label{{tab:{table.name}}}",
        f"  \\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        "    \\toprule",
        f"    {_row(table.columns)}",
        "    \\midrule",
        *(f"    {_row(cell.text for cell in row)}" for row in table.rows),
        "    \\bottomrule",
        "  \\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(texts: Iterable[str]) -> str:
    return " & ".join(tex(t) for t in texts) + r" \\"
