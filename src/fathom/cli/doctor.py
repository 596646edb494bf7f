"""The verb that checks this machine."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from rich.markup import escape
from rich.table import Table

from fathom.cli.app import Json, Out, app
from fathom.cli.console import out as console
from fathom.cli.console import print_json, status_line

COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@app.command
def doctor(
    *, data: Path | None = None, cache: Path | None = None, out: Annotated[Path, Out] = Path("runs"), json: Json = False
) -> int:
    """Check that this machine is set up correctly, and print how to fix what is not. Exit status 1 if a check fails.

    Checks Python, torch with torchvision, the GPU and its driver, cores, memory, data, cache, the storage of the
    results (as several workers use it), and optional packages. Changes nothing.

    Args:
        data: Folder of the datasets [default: FATHOM_DATA, else ./data].
        cache: Folder of decoded images, features and encoders [default: FATHOM_CACHE, else in the folder of datasets].
        out: Folder for the results; for several machines a folder that all of them see.
    """
    from fathom.machine.doctor import examine

    with status_line("Checking this machine", json):
        checks = examine(data, out, cache)
    ok = all(check.state != "fail" for check in checks)
    if json:
        print_json({"ok": ok, "checks": [asdict(check) for check in checks]})
        return 0 if ok else 1
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in checks:
        fix = f"\n-> {check.fix}" if check.fix else ""
        table.add_row(f"[{COLORS[check.state]}]{check.state}", check.name, escape(check.found + fix))
    console.print(table)
    return 0 if ok else 1
