"""Fathom: how much active learning is worth, measured by the protocol of Lüth et al. (NeurIPS 2023).

    fathom.plan("quickstart")            # estimate runs, labels, disk space and time
    fathom.run("quickstart", "out")      # run a study (name, path or `Study`), or resume it
    fathom.status("out")                 # read how far it is
    fathom.table("out")                  # pandas frame, one row per committed round
    fathom.verdicts("out")               # pandas frame: better, not worse, worse or undecided, with all numbers
    fathom.gains("out")                  # pandas frame, one paired gain per seed
    fathom.predictions("out")            # kept test predictions of first and last rounds
    fathom.report("out")                 # write the HTML report, its figures and tables

`fathom.claim` decides a claim such as `badge > random`; `compare`, `audit`, `freeze` and `recheck` judge a study.
A query method is a function with a decorator: `fathom.score` or `fathom.selection` (see docs/adding.md).
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fathom.core.version import __version__ as __version__

# Names are looked up on first use, so that `import fathom` needs neither torch nor pandas.
_LAZY = {
    **dict.fromkeys(
        (
            "audit",
            "claim",
            "compare",
            "freeze",
            "gains",
            "plan",
            "predictions",
            "recheck",
            "report",
            "run",
            "status",
            "table",
            "verdicts",
            "PlanOptions",
        ),
        "fathom.api",
    ),
    **dict.fromkeys(("backbone", "dataset", "paradigm", "regime", "score", "selection"), "fathom.registry.registry"),
    **dict.fromkeys(("Machine", "RunOptions"), "fathom.core.machine"),
    "FathomError": "fathom.core.records",
    "load_study": "fathom.design.study_file",
}

if TYPE_CHECKING:
    from fathom.api import PlanOptions as PlanOptions
    from fathom.api import audit as audit
    from fathom.api import claim as claim
    from fathom.api import compare as compare
    from fathom.api import freeze as freeze
    from fathom.api import gains as gains
    from fathom.api import plan as plan
    from fathom.api import predictions as predictions
    from fathom.api import recheck as recheck
    from fathom.api import report as report
    from fathom.api import run as run
    from fathom.api import status as status
    from fathom.api import table as table
    from fathom.api import verdicts as verdicts
    from fathom.core.machine import Machine as Machine
    from fathom.core.machine import RunOptions as RunOptions
    from fathom.core.records import FathomError as FathomError
    from fathom.design.study_file import load_study as load_study
    from fathom.registry.registry import backbone as backbone
    from fathom.registry.registry import dataset as dataset
    from fathom.registry.registry import paradigm as paradigm
    from fathom.registry.registry import regime as regime
    from fathom.registry.registry import score as score
    from fathom.registry.registry import selection as selection

__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fathom' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _Package(ModuleType):
    """Keeps `fathom.report` a function: importing the room `fathom.report` would set the name to the module."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _LAZY and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
