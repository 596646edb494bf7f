"""Part of a study: `dataset=cifar10,regime=low`, said on the command line, chosen among the study's own runs."""

import re
from collections.abc import Sequence
from dataclasses import replace

from fathom.core.records import FathomError, RunSpec, Study, unique
from fathom.registry.registry import find, suggest
from fathom.registry.spec_string import parse

AXES = ("dataset", "regime", "paradigm", "query", "seed")
OUTSIDE = r"(?![^()]*\))"  # not within the parentheses of a call-string


def select(study: Study, only: Sequence[str]) -> Study:
    """The runs of a study that fit; the study itself where nothing is asked for.

    Args:
        study: The study.
        only: Each `axis=value`, several joined by commas; the values of one axis joined by `+` or given again. A run
            fits if each axis that is named has one of its values: a name (`low` is also `low(rounds=3)`) or a whole
            call-string as the study has it.

    Raises:
        FathomError: An unknown axis or value, or no run fits.
    """
    wanted: dict[str, list[str]] = {}
    for text in only:
        for condition in filter(None, re.split(rf",{OUTSIDE}", text)):
            axis, equals, values = condition.strip().partition("=")
            if axis not in AXES or not equals:
                raise FathomError(
                    f"--only {text}: expected AXIS=VALUE such as dataset=cifar10; {condition.strip()!r} is none. "
                    f"{suggest(axis, AXES)}"
                )
            wanted.setdefault(axis, []).extend(v.strip() for v in re.split(rf"\+{OUTSIDE}", values))
    for axis, values in wanted.items():
        for value in values:
            _expect_known(study, axis, value)
    runs = tuple(r for r in study.runs if all(any(_fits(r, a, v) for v in vs) for a, vs in wanted.items()))
    if not runs:
        asked = ", ".join(f"{axis}={'+'.join(values)}" for axis, values in wanted.items())
        raise FathomError(
            f"no run of {study.name} has {asked} together; fathom show lists the settings that there are, and takes "
            "--only too"
        )
    return replace(study, runs=runs) if wanted else study


def _fits(run: RunSpec, axis: str, value: str) -> bool:
    has = str(getattr(run, axis))
    return value in (has, parse(has).name) or (axis != "seed" and _canonical(axis, value) == has)


def _expect_known(study: Study, axis: str, value: str) -> None:
    if any(_fits(run, axis, value) for run in study.runs):
        return
    whole = unique(str(getattr(run, axis)) for run in study.runs)
    known = unique([*(parse(text).name for text in whole), *whole])
    raise FathomError(f"--only: no run of {study.name} has {axis} {value!r}. {suggest(value, known)}")


def _canonical(axis: str, value: str) -> str:
    """The one spelling of a call-string; what is none stays as it is."""
    try:
        return str(find(axis, value)[1])
    except FathomError:
        return value
