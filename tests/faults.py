"""Marks of the fault suite: `make faults` runs every marked test and prints one row per fault."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ALL = os.environ.get("FATHOM_FAULTS") == "all"  # set by `make faults`; else the fast part, in `make test`


def number(fast: int, every: int) -> int:
    """How many cases to try: `fast` in `make test`, `every` in `make faults`."""
    return every if ALL else fast


def fault(area: str, what: str, expectation: str, *, cases: int = 1) -> pytest.MarkDecorator:
    """Mark a test as a row of the fault table.

    Args:
        area: Group of rows: store, engine, data, labels, methods, identity, input, machine, report, statistics, gpu.
        what: The fault that is injected, in a few words; rows with equal words are one row, and their cases add up.
        expectation: What must happen.
        cases: Cases that one call of the test tries; cases of a parametrized test add up.
    """
    return pytest.mark.fault(area=area, what=what, expectation=expectation, cases=cases)


only_in_full = pytest.mark.skipif(not ALL, reason="takes minutes: runs in make faults")


def open_to_all(folder: Path) -> None:
    """Let everybody read and write a test's folder, and enter the folders above it that pytest made."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    for above in folder.parents[:3]:
        if above.name.startswith(("pytest-", "popen-")):
            above.chmod(0o755)


def as_nobody(task: Callable[[], object]) -> str:
    """Do a task in a fork without the privileges of root; returns `error: message`, empty for none."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setegid(65534)
                os.seteuid(65534)
            task()
        except BaseException as error:
            os.write(write, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said
