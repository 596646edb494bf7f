"""HTML tables for notebooks: the `_repr_html_` of what the API returns."""

from collections.abc import Iterable, Sequence
from html import escape as escape_html

from fathom.core.text import printable


def escape(value: object) -> str:
    """A value as text of a page: nothing in it is markup or a control character."""
    return escape_html(printable(str(value)))


def html_table(rows: Iterable[Sequence[object]], columns: Sequence[str] = (), caption: str = "") -> str:
    """A small table; every cell is escaped.

    Args:
        rows: Cells, shown as `str` gives them.
        columns: Column heads; none: a table without a head.
        caption: One line above the table.
    """
    head = f"<caption>{escape(caption)}</caption>" if caption else ""
    if columns:
        head += f"<thead><tr>{''.join(f'<th>{escape(name)}</th>' for name in columns)}</tr></thead>"
    lines = (f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{head}<tbody>{''.join(lines)}</tbody></table>"
