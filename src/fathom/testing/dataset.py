"""Contract of datasets."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from fathom.core.member_call import MemberExitError, collected
from fathom.core.records import FathomError
from fathom.core.streams import Streams
from fathom.data import load
from fathom.data.dataset import DataRoot, Dataset, Images
from fathom.data.images import fingerprints
from fathom.data.splits import train_val_split
from fathom.registry.registry import find
from fathom.testing.purity import global_state, other_python_state, refuse

SEEDS = range(3)


def check_dataset(text: str, root: DataRoot | Path | str | None = None, *, disjoint: bool = True) -> None:
    """Load a dataset twice and check it against the contract.

    Args:
        text: Spec string of a registered dataset.
        root: Folder of its files; None if it needs none.
        disjoint: Report a test image that is also a train image.

    Raises:
        FathomError: The dataset breaks the contract; the message lists every finding (see `dataset_findings`).
    """
    refuse("dataset", text, dataset_findings(text, root, disjoint=disjoint))


def dataset_findings(text: str, root: DataRoot | Path | str | None = None, *, disjoint: bool = True) -> list[str]:
    """List how a dataset breaks the contract; empty if it keeps it.

    Two loads must give equal images, labels, groups and `revision`. Labels are int64. `take`
    gives uint8 [b, 3, h, w] for ids in any order, also repeated or none, and the same each time. A split is the same
    for the same seed; its parts share no image and no group, and no group is on both sides of train and test. No test
    image is, pixel for pixel, a train image. No setting or random state of the process changes, the source is named,
    and there is a line of documentation.

    Raises:
        FathomError: The dataset cannot be loaded.
    """
    entry, _ = find("dataset", text)
    findings = [] if entry.summary else [f"{entry.attribute} has no docstring; its first line is shown in lists"]
    with TemporaryDirectory() as nowhere:
        where = root if isinstance(root, DataRoot) else DataRoot(Path(root or nowhere), Path(nowhere), quiet=True)
        with collected() as collected_findings:  # of the repetitions, and of `take`
            try:
                with global_state() as touched:
                    first = load(text, where)
                findings += touched
                with other_python_state():
                    second = load(text, where)
                findings += [*_examine(first), *_compare(first, second), *_splits(first)]
                seen = set(fingerprints(first.images)) if disjoint else set()
                if twice := len(seen & set(fingerprints(first.test_images))):
                    findings.append(f"{twice} test images are also train images, pixel for pixel; remove them from one")
            except MemberExitError as error:
                findings.append(str(error))
        findings += [finding for finding in collected_findings if finding not in findings]
    return findings


def _examine(d: Dataset) -> Iterator[str]:
    if not d.source:
        yield "source is empty; name the origin of the data and its license"
    if not d.revision:
        yield "revision is empty; give fathom.data.files.official.revision(...), or other data count as these"
    if d.groups is not None and d.test_groups is not None and (both := np.intersect1d(d.groups, d.test_groups)).size:
        yield f"{both.size} groups have images in both train and test"
    for name, images in (("images", d.images), ("test_images", d.test_images)):
        for finding in _take(images):
            yield f"{name}: {finding}"


def _take(images: Images) -> Iterator[str]:
    """Check `take` with some ids, repeated ids and no ids."""
    n, (h, w) = len(images), images.size
    for what, ids in (("some", [n - 1, 0, n // 2]), ("repeated", [0, 0]), ("no", [])):
        asked = torch.tensor(ids, dtype=torch.int64, device=images.device)
        try:
            got, again = images.take(asked), images.take(asked)
        except Exception as error:  # any error is a finding
            yield f"take of {what} ids raised {type(error).__name__}: {error}"
            continue
        if got.dtype != torch.uint8 or tuple(got.shape) != (len(ids), 3, h, w):
            yield f"take of {what} ids gave {got.dtype} {list(got.shape)}; expected uint8 {[len(ids), 3, h, w]}"
        elif got.device != images.device:
            yield f"take gave a tensor on {got.device}; expected {images.device}"
        elif not torch.equal(got, again):
            yield f"take of {what} ids gives other pixels the second time; a dataset must not augment"
        elif what == "repeated" and not torch.equal(got[0], got[1]):
            yield "take gives two images for one id"
        elif what == "some" and not all(torch.equal(got[i], images.take(asked[i : i + 1])[0]) for i in range(3)):
            yield "take gives other pixels for an image alone than in a batch; it must keep the order of the ids"


def _compare(a: Dataset, b: Dataset) -> Iterator[str]:
    if a.revision != b.revision:
        yield "revision differs between two loads; it must depend on the content only"
    for name in ("labels", "test_labels", "groups", "test_groups"):
        mine, theirs = (d.vault.for_data_check() if name == "labels" else getattr(d, name) for d in (a, b))
        if not np.array_equal(mine, theirs):
            yield f"{name} differ between two loads; sort file listings and draw nothing at random"
    for name in ("images", "test_images"):
        mine, theirs = getattr(a, name), getattr(b, name)
        ids = torch.arange(min(len(mine), len(theirs), 256), device=mine.device)
        if len(mine) != len(theirs) or not torch.equal(mine.take(ids), theirs.take(ids)):
            yield f"{name} differ between two loads; sort file listings and draw nothing at random"


def _splits(d: Dataset) -> Iterator[str]:
    for seed in SEEDS:
        try:
            train, held = train_val_split(d, Streams(seed)("split"))
        except FathomError as error:
            yield f"seed {seed} cannot be split: {error}"
            return
        again = train_val_split(d, Streams(seed)("split"))
        if not all(np.array_equal(x, y) for x, y in zip((train, held), again, strict=True)):
            yield f"the split of seed {seed} differs the second time"
        if np.intersect1d(train, held).size:
            yield f"seed {seed}: an image is on both sides of the split"
        if d.groups is not None and np.intersect1d(d.groups[train], d.groups[held]).size:
            yield f"seed {seed}: a group is on both sides of the split"
