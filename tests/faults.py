"""Marks of the fault suite: `make faults` runs every marked test and prints one row per fault."""

import os

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
