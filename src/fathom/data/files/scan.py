"""Read a folder or a table of user images into a `Listing`."""

import csv
import os
import unicodedata
from dataclasses import replace
from pathlib import Path, PurePosixPath

from fathom.data.files.groups import UNDECLARED, GroupRule, likely_groups
from fathom.data.files.layout import read_layout, resolve_splits, split_of
from fathom.data.files.listing import ListedImage, Listing, Problem, fill, nfc, problem
from fathom.data.files.tree import walk
from fathom.registry.spec_string import spell

_JPEG, _OTHER = "jpg jpeg jpe jfif jp2 j2k", "png bmp dib gif tif tiff webp avif ppm pgm pbm pnm tga"
SUFFIXES = frozenset(f".{suffix}" for names in (_JPEG, _OTHER) for suffix in names.split())


def list_folder(root: Path, *, val: str = "auto", groups: GroupRule = UNDECLARED) -> Listing:
    """List a folder with one sub-folder per class, or with folders of the splits that hold those.

    Files may be nested in a class's folder. Hidden and system files are ignored; other files than images are reported.

    Args:
        root: The folder.
        val: Use of the images of a validation folder (`layout.resolve_splits`).
        groups: Declared groups.
    """
    listing = Listing(root)
    tree = walk(root)
    listing.problems += tree.problems
    names = {path: nfc(path.relative_to(root).as_posix()) for path in tree.files}
    images = [(path, name) for path, name in names.items() if path.suffix.lower() in SUFFIXES]
    if strange := [name for path, name in names.items() if path.suffix.lower() not in SUFFIXES]:
        listing.problems.append(problem("warning", "not-an-image", "files that are not images are left out", strange))
    parts = [PurePosixPath(name).parts for _, name in images]
    folders = [PurePosixPath(nfc(path.relative_to(root).as_posix())).parts for path in tree.folders]
    layout = read_layout(root, parts, folders, val)
    listing.problems += layout.problems
    items = []
    for (path, name), own in zip(images, parts, strict=True):
        split = layout.splits.get(own[0], "")
        if len(own) > layout.depth and (split or not layout.splits):
            items.append(ListedImage(name, path, own[layout.depth - 1], split="" if layout.drawn else split))
    fill(listing, groups.apply(items, listing), splits=not layout.drawn, groups=groups.declared)
    _suggest_groups(listing, groups)
    return listing


def list_table(table: Path, *, outside: bool = False, val: str = "auto", groups: GroupRule = UNDECLARED) -> Listing:
    """List a CSV file with the columns path and label, and optionally split (train, test, val) and group.

    Paths are relative to the folder of the table, with `/`. Labels are the exact strings, without space around them.

    Args:
        table: The CSV file, UTF-8.
        outside: Allow paths that lead out of the table's folder.
        val: Use of the images whose split is a validation split (`layout.resolve_splits`).
        groups: Declared groups, for a table without a column group.
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
            *_resolve(table.parent, row["path"]),
            row["label"],
            row.get("group", ""),
            split_of(row.get("split", "")),
            number,
        )
        kinds = _row_trouble(item, row, table.parent, columns, outside)
        for kind in kinds:
            trouble.setdefault(kind, []).append(f"row {number}: {row['path'] or '(empty)'}")
        if not kinds:
            items.append(item)
    messages = {
        "empty-path": "rows without a path",
        "empty-label": "rows without a label",
        "bad-split": "rows whose split is none of train, test, val",
        "control-character": "rows with a control character, such as NUL",
        "outside": f"paths that lead out of {table.parent}; allow them with outside=true, or move the files",
        "missing-file": "files that do not exist",
    }
    for kind, message in messages.items():
        if kind in trouble:
            listing.problems.append(problem("error", kind, f"{table.name}: {message}", trouble[kind]))
    drawn = "split" not in columns or not items
    if not drawn:
        items, drawn = _use_splits(items, table, val, listing)
    items = _table_groups(items, table, columns, groups, listing)
    fill(listing, items, splits=not drawn, groups="group" in columns or groups.declared)
    _suggest_groups(listing, groups)
    return listing


# ------------------------------------------------------------------------------------------------------- helpers


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
    if "split" in columns and not item.split:
        kinds.append("bad-split")
    return kinds


def _use_splits(items: list[ListedImage], table: Path, val: str, listing: Listing) -> tuple[list[ListedImage], bool]:
    """(images with the split that they are used for, True if Fathom draws the test split)."""

    def write(argument: str) -> str:
        return f"table(path={spell(str(table))}, {argument})"

    found = {item.split for item in items}
    if found == {"train"}:
        return items, False  # `fill` says what to do
    uses, problems = resolve_splits(found, val, table.name, write)
    listing.problems += problems
    drawn = "test" not in uses.values()
    kept = [item for item in items if uses[item.split]]
    return [replace(item, split="" if drawn else uses[item.split]) for item in kept], drawn


def _table_groups(
    items: list[ListedImage], table: Path, columns: set[str], groups: GroupRule, listing: Listing
) -> list[ListedImage]:
    if "group" not in columns:
        return groups.apply(items, listing)
    if groups.text:
        message = f"{table.name} has a column group, and groups={groups.text!r} is given too; use one of them"
        listing.problems.append(Problem("error", "groups", message))
    if alone := [f"row {item.row}: {item.name}" for item in items if not item.group]:
        message = f"{table.name}: rows with an empty group; each counts as a group of its own"
        listing.problems.append(problem("warning", "empty-group", message, alone))
    return [item if item.group else replace(item, group=f"\0{item.name}") for item in items]


def _suggest_groups(listing: Listing, groups: GroupRule) -> None:
    """Warn of file names that look like groups where none are declared."""
    if listing.groups is None and not groups.independent and (likely := likely_groups(listing.names, listing.labels)):
        listing.problems.append(Problem("warning", "likely-groups", str(likely)))
