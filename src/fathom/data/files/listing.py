"""The listing of a folder or a table of user images: files, labels, groups, split, and problems.

Nothing is raised while listing: problems are collected, so that all can be shown at once.
"""

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from fathom.core.inputs import user_path
from fathom.core.records import FathomError

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Problem:
    """A problem of a dataset.

    Args:
        severity: `error` (nothing can be run) or `warning` (shown to the reader of the report).
        kind: Kebab-case, for programs: for example `duplicate-path`.
        message: One line for people.
        examples: The first ten paths, rows or groups concerned.
        count: Number of paths, rows or groups concerned.
    """

    severity: str
    kind: str
    message: str
    examples: tuple[str, ...] = ()
    count: int = 0

    def __str__(self) -> str:
        shown = "".join(f"\n  {e}" for e in self.examples)
        more = f"\n  and {self.count - len(self.examples)} more" if self.count > len(self.examples) else ""
        return self.message + (":" if shown else "") + shown + more


def problem(severity: str, kind: str, message: str, concerned: list[str]) -> Problem:
    """A problem, with the first ten of `concerned` as examples."""
    return Problem(severity, kind, message, tuple(concerned[:10]), len(concerned))


@dataclass
class Listing:
    """The files of a dataset in the order of their names: by POSIX path below `root`, as UTF-8 bytes.

    Args:
        root: The folder that names are relative to.
        names: POSIX paths in Unicode NFC, whatever form the file system uses.
        paths: The files.
        labels: Class names, as written.
        groups: Group names, or None without such a column.
        splits: `train` or `test`, or None if Fathom draws the split.
        problems: Problems found.
        independent: True if the images are declared to be unrelated, so that no groups are missing.
    """

    root: Path
    names: list[str] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str] | None = None
    splits: list[str] | None = None
    problems: list[Problem] = field(default_factory=list)
    independent: bool = False

    def refuse(self, what: str) -> None:
        """Raise the errors among the problems, if there are any.

        Raises:
            FathomError: There are errors; all are listed.
        """
        errors = [p for p in self.problems if p.severity == "error"]
        if errors:
            text = "\n".join(str(p) for p in errors)
            raise FathomError(f"{what} cannot be used:\n{text}\nfathom check-data lists all its problems")


@dataclass(frozen=True)
class ListedImage:
    """One image of a listing, before the listing is sorted."""

    name: str
    path: Path
    label: str
    group: str = ""
    split: str = ""
    row: int = 0


def locate(text: str, base: Path, what: str) -> Path:
    """Find the folder or file of a spec string: absolute, or below the working directory or the data folder.

    Raises:
        FathomError: It is absent, or is found in both places.
    """
    if not text:
        raise FathomError(f"no path given; expected for example {what}")
    path = user_path(text)
    if path.is_absolute():
        found = [path] if path.exists() else []
    else:
        found = list({p.resolve(): p for p in (Path.cwd() / path, base / path) if p.exists()}.values())
    if len(found) > 1:
        raise FathomError(f"{text!r} is both {found[0]} and {found[1]}; give an absolute path")
    if not found:
        places = "" if path.is_absolute() else f" (looked in {Path.cwd()} and {base})"
        raise FathomError(f"{text!r} does not exist{places}; expected for example {what}")
    if not (found[0].is_dir() or found[0].is_file()):
        raise FathomError(f"{found[0]} is neither a folder nor a file; expected for example {what}")
    return found[0]


def nfc(text: str) -> str:
    """Normalize a name to Unicode NFC, as file systems differ; bytes that are not UTF-8 become `\\xe9`."""
    return text if text.isascii() else unicodedata.normalize("NFC", text_of(text))


def text_of(path: object) -> str:
    """A path as text that can be stored and printed: bytes that are not UTF-8 become `\\xe9`."""
    return os.fsencode(str(path)).decode("utf-8", "backslashreplace")


def fill(listing: Listing, items: list[ListedImage], *, splits: bool, groups: bool = False) -> None:
    """Sort the images into the listing, and collect the problems that no single row shows."""
    items = sorted(items, key=lambda item: item.name.encode())
    rows: dict[str, list[str]] = {}
    for item in items:
        rows.setdefault(item.name, []).append(f"row {item.row}" if item.row else str(item.path))
    if twice := [f"{name}: {', '.join(r)}" for name, r in rows.items() if len(r) > 1]:
        listing.problems.append(problem("error", "duplicate-path", "paths that are listed more than once", twice))
    listing.names = [item.name for item in items]
    listing.paths = [item.path for item in items]
    listing.labels = [nfc(item.label) for item in items]
    listing.groups = [item.group for item in items] if groups else None
    listing.splits = [item.split for item in items] if splits else None
    classes = sorted(set(listing.labels), key=str.encode)
    if len(classes) < 2:
        found = f"found {len(classes)}" + (f", {classes[0]!r}" if classes else "")
        message = f"{listing.root}: expected images of two classes or more (one sub-folder or label each), {found}"
        listing.problems.append(Problem("error", "classes", message))
    spellings: dict[str, list[str]] = {}
    for name in classes:
        spellings.setdefault(" ".join(name.casefold().split()), []).append(name)
    if alike := [" / ".join(map(repr, names)) for names in spellings.values() if len(names) > 1]:
        listing.problems.append(problem("warning", "similar-labels", "labels that differ in case or space only", alike))
    if listing.splits is not None:
        _check_splits(listing, items)


def _check_splits(listing: Listing, items: list[ListedImage]) -> None:
    present = {item.split for item in items}
    if items and (absent := [s for s in SPLITS if s not in present]):
        message = (
            f"the split has no {absent[0]} images; use both, or leave out the column (Fathom then draws a test split)"
        )
        listing.problems.append(Problem("error", "split", message))
        return
    train = {item.label for item in items if item.split == "train"}
    if unknown := sorted({item.label for item in items} - train):
        listing.problems.append(problem("error", "class-only-in-test", "classes without a train image", unknown))
    sides: dict[str, set[str]] = {}
    for item in items:
        sides.setdefault(item.group, set()).add(item.split)
    if listing.groups is not None and (leaks := sorted(g for g, s in sides.items() if len(s) > 1)):
        message = "groups with images in both train and test (leaks=warn uses them anyway)"
        listing.problems.append(problem("error", "group-leak", message, leaks))
