"""The fault suite: `make faults` injects every fault and prints fault, expectation, outcome and number of cases.

    python -m tools.faults                  # all; stopped and run again on the same code, it resumes
    python -m tools.faults --write          # put the last table into docs/reliability.md
    python -m tools.faults tests/store      # only these tests, with further options of pytest

A fault is a test with the mark `fault` (tests/faults.py). Ends with 1 if a test fails or a row has tried no case.
Rows of the area `gpu` may be empty on a machine without one.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- table of make faults -->", "<!-- end of the table -->"
LINES = "FATHOM_FAULTS_LINES"  # environment variable: file of the lines, for the worker processes
COLUMNS = ("area", "fault", "expectation", "outcome", "cases", "seconds")


# ------------------------------------------------------------------------------------------------- pytest plug-in


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what has passed on this code; attach the marks to each report, which workers send back."""
    passed = {line["test"] for line in read_lines(Path(os.environ[LINES])) if line["outcome"] == "passed"}
    items[:] = [item for item in items if item.nodeid not in passed]
    for item in items:
        item.user_properties += [("fault", mark.kwargs) for mark in item.iter_markers("fault")]


class Recorder:
    """Writes one line per finished test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts: dict[str, list[pytest.TestReport]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        parts = self.parts.setdefault(report.nodeid, [])
        parts.append(report)
        if report.when == "teardown":
            outcomes = {part.outcome for part in parts}
            outcome = next(name for name in ("failed", "skipped", "passed") if name in outcomes)
            faults = [value for name, value in report.user_properties if name == "fault"]
            line = {"test": report.nodeid, "outcome": outcome, "seconds": sum(p.duration for p in parts)}
            with self.path.open("a") as file:
                file.write(json.dumps(line | {"faults": faults}) + "\n")
            del self.parts[report.nodeid]


# ----------------------------------------------------------------------------------------------------------- rows


@dataclass
class Row:
    """One fault: what its tests did.

    Args:
        area, what, expectation: As in the mark.
        outcomes: Outcome -> number of tests.
        cases: Cases of the tests that passed.
        seconds: Of all its tests.
    """

    area: str
    what: str
    expectation: str
    outcomes: dict[str, int] = field(default_factory=dict)
    cases: int = 0
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """True if it shows that the expectation holds; a GPU may be absent."""
        return not self.outcomes.get("failed") and (self.cases > 0 or self.area == "gpu")

    @property
    def outcome(self) -> str:
        """In a word or two."""
        if failed := self.outcomes.get("failed", 0):
            return f"FAILED ({failed} of {sum(self.outcomes.values())} tests)"
        skipped = self.outcomes.get("skipped", 0)
        if not self.cases:
            return "no GPU here" if self.area == "gpu" else "NOT TRIED"
        return f"as expected ({skipped} tests skipped)" if skipped else "as expected"

    def cells(self) -> tuple[str, ...]:
        return (self.area, self.what, self.expectation, self.outcome, str(self.cases), f"{self.seconds:.0f}")


def rows_of(lines: Iterable[dict[str, Any]]) -> list[Row]:
    """One row per area and fault, sorted by area; of a test that ran twice the last line counts."""
    rows: dict[tuple[str, str], Row] = {}
    for line in {line["test"]: line for line in lines}.values():
        for mark in line["faults"]:
            row = rows.setdefault((mark["area"], mark["what"]), Row(mark["area"], mark["what"], mark["expectation"]))
            row.outcomes[line["outcome"]] = row.outcomes.get(line["outcome"], 0) + 1
            row.cases += mark["cases"] if line["outcome"] == "passed" else 0
            row.seconds += line["seconds"]
    return sorted(rows.values(), key=lambda row: (row.area, row.what))


def markdown(rows: list[Row]) -> str:
    """The table as Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---|---|---|---:|---:|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row.cells()) + " |" for row in rows]
    total = (
        f"{len(rows)} faults, {sum(row.cases for row in rows):,} cases, {sum(not row.good for row in rows)} not good."
    )
    return "\n".join([*lines, "", total]) + "\n"


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = Table(*COLUMNS, title="Faults", show_lines=False)
    for row in rows:
        table.add_row(*row.cells(), style=None if row.good else "bold red")
    console = Console(width=None if sys.stdout.isatty() else 180)
    console.print(table)


# -------------------------------------------------------------------------------------------------------- command


def code_now() -> str:
    """Digest of the tracked files as they are now: results of other code do not count."""
    git = [subprocess.run(["git", *words], cwd=ROOT, capture_output=True).stdout
           for words in (["rev-parse", "HEAD"], ["diff", "HEAD", "--", ".", ":!docs"])]  # fmt: skip
    return hashlib.sha256(b"".join(git)).hexdigest()[:12]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a session; one that a kill cut short does not count."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def write_page(table: Path) -> None:
    """Put the last table into the page, between its markers."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table.read_text(encoding='utf-8')}\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Run the suite, print its table, write it down."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "faults", help="folder of lines and table")
    parser.add_argument("--workers", default="2", help="processes")
    parser.add_argument("--fast", action="store_true", help="only the part that is in make test")
    parser.add_argument("--again", action="store_true", help="run also what has passed on this code")
    parser.add_argument("--write", action="store_true", help="only put the last table into docs/reliability.md")
    options, rest = parser.parse_known_args()
    table = options.out / "table.md"
    if options.write:
        write_page(table)
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{code_now()}{'-fast' if options.fast else ''}.jsonl"
    if options.again:
        path.unlink(missing_ok=True)
    passed = {line["test"] for line in read_lines(path) if line["outcome"] == "passed"}
    if not options.fast:
        os.environ["FATHOM_FAULTS"] = "all"
    if passed:
        print(f"{len(passed)} tests have passed on this code; --again runs them again", flush=True)
    os.environ[LINES] = str(path)
    command = ["-m", "fault", "-n", options.workers, "--dist", "loadgroup", "-p", "tools.faults", *rest]
    status = pytest.main(command, plugins=[Recorder(path)])
    rows = rows_of(read_lines(path))
    show(rows)
    table.write_text(markdown(rows), encoding="utf-8")
    print(f"{table}: {len(rows)} faults, {sum(row.cases for row in rows):,} cases")
    ended = status in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    return 0 if rows and ended and all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
