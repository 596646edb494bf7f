"""The protocol: splits, HP choice, rounds, and the engine that runs them.

The package is callable, so that `fathom.run("quickstart", "out")` works although `fathom.run` is also this room.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fathom.run.backends import Outcome


class _CallableRoom(ModuleType):
    def __call__(self, study: Any, out: Any, **options: Any) -> "Outcome":
        """Run a study, or go on where it stopped: see `fathom.run.backends.run`."""
        from fathom.run.backends import run

        return run(study, out, **options)


sys.modules[__name__].__class__ = _CallableRoom
