"""Sketches (metadata-only datasets): official counts with blank images, to plan a study without its files."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from fathom.core.records import FathomError
from fathom.data.vault import Labels


class BlankImages:
    """A number of images of one size that have no pixels.

    Args:
        n: Number of images.
        size: (height, width) in pixels.
    """

    def __init__(self, n: int, size: tuple[int, int]) -> None:
        self._n = n
        self._size = size

    def __len__(self) -> int:
        return self._n

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self._size

    @property
    def device(self) -> torch.device:
        """The CPU; there is nothing to move."""
        return torch.device("cpu")

    def take(self, ids: Int[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
        """Refuse.

        Raises:
            FathomError: Always.
        """
        raise FathomError(
            "these are official counts without images, for planning; to run, name the folder of the dataset's files "
            "with --data or FATHOM_DATA, or allow the download with --download"
        )

    def to(self, device: torch.device) -> "BlankImages":
        """These images."""
        return self


def mixed(counts: Sequence[int]) -> Labels:
    """Labels with the given count per class, spread so that every prefix has nearly the same shares.

    Their order is not that of the files.
    """
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    place = np.concatenate([(np.arange(n) + 0.5) / n for n in counts])
    drawn: Labels = labels[np.argsort(place, kind="stable")]
    return drawn
