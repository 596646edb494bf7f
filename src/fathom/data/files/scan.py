"""Read a folder or a table of user images into a `Listing`."""

import csv
import os
import unicodedata
from pathlib import Path, PurePosixPath

from fathom.data.files.listing import SPLITS, ListedImage, Listing, Problem, fill, nfc, problem

_JPEG, _OTHER = "jpg jpeg jpe jfif jp2 j2k", "png bmp dib gif tif tiff webp avif ppm pgm pbm pnm tga"
SUFFIXES = frozenset(f".{suffix}" for names in (_JPEG, _OTHER) for suffix in names.split())


def list_folder(root: Path) -> Listing:
    """List a folder with one sub-folder per class, or with `train` and `test` that hold those.

    Files may be nested in a class's folder. Hidden files are ignored; other files than images are reported.
    """
    listing = Listing(root)
    top = _folders(root)
    fixed = set(SPLITS) <= set(top)
    if fixed and len(top) > 2:
        others = [name for name in top if name not in SPLITS]
        message = (
            f"{root} holds train/, test/ and other folders; move them away (validation images are drawn from train/)"
        )
        listing.problems.append(problem("error", "split-folders", message, others))
    depth = 2 if fixed else 1
    items, strange, loose = [], [], []
    for path in walk(root):
        name = nfc(path.relative_to(root).as_posix())
        parts = PurePosixPath(name).parts
        if path.suffix.lower() not in SUFFIXES:
            strange.append(name)
        elif len(parts) <= depth:
            loose.append(name)
        else:
            items.append(ListedImage(name, path, parts[depth - 1], split=parts[0] if fixed else ""))
    if strange:
        listing.problems.append(problem("warning", "not-an-image", "files that are not images are left out", strange))
    if loose:
        listing.problems.append(
            problem("warning", "no-class", "images outside the classes' folders are left out", loose)
        )
    seen = {PurePosixPath(item.name).parts[:depth] for item in items}
    folders = [(s, c) for s in SPLITS for c in _folders(root / s)] if fixed else [(c,) for c in top]
    if empty := ["/".join(folder) for folder in folders if folder not in seen]:
        listing.problems.append(problem("warning", "empty-class", "folders without an image are left out", empty))
    fill(listing, items, splits=fixed)
    return listing


def list_table(table: Path, *, outside: bool = False) -> Listing:
    """List a CSV file with the columns path and label, and optionally split (train or test) and group.

    Paths are relative to the folder of the table, with `/`. Labels are the exact strings, without space around them.

    Args:
        table: The CSV file, UTF-8.
        outside: Allow paths that lead out of the table's folder.
    """
    listing = Listing(table.parent)
    rows = _rows(table, listing)
    if rows is None:
        return listing
    columns = {key for _, row in rows for key in row}
    items: list[ListedImage] = []
    trouble: dict[str, list[str]] = {}
    for number, row in rows:
        item = ListedImage(
            *_resolve(table.parent, row["path"]), row["label"], row.get("group", ""), row.get("split", ""), number
        )
        kinds = _row_trouble(item, row, table.parent, columns, outside)
        for kind in kinds:
            trouble.setdefault(kind, []).append(f"row {number}: {row['path'] or '(empty)'}")
        if not kinds:
            items.append(item)
    messages = {
        "empty-path": "rows without a path",
        "empty-label": "rows without a label",
        "bad-split": "rows whose split is neither train nor test (the validation set is drawn from train)",
        "control-character": "rows with a control character, such as NUL",
        "outside": f"paths that lead out of {table.parent}; allow them with outside=true, or move the files",
        "missing-file": "files that do not exist",
    }
    for kind, message in messages.items():
        if kind in trouble:
            listing.problems.append(problem("error", kind, f"{table.name}: {message}", trouble[kind]))
    if "group" in columns and (alone := [f"row {item.row}: {item.name}" for item in items if not item.group]):
        message = f"{table.name}: rows with an empty group; each counts as a group of its own"
        listing.problems.append(problem("warning", "empty-group", message, alone))
        items = [item if item.group else ListedImage(**{**vars(item), "group": f"\0{item.name}"}) for item in items]
    fill(listing, items, splits="split" in columns, groups="group" in columns)
    return listing


def walk(root: Path) -> list[Path]:
    """All files below a folder that are not hidden; links are followed, but no folder is read twice (cycles)."""
    seen: set[tuple[int, int]] = set()
    found = []
    for folder, folders, files in os.walk(root, followlinks=True):
        state = Path(folder).stat()
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name) for name in files if not name.startswith(".")]
    return sorted(found)


# ------------------------------------------------------------------------------------------------------- helpers


def _folders(path: Path) -> list[str]:
    return sorted(nfc(e.name) for e in os.scandir(path) if e.is_dir() and not e.name.startswith("."))


def _rows(table: Path, listing: Listing) -> list[tuple[int, dict[str, str]]] | None:
    """Line number and cells of each row: exact strings without surrounding space.

    Not read by pandas, which would turn the label 01 into 1 and NA into a missing value.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, line) for line in reader if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        listing.problems.append(Problem("error", "table", f"{table} is not a CSV file in UTF-8: {error}"))
        return None
    head = [name.strip().lower() for name in lines[0][1]] if lines else []
    if not {"path", "label"} <= set(head) or len(set(head)) != len(head):
        message = (
            f"{table}: expected distinct columns path, label and optionally split, group, separated by commas; got"
        )
        listing.problems.append(Problem("error", "columns", f"{message} {', '.join(head) or 'an empty file'}"))
        return None
    if ragged := [f"row {n}: {len(line)} cells" for n, line in lines if len(line) != len(head)]:
        message = f"{table.name}: rows that do not have {len(head)} cells"
        listing.problems.append(problem("error", "ragged-row", message, ragged))
        return None
    return [(n, dict(zip(head, (cell.strip() for cell in line), strict=True))) for n, line in lines[1:]]


def _resolve(folder: Path, text: str) -> tuple[str, Path]:
    """The name and the file of a path in a table; file systems encode accented letters as NFC or NFD."""
    name = nfc(os.path.normpath(text).replace(os.sep, "/")) if text else ""
    candidates = [folder / text, folder / nfc(text), folder / unicodedata.normalize("NFD", text)]
    return name, next((path for path in candidates if os.path.isfile(path)), candidates[0])  # noqa: PTH113


def _row_trouble(item: ListedImage, row: dict[str, str], folder: Path, columns: set[str], outside: bool) -> list[str]:
    if any(ord(c) < 32 or ord(c) == 127 for cell in row.values() for c in cell):
        return ["control-character"]  # no system call takes a NUL
    kinds = []
    if not row["path"]:
        kinds.append("empty-path")
    elif not outside and not Path(os.path.realpath(item.path)).is_relative_to(os.path.realpath(folder)):
        kinds.append("outside")
    elif not os.path.isfile(item.path):  # noqa: PTH113 - unlike pathlib's it takes a name that is too long
        kinds.append("missing-file")
    if not item.label:
        kinds.append("empty-label")
    if "split" in columns and item.split not in SPLITS:
        kinds.append("bad-split")
    return kinds
