"""Comparison of a study with the published numbers, cell by cell.

A cell is one query method in one setting. Its areas under the budget curve, one per seed, are compared with the
published mean, standard deviation and number of seeds. The verdict, with tests at level .05:

- agrees: equivalent, since the 90 % Welch interval of the difference lies within the margin (two one-sided tests).
  Equivalence comes first: a difference may be significant and still too small to matter;
- differs: not equivalent, and Welch's test rejects equal means, Holm-corrected over all cells of the comparison;
- cannot tell: neither, or there is no interval (one seed).

Cells that were not run as the published study ran them are listed with the reason and are not compared.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fathom.core.records import FathomError, Setting, unique
from fathom.published import tables
from fathom.published.matching import Match, NotComparable, is_published, match, name_of, query_of
from fathom.published.tables import PublishedArea
from fathom.results.results import StudyResults
from fathom.stats.differences import EQUIVALENCE_MARGIN, Difference, SeedSummary, welch
from fathom.stats.inference import ALPHA, LEVEL, holm

AGREES, DIFFERS, OPEN = "agrees", "differs", "cannot tell"


@dataclass(frozen=True)
class Compared:
    """One cell and its published counterpart.

    Args:
        setting, query: The cell, as spec strings.
        published: Published area.
        ours: Areas of the complete runs, by seed.
        planned: Number of runs that the study plans.
        difference: Ours minus published, a fraction.
        holm: p of the difference, Holm-corrected over all cells; NaN where there is none.
        verdict: `agrees`, `differs` or `cannot tell`.
        notes: Differences in how it was run that do not prevent the comparison.
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
        found: dict[str, Any] = json_value(
            {
                **self.setting._asdict(),
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
    """Cells that are not comparable.

    Args:
        setting: Setting of the study.
        query: Query method; empty for all methods of the setting.
        reason: Why they are not comparable.
    """

    setting: Setting
    query: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.setting._asdict(), "query": self.query or None, "reason": self.reason}


@dataclass(frozen=True)
class Comparison:
    """Comparison of a study with the published numbers.

    Args:
        margin: Equivalence margin, a fraction: smaller differences count as none.
        cells: Comparable cells.
        refused: Cells that are not comparable, on datasets of the published study.
        foreign: Datasets that the published study does not have.
    """

    margin: float
    cells: list[Compared] = field(default_factory=list)
    refused: list[UnmatchedCells] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """True where the study has no dataset of the published study."""
        return not (self.cells or self.refused)

    def count(self, verdict: str) -> int:
        """Number of cells with this verdict."""
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


def compare_study(out: str | Path | StudyResults, margin: float = EQUIVALENCE_MARGIN) -> Comparison:
    """Compare a study with the published numbers.

    Args:
        out: Folder of the study, or its results.
        margin: Difference in AUBC (a fraction) below which two values count as equal.

    Raises:
        FathomError: The folder holds no study, or the margin is not in (0, 1).
    """
    if not 0 < margin < 1:
        usual = f"{100 * EQUIVALENCE_MARGIN:g}"
        raise FathomError(f"expected a margin between 0 and 100 points; got {100 * margin:g}. The default is {usual}")
    results = out if isinstance(out, StudyResults) else StudyResults.of(out)
    refused: list[UnmatchedCells] = []
    found: list[tuple[Setting, str, Match, PublishedArea, SeedSummary]] = []
    settings = results.store.study.settings
    for setting in (s for s in settings if is_published(s.dataset)):
        try:
            own = match(results, setting)
        except NotComparable as reason:
            refused.append(UnmatchedCells(setting, "", str(reason)))
            continue
        for query, summary in seed_summaries(results, setting).items():
            try:
                found.append((setting, query, own, *_cell(query, own, summary)))
            except NotComparable as reason:
                refused.append(UnmatchedCells(setting, query, str(reason)))
    foreign = unique(s.dataset for s in settings if not is_published(s.dataset))
    return Comparison(margin, _compared(results, found, margin), refused, foreign)


def seed_summaries(results: StudyResults, setting: Setting, what: str = "aubc") -> dict[str, SeedSummary]:
    """Query method -> AUBCs (or another column of `run_areas`) of its complete runs in a setting."""
    queries = unique(r.spec.query for r in results.runs_of.get(setting, ()))
    rows = results.area_rows(setting)
    found = {}
    for query in queries:
        own = rows[(rows["query"] == query) & rows["complete"]] if len(rows) else rows
        found[query] = SeedSummary.of({int(seed): float(v) for seed, v in zip(own["seed"], own[what], strict=True)})
    return found


def _cell(query: str, own: Match, summary: SeedSummary) -> tuple[PublishedArea, SeedSummary]:
    area = own.area(query_of(query))
    if area is None:
        raise NotComparable(f"no number is published for {name_of(query)} in this setting")
    if not summary.n:
        raise NotComparable("no run of it is complete")
    return area, summary


def _compared(
    results: StudyResults, found: list[tuple[Setting, str, Match, PublishedArea, SeedSummary]], margin: float
) -> list[Compared]:
    differences = [welch(ours, SeedSummary(area.mean, area.sd, area.n)) for _, _, _, area, ours in found]
    # All cells of the comparison are one family: the more are compared, the more differ by chance alone.
    corrected = holm([d.p for d in differences])
    cells = []
    for (setting, query, own, area, ours), d, p in zip(found, differences, corrected, strict=True):
        planned, notes = results.seeds(setting, query), list(own.notes)
        if ours.n < planned:
            notes.append(f"{ours.n} of {planned} runs are complete")
        answer = verdict(d, float(p), margin)
        cells.append(Compared(setting, query, area, ours, planned, d, float(p), answer, notes))
    return cells


def verdict(difference: Difference, corrected: float, margin: float) -> str:
    """Verdict on a difference by the rule in the docstring of this module.

    Args:
        difference: Ours minus published.
        corrected: Its Holm-corrected p.
        margin: Equivalence margin, a fraction.
    """
    if difference.refused:
        return OPEN
    if difference.within(margin):
        return AGREES
    return DIFFERS if corrected < ALPHA else OPEN


def json_value(value: Any) -> Any:
    """Value that JSON can hold: undefined numbers become None, inside dictionaries and lists too."""
    if isinstance(value, dict):
        return {key: json_value(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
