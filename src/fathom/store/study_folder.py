"""The folder of a study before it begins: whether the study may begin there, and that it can be written."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fathom.core.records import FathomError, RunSpec, Study, run_difference, unique
from fathom.store import atomic_files

if TYPE_CHECKING:
    from fathom.store.store import Store


def expect_study(store: "Store", study: Study, *, extend: bool = False) -> str:
    """Check that a study can begin here, without changing anything; returns a warning, or an empty text.

    Raises:
        FathomError: As `Store.begin`.
    """
    try:
        there = next(path for path in (store.root, *store.root.absolute().parents) if path.exists())
    except (OSError, ValueError) as error:
        raise _unwritable(store.root, error) from None
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise _unwritable(store.root, f"{there} cannot be written" if there.is_dir() else f"{there} is no folder")
    if not store.root.is_dir():
        return ""
    if atomic_files.try_read(store.path("study"))[0] is None:
        return _check_remains(store, study)
    added, removed = run_difference(store.study.runs, study.runs)
    if (removed or (added and not extend)) and store.holds_results():
        raise FathomError(_refusal(store.root, store.study.runs, study.runs))
    return ""


def make_folder(root: Path) -> None:
    """Make the folder, and try to write to it: refused now rather than after the first training.

    Raises:
        FathomError: It cannot be written.
    """
    made = [path for path in (root, *root.absolute().parents) if not path.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise _unwritable(root, error) from None


def run_keys(root: Path) -> set[str]:
    """Keys of the runs that were begun here."""
    return {path.parent.name.partition("-")[0] for path in root.glob("runs/*/spec.json")}


def _check_remains(store: "Store", study: Study) -> str:
    """Refuse a folder without a sound study file unless it is empty or all its runs are of the study.

    Returns:
        A warning that the study file is written again; empty where there was none.
    """
    file = store.path("study")
    if not (keys := run_keys(store.root)):
        others = [p for p in store.root.iterdir() if not p.name.startswith((".locks", ".tmp-", "quarantine"))]
        if others and not file.exists():
            raise FathomError(f"{store.root} is not empty and holds no study; name a new folder with --out")
        return ""
    if foreign := sorted(keys - {spec.key for spec in study.runs}):
        found = [store.get(f"runs/{key}/spec") for key in sorted(keys)]
        here = tuple(RunSpec.from_json(record[0]["spec"]) for record in found if record)
        raise FathomError(
            f"{file} is damaged or gone, and {len(foreign)} of the {len(keys)} runs here are not of this study "
            f"({', '.join(foreign[:5])}{', ...' if len(foreign) > 5 else ''}), so it cannot be written again.\n"
            + _refusal(store.root, here, study.runs)
        )
    return f"{file} is damaged or gone; it is written again, as all {len(keys)} runs here are of this study"


def _unwritable(root: Path, error: Exception | str) -> FathomError:
    reason = getattr(error, "strerror", None) or error
    return FathomError(f"cannot write to {root}: {reason}. Name another folder with --out")


def _refusal(root: object, old: tuple[RunSpec, ...], new: tuple[RunSpec, ...]) -> str:
    """Message for a study that differs from the one in a folder."""
    added, removed = run_difference(old, new)
    lines = [f"{root} holds another study; the difference:"]
    for name in ("dataset", "regime", "paradigm", "query", "seed", "protocol"):
        here, there = unique(getattr(r, name) for r in old), unique(getattr(r, name) for r in new)
        if set(here) != set(there):
            gone = ", ".join(str(v) for v in here if v not in there) or "(none)"
            come = ", ".join(str(v) for v in there if v not in here) or "(none)"
            lines.append(f"  {name}: {gone} -> {come}")
    lines.append(f"  {len(removed)} runs here are not in the new study, {len(added)} new runs are not here")
    extend = "" if removed else ", or add the new runs to this one with --extend"
    return "\n".join([*lines, f"Name a new folder with --out{extend}"])
