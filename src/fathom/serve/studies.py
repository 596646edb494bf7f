"""Studies under a folder, their progress, and their reports, made in memory."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fathom.core.inputs import user_path
from fathom.core.records import FathomError
from fathom.store.store import Store

DEPTH = 4  # folders below the served one that are searched
STUDY_FILE = "study.json"


@dataclass
class ServedReport:
    """Report of one study as it was made last.

    Args:
        version: State of the store that it shows (`ServedStudies.version`).
        files: Name -> content.
        error: Why it could not be made; empty where it was.
    """

    version: str
    files: dict[str, bytes] = field(default_factory=dict)
    error: str = ""


class ServedStudies:
    """Studies under a folder.

    Args:
        root: The folder; it may be a study itself.

    Raises:
        FathomError: There is no such folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = user_path(root)
        if not self.root.is_dir():
            raise FathomError(f"there is no folder {self.root}; expected a study's folder, or one that holds studies")
        self._reports: dict[str, ServedReport] = {}
        self._lock = threading.Lock()  # one report at a time: each takes seconds of a core

    def find(self) -> dict[str, Path]:
        """Id -> folder of each study, sorted by path. Ids hold no path."""
        return {_id(folder): folder for folder in sorted(_study_folders(self.root, DEPTH))}

    def summary(self) -> list[dict[str, Any]]:
        """Progress of each study: id, name, title, folder, runs done and in all, rounds, failures, last commit."""
        return [{"id": name, "folder": self.shown(folder)} | _progress(folder) for name, folder in self.find().items()]

    def shown(self, folder: Path) -> str:
        """A folder relative to the served one."""
        return str(folder.relative_to(self.root)) if folder != self.root else folder.name

    def report(self, name: str) -> ServedReport | None:
        """Report of a study in its present state; None for an unknown id. Writes nothing."""
        folder = self.find().get(name)
        if folder is None:
            return None
        with self._lock:
            version = store_version(folder)
            known = self._reports.get(name)
            if known is None or known.version != version:
                known = self._reports[name] = _made(folder, version)
            return known


def _made(folder: Path, version: str) -> ServedReport:
    from fathom.report.report import report_files
    from fathom.results.results import StudyResults

    try:
        return ServedReport(version, report_files(StudyResults.of(folder)))
    except FathomError as error:
        return ServedReport(version, error=str(error))


def store_version(folder: Path) -> str:
    """Digest of the names and times of a store's records: it changes with every commit."""
    seen = []
    for place in (folder, *(folder / "runs").glob("*"), folder / "runs", folder / "shared", folder / "failures"):
        try:
            seen.append(f"{place.name} {place.stat().st_mtime_ns}")
        except OSError:
            continue
    return hashlib.sha256("\n".join(sorted(seen)).encode()).hexdigest()[:16]


def _study_folders(folder: Path, depth: int) -> Iterator[Path]:
    """Folders with a study. Links are not followed, and a study is not searched for others."""
    if (folder / STUDY_FILE).is_file():
        yield folder
        return
    if depth == 0:
        return
    try:
        inside = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return
    for path in inside:
        if not path.name.startswith("."):
            yield from _study_folders(path, depth - 1)


def _id(folder: Path) -> str:
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def _progress(folder: Path) -> dict[str, Any]:
    """Progress of one study; the reason in place of it where it cannot be read."""
    from fathom.api.read import status

    try:
        store = Store.open(folder)
        found = status(folder)
    except FathomError as error:
        return {"name": folder.name, "title": "", "error": str(error)}
    tasks = found.tasks
    last = max((r.finished for spec in store.study.runs for r in store.rounds(spec)), default="")
    return {
        "name": found.study,
        "title": store.study.title,
        "runs": len(found.runs),
        "complete": found.complete,
        "rounds": sum(row["rounds"] for row in found.runs),
        "failures": len(found.failures),
        "workers": sum(bool(worker["doing"]) for worker in tasks.workers) if tasks else 0,
        "seconds_left": tasks.seconds_left if tasks and tasks.workers else None,
        "last": last,
        "error": "",
    }
