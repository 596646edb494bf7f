"""A part of a study, selected on the command line: `--only dataset=cifar10,regime=low`."""

import re
from collections.abc import Sequence
from dataclasses import replace

from fathom.core.records import FathomError, RunSpec, Study, unique
from fathom.core.text import quoted
from fathom.registry.registry import find, suggest
from fathom.registry.spec_string import LONGEST, parse

AXES = ("dataset", "regime", "paradigm", "query", "seed")
OUTSIDE = r"(?![^()]*\))"  # not within the parentheses of a spec string


def select(study: Study, only: Sequence[str], option: str = "--only") -> Study:
    """Select the runs of a study that match; all of them without conditions.

    Args:
        study: The study.
        only: Conditions `axis=value`, several joined by commas; several values of an axis are joined by `+` or given as
            several conditions. A run matches if each named axis has one of the values: a name (`low` also matches
            `low(rounds=3)`) or a whole spec string of the study.
        option: Name of the option in messages.

    Raises:
        FathomError: An axis or value is unknown, or no run matches.
    """
    wanted: dict[str, list[str]] = {}
    for text in only:
        if len(text) > LONGEST:
            raise FathomError(f"{option}: expected at most {LONGEST:,} characters; got {len(text):,}")
        for condition in filter(None, re.split(rf",{OUTSIDE}", text)):
            axis, equals, values = condition.strip().partition("=")
            if axis not in AXES or not equals:
                raise FathomError(
                    f"{option} {quoted(text)}: expected AXIS=VALUE such as dataset=cifar10; got "
                    f"{quoted(condition.strip())}. {suggest(axis, AXES)}"
                )
            wanted.setdefault(axis, []).extend(v.strip() for v in re.split(rf"\+{OUTSIDE}", values))
    for axis, values in wanted.items():
        for value in values:
            _expect_known(study, axis, value, option)
    runs = study.runs
    for axis, values in wanted.items():
        runs = tuple(run for run in runs if any(matches(run, axis, value) for value in values))
    if not runs:
        asked = ", ".join(f"{axis}={'+'.join(values)}" for axis, values in wanted.items())
        raise FathomError(
            f"no run of {study.name} has {asked} together; fathom show lists its settings, and takes --only too"
        )
    return replace(study, runs=runs) if wanted else study


def matches(run: RunSpec, axis: str, value: str) -> bool:
    """True if a run has a value on an axis: the value is its name, or another spelling of the spec string."""
    has = str(getattr(run, axis))
    return value in (has, parse(has).name) or (axis != "seed" and _canonical(axis, value) == has)


def _expect_known(study: Study, axis: str, value: str, option: str) -> None:
    if any(matches(run, axis, value) for run in study.runs):
        return
    whole = unique(str(getattr(run, axis)) for run in study.runs)
    known = unique([*(parse(text).name for text in whole), *whole])
    raise FathomError(f"{option}: no run of {study.name} has {axis} {quoted(value)}. {suggest(value, known)}")


def _canonical(axis: str, value: str) -> str:
    """The canonical spec string; a text that is none stays unchanged."""
    try:
        return str(find(axis, value)[1])
    except FathomError:
        return value
