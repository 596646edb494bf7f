"""Your own images: a folder with one sub-folder per class, or a CSV table of files and labels."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fathom.core.augmentations import AUGMENTATIONS
from fathom.core.metrics import MAIN_METRICS
from fathom.core.records import ROLES, FathomError
from fathom.core.streams import Stream
from fathom.data.cache.pixels import decode_files, each
from fathom.data.cache.value_range import value_range
from fathom.data.dataset import DataRoot, Dataset
from fathom.data.files.decode import FITS, header
from fathom.data.files.groups import GroupRule
from fathom.data.files.layout import VAL_USES
from fathom.data.files.listing import Listing, locate, nfc
from fathom.data.files.official import revision
from fathom.data.files.scan import list_folder, list_table
from fathom.data.images import channel_statistics
from fathom.data.sketch import BlankImages
from fathom.data.splits import Ids, fixed_test_split
from fathom.registry.registry import dataset

AUTO_SIZE = 64  # pixels: can be trained from scratch on one GPU; the study's roll-out data used 224
SMALL_SIZE = 32  # pixels, where the images are smaller than `AUTO_SIZE`
BALANCED_RATIO = 1.5  # largest over smallest class, up to which classes count as balanced
ORDER_STREAM = Stream(0, ("order",))  # one order for all seeds of all runs


@dataset("folder")
def folder(
    root: DataRoot,
    *,
    path: str = "",
    size: int | str = "auto",
    fit: str = "squash",
    metric: str = "auto",
    test_fraction: float = 0.25,
    val_fraction: float = 0.2,
    augment: str = "auto",
    role: str = "development",
    val: str = "auto",
    groups: str = "",
    leaks: str = "error",
) -> Dataset:
    """Your own images in a folder with one sub-folder per class, or with folders of the splits that hold those.

    Splits are known by their names, in any case: `train`, `training`; `test`, `testing`, `eval`, `holdout`; `val`,
    `valid`, `validation`, `dev`. Hidden and system folders are ignored; a doubtful layout is refused.

    Args:
        root: A relative path is looked up in the working directory and in `root.path`.
        path: The folder.
        size: Side of the square that images are resized to, in pixels. `auto`: 64, or 32 where the median of the
            images' shorter sides is less than 64.
        fit: `squash` (aspect ratio not kept) or `crop` (largest centered square).
        metric: `accuracy` or `balanced_accuracy`. `auto`: the second where the largest class has more than 1.5 times
            the train images of the smallest.
        test_fraction: Share of the images in the fixed test split, in (0, 1); drawn once, stratified by class, equal
            for all seeds. Unused where train/ and test/ are given.
        val_fraction: Share of the train images held out for validation, in (0, 1), drawn anew by each seed, stratified
            by class; one or more of each class that has two.
        augment: Family of augmentations: `cifar`, `digits`, `isic` or `imagenet`. `auto`: `cifar` up to 64 pixels,
            else `imagenet`.
        role: `development`, or `roll-out`: never tuned on, run with decisions frozen before (`fathom freeze`).
        val: Use of the images of a given validation split: `train` (they join the train images, of which each seed
            draws its own validation set), `test`, or `ignore`. `auto`: `train` where a test split is given, else
            refused.
        groups: Images that belong together (patient, video, burst) and stay on one side of every split: a regular
            expression, searched in each path below the folder, whose part in parentheses is the name of the group, for
            example "(patient[0-9]+)_". `independent`: declares that each image is unrelated to the others. Empty:
            nothing is declared, and no check of leakage can pass.
        leaks: `error` or `warn` about a group on both sides of a given split.

    Raises:
        FathomError: The folder is absent, doubtful, holds fewer than two classes, or has unreadable files.

    Source: ours. The shares are those of ISIC-2019 and MIO-TCD in Lüth et al. 2023 (study code); stratified, and in an
        order that does not depend on the file system (in the study's code it did).
    """
    options = FolderOptions(size, fit, metric, test_fraction, val_fraction, augment, role)
    listing = read_listing("folder", root, path=path, val=val, groups=groups, leaks=leaks)
    return _build("folder", listing, root, options)


@dataset("table")
def image_table(
    root: DataRoot,
    *,
    path: str = "",
    size: int | str = "auto",
    fit: str = "squash",
    metric: str = "auto",
    test_fraction: float = 0.25,
    val_fraction: float = 0.2,
    augment: str = "auto",
    role: str = "development",
    outside: bool = False,
    val: str = "auto",
    groups: str = "",
    leaks: str = "error",
) -> Dataset:
    """Your own images in a CSV table with columns path, label and optionally split (train, test, val) and group.

    Images of one group (patient, lesion, camera) stay on one side of every split. Arguments otherwise as for `folder`.

    Args:
        root: A relative path is looked up in the working directory and in `root.path`.
        path: The CSV file, UTF-8; its paths are relative to its folder.
        size, fit, metric, test_fraction, val_fraction, augment, role: As for `folder`.
        outside: Allow paths that lead out of the table's folder.
        val, groups: As for `folder`; `groups` is for a table without the column group.
        leaks: `error` or `warn` about a group on both sides of a given split.

    Raises:
        FathomError: The table is absent or wrong (which rows, and why), or has unreadable files.

    Source: ours.
    """
    options = FolderOptions(size, fit, metric, test_fraction, val_fraction, augment, role)
    listing = read_listing("table", root, path=path, outside=outside, val=val, groups=groups, leaks=leaks)
    return _build("table", listing, root, options)


# ------------------------------------------------------------------------------------------------------- helpers

EXAMPLES = {"folder": '"folder(path=images)"', "table": '"table(path=data.csv)"'}


@dataclass(frozen=True)
class FolderOptions:
    """The checked parameters of user images; see `folder`."""

    size: int | str
    fit: str
    metric: str
    test_fraction: float
    val_fraction: float
    augment: str
    role: str

    def __post_init__(self) -> None:
        if self.size != "auto" and not (type(self.size) is int and 8 <= self.size <= 2048):
            raise FathomError(f"size is {self.size!r}; expected auto or a whole number of pixels from 8 to 2048")
        choices = {"fit": FITS, "metric": ("auto", *MAIN_METRICS), "augment": ("auto", *AUGMENTATIONS), "role": ROLES}
        for key, allowed in choices.items():
            if (given := getattr(self, key)) not in allowed:
                raise FathomError(f"{key} is {given!r}; expected one of: {', '.join(allowed)}")
        for key in ("test_fraction", "val_fraction"):
            if not 0 < (given := getattr(self, key)) < 1:
                raise FathomError(f"{key} is {given}; expected a number between 0 and 1, both excluded")


@dataclass(frozen=True, eq=False)
class SplitAssignment:
    """Classes, groups and split of the images of a listing, as numbers in its order."""

    class_names: tuple[str, ...]
    labels: Ids
    groups: Ids | None
    test: np.ndarray[Any, np.dtype[np.bool_]]


def read_listing(
    kind: str,
    root: DataRoot,
    *,
    path: str = "",
    outside: bool = False,
    val: str = "auto",
    groups: str = "",
    leaks: str = "error",
) -> Listing:
    """The listing behind `folder(path=...)` or `table(path=...)`."""
    for key, given, allowed in (("leaks", leaks, ("error", "warn")), ("val", val, VAL_USES)):
        if given not in allowed:
            raise FathomError(f"{kind}: {key} is {given!r}; expected {' or '.join(allowed)}")
    rule = GroupRule(groups)
    found = locate(path, root.path, EXAMPLES[kind])
    if found.is_dir() != (kind == "folder"):
        other = "table" if kind == "folder" else "folder"
        raise FathomError(f"{found} is a {'folder' if found.is_dir() else 'file'}; did you mean {other}(path=...)?")
    if kind == "folder":
        listing = list_folder(found, val=val, groups=rule)
    else:
        listing = list_table(found, outside=outside, val=val, groups=rule)
    listing.independent = rule.independent
    if leaks == "warn":
        listing.problems = [replace(p, severity="warning") if p.kind == "group-leak" else p for p in listing.problems]
    return listing


def assign(listing: Listing, test_fraction: float) -> SplitAssignment:
    """Number the classes and groups in the order of their names, and draw the test split where none is given."""
    class_names = tuple(sorted(set(listing.labels), key=str.encode))
    number = {name: c for c, name in enumerate(class_names)}
    labels = np.array([number[label] for label in listing.labels], np.int64)
    groups = None
    if listing.groups is not None:
        groups = np.unique(listing.groups, return_inverse=True)[1].astype(np.int64)
    if listing.splits is not None:
        test = np.array([split == "test" for split in listing.splits], bool)
    else:
        test = fixed_test_split(labels, test_fraction, groups)
    return SplitAssignment(class_names, labels, groups, test)


def outline(kind: str, listing: Listing, options: FolderOptions) -> tuple[Dataset, Ids]:
    """The dataset with blank images, which is enough to split it, and the place of each image in the listing.

    Returns:
        (dataset, places in the listing of the train images and then of the test images).

    Raises:
        FathomError: The listing has errors, or labels and splits do not make a dataset.
    """
    listing.refuse(f"{kind} {listing.root}")
    assigned = assign(listing, options.test_fraction)
    # Shuffled in a fixed way: files are listed class by class, and a query method that breaks ties by the order of the
    # pool would profit from the classes in it.
    order = ORDER_STREAM.numpy().permutation(len(listing.paths))
    train, test = (order[assigned.test[order] == side] for side in (False, True))
    if not len(test):
        raise FathomError(
            f"{kind} {listing.root}: too few images for a test split; add images, or use a larger test_fraction"
        )
    counts = np.bincount(assigned.labels[train], minlength=len(assigned.class_names))
    balanced = bool(counts.max() <= BALANCED_RATIO * counts.min())
    auto_metric = "accuracy" if balanced else "balanced_accuracy"
    groups, test_groups = (None, None) if assigned.groups is None else (assigned.groups[train], assigned.groups[test])
    divisible = _divisible(assigned.labels[train], groups, len(counts))
    made = Dataset(
        name=kind,
        images=BlankImages(len(train), (1, 1)),
        labels=assigned.labels[train],
        test_images=BlankImages(len(test), (1, 1)),
        test_labels=assigned.labels[test],
        class_names=assigned.class_names,
        metric=auto_metric if options.metric == "auto" else options.metric,
        balanced=balanced,
        val_split=max(1, int(divisible.sum()), int(options.val_fraction * len(train))),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        augment="cifar",
        groups=groups,
        test_groups=test_groups,
        ids=tuple(listing.names[i] for i in train),
        test_ids=tuple(listing.names[i] for i in test),
        source=f"own images: {nfc(listing.root.name)}",
        independent=listing.independent,
        notes=(
            *(str(p) for p in listing.problems),
            *(
                f"no validation image of class {name}: all its train images are in one group, and stay for training"
                if groups is not None and counts[c] > 1
                else f"no validation image of class {name}: its only train image stays for training"
                for c, name in enumerate(assigned.class_names)
                if counts[c] and not divisible[c]
            ),
        ),
    )
    return made, np.concatenate([train, test])


def _divisible(labels: Ids, groups: Ids | None, classes: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """True for the classes with two or more groups, or images without groups, of which one can be held out."""
    units = np.arange(len(labels)) if groups is None else groups
    pairs = np.unique(np.stack([labels, units]), axis=1)
    return np.bincount(pairs[0], minlength=classes) > 1


def _build(kind: str, listing: Listing, root: DataRoot, options: FolderOptions) -> Dataset:
    made, places = outline(kind, listing, options)
    side, size_notes = _side(listing, options, root)
    values = value_range(listing.paths, root.cache, quiet=root.quiet)
    images, test_images = (
        decode_files(
            [listing.paths[i] for i in ids],
            (side, side),
            root.cache,
            fit=options.fit,
            quiet=root.quiet,
            white=values.white,
        )
        for ids in np.split(places, [len(made.labels)])
    )
    mean, std = channel_statistics(images)
    labels = made.vault.for_data_check()
    return replace(
        made,
        images=images,
        test_images=test_images,
        mean=mean,
        std=std,
        role=options.role,
        augment=options.augment if options.augment != "auto" else ("cifar" if side <= AUTO_SIZE else "imagenet"),
        revision=revision(images, test_images, labels, made.test_labels, made.groups, made.test_groups),
        notes=(*made.notes, *size_notes, *values.notes, *_unseen(made)),
    )


def _side(listing: Listing, options: FolderOptions, root: DataRoot) -> tuple[int, tuple[str, ...]]:
    """The side of the images in pixels, and a note if it was chosen here."""
    if isinstance(options.size, int):
        return options.size, ()
    shorter = [min(size) for size in each(header, listing.paths, "reading sizes", root.quiet)]
    side = AUTO_SIZE if np.median(shorter) >= AUTO_SIZE else SMALL_SIZE
    return side, (f"size=auto: images are {side} x {side} pixels (median shorter side {np.median(shorter):g})",)


def _unseen(made: Dataset) -> tuple[str, ...]:
    seen = set(made.test_labels.tolist())
    names = [name for c, name in enumerate(made.class_names) if c not in seen]
    return (f"no test image of class {', '.join(names)}: its recall is not measured",) if names else ()
