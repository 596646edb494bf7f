"""Comparison of a study with the published numbers, cell by cell: areas, and gains over Random.

A cell is one query method in one setting. Its areas under the budget curve, one per seed, are compared with the
published mean, standard deviation and number of seeds, and its gain over Random with the published gain. Our gains are
paired by seed. Published runs are known by their means and spreads only, so their gain is a difference of independent
means. Areas are one family of tests and gains another. The verdict, with tests at level .05:

- agrees: equivalent (two one-sided tests at the margin, Holm-corrected over the cells). Equivalence comes first: a
  difference may be significant and still too small to matter;
- differs: not equivalent, and Welch's test rejects equal means, Holm-corrected over the cells;
- cannot tell: neither, or there is no interval (one seed).

Cells that were not run as the published study ran them are listed with the reason and are not compared.
`reproduction` has the one verdict on all cells together.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fathom.core.records import FathomError, Setting, unique
from fathom.published import tables
from fathom.published.matching import Match, NotComparable, is_published, match, name_of, query_of
from fathom.published.tables import PublishedArea
from fathom.results.results import StudyResults
from fathom.stats.decisions import MARGIN
from fathom.stats.differences import Difference, SeedSummary, contrast, paired_difference, welch
from fathom.stats.inference import ALPHA, LEVEL, holm

AGREES, DIFFERS, OPEN = "agrees", "differs", "cannot tell"
BASELINE = "random"  # of the published study
LARGEST_MARGIN = MARGIN


@dataclass(frozen=True)
class ComparedGain:
    """Gain over Random of one cell, ours and published.

    Args:
        ours: Our gain, paired by seed.
        published: Published gain, of runs that are not paired for us.
        difference: Ours minus published, a fraction.
        holm: p of the difference, Holm-corrected over all gains; NaN where there is none.
        verdict: `agrees`, `differs` or `cannot tell`.
    """

    ours: Difference
    published: Difference
    difference: Difference
    holm: float
    verdict: str


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
        gain: Its gain over Random; None for Random and where Random is not comparable.
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
    gain: ComparedGain | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; None where a number is undefined."""
        a, d, g = self.published, self.difference, self.gain
        found: dict[str, Any] = json_value(
            {
                **self.setting._asdict(),
                "query": self.query,
                "ours": {"mean": self.ours.mean, "sd": self.ours.sd, "n": self.ours.n, "planned": self.planned},
                "published": {"mean": a.mean, "sd": a.sd, "n": a.n, "table": a.table, "source": a.source},
                "metric": a.metric,
                "difference": {**_difference_json(d), "p_holm": self.holm},
                "equivalence": {"low": d.inner_low, "high": d.inner_high},
                "verdict": self.verdict,
                "gain": g
                and {
                    "ours": _difference_json(g.ours),
                    "published": _difference_json(g.published),
                    "difference": {**_difference_json(g.difference), "p_holm": g.holm},
                    "verdict": g.verdict,
                },
                "why": d.refused,
                "notes": self.notes,
                "caveats": list(a.caveats),
            }
        )
        return found


def _difference_json(d: Difference) -> dict[str, float]:
    return {"mean": d.mean, "low": d.low, "high": d.high, "p": d.p}


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
        """Number of cells whose area has this verdict."""
        return sum(cell.verdict == verdict for cell in self.cells)

    def count_gains(self, verdict: str) -> int:
        """Number of cells whose gain has this verdict."""
        return sum(cell.gain is not None and cell.gain.verdict == verdict for cell in self.cells)

    def to_json(self) -> dict[str, Any]:
        """Plain values, in fractions."""
        return {
            "reference": tables.reference(),
            "rule": {"level": LEVEL, "margin": self.margin, "correction": "Holm over cells; areas and gains apart"},
            "cells": [cell.to_json() for cell in self.cells],
            "not_comparable": [refused.to_json() for refused in self.refused],
            "not_published": self.foreign,
            "count": {verdict: self.count(verdict) for verdict in (AGREES, DIFFERS, OPEN)},
            "count_gains": {verdict: self.count_gains(verdict) for verdict in (AGREES, DIFFERS, OPEN)},
        }


def compare_study(out: str | Path | StudyResults, margin: float = MARGIN) -> Comparison:
    """Compare a study with the published numbers.

    Args:
        out: Folder of the study, or its results.
        margin: Difference in AUBC (a fraction) below which two values count as equal; at most one point.

    Raises:
        FathomError: The folder holds no study, or the margin is not in (0, .01].
    """
    if not 0 < margin <= LARGEST_MARGIN:
        raise FathomError(
            f"expected a margin above 0 and of at most {100 * LARGEST_MARGIN:g} point; got {100 * margin:g}. The gains "
            "of query methods are of a point or two, so with a wider margin a study would agree with the published "
            "numbers whatever its gains are"
        )
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
    published = {(setting, query_of(query)): _summary(area) for setting, query, _, area, _ in found}
    ours = {(setting, query_of(query)): own for setting, query, _, _, own in found}
    differences = [welch(own, published[key]) for key, own in ours.items()]
    # All cells of the comparison are one family: the more are compared, the more differ by chance alone.
    judged = _judged(differences, margin)
    gains = _gains(ours, published, margin)
    cells = []
    for (setting, query, like, area, own), d, (p, answer) in zip(found, differences, judged, strict=True):
        planned, notes = results.seeds(setting, query), list(like.notes)
        if own.n < planned:
            notes.append(f"{own.n} of {planned} runs are complete")
        gain = gains.get((setting, area.query))
        cells.append(Compared(setting, query, area, own, planned, d, p, answer, notes, gain))
    return cells


def _summary(area: PublishedArea) -> SeedSummary:
    return SeedSummary(area.mean, area.sd, area.n)


def _gains(
    ours: Mapping[tuple[Setting, str], SeedSummary], published: Mapping[tuple[Setting, str], SeedSummary], margin: float
) -> dict[tuple[Setting, str], ComparedGain]:
    """Gains over Random of all cells whose setting has Random on both sides."""
    found = {}
    for (setting, query), own in ours.items():
        random = (setting, BASELINE)
        if query == BASELINE or random not in ours:
            continue
        seeds = own.seeds.keys() & ours[random].seeds.keys()
        gains = SeedSummary.of({seed: own.seeds[seed] - ours[random].seeds[seed] for seed in sorted(seeds)})
        terms = [(1.0, gains), (-1.0, published[setting, query]), (1.0, published[random])]
        theirs = welch(published[setting, query], published[random])
        found[setting, query] = (paired_difference(own, ours[random]), theirs, contrast(terms))
    judged = _judged([d for _, _, d in found.values()], margin)
    return {key: ComparedGain(*parts, *own) for (key, parts), own in zip(found.items(), judged, strict=True)}


def _judged(differences: Sequence[Difference], margin: float) -> list[tuple[float, str]]:
    """(Holm-corrected p of equal means, verdict) of each difference; all are one family."""
    equal, outside = holm([d.p for d in differences]), holm([d.p_outside(margin) for d in differences])
    return [
        (float(p), OPEN if d.refused else AGREES if wide < ALPHA else DIFFERS if p < ALPHA else OPEN)
        for d, p, wide in zip(differences, equal, outside, strict=True)
    ]


def json_value(value: Any) -> Any:
    """Value that JSON can hold: undefined numbers become None, inside dictionaries and lists too."""
    if isinstance(value, dict):
        return {key: json_value(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
