"""Fathom: how much active learning is worth, measured by the protocol of Lüth et al. (NeurIPS 2023).

    fathom.run("quickstart", "out")      # run a study (by name, path or `Study`), or go on where it stopped
    fathom.table("out")                  # pandas frame, one row a committed round
    fathom.report("out")                 # write the HTML report, its figures and tables
    fathom.plan("quickstart")            # what it takes, before it is run

A query method is a function with a decorator: `fathom.score` or `fathom.selection` (see docs/adding.md).
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Names are looked up on first use, so that `import fathom` needs neither torch nor pandas.
_LAZY = {
    "run": ("fathom.run", ""),  # the room itself, which is callable
    "plan": ("fathom.api", "plan"),
    "table": ("fathom.store", "table"),
    "report": ("fathom.study.report", "report"),
    "load_study": ("fathom.study.design", "load_study"),
    "score": ("fathom.registry", "score"),
    "selection": ("fathom.registry", "selection"),
    "dataset": ("fathom.registry", "dataset"),
    "regime": ("fathom.registry", "regime"),
    "paradigm": ("fathom.registry", "paradigm"),
    "FathomError": ("fathom.records", "FathomError"),
}

if TYPE_CHECKING:
    from fathom.api import plan as plan
    from fathom.api import run as run
    from fathom.records import FathomError as FathomError
    from fathom.registry import dataset as dataset
    from fathom.registry import paradigm as paradigm
    from fathom.registry import regime as regime
    from fathom.registry import score as score
    from fathom.registry import selection as selection
    from fathom.store import table as table
    from fathom.study.design import load_study as load_study
    from fathom.study.report import report as report

__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fathom' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _LAZY[name]
    found = import_module(module)
    return getattr(found, attribute) if attribute else found
