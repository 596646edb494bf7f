"""Verb that shows studies in the browser."""

import webbrowser
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fathom.cli.app import Flag, app
from fathom.cli.console import err, print_plain


@app.command(name="serve")
def serve_studies(
    folder: Path = Path("runs"),
    /,
    *,
    port: Annotated[int, Parameter(help="Port on this machine; 0 for a free one.")] = 0,
    open_browser: Annotated[Flag, Parameter(name="--open")] = False,
) -> None:
    """Show the studies under a folder in the browser, live while they run. Stop with Ctrl-C.

    Prints an address that holds a secret token. The server listens on this machine alone and writes nothing: reports
    are made in memory.

    Args:
        folder: A study's folder, or one that holds studies.
        open_browser: Open the address in the browser.
    """
    from fathom.serve.server import StudyServer
    from fathom.serve.studies import ServedStudies

    with StudyServer(ServedStudies(folder), port) as server:
        print_plain(server.address)
        err.print("Open this address on this machine. Ctrl-C stops the server.", markup=False)
        if open_browser:
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            err.print("Stopped.", markup=False)
