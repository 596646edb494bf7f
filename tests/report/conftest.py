"""Pages without drawings."""

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from tests.results.synthetic import Plan, build

from fathom.report import figures, paradigm_figures
from fathom.report.drawing import Drawing


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without drawings, for tests of their words: drawing takes most of a page's time."""
    for module in (figures, paradigm_figures):
        for name in (name for name in vars(module) if name.endswith("_figure")):
            empty = Drawing(name, b"", "<svg></svg>", "", Figure())
            monkeypatch.setattr(module, name, lambda stem, *rest, empty=empty: empty)


@pytest.fixture
def plain_store() -> Callable[[Path], None]:
    """Writes a study of data that no paper is about."""

    def write(root: Path) -> None:
        build(root, Plan(datasets=("digits",), seeds=2, rounds=3))

    return write
