"""Report of a study: one self-contained HTML file, with its numbers, figures and LaTeX tables as further files."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from fathom.core.records import FathomError
from fathom.core.text import csv_cell, printable_json
from fathom.design.study_text import study_text
from fathom.report.latex import latex
from fathom.report.page import Page
from fathom.report.summary import classifier_note
from fathom.results.results import StudyResults
from fathom.results.statements.statistics import statistics_frame, statistics_json
from fathom.store import atomic_files
from fathom.store.tables import picks_table

LIST = "files.json"  # in the report's folder: what the last report wrote
OURS = re.compile(r"(figures/[^/]+\.(svg|pdf)|tables/[^/]+\.tex)")


def report(out: str | Path) -> Path:
    """Write the report of the study in folder `out`; the study may be incomplete.

    Writes `OUT/report/report.html`, `results.csv`, `results.parquet`, `picks.csv`, `statistics.json` and `.csv`,
    `study.toml`, `figures/*.svg` and `.pdf`, `tables/*.tex`, and `files.json`, the list of them. Other files in that
    folder stay as they are.

    Returns:
        Path of the HTML file.

    Raises:
        FathomError: `out` holds no study, the report cannot be written, or a part of `OUT/report` is a link.
    """
    results = StudyResults.of(out)
    folder = results.store.root / "report"
    files = report_files(results)
    _refuse_foreign(folder, files)
    try:
        _write_all(folder, files)
    except OSError as error:
        raise FathomError(
            f"cannot write the report to {folder}: {error.strerror}. Free disk space or check the permissions"
        ) from error
    return folder / "report.html"


def report_files(results: StudyResults) -> dict[str, bytes]:
    """Content of all files of a report by name; `report.html` is the page. Writes nothing."""
    page = Page(results)
    files: dict[str, bytes] = {"report.html": page.html().encode()}
    files["results.csv"] = str(results.frame.map(csv_cell).to_csv(index=False)).encode()
    files["results.parquet"] = results.frame.to_parquet(index=False)
    text = json.dumps(statistics_json(results), indent=1, ensure_ascii=False, allow_nan=False)
    files["statistics.json"] = f"{printable_json(text)}\n".encode()
    files["statistics.csv"] = str(statistics_frame(results).map(csv_cell).to_csv(index=False)).encode()
    files["study.toml"] = study_text(results.store.study).encode()
    files["picks.csv"] = str(picks_table(results.store).map(csv_cell).to_csv(index=False)).encode()
    note = classifier_note(results)
    for drawing in page.drawings:
        files |= {f"figures/{drawing.name}.svg": drawing.svg, f"figures/{drawing.name}.pdf": drawing.pdf()}
    files |= {f"tables/{table.name}.tex": latex(table, note).encode() for table in page.tables}
    return files


# ---------------------------------------------------------------------------------------------------------- files


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files, and remove those of an earlier report that are not among them (of a setting that is gone).

    Only a file that the list of an earlier report names, with the content that it was written with, is removed.
    """
    before, now = _listed(folder), {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    _write(folder / LIST, _packed(before | now))  # first, so that a kill leaves no file that no list names
    for name, data in files.items():
        _write(folder / name, data)
    for name in before.keys() - now.keys():
        path = folder / name
        linked = path.is_symlink() or path.parent.is_symlink()
        if path.is_file() and not linked and _sha256(path) == before[name]:
            path.unlink()
    _write(folder / LIST, _packed(now))


def _listed(folder: Path) -> dict[str, str]:
    """Files of figures and tables that an earlier report wrote, with their SHA-256.

    The list may be anybody's, as a study's folder may come from elsewhere: no other name counts.
    """
    try:
        found = json.loads((folder / LIST).read_bytes()) if (folder / LIST).is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: sha for name, sha in found.items() if OURS.fullmatch(name)} if isinstance(found, dict) else {}


def _packed(listed: Mapping[str, str]) -> bytes:
    return (json.dumps(listed, indent=1, sort_keys=True) + "\n").encode()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _refuse_foreign(folder: Path, files: Iterable[str]) -> None:
    """Refuse to write through a link out of the folder or over one, and where a folder has the name of a file."""
    paths = {folder / name for name in (LIST, *files)}
    for path in sorted({folder, *paths, *(path.parent for path in paths)}):
        if path.is_symlink():
            raise FathomError(
                f"{path} is a link to {path.readlink()}, and a report follows no links. Remove the link, and copy "
                f"{folder} to where the report is wanted"
            )
        if path.exists() and path.is_dir() == (path in paths):
            kind = "file" if path in paths else "folder"
            raise FathomError(f"cannot write the report: {path} is no {kind}; give it another name")


def _write(path: Path, data: bytes) -> None:
    """Replace a file at once, so that a reader sees either the old report or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = atomic_files.temporary_path(path.parent)
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
