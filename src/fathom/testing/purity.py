"""Checks that a member is a pure function of its arguments, and the error that lists findings."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fathom.core.member_call import collected, member_call
from fathom.core.records import FathomError


def refuse(kind: str, text: str, findings: Sequence[str]) -> None:
    """Raise one error with all findings.

    Raises:
        FathomError: There are findings.
    """
    if findings:
        lines = "\n".join(f"  - {finding}" for finding in findings)
        raise FathomError(f"{kind} {text!r} breaks its contract in {len(findings)} places:\n{lines}")


@contextmanager
def global_state() -> Iterator[list[str]]:
    """Collect a finding for each setting of the process, random state and thread that a member changed; restore it."""
    with collected() as findings, member_call("the member"):
        yield findings


@contextmanager
def other_python_state() -> Iterator[None]:
    """Change Python's global random state, so that a member that draws from it gives another result.

    A comparison of the state before and after would not do, because type checkers at run time draw from it too.
    """
    state = random.getstate()
    random.setstate(random.Random(str(state)).getstate())
    try:
        yield
    finally:
        random.setstate(state)
