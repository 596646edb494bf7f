"""Verbs about the machine: whether it will do."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape
from rich.table import Table

from fathom.cli.app import Data, Json, app
from fathom.cli.console import out as console
from fathom.cli.console import print_json, status_line

COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@app.command
def doctor(
    *,
    data: Data = None,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("runs"),
    json: Json = False,
) -> int:
    """Whether this machine will do, and how to mend what will not. Exit status 1 where something fails.

    Looks at Python, torch with torchvision, the GPU and its driver, cores, memory, data, cache, the storage of the
    results (as several workers use it), and optional packages. Nothing is changed.

    Args:
        out: Folder that the results are to go to; for several machines one that all of them see.
    """
    from fathom.machine.doctor import examine

    with status_line("Looking at this machine", json):
        checks = examine(data, out)
    well = all(check.state != "fail" for check in checks)
    if json:
        print_json({"ok": well, "checks": [asdict(check) for check in checks]})
        return 0 if well else 1
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in checks:
        mend = f"\n-> {check.mend}" if check.mend else ""
        table.add_row(f"[{COLORS[check.state]}]{check.state}", check.name, escape(check.found + mend))
    console.print(table)
    return 0 if well else 1
