"""Section "Explore" of a report: its data, scripts and styles, all inside the page."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fathom.core.records import Setting
from fathom.core.text import printable_json
from fathom.report.builder import PageFigure
from fathom.report.explore.data import explore_data
from fathom.report.tables import ReportTable
from fathom.results.results import StudyResults

REPORT = Path(__file__).parents[1]
UPLOT = REPORT / "vendor" / "uplot"
SCRIPTS = ("explore_data.js", "explore_charts.js", "explore.js")
FILES = ("results.csv", "results.parquet", "statistics.json", "statistics.csv", "picks.csv")


@dataclass(frozen=True)
class Explore:
    """Parts of the section, which is empty where no round is committed.

    Args:
        data: JSON of `explore_data`, safe inside a script element.
        scripts: Scripts in their order.
        css: Styles of the chart library and of the section.
    """

    data: Markup
    scripts: Sequence[Markup]
    css: Markup

    @property
    def hashes(self) -> list[str]:
        """SHA-256 of each script, base64, as the page's content security policy states them."""
        return [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in self.scripts]


def explore_section(
    results: StudyResults, sections: Iterable[tuple[Setting, Mapping[str, Any]]], files: Sequence[str] = FILES
) -> Explore | None:
    """Build the section from a page's settings.

    Args:
        results: Results of the study.
        sections: Settings, each with its section of the page: `id`, `figures`, `table`.
        files: Names of the data files beside the page.

    Returns:
        The section; None where no round is committed.
    """
    if results.frame.empty:
        return None
    links = {setting: _links(section) for setting, section in sections}
    data = explore_data(results, links) | {"files": list(files)}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    # In a script element only "<" can end it, and JSON has it in strings alone, where it may be escaped.
    safe = Markup(printable_json(text).replace("<", "\\u003c"))
    licence = (UPLOT / "LICENSE").read_text(encoding="utf-8")
    library = f"/*\n{licence}\n*/\n" + (UPLOT / "uPlot.iife.min.js").read_text(encoding="utf-8")
    own = "\n".join((REPORT / "templates" / name).read_text(encoding="utf-8") for name in SCRIPTS)
    css = (UPLOT / "uPlot.min.css").read_text(encoding="utf-8") + "\n"
    css += (REPORT / "templates" / "explore.css").read_text(encoding="utf-8")
    return Explore(safe, [Markup(library), Markup(f"(() => {{\n{own}\n}})();\n")], Markup(css))


def _links(section: Mapping[str, Any]) -> dict[str, Any]:
    """Anchor of a setting's section, and its files relative to the page."""
    figures: Sequence[PageFigure] = section["figures"]
    table: ReportTable | None = section["table"]
    drawn = [figure.drawing.name for figure in figures]
    return {
        "id": section["id"],
        "figures": {name.rpartition("-")[2]: f"figures/{name}" for name in drawn},
        "table": f"tables/{table.name}.tex" if table else "",
    }
