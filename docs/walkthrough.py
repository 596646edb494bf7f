"""Run the pages that are walk-throughs: write their files, run their commands, compare or renew the output they show.

`python -m docs.walkthrough` runs docs/tutorial.md in a temporary folder and writes what its commands print into it.

In such a page a block whose first line is `# name` is a file. A `console` block holds commands (`$ command`), each
followed by its standard output. A line `...` stands for lines that are left out; such a block is not renewed.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parent / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.S | re.M)
FILE = re.compile(r"\A# ([\w.-]+\.\w+)\n")


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Args:
        line: The command without `$ `.
        shown: The output that the page shows.
        printed: The standard output of the command when it was run.
    """

    line: str
    shown: str
    printed: str


def run(text: str, folder: Path) -> Iterator[Command]:
    """Write the files of a page to a folder and run its commands there, in the order of the page.

    Raises:
        RuntimeError: A command failed.
    """
    for language, body in BLOCK.findall(text):
        if named := FILE.match(body):
            (folder / named[1]).write_text(body, encoding="utf-8")
        elif language == "console":
            for line, shown in commands(body):
                yield Command(line, shown, _output(line, folder))


def commands(block: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output that is shown below it."""
    parts = re.split(r"^\$ ", block, flags=re.M)[1:]
    return [(line, shown) for line, _, shown in (part.partition("\n") for part in parts)]


def _output(line: str, folder: Path) -> str:
    """Run a command with the tools of this environment, and return its standard output without trailing blanks."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"PATH": tools, "NO_COLOR": "1", "COLUMNS": "110", "FATHOM_CACHE": str(folder / "cache")}
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment = {**os.environ, **threads, **settings}
    done = subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"`{line}` ended with status {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return "".join(f"{row.rstrip()}\n" for row in done.stdout.splitlines())


def words(text: str) -> Counter[str]:
    """Count the words of an output without what depends on the machine: hashes, numbers, and units of time."""
    text = re.sub(r"\b[0-9a-f]{12}\b", "#", text)
    text = re.sub(r"[+-]?\d+(?:[.,]\d+)*", "#", text)
    return Counter(re.sub(r"# (?:s|min|h|days?)\b", "# TIME", " ".join(text.split())).split())


def is_real(command: Command) -> bool:
    """Return whether the shown output is that of the command, up to numbers, and to lines left out with `...`."""
    if not command.shown:
        return True
    lines = command.shown.splitlines()
    shown = words("\n".join(line for line in lines if line != "..."))
    return shown <= words(command.printed) if "..." in lines else shown == words(command.printed)


def renewed(text: str, done: list[Command]) -> str:
    """Return the page with the output of its commands, but for blocks that leave lines out or show none."""
    for command in done:
        if command.shown and "..." not in command.shown.splitlines():
            before, after = f"$ {command.line}\n{command.shown}", f"$ {command.line}\n{command.printed}"
            text = text.replace(before, after, 1)
    return text


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        ran = []
        for step in run(page, Path(scratch)):
            ran.append(step)
            print(f"$ {step.line}\n{step.printed}", end="", flush=True)
    PAGE.write_text(renewed(page, ran), encoding="utf-8")
    for step in ran:
        if not is_real(step):
            print(f"changed: {step.line}; if its block has a line `...`, edit it by hand")
