"""Fathom: how much active learning is worth, measured by the protocol of Lüth et al. (NeurIPS 2023).

    fathom.run("quickstart", "out")      # run a study (by name, path or `Study`), or go on where it stopped
    fathom.table("out")                  # pandas frame, one row a committed round
    fathom.report("out")                 # write the HTML report, its figures and tables
    fathom.plan("quickstart")            # what it takes, before it is run

A query method is a function with a decorator: `fathom.score` or `fathom.selection` (see docs/adding.md).
"""

from typing import TYPE_CHECKING, Any

from fathom.core.version import __version__ as __version__

# Names are looked up on first use, so that `import fathom` needs neither torch nor pandas.
_LAZY = {
    "run": ("fathom.api", "run"),
    "plan": ("fathom.api", "plan"),
    "table": ("fathom.api", "table"),
    "report": ("fathom.report.report", "report"),
    "load_study": ("fathom.design.study_file", "load_study"),
    "score": ("fathom.registry.registry", "score"),
    "selection": ("fathom.registry.registry", "selection"),
    "dataset": ("fathom.registry.registry", "dataset"),
    "regime": ("fathom.registry.registry", "regime"),
    "paradigm": ("fathom.registry.registry", "paradigm"),
    "FathomError": ("fathom.core.records", "FathomError"),
}

if TYPE_CHECKING:
    from fathom.api import plan as plan
    from fathom.api import run as run
    from fathom.api import table as table
    from fathom.core.records import FathomError as FathomError
    from fathom.design.study_file import load_study as load_study
    from fathom.registry.registry import dataset as dataset
    from fathom.registry.registry import paradigm as paradigm
    from fathom.registry.registry import regime as regime
    from fathom.registry.registry import score as score
    from fathom.registry.registry import selection as selection
    from fathom.report.report import report as report

__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fathom' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _LAZY[name]
    found = import_module(module)
    return getattr(found, attribute) if attribute else found
