"""The command, its entry point, and the options that verbs share.

The records of the API (`Machine`, `RunOptions`, ...) are flattened into single options (`name="*"`); their help texts
are the docstrings of the records. The subclasses here only add what a command line needs: ranges, flags without a
`--no-` form, and fields that a verb does not use (`parse=False`).
"""

import os
import shlex
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators
from rich.markup import escape

from fathom.cli.console import HELP, err, results_alone, show_warning
from fathom.core.machine import Machine
from fathom.core.records import FathomError
from fathom.core.version import __version__

app = App(
    name="fathom",
    version=__version__,
    help="How much active learning is worth, measured by the protocol of Lüth et al. (NeurIPS 2023).",
    help_epilogue="Begin with: fathom run quickstart",
    suppress_keyboard_interrupt=False,  # `main` prints what is committed
    console=HELP,
    error_console=err,
)

Flag = Annotated[bool, Parameter(negative="")]
Flat = Parameter(name="*")
Hidden = Parameter(parse=False)
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for scripts.")]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", help="Print only the result.")]
Out = Parameter(name=["--out", "-o"])
AtLeast0 = Parameter(validator=validators.Number(gte=0))
AtLeast1 = Parameter(validator=validators.Number(gte=1))
Repeatable = Parameter(negative="", show_default=False)
PluginName = Parameter(
    name="--plugin", help="Python file that registers your query methods, datasets, regimes, paradigms or backbones."
)
Plugins = Annotated[tuple[Path, ...], Repeatable, PluginName]
OnlyName = Parameter(
    name="--only",
    help="Run only these: dataset=cifar10,regime=low; also paradigm=, query=, seed=. Several values of one axis: "
    "seed=0+1, or --only again.",
)
Only = Annotated[tuple[str, ...], Repeatable, OnlyName]


@dataclass(frozen=True)
class MachineOptions(Machine):
    """`Machine` as options."""

    download: Flag = False
    threads: Annotated[int, AtLeast1] = 1
    fast: Flag = False
    plugins: Plugins = ()


@dataclass(frozen=True)
class ThreadOptions(MachineOptions):
    """`Machine` for verbs that take kernels from elsewhere."""

    fast: Annotated[bool, Hidden] = False


@dataclass(frozen=True)
class DeviceOptions(ThreadOptions):
    """`Machine` for verbs that take threads and kernels from elsewhere."""

    threads: Annotated[int, Hidden] = 1


@dataclass(frozen=True)
class DataOptions(DeviceOptions):
    """`Machine` for verbs that only read data."""

    device: Annotated[str, Hidden] = "auto"


@dataclass(frozen=True)
class Output:
    """Options of the output: report, quiet, JSON."""

    report: bool = True
    quiet: Quiet = False
    json: Json = False

    @property
    def silent(self) -> bool:
        """True if nothing but the result is printed."""
        return self.quiet or self.json


def again() -> str:
    """The sentence that says how to resume."""
    return f"Run the same command again to resume:\n  {shlex.join(['fathom', *sys.argv[1:]])}"


def command() -> None:
    """Entry point: `main`, without waiting at its end for threads that a plug-in has left running."""
    try:
        main()
    except SystemExit as end:
        if any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate()):
            sys.stderr.flush()
            os._exit(end.code if isinstance(end.code, int) else 1)
        raise


def main() -> None:
    """Do what the command line says: a user's mistake is one message on standard error and a non-zero exit status."""
    with warnings.catch_warnings(), results_alone():
        warnings.showwarning = show_warning
        try:
            code = app(sys.argv[1:])
        except FathomError as error:
            err.print("[bold red]error:[/] " + escape(str(error)), soft_wrap=True)
            sys.exit(error.exit_code)
        except OSError as error:  # a file or folder that is none, or may not be used
            place = f"{error.filename}: " if error.filename else ""
            text = f"error: {place}{error.strerror or error}. Check the path, its permissions and the disk"
            err.print(text, markup=False, soft_wrap=True)
            sys.exit(FathomError.exit_code)
        except KeyboardInterrupt as stop:
            err.print(f"Stopped. {stop}".rstrip(), markup=False, soft_wrap=True)
            sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
