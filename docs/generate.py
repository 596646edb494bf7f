"""Writes docs/cli.md from the help texts of the command: `make docs`."""

import re
import sys
from pathlib import Path
from unittest.mock import patch

from fathom.cli import app

PAGE = Path(__file__).parent / "cli.md"
HEAD = """# The command line

Written by `make docs` from the help texts of the command; edit those, not this page.

Results go to standard output, progress and mistakes to standard error. Exit status: 0 done; 1 a check found something;
2 a mistake that the message explains; 3 some runs failed or are not finished; 75 stopped by SIGTERM, 130 stopped by
Ctrl-C (run the same command again to resume).
"""


def page() -> str:
    """The text of docs/cli.md."""
    with patch.object(sys, "argv", ["fathom"]):  # usage lines would say how this file was started
        text = app.generate_docs(output_format="markdown", heading_level=1)
    text = text[text.index("## Table of Contents") :]
    contents = re.search(r"## Table of Contents\n\n(.*?)\n\n", text, flags=re.S)
    verbs = text[re.search(r"^## fathom ", text, flags=re.M).start() :]  # type: ignore[union-attr]
    assert contents is not None
    return f"{HEAD}\n{contents[1]}\n\n{verbs.strip()}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
