"""A study beside the published numbers: cell by cell, and the claims that the study makes.

A cell is one query method in one setting. Its areas under the budget curve, one a seed, are held beside the published
mean, spread and count. The rule, at level 95 %:

- agrees: the 90 % Welch interval of the difference lies within the margin (two one-sided tests), whether or not the
  difference can be told from zero;
- differs: not that, and the Welch test rejects no difference, Holm-corrected over all cells of the comparison;
- cannot tell: neither, or there is no interval, as with one seed.

Cells that were not run as the study ran them are listed with the reason, and compared with nothing.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fathom.core.records import FathomError, Setting, unique
from fathom.published import tables
from fathom.published.matching import Match, NotComparable, is_published, match, name_of, query_of
from fathom.published.tables import PublishedArea
from fathom.results.results import StudyResults, of_setting
from fathom.stats.differences import ALPHA, LEVEL, Difference, SeedSummary, welch
from fathom.stats.inference import holm

MARGIN = 0.02  # a difference below this counts as none
AGREES, DIFFERS, OPEN = "agrees", "differs", "cannot tell"


@dataclass(frozen=True)
class Compared:
    """One cell beside the published one.

    Args:
        setting, query: The cell, as call-strings.
        published: The published area.
        ours: Areas of the complete runs, by seed.
        planned: Runs that the study plans.
        difference: Ours minus published.
        holm: Its p, Holm-corrected over all cells; NaN where there is none.
        verdict: `agrees`, `differs` or `cannot tell`.
        notes: In what ours was run differently all the same.
    """

    setting: Setting
    query: str
    published: PublishedArea
    ours: SeedSummary
    planned: int
    difference: Difference
    holm: float
    verdict: str
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain values; None where a number is undefined."""
        a, d = self.published, self.difference
        found: dict[str, Any] = describe_difference(
            {
                **dict(zip(("dataset", "regime", "paradigm"), self.setting, strict=True)),
                "query": self.query,
                "ours": {"mean": self.ours.mean, "sd": self.ours.sd, "n": self.ours.n, "planned": self.planned},
                "published": {"mean": a.mean, "sd": a.sd, "n": a.n, "table": a.table, "source": a.source},
                "metric": a.metric,
                "difference": {"mean": d.mean, "low": d.low, "high": d.high, "p": d.p, "p_holm": self.holm},
                "equivalence": {"low": d.inner_low, "high": d.inner_high},
                "verdict": self.verdict,
                "why": d.refused,
                "notes": self.notes,
                "caveats": list(a.caveats),
            }
        )
        return found


@dataclass(frozen=True)
class UnmatchedCells:
    """Cells that are compared with nothing.

    Args:
        setting: Of the study.
        query: A query method; empty for all of the setting.
        reason: Why.
    """

    setting: Setting
    query: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        named = dict(zip(("dataset", "regime", "paradigm"), self.setting, strict=True))
        return {**named, "query": self.query or None, "reason": self.reason}


@dataclass(frozen=True)
class Comparison:
    """A study beside the published numbers.

    Args:
        margin: Below it a difference counts as none; a fraction.
        cells: Those that are comparable.
        refused: Those that are not, of data sets of the published study.
        foreign: Data sets that the published study does not have.
    """

    margin: float
    cells: list[Compared] = field(default_factory=list)
    refused: list[UnmatchedCells] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether the study has no data set of the published one."""
        return not (self.cells or self.refused)

    def count(self, verdict: str) -> int:
        """Cells with a verdict."""
        return sum(cell.verdict == verdict for cell in self.cells)

    def to_json(self) -> dict[str, Any]:
        """Plain values, in fractions."""
        return {
            "reference": tables.reference(),
            "rule": {"level": LEVEL, "margin": self.margin, "correction": "Holm over cells"},
            "cells": [cell.to_json() for cell in self.cells],
            "not_comparable": [refused.to_json() for refused in self.refused],
            "not_published": self.foreign,
            "count": {verdict: self.count(verdict) for verdict in (AGREES, DIFFERS, OPEN)},
        }


def compare_study(out: str | Path | StudyResults, margin: float = MARGIN) -> Comparison:
    """Hold a study beside the published numbers.

    Args:
        out: Its folder, or what was read of it.
        margin: Difference in AUBC (a fraction) below which two values count as the same.

    Raises:
        FathomError: There is no study, or the margin is not between 0 and 1.
    """
    if not 0 < margin < 1:
        raise FathomError(f"the margin lies between 0 and 100 points; got {100 * margin:g}. The usual is 2")
    reading = out if isinstance(out, StudyResults) else StudyResults.of(out)
    refused: list[UnmatchedCells] = []
    found: list[tuple[Setting, str, Match, PublishedArea, SeedSummary]] = []
    settings = reading.store.study.settings
    for setting in (s for s in settings if is_published(s[0])):
        try:
            own = match(reading, setting)
        except NotComparable as reason:
            refused.append(UnmatchedCells(setting, "", str(reason)))
            continue
        for query, arm in arms_of(reading, setting).items():
            try:
                found.append((setting, query, own, *_cell(query, own, arm)))
            except NotComparable as reason:
                refused.append(UnmatchedCells(setting, query, str(reason)))
    foreign = unique(s[0] for s in settings if not is_published(s[0]))
    return Comparison(margin, _judged(reading, found, margin), refused, foreign)


def arms_of(reading: StudyResults, setting: Setting, what: str = "aubc") -> dict[str, SeedSummary]:
    """Query method -> the arm of its complete runs in a setting."""
    queries = unique(r.spec.query for r in reading.runs if r.spec.setting == setting)
    rows = of_setting(reading.areas, setting)
    found = {}
    for query in queries:
        own = rows[(rows["query"] == query) & rows["complete"]] if len(rows) else rows
        found[query] = SeedSummary.of({int(seed): float(v) for seed, v in zip(own["seed"], own[what], strict=True)})
    return found


def _cell(query: str, own: Match, arm: SeedSummary) -> tuple[PublishedArea, SeedSummary]:
    area = own.area(query_of(query))
    if area is None:
        raise NotComparable(f"no value of {name_of(query)} is published for this setting")
    if not arm.n:
        raise NotComparable("no run of it is complete")
    return area, arm


def _judged(
    reading: StudyResults, found: list[tuple[Setting, str, Match, PublishedArea, SeedSummary]], margin: float
) -> list[Compared]:
    differences = [welch(arm, SeedSummary(area.mean, area.sd, area.n)) for _, _, _, area, arm in found]
    corrected = holm([d.p for d in differences])
    cells = []
    for (setting, query, own, area, arm), d, p in zip(found, differences, corrected, strict=True):
        planned, notes = reading.seeds(setting, query), list(own.notes)
        if arm.n < planned:
            notes.append(f"{arm.n} of {planned} runs are complete")
        said = verdict(d, float(p), margin)
        cells.append(Compared(setting, query, area, arm, planned, d, float(p), said, notes))
    return cells


def verdict(difference: Difference, corrected: float, margin: float) -> str:
    """What is said of a difference, by the rule at the head of this module."""
    if difference.refused:
        return OPEN
    if difference.within(margin):
        return AGREES
    return DIFFERS if corrected < ALPHA else OPEN


def describe_difference(value: Any) -> Any:
    """A value as JSON takes it: None where a number is undefined."""
    if isinstance(value, dict):
        return {key: describe_difference(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [describe_difference(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
