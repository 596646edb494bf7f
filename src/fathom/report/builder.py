"""The figures and tables of a page, collected as they are made, since each is also written as a file."""

from dataclasses import dataclass, field

from markupsafe import Markup

from fathom.report.drawing import Drawing
from fathom.report.tables import ReportTable
from fathom.results.results import StudyResults


@dataclass(frozen=True)
class PageFigure:
    """A drawing in the page: its SVG and its caption."""

    drawing: Drawing
    caption: str

    @property
    def inline(self) -> Markup:
        return Markup(self.drawing.inline)  # our own SVG; matplotlib escapes the names in it


@dataclass(eq=False)
class PageBuilder:
    """A page's figures and tables.

    Args:
        reading: The study's results.
        drawings, tables: What was made so far.
    """

    reading: StudyResults
    drawings: list[Drawing] = field(default_factory=list)
    tables: list[ReportTable] = field(default_factory=list)

    def add_figure(self, drawing: Drawing, caption: str) -> PageFigure:
        """A figure of the page."""
        self.drawings.append(drawing)
        return PageFigure(drawing, caption)

    def add_table(self, table: ReportTable | None) -> ReportTable | None:
        """A table of the page; none where there is none."""
        if table is not None:
            self.tables.append(table)
        return table
