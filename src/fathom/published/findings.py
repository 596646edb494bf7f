"""Answers to the questions of a claim: an effect with its interval, its evidence, and a verdict by a stated rule."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fathom.core.records import Setting, grouped, unique
from fathom.published.compare import json_value
from fathom.published.evidence import Evidence
from fathom.registry.dataset_identity import dataset_identity
from fathom.stats.differences import Difference, SeedSummary, paired, welch
from fathom.stats.inference import ALPHA, holm

SUPPORTED, CONTRADICTED, OPEN, UNTESTED = "supported", "contradicted", "cannot tell", "not tested"

ClaimCell = tuple[Setting, str]  # (setting, query method); an empty method stands for all methods of the setting


@dataclass(frozen=True)
class ClaimFinding:
    """One question of a claim and its answer.

    Args:
        question: Estimand in words, with the side that supports the claim.
        effect, low, high: Effect (a fraction) with its 95 % interval; NaN where there is none.
        verdict: `supported`, `contradicted`, `cannot tell` or `not tested`.
        datasets, settings: Number of datasets (`dataset_identity`) and settings behind the answer.
        seeds: Fewest and most seeds of a cell.
        cells: Cells behind the answer, in words.
        note: Further remarks.
    """

    question: str
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    verdict: str = UNTESTED
    datasets: int = 0
    settings: int = 0
    seeds: tuple[int, int] = (0, 0)
    cells: list[str] = field(default_factory=list)
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values; None where a number is undefined."""
        found: dict[str, Any] = json_value({**vars(self), "seeds": list(self.seeds)})
        return found


def untested(question: str, reason: str) -> ClaimFinding:
    """Finding for a question about which nothing was run."""
    return ClaimFinding(question, note=reason)


def over_datasets(
    evidence: Evidence, question: str, values: Mapping[ClaimCell, float], side: int = 1, note: str = ""
) -> ClaimFinding:
    """Mean over datasets of a value per cell, where each dataset contributes the mean of its cells.

    Datasets are the units of the sample, since settings and seeds of one dataset are not independent of each other.

    Args:
        evidence: Source of the values; it gives the numbers of seeds.
        question: Estimand in words.
        values: Value of each cell, a fraction.
        side: +1 where values above zero support the claim, -1 where values below zero do.
        note: Further remarks.
    """
    if not values:
        return untested(question, "no such settings")
    means = list(dataset_means(values).values())
    found = paired(means)
    if len(means) == 1:
        found = replace(found, refused="")  # its reason speaks of seeds; here the units are datasets
        note = _join(note, "one dataset, so the spread over datasets is not known")
    return _by_interval(evidence, question, found, list(values), side, note)


def between(
    evidence: Evidence, question: str, one: Mapping[ClaimCell, float], other: Mapping[ClaimCell, float]
) -> ClaimFinding:
    """Mean over datasets of one kind minus mean over another kind, by Welch's test; above zero supports the claim.

    Welch, because the spread over datasets may differ between the kinds. The test takes the datasets as independent;
    CIFAR-10 and its long tail, one of each kind, share images, which makes the interval too wide if anything.
    """
    if not one or not other:
        return untested(question, "only one kind of dataset" if one or other else "no such settings")
    # `SeedSummary` holds the mean and spread of any independent units; the units here are datasets.
    first, second = (SeedSummary.of(dict(enumerate(dataset_means(values).values()))) for values in (one, other))
    difference = replace(welch(first, second), refused="")  # the note gives the counts that explain a missing interval
    note = f"{first.n} against {second.n} datasets"
    return _by_interval(evidence, question, difference, [*one, *other], 1, note)


def in_each(question: str, found: Mapping[ClaimCell, Difference], side: int = 1, note: str = "") -> ClaimFinding:
    """Test that an effect has a sign in every cell; the reported effect is that of the least favorable cell.

    Supported where the 95 % interval of every cell lies on that side: the claim is an intersection of hypotheses, so
    these tests need no correction. Contradicted where any cell lies significantly on the other side, Holm-corrected
    over the cells, since one rejection out of many is enough.
    """
    if not found:
        return untested(question, "no such settings")
    worst = min(found, key=lambda cell: side * found[cell].mean)
    right = [d.low > 0 if side > 0 else d.high < 0 for d in found.values()]
    wrong = any(side * d.mean < 0 for d in _rejected(found))
    on_side = sum(side * d.mean > 0 for d in found.values())
    counts = f"{on_side} of {len(found)} cells on that side, {sum(right)} of them with their whole interval"
    return _in_cells(question, found, worst, _verdict(all(right), wrong), _join(counts, note))


def nowhere_below(question: str, found: Mapping[ClaimCell, Difference], margin: float) -> ClaimFinding:
    """Test non-inferiority in every cell; the reported effect is that of the lowest cell.

    Supported where every 95 % interval lies above minus the margin. Contradicted where a cell differs from zero,
    Holm-corrected over the cells, and its whole interval lies below minus the margin: a precise cell at -0.2 points
    differs from zero, but does not fail a method that only has to stay above -1 point.
    """
    if not found:
        return untested(question, "no such settings")
    worst = min(found, key=lambda cell: found[cell].mean)
    below = [d for d in _rejected(found) if d.mean < 0]
    verdict = _verdict(all(d.low > -margin for d in found.values()), any(d.high < -margin for d in below))
    lower = sum(d.mean < 0 for d in found.values())
    counts = f"{lower} of {len(found)} cells below zero, {len(below)} of them significantly (Holm)"
    return _in_cells(question, found, worst, verdict, counts)


def equal_in_each(question: str, found: Mapping[ClaimCell, Difference], margin: float) -> ClaimFinding:
    """Test equivalence in every cell (two one-sided tests); the reported effect is that farthest from zero.

    Contradicted where a cell differs from zero, Holm-corrected over the cells, and its whole interval lies outside
    the margin.
    """
    if not found:
        return untested(question, "no such settings")
    worst = max(found, key=lambda cell: abs(found[cell].mean))
    outside = any(d.low > margin or d.high < -margin for d in _rejected(found))
    same = [d.within(margin) for d in found.values()]
    counts = f"{sum(same)} of {len(found)} cells shown to be within the margin"
    return _in_cells(question, found, worst, _verdict(all(same), outside), counts)


def dataset_means(values: Mapping[ClaimCell, float]) -> dict[str, float]:
    """Dataset (`dataset_identity`) -> mean over its cells."""
    by_dataset = grouped((dataset_identity(setting.dataset), value) for (setting, _), value in values.items())
    return {name: float(np.mean(own)) for name, own in by_dataset.items()}


def _rejected(found: Mapping[ClaimCell, Difference]) -> list[Difference]:
    """Differences that differ from zero, Holm-corrected over the cells."""
    rejected = holm([d.p for d in found.values()]) < ALPHA
    return [d for d, significant in zip(found.values(), rejected, strict=True) if significant]


def _verdict(right: bool, wrong: bool) -> str:
    return SUPPORTED if right else CONTRADICTED if wrong else OPEN


def _by_interval(
    evidence: Evidence, question: str, d: Difference, cells: Collection[ClaimCell], side: int, note: str
) -> ClaimFinding:
    """Finding whose verdict is the side of zero that the interval lies on."""
    apart = d.low > 0 or d.high < 0
    # A cell without a query method stands for all that was run on a dataset and regime, in any paradigm.
    whole = {(s.dataset, s.regime) for s, query in cells if not query}
    areas = evidence.areas.items()
    seeds = [area.n for (s, query), area in areas if (s, query) in cells or (s.dataset, s.regime) in whole]
    verdict = _verdict(apart and side * d.mean > 0, apart)
    return _finding(question, d, verdict, cells, seeds, note)


def _in_cells(
    question: str, found: Mapping[ClaimCell, Difference], worst: ClaimCell, verdict: str, note: str
) -> ClaimFinding:
    """Finding on every cell, which reports the effect of the `worst`."""
    seeds = [n for d in found.values() for n in d.n]
    return _finding(question, found[worst], verdict, found, seeds, _join(note, f"shown: {_cell_name(worst)}"))


def _finding(
    question: str, d: Difference, verdict: str, cells: Collection[ClaimCell], seeds: list[int], note: str
) -> ClaimFinding:
    settings = unique(setting for setting, _ in cells)
    return ClaimFinding(
        question,
        d.mean,
        d.low,
        d.high,
        verdict,
        len({dataset_identity(s.dataset) for s in settings}),
        len(settings),
        (min(seeds), max(seeds)) if seeds else (0, 0),
        [_cell_name(cell) for cell in cells],
        _join(note, d.refused),
    )


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _cell_name(cell: ClaimCell) -> str:
    return " ".join((*cell[0], cell[1])).strip()
