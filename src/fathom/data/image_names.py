"""Names of a dataset's images, and the rows of a table that belong to them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fathom.core.records import FathomError
from fathom.data.dataset import Dataset
from fathom.data.files.listing import nfc

_EXAMPLES = 3


def names_of(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Names of the `train` and `test` images: paths below the dataset's folder, or their index where there are none."""
    return {
        part: tuple(map(nfc, ids)) if ids is not None else tuple(map(str, range(len(labels))))
        for part, ids, labels in (
            ("train", dataset.ids, dataset.labels),
            ("test", dataset.test_ids, dataset.test_labels),
        )
    }


@dataclass(frozen=True, eq=False)
class ImageRows:
    """Finds the rows of images in a table whose rows have names (`learn.task.RowFinder`).

    It is handed on instead of the names, because names of files often hold the class.

    Args:
        part: `train` or `test`.
        names: Of all images of each part.
        wanted: Positions of the images in their part; None for all.
    """

    part: str
    names: dict[str, tuple[str, ...]]
    wanted: Sequence[int] | None = None

    def __call__(self, ids: Iterable[object], *, both: bool) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Row of each image, in their order.

        Args:
            ids: Name of each row.
            both: True for a table of train and test images, False for one of this part alone.

        Raises:
            FathomError: Names are repeated, absent, or of no image.
        """
        rows = [_plain(name) for name in ids]
        own = self.names[self.part]
        other = self.names["test" if self.part == "train" else "train"] if both else ()
        if shared := sorted(set(own) & set(other)):
            raise FathomError(
                f"{_some(shared, 'names')} of images are in both train and test, so one table of ids cannot tell them "
                "apart; give train, train_ids, test and test_ids"
            )
        wrong = (
            (sorted(name for name, n in Counter(rows).items() if n > 1), "are repeated"),
            (sorted(set(own) - set(rows)), f"of {self.part} images are absent"),
            (sorted(set(rows) - set(own) - set(other)), "are of no image of the dataset"),
        )
        if texts := [f"{_some(names, 'ids')} {what}" for names, what in wrong if names]:
            raise FathomError(
                f"{'; '.join(texts)}. Expected each of the dataset's {len(own) + len(other):,} images once, named as "
                f"{own[0]!r}"
            )
        row = {name: i for i, name in enumerate(rows)}
        found = np.array([row[name] for name in own], np.int64)
        return found if self.wanted is None else found[np.asarray(self.wanted, np.int64)]


def _plain(name: object) -> str:
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
    return nfc(text.strip().replace("\\", "/").removeprefix("./"))


def _some(names: Sequence[str], what: str) -> str:
    shown = ", ".join(map(repr, names[:_EXAMPLES]))
    return f"{len(names):,} {what} ({shown}{', ...' if len(names) > _EXAMPLES else ''})"
