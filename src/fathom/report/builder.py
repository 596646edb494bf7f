"""Collection of the figures and tables of a page, which are also written as files."""

from dataclasses import dataclass, field

from markupsafe import Markup

from fathom.report.drawing import Drawing
from fathom.report.tables import ReportTable
from fathom.results.results import StudyResults


@dataclass(frozen=True)
class PageFigure:
    """A drawing with its caption."""

    drawing: Drawing
    caption: str

    @property
    def inline(self) -> Markup:
        """SVG as a part of the page."""
        return Markup(self.drawing.inline)  # safe: made by us, and matplotlib escapes the names in it


@dataclass(eq=False)
class PageBuilder:
    """Results of a study and what the page has of them so far.

    Args:
        results: Results of the study.
        drawings, tables: Figures and tables that were added, in order.
    """

    results: StudyResults
    drawings: list[Drawing] = field(default_factory=list)
    tables: list[ReportTable] = field(default_factory=list)

    def add_figure(self, drawing: Drawing, caption: str) -> PageFigure:
        """Add a figure; returns it for the template."""
        self.drawings.append(drawing)
        return PageFigure(drawing, caption)

    def add_table(self, table: ReportTable | None) -> ReportTable | None:
        """Add a table if there is one; returns it for the template."""
        if table is not None:
            self.tables.append(table)
        return table
