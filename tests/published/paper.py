"""Stand-ins for roll-out datasets where they are not registered."""

from functools import cache
from pathlib import Path

import pytest

from fathom.registry import registry
from fathom.registry.plugin_scan import scan
from fathom.registry.registry import Entry

STAND_IN = """
import numpy as np
from fathom.data.dataset import Dataset
from fathom.data.sketch import BlankImages
from fathom.core.records import FathomError
from fathom.registry.registry import dataset


def _outline(counts, test, held_out, metric="balanced_accuracy", regimes=None):
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    n = len(labels)
    sides = np.zeros(n, bool)
    sides[np.random.default_rng(12345).choice(n, test, replace=False)] = True
    return Dataset("x", BlankImages(n - test, (224, 224)), labels[~sides], BlankImages(test, (224, 224)), labels[sides],
                   tuple(map(str, range(len(counts)))), metric, False, held_out, (0.5,) * 3, (0.5,) * 3, "isic",
                   "roll-out", regimes=regimes or {})


@dataset("isic2019", sketch="_isic")
def isic(root, *, split: str = "lesion"):
    raise FathomError("no files")


def _isic(*, split: str = "lesion"):
    return _outline([4522, 12875, 3323, 867, 2624, 239, 253, 628], 6332, 3799, regimes={"high": {"val_size": 3799}})


@dataset("mio-tcd", sketch="_mio")
def mio(root):
    raise FathomError("no files")


def _mio():
    return _outline([10346, 160000, 2284, 10316, 260518, 1982, 1751, 6262, 50906, 5120, 9679], 129791, 77874)
"""


@pytest.fixture
def roll_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `isic2019` and `mio-tcd` by name: the registered ones, else stand-ins of the published sizes."""
    found = registry.index()
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN)
    entries: dict[str, Entry] = {e.name: e for e in scan("_fathom_plugin_stand_in", path, "")}
    merged = {**found, "dataset": {**entries, **found["dataset"]}}
    monkeypatch.setattr(registry, "index", cache(lambda: merged))  # refreshed as the real one is
