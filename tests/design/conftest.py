"""A plug-in with data that nothing is tuned on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fathom.registry import registry

PLUGIN = """
from dataclasses import replace
from fathom import dataset
from fathom.data.datasets.digits import digits

@dataset("held-out", role="roll-out")
def held_out(root):
    "Digits that nothing is tuned on."
    return replace(digits(root), role="roll-out")

@dataset("liar")
def liar(root):
    "Says one thing and does another."
    return replace(digits(root), role="roll-out")
"""


@pytest.fixture
def held_out_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register a roll-out dataset and one whose declared role is wrong; go to the folder of the test."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(PLUGIN)
    registry.add_file(tmp_path / "own.py")
    yield
    registry._files.clear()
    registry.index.cache_clear()
