"""Pages without drawings."""

import pytest
from matplotlib.figure import Figure

from fathom.study import figures, paradigm_figures
from fathom.study.drawing import Drawing


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without drawings, for tests of their words: drawing takes most of a page's time."""
    for module in (figures, paradigm_figures):
        for name in (name for name in vars(module) if name.endswith("_figure")):
            empty = Drawing(name, b"", "<svg></svg>", "", Figure())
            monkeypatch.setattr(module, name, lambda stem, *rest, empty=empty: empty)
