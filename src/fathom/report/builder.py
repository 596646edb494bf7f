"""Figures and tables of a page, which are also written as files, and its texts as markup."""

import re
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from fathom.core.records import Setting
from fathom.core.text import printable
from fathom.report.drawing import Drawing
from fathom.report.numbers import thousands
from fathom.report.tables import ReportTable
from fathom.results.classifiers import CROSSED, MATCHED
from fathom.results.results import StudyResults

TEMPLATES = Path(__file__).parent / "templates"
NOTE = "note-classifiers"  # id of the note on the marks


def marked(text: str) -> Markup:
    """Escape a text, keep `[low, high]` together, and link each mark to the note that says what it means."""
    safe = str(escape(printable(text)))
    safe = re.sub(r"\[[^\[\]]*\]", r'<span class="nb">\g<0></span>', safe)
    link = rf'<a class="mark" href="#{NOTE}" aria-label="see the note on classifiers">\g<0></a>'
    return Markup(re.sub(f"[{CROSSED}{MATCHED}]", link, safe))  # safe: escaped above


@cache
def page_template(name: str) -> Template:
    """Template of a page, compiled once: compiling takes as long as rendering."""
    layout: dict[str, Any] = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    loader = FileSystemLoader(TEMPLATES)
    rules = Environment(loader=loader, undefined=StrictUndefined, finalize=_finalize, **layout)
    rules.filters["marked"] = marked
    return rules.get_template(name)


def _finalize(value: Any) -> Any:
    """Every value of a page passes here before it is escaped; markup is ours."""
    return printable(str(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


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

    def test_size(self, setting: Setting) -> str:
        """Sentence on the size of a setting's test set, for captions; empty before it is known.

        It limits what an interval over seeds can show: all seeds are scored on the same images.
        """
        facts = self.results.facts.get(setting.dataset)
        if not facts:
            return ""
        counts = [n for n in facts.get("test_class_counts", ()) if n]
        smallest = f", {thousands(min(counts))} of the rarest class" if counts and min(counts) < max(counts) else ""
        return f"Test set: {thousands(facts['test'])} images{smallest}."

    def add_setting_table(self, table: ReportTable | None, setting: Setting) -> ReportTable | None:
        """Add a table of one setting, with the size of its test set in the caption."""
        if table is None:
            return None
        return self.add_table(replace(table, caption=f"{table.caption} {self.test_size(setting)}".strip()))
