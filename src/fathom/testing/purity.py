"""Checks that a member is a pure function of its arguments, and the error that lists findings."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

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
    """Collect a finding for each global random state that was drawn from, and restore it."""
    findings: list[str] = []
    states = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 - the state under guard
    yield findings
    hint = "uses the global random state of {}; draw from the stream it is given"
    if not torch.equal(states[0], torch.get_rng_state()):
        findings.append(hint.format("torch"))
        torch.set_rng_state(states[0])
    if str(states[1]) != str(np.random.get_state()):  # noqa: NPY002
        findings.append(hint.format("NumPy"))
        np.random.set_state(states[1])  # noqa: NPY002


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
