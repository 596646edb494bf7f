"""The command, its entry point, and the options that verbs share."""

import shlex
import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter, validators
from rich.markup import escape

import fathom
from fathom.cli.console import err, show_warning
from fathom.core.records import FathomError
from fathom.registry import registry

app = App(
    name="fathom",
    version=fathom.__version__,
    help="How much active learning is worth, measured by the protocol of Lüth et al. (NeurIPS 2023).",
    help_epilogue="Begin with: fathom run quickstart",
    suppress_keyboard_interrupt=False,  # `main` says what is safe
)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for scripts.")]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", help="Print nothing but the result.")]
Plugin = Annotated[list[Path] | None, Parameter(name="--plugin", negative="", help="File with members of your own.")]
Data = Annotated[
    Path | None, Parameter(name="--data", help="Folder of the datasets [default: FATHOM_DATA, else ./data].")
]
Download = Annotated[bool, Parameter(name="--download", negative="", help="Fetch datasets that are not there.")]
Only = Annotated[
    list[str] | None,
    Parameter(
        name="--only",
        negative="",
        help="The part of the study that is meant: dataset=cifar10,regime=low; also paradigm=, query=, seed=. Several "
        "values of one: seed=0+1, or --only again.",
    ),
]
Hparams = Annotated[
    Literal["search", "published"] | None,
    Parameter(
        name="--hparams",
        help="Search the published grids, or take what was chosen there; in the place of what the study says.",
    ),
]
Workers = Annotated[int | None, Parameter(name="--workers", validator=validators.Number(gte=0))]
Threads = Annotated[int, Parameter(name="--threads", validator=validators.Number(gte=1))]
Device = Annotated[str, Parameter(name="--device", help="auto, cpu, cuda or cuda:N.")]


def add_plugins(paths: list[Path] | None) -> None:
    """Register the members of the files named with --plugin."""
    for path in paths or []:
        registry.add_file(path)


def command_line() -> str:
    """What was typed, to be typed again."""
    return shlex.join(["fathom", *sys.argv[1:]])


def main() -> None:
    """Entry point: a user's mistake is one message on standard error and a non-zero exit status."""
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            code = app(sys.argv[1:])
        except FathomError as error:
            err.print("[bold red]error:[/] " + escape(str(error)), soft_wrap=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt as stop:
            err.print(f"Stopped. {stop}".rstrip(), markup=False, soft_wrap=True)
            sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
