"""The protocol: splits, HP choice, rounds, and the engine that runs them.

The package is callable, so that `fathom.run("quickstart", "out")` works although `fathom.run` is also this room.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fathom.run.backends import Outcome


class _CallableRoom(ModuleType):
    def __call__(self, study: Any, out: Any, **options: Any) -> "Outcome":
        """Run a study, or go on where it stopped: see `fathom.api.run`."""
        # Looked up by name: the rooms below do not import the API, this call only forwards to it.
        outcome: Outcome = import_module("fathom.api").run(study, out, **options)
        return outcome


sys.modules[__name__].__class__ = _CallableRoom
