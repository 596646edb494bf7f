"""Tables of measured rates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tools.calibration.designs import Column, Row, Section

Shown = Sequence[tuple[Section, list[dict[str, "Rate"]]]]
CHANCE = 3.3  # Monte-Carlo errors by which a rate may miss its target: one table in ten would miss one by chance


@dataclass(frozen=True)
class Rate:
    """Mean of a measure over simulated studies.

    Args:
        n: Studies.
        total, squares: Sum over studies, and of the squares.
    """

    n: float = 0
    total: float = 0.0
    squares: float = 0.0

    def __add__(self, other: "Rate") -> "Rate":
        return Rate(self.n + other.n, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        """A fraction."""
        return self.total / self.n if self.n else float("nan")

    @property
    def error(self) -> float:
        """Monte-Carlo standard error; at least that of one study in n."""
        if not self.n:
            return float("nan")
        return float(max(self.squares / self.n - self.mean**2, 1 / self.n) / self.n) ** 0.5

    def misses(self, column: Column) -> bool:
        """True if the target of a column is missed by more than chance."""
        over = column.most is not None and self.mean - CHANCE * self.error > column.most
        return over or (column.least is not None and self.mean + CHANCE * self.error < column.least)


class Cell(NamedTuple):
    """One number of a table."""

    section: Section
    row: Row
    column: Column
    rate: Rate


def cells(shown: Shown) -> Iterator[Cell]:
    """All numbers of all tables."""
    for section, rates in shown:
        for row, own in zip(section.rows, rates, strict=True):
            for column in section.columns:
                yield Cell(section, row, column, own.get(column.measure, Rate()))


def markdown(section: Section, rates: list[dict[str, Rate]]) -> str:
    """Heading, text and table of a section; a rate that misses its target is bold."""
    heads = [*section.headings, *(_heading(column) for column in section.columns)]
    lines = [f"### {section.title}", "", section.text, ""]
    lines += ["| " + " | ".join(heads) + " |", "|---" * len(section.headings) + "|---:" * len(section.columns) + "|"]
    for row, own in zip(section.rows, rates, strict=True):
        found = [_cell(own.get(c.measure, Rate()), c, row.promised.get(c.measure)) for c in section.columns]
        lines.append("| " + " | ".join([*row.labels, *found]) + " |")
    studies = [max((int(rate.n) for rate in own.values()), default=0) for own in rates]
    number = f"{min(studies):,}" if min(studies) == max(studies) else f"{min(studies):,} to {max(studies):,}"
    return "\n".join([*lines, "", f"{number} studies per row.", ""])


def _heading(column: Column) -> str:
    target = f" (≤ {100 * column.most:g})" if column.most is not None else ""
    return column.heading + (f" (≥ {100 * column.least:g})" if column.least is not None else target)


def _cell(rate: Rate, column: Column, promised: float | None) -> str:
    if not rate.n:
        return ""
    text = f"{100 * rate.mean:.1f} ± {100 * rate.error:.1f}"
    text = f"**{text}**" if rate.misses(column) else text
    return text if promised is None else f"{text} ({100 * promised:.1f})"


def missed(shown: Shown) -> list[str]:
    """One line per rate that misses its target by more than chance."""
    return [
        f"{cell.section.title}, {', '.join(cell.row.labels)}: {cell.column.heading} {_text(cell)}"
        for cell in cells(shown)
        if cell.rate.misses(cell.column)
    ]


def summary(shown: Shown) -> str:
    """Studies, targets and the extremes, in two sentences."""
    found = list(cells(shown))
    most = [cell for cell in found if cell.column.most is not None and cell.rate.n]
    least = [cell for cell in found if cell.column.least is not None and cell.rate.n]
    studies = sum(int(max((rate.n for rate in own.values()), default=0)) for _, rates in shown for own in rates)
    highest, lowest = max(most, key=lambda c: c.rate.mean), min(least, key=lambda c: c.rate.mean)
    return (
        f"{studies:,} simulated studies. Of {len(most)} rates of false verdicts the highest is {_text(highest)} % "
        f"({highest.section.title.lower()}), of {len(least)} coverages the lowest is {_text(lowest)} % "
        f"({lowest.section.title.lower()}). {len(missed(shown))} of these miss their target by more than chance "
        f"({CHANCE:g} Monte-Carlo errors); such are bold."
    )


def _text(cell: Cell) -> str:
    return _cell(cell.rate, cell.column, None)


def csv_lines(shown: Shown) -> Iterator[str]:
    """One line per number: section, design, measure, studies, mean, error, target, promised."""
    yield "section,design,measure,studies,mean,error,target,promised"
    for section, row, column, rate in cells(shown):
        target = column.most if column.most is not None else column.least
        values = (section.title, f'"{row.design}"', column.measure, int(rate.n), rate.mean, rate.error)
        extra = ("" if target is None else target, row.promised.get(column.measure, ""))
        yield ",".join(str(value) for value in (*values, *extra))
