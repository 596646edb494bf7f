"""Report of a study: one self-contained HTML file, with its numbers, figures and LaTeX tables as further files."""

import os
from pathlib import Path

from fathom.core.records import FathomError
from fathom.core.text import csv_cell
from fathom.report.latex import latex
from fathom.report.page import Page
from fathom.results.results import StudyResults
from fathom.store.tables import picks_table


def report(out: str | Path) -> Path:
    """Write the report of the study in folder `out`; the study may be incomplete.

    Writes `OUT/report/report.html`, `results.csv`, `results.parquet`, `picks.csv`, `figures/*.svg` and `.pdf`,
    `tables/*.tex`.

    Returns:
        Path of the HTML file.

    Raises:
        FathomError: `out` holds no study, or the report cannot be written.
    """
    results = StudyResults.of(out)
    page = Page(results)
    folder = results.store.root / "report"
    files: dict[str, bytes] = {"report.html": page.html().encode()}
    files["results.csv"] = str(results.frame.map(csv_cell).to_csv(index=False)).encode()
    files["results.parquet"] = results.frame.to_parquet(index=False)
    files["picks.csv"] = str(picks_table(results.store).to_csv(index=False)).encode("utf-8", "backslashreplace")
    for drawing in page.drawings:
        files |= {f"figures/{drawing.name}.svg": drawing.svg, f"figures/{drawing.name}.pdf": drawing.pdf()}
    files |= {f"tables/{table.name}.tex": latex(table).encode() for table in page.tables}
    try:
        for name, data in files.items():
            _write(folder / name, data)
        for path in [*(folder / "figures").glob("*"), *(folder / "tables").glob("*")]:
            if path.relative_to(folder).as_posix() not in files:
                path.unlink()  # left by an earlier report, for a setting that is no longer in the study
    except OSError as error:
        raise FathomError(
            f"cannot write the report to {folder}: {error.strerror}. Free disk space or check the permissions"
        ) from error
    return folder / "report.html"


# ---------------------------------------------------------------------------------------------------------- files


def _write(path: Path, data: bytes) -> None:
    """Replace a file at once, so that a reader sees either the old report or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
