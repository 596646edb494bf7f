"""Tables as LaTeX with booktabs."""

from collections.abc import Iterable

from fathom.core.text import printable
from fathom.report.numbers import DASH, MINUS
from fathom.report.tables import ReportTable

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


def latex(table: ReportTable) -> str:
    """Table as LaTeX with booktabs, caption and label."""
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
