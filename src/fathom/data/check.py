"""Check a dataset before anything is trained on it: its content and its problems."""

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np

from fathom.core.records import FathomError
from fathom.core.streams import Streams
from fathom.data import load
from fathom.data.cache.pixels import attempt
from fathom.data.cache.value_range import value_range
from fathom.data.dataset import DataRoot, Dataset
from fathom.data.datasets.folder import FolderOptions, assign, outline, read_listing
from fathom.data.files.decode import WHITE, ImageFacts, UnreadableError, read_image
from fathom.data.files.listing import Listing, Problem, nfc, problem
from fathom.data.files.scan import SUFFIXES
from fathom.data.files.tree import walk
from fathom.data.images import fingerprints
from fathom.data.leakage import all_groups, duplicate_problems, groups_notes, near_duplicate_problems, thumbnails_of
from fathom.data.near_duplicates import SIDE, Thumbnails, thumbnail
from fathom.data.regimes import build_regime, fit_regime, split_counts
from fathom.data.splits import largest_start, train_val_split
from fathom.design.remarks import validation_remark
from fathom.registry import registry

MOST_SEEDS = 10_000
_LISTED = ("path", "val", "groups", "leaks")
RAW = {"folder": _LISTED, "table": (*_LISTED, "outside")}  # checked file by file -> parameters of the listing


@dataclass
class DataReport:
    """The result of `check_data`; JSON-plain by `to_json`.

    Args:
        dataset: Spec string.
        train, test: Images in each split (labeled or not).
        classes: Images of each class: `{"cat": {"train": 40, "test": 10}}`.
        sizes: Images of each size as stored, `{"640x480": 12}` (width x height), most frequent first.
        modes: Images of each pixel format (Pillow's names) and file format, `{"RGB JPEG": 12}`.
        groups: Number of groups, or None where there are none.
        problems: Problems found; `error` means that the dataset cannot be used.
        notes: Notes of the dataset itself.
    """

    dataset: str
    train: int = 0
    test: int = 0
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    groups: int | None = None
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True if the dataset can be used."""
        return not any(p.severity == "error" for p in self.problems)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values; a problem's message holds its examples too."""
        plain = asdict(self)
        plain["problems"] = [{**asdict(p), "message": str(p), "examples": list(p.examples)} for p in self.problems]
        return plain

    def lines(self) -> list[str]:
        """The report for people, without the problems."""
        width = max([len(name) for name in self.classes] + [5])
        head = f"{self.dataset}: {self.train} train and {self.test} test images in {len(self.classes)} classes"
        lines = [head + (f", {self.groups} groups" if self.groups is not None else "")]
        lines.append(f"  {'class':<{width}}  {'train':>8}  {'test':>8}")
        for name, counts in self.classes.items():
            lines.append(f"  {name:<{width}}  {counts['train']:>8}  {counts['test']:>8}")
        for what, counts in (("sizes", self.sizes), ("formats", self.modes)):
            shown = ", ".join(f"{key} ({n})" for key, n in list(counts.items())[:8])
            more = f", and {len(counts) - 8} others" if len(counts) > 8 else ""
            lines.append(f"{what}: {shown}{more}")
        return lines + [f"note: {note}" for note in self.notes]


def check_data(text: str, root: DataRoot, seeds: int = 10) -> DataReport:
    """Check every image of a dataset: counts, sizes, exact duplicates, unreadable files, group leaks, label regimes.

    Folders and tables are checked file by file, each decoded completely; bad files do not stop it. Other datasets have
    official checksums; their images are checked as they are trained on.

    Args:
        text: Spec string of the dataset.
        root: Where datasets are found.
        seeds: Number of seeds, from 0, whose splits the label regimes are tried on.

    Raises:
        FathomError: The dataset is unknown, a value is refused, its files are absent, or there are too many seeds.
    """
    if seeds > MOST_SEEDS:
        raise FathomError(f"expected at most {MOST_SEEDS:,} seeds, as the splits of all are in memory; got {seeds:,}")
    entry, call = registry.find("dataset", text)
    if entry.module == "fathom.data.datasets.folder" and entry.name in RAW:
        arguments: dict[str, Any] = {**entry.parameters, **dict(call.arguments)}
        given = {f.name: arguments[f.name] for f in fields(FolderOptions)}
        given |= {name: float(given[name]) for name in ("test_fraction", "val_fraction")}
        options = FolderOptions(**given)
        listing = read_listing(entry.name, root, **{key: arguments[key] for key in RAW[entry.name]})
        report = _check_listing(str(call), listing, options, entry.name, root, seeds)
    else:
        loaded = load(text, root)
        report = _check_loaded(loaded)
        _check_regimes(report, loaded, seeds)
    report.problems.sort(key=lambda p: p.severity)  # errors first
    return report


# ------------------------------------------------------------------------------------------------- user images


def _check_listing(
    name: str, listing: Listing, options: FolderOptions, kind: str, root: DataRoot, seeds: int
) -> DataReport:
    report = DataReport(name, problems=list(listing.problems))
    if kind == "table":
        listed = set(listing.names)
        if unlisted := [n for n in _images_below(listing) if n not in listed]:
            report.problems.append(problem("warning", "unlisted", "images that the table does not list", unlisted))
    if not listing.paths:
        return report
    assigned = assign(listing, options.test_fraction)
    report.groups = None if assigned.groups is None else len(np.unique(assigned.groups))
    _count(report, assigned.class_names, assigned.labels[~assigned.test], assigned.labels[assigned.test])
    sizes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    unreadable: list[str] = []
    hashes: list[str | None] = []
    small = np.zeros((len(listing.paths), SIDE, SIDE), np.uint8)
    clear = np.zeros(len(listing.paths), bool)  # large enough to tell a copy from another image
    look = partial(_look, white=_white(report, listing, root))
    decoded = attempt(look, listing.paths, "decoding", root.quiet)
    for place, (file, found) in enumerate(zip(listing.names, decoded, strict=True)):
        if isinstance(found, UnreadableError):
            unreadable.append(f"{file}: {found}")
            hashes.append(None)
            continue
        sha256, facts, small[place] = found
        clear[place] = min(facts.width, facts.height) >= SIDE
        hashes.append(sha256)
        sizes[f"{facts.width}x{facts.height}"] += 1
        modes[f"{facts.mode} {facts.format}".strip()] += 1
    report.sizes, report.modes = dict(sizes.most_common()), dict(modes.most_common())
    if unreadable:
        report.problems.append(problem("error", "unreadable", "files that cannot be read as images", unreadable))
    names = [
        f"{file} ({'test' if test else 'train'}, {label})"
        for file, test, label in zip(listing.names, assigned.test, listing.labels, strict=True)
    ]
    report.problems += duplicate_problems(hashes, names, assigned.labels, assigned.test)
    report.problems += near_duplicate_problems((small, clear), hashes, names, assigned.groups, assigned.test)
    report.notes += groups_notes(assigned.groups is not None, listing.independent)
    if not any(p.severity == "error" and p.kind != "unreadable" for p in report.problems):
        try:
            made = replace(outline(kind, listing, options)[0], name=name)
            report.notes += [note for note in made.notes if note not in map(str, listing.problems)]
            _check_regimes(report, made, seeds)
        except FathomError as error:
            report.problems.append(problem("error", "unfit", str(error), []))
    return report


def _white(report: DataReport, listing: Listing, root: DataRoot) -> int:
    """White of the 16-bit files; what is said of them goes into the report."""
    try:
        values = value_range(listing.paths, quiet=root.quiet)
    except FathomError as error:
        report.problems.append(problem("error", "16-bit", str(error), []))
        return WHITE
    report.notes += values.notes
    return values.white


def _look(path: Any, white: int) -> tuple[str, ImageFacts, Thumbnails]:
    """Digest of the decoded pixels, which is equal for copies in other formats; facts of the file; thumbnail."""
    image, facts = read_image(path, white)
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest(), facts, thumbnail(image)


def _images_below(listing: Listing) -> list[str]:
    found = [path for path in walk(listing.root).files if path.suffix.lower() in SUFFIXES]
    return [nfc(path.relative_to(listing.root).as_posix()) for path in found]


# ------------------------------------------------------------------------------------------------ loaded datasets


def _check_loaded(dataset: Dataset) -> DataReport:
    report = DataReport(dataset.name, notes=list(dataset.notes))
    train_labels = dataset.vault.for_data_check()
    _count(report, dataset.class_names, train_labels, dataset.test_labels)
    hashes: list[str | None] = []
    names: list[str] = []
    for split, images, labels in (
        ("train", dataset.images, train_labels),
        ("test", dataset.test_images, dataset.test_labels),
    ):
        size = f"{images.size[1]}x{images.size[0]}"
        report.sizes[size] = report.sizes.get(size, 0) + len(images)
        hashes += [mark.hex() for mark in fingerprints(images)]
        own = dataset.ids if split == "train" and dataset.ids else [f"#{i}" for i in range(len(labels))]
        names += [f"{split} {n} ({dataset.class_names[c]})" for n, c in zip(own, labels, strict=True)]
    report.modes = {"RGB": len(hashes)}
    if dataset.groups is not None:
        report.groups = len(np.unique(dataset.groups))
        if dataset.test_groups is not None and len(leaks := np.intersect1d(dataset.groups, dataset.test_groups)):
            report.groups = len(np.union1d(dataset.groups, dataset.test_groups))
            concerned = [f"group {g}" for g in leaks]
            report.problems.append(problem("error", "group-leak", "groups in both train and test", concerned))
    labels = np.concatenate([train_labels, dataset.test_labels])
    test = np.arange(len(labels)) >= len(train_labels)
    report.problems += duplicate_problems(hashes, names, labels, test)
    if min(dataset.images.size) >= SIDE:
        small = np.concatenate([thumbnails_of(images) for images in (dataset.images, dataset.test_images)])
        clear = np.ones(len(labels), bool)
        report.problems += near_duplicate_problems((small, clear), hashes, names, all_groups(dataset), test)
    report.notes += groups_notes(dataset.groups is not None, dataset.independent)
    return report


# ------------------------------------------------------------------------------------------------------- regimes


def _check_regimes(report: DataReport, dataset: Dataset, seeds: int) -> None:
    """Note the label regimes that fit the splits of the first seeds; report an error if none can."""
    try:
        splits = ((seed, train_val_split(dataset, Streams(seed)("split"))) for seed in range(seeds))
        counts = {seed: split_counts(dataset, *split) for seed, split in splits}
    except FathomError as error:
        report.problems.append(problem("error", "split", str(error), []))
        return
    where = f"the splits of seeds 0 to {seeds - 1}" if seeds > 1 else "the split of seed 0"
    fewest = np.min([pool for pool, _ in counts.values()], axis=0)
    if largest_start(dataset, fewest, dataset.num_classes) < dataset.num_classes:
        message = (
            f"no label regime fits: no starting set can have a label of each class, as a pool of {where} has none of"
        )
        lacking = [name for name, n in zip(dataset.class_names, fewest, strict=True) if not n]
        report.problems.append(problem("error", "no-regime", message, lacking))
        return
    fit, refused = [], {}
    for name, entry in registry.index()["regime"].items():
        if not entry.module.startswith("fathom.") or name == "custom":  # custom has no default sizes
            continue
        regime = build_regime(name, dataset)
        try:
            fitting = list(fit_regime(dataset, regime, counts).values())
            fit.append((regime.start, name))
            report.notes += validation_remark(regime.name, fitting)
        except FathomError as error:
            refused[regime.start] = str(error)
    if fit:
        report.notes.append(f"label regimes that fit {where}: {', '.join(name for _, name in sorted(fit))}")
    elif refused:
        message = f"no built-in regime fits {where}: {refused[min(refused)]}"
        report.problems.append(problem("warning", "no-regime", message, []))


# ------------------------------------------------------------------------------------------------------- helpers


def _count(report: DataReport, class_names: tuple[str, ...], train: Any, test: Any) -> None:
    report.train, report.test = len(train), len(test)
    counts = [np.bincount(labels, minlength=len(class_names)).tolist() for labels in (train, test)]
    report.classes = {name: {"train": counts[0][c], "test": counts[1][c]} for c, name in enumerate(class_names)}
    for side in ("train", "test"):
        if absent := [name for name, n in report.classes.items() if not n[side]]:
            severity = "error" if side == "train" else "warning"
            report.problems.append(problem(severity, f"no-{side}-image", f"classes without a {side} image", absent))
