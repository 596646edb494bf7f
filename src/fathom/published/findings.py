"""Answers to the questions of a claim: an effect with its interval, its evidence, and a verdict by a stated rule.

Each question has a p-value for its claim and one against it. All questions to one source (our runs, or the published
numbers) are one family for, and one family against (`decide_questions`, Holm): of 17 questions to runs in which nothing
matters, some would be answered by chance. Nothing is decided on fewer than three units.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import stdtr

from fathom.core.records import Setting, grouped, unique
from fathom.published.compare import json_value
from fathom.published.evidence import Evidence
from fathom.registry.dataset_identity import dataset_identity
from fathom.stats.decisions import MIN_UNITS
from fathom.stats.differences import Difference, SeedSummary, paired, welch
from fathom.stats.inference import ALPHA, holm

SUPPORTED, CONTRADICTED, OPEN, UNTESTED = "supported", "contradicted", "cannot tell", "not tested"

NO_SETTINGS = "no such settings"
TOO_FEW = f"a decision needs at least {MIN_UNITS}"

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
        p_for, p_against: p of the test that supports, and of the one that contradicts; 1 where it cannot reject, NaN
            where nothing was tested.
        asked: Questions that the verdict is corrected for; 0 before `decide_questions`.
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
    p_for: float = math.nan
    p_against: float = math.nan
    asked: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values; None where a number is undefined."""
        found: dict[str, Any] = json_value({**vars(self), "seeds": list(self.seeds)})
        return found


def decide_questions(findings: Sequence[ClaimFinding]) -> list[ClaimFinding]:
    """Verdicts on all questions to one source, corrected for their number."""
    against = holm([f.p_against for f in findings]) < ALPHA
    right = holm([f.p_for for f in findings]) < ALPHA
    asked = sum(math.isfinite(f.p_for) for f in findings)
    return [
        replace(f, verdict=SUPPORTED if yes else CONTRADICTED if no else OPEN, asked=asked)
        if math.isfinite(f.p_for)
        else f
        for f, yes, no in zip(findings, right, against, strict=True)
    ]


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
        return untested(question, NO_SETTINGS)
    means = list(dataset_means(values).values())
    found = paired(means)
    if len(means) < MIN_UNITS:
        found = replace(found, refused="", p=math.nan)  # its reason speaks of seeds; here the units are datasets
        note = _join(note, f"{'one dataset' if len(means) == 1 else 'two datasets'}; {TOO_FEW}")
    return _by_interval(evidence, question, found, list(values), side, note)


def between(
    evidence: Evidence, question: str, one: Mapping[ClaimCell, float], other: Mapping[ClaimCell, float]
) -> ClaimFinding:
    """Mean over datasets of one kind minus mean over another kind, by Welch's test; above zero supports the claim.

    Welch, because the spread over datasets may differ between the kinds. The test takes the datasets as independent;
    CIFAR-10 and its long tail, one of each kind, share images, which makes the interval too wide if anything.
    """
    if not one or not other:
        return untested(question, "only one kind of dataset" if one or other else NO_SETTINGS)
    # `SeedSummary` holds the mean and spread of any independent units; the units here are datasets.
    first, second = (SeedSummary.of(dict(enumerate(dataset_means(values).values()))) for values in (one, other))
    difference = replace(welch(first, second), refused="")  # the note gives the counts that explain a missing interval
    note = f"{first.n} against {second.n} datasets"
    if first.n + second.n < MIN_UNITS:
        difference, note = replace(difference, p=math.nan), _join(note, TOO_FEW)
    return _by_interval(evidence, question, difference, [*one, *other], 1, note)


def in_each(question: str, found: Mapping[ClaimCell, Difference], side: int = 1, note: str = "") -> ClaimFinding:
    """Test that an effect has a sign in every cell; the reported effect is that of the least favorable cell.

    For the claim: the largest p of a cell, since it is an intersection of hypotheses, whose tests need no correction
    among cells. Against it: the smallest p of a cell on the other side, Holm-corrected over the cells, since one
    rejection out of many is enough.
    """
    if not found:
        return untested(question, NO_SETTINGS)
    worst = min(found, key=lambda cell: side * found[cell].mean)
    right = [d.low > 0 if side > 0 else d.high < 0 for d in found.values()]
    p_for = [_p(d) if side * d.mean > 0 else 1.0 for d in found.values()]
    against = [_p(d) if side * d.mean < 0 else 1.0 for d in found.values()]
    on_side = sum(side * d.mean > 0 for d in found.values())
    counts = f"{on_side} of {len(found)} cells on that side, {sum(right)} of them with their whole interval"
    return _in_cells(question, found, worst, (max(p_for), _smallest(against)), _join(counts, note))


def nowhere_below(question: str, found: Mapping[ClaimCell, Difference], margin: float) -> ClaimFinding:
    """Test non-inferiority in every cell; the reported effect is that of the lowest cell.

    For the claim: the largest p of a loss of the margin or more. Against it: the smallest p of a loss of the margin or
    less, Holm-corrected over the cells: a precise cell at -0.2 points differs from zero, but does not fail a method
    that only has to stay above -1 point.
    """
    if not found:
        return untested(question, NO_SETTINGS)
    worst = min(found, key=lambda cell: found[cell].mean)
    p_for = [_tail(d, -(d.mean + margin)) for d in found.values()]
    against = [_tail(d, d.mean + margin) for d in found.values()]
    lower = sum(d.mean < 0 for d in found.values())
    counts = f"{lower} of {len(found)} cells below zero"
    return _in_cells(question, found, worst, (max(p_for), _smallest(against)), counts)


def equal_in_each(question: str, found: Mapping[ClaimCell, Difference], margin: float) -> ClaimFinding:
    """Test equivalence in every cell (two one-sided tests); the reported effect is that farthest from zero.

    For the claim: the largest p of a cell. Against it: the smallest p of an effect within the margin, Holm-corrected
    over the cells.
    """
    if not found:
        return untested(question, NO_SETTINGS)
    worst = max(found, key=lambda cell: abs(found[cell].mean))
    same = [d.within(margin) for d in found.values()]
    p_for = [_tail(d, abs(d.mean) - margin) for d in found.values()]
    against = [_tail(d, margin - abs(d.mean)) for d in found.values()]
    counts = f"{sum(same)} of {len(found)} cells within the margin, uncorrected"
    return _in_cells(question, found, worst, (max(p_for), _smallest(against)), counts)


def dataset_means(values: Mapping[ClaimCell, float]) -> dict[str, float]:
    """Dataset (`dataset_identity`) -> mean over its cells."""
    by_dataset = grouped((dataset_identity(setting.dataset), value) for (setting, _), value in values.items())
    return {name: float(np.mean(own)) for name, own in by_dataset.items()}


def _p(d: Difference) -> float:
    """Two-sided p of a cell; 1 where nothing can be decided on it."""
    return d.p if math.isfinite(d.p) and min(d.n) >= MIN_UNITS else 1.0


def _tail(d: Difference, above: float) -> float:
    """Twice the one-sided p of an effect that is `above` (a fraction) past its bound: as strict as a two-sided test."""
    if not (math.isfinite(d.se) and min(d.n) >= MIN_UNITS):
        return 1.0
    return min(1.0, 2 * float(stdtr(d.df, above / d.se)))


def _smallest(p: Sequence[float]) -> float:
    """The smallest p, Holm-corrected over cells."""
    return float(min(holm(p)))


def _by_interval(
    evidence: Evidence, question: str, d: Difference, cells: Collection[ClaimCell], side: int, note: str
) -> ClaimFinding:
    """Finding that supports or contradicts by the side of zero that the interval lies on."""
    # A cell without a query method stands for all that was run on a dataset and regime, in any paradigm.
    whole = {(s.dataset, s.regime) for s, query in cells if not query}
    areas = evidence.areas.items()
    seeds = [area.n for (s, query), area in areas if (s, query) in cells or (s.dataset, s.regime) in whole]
    p = d.p if math.isfinite(d.p) else 1.0
    own = (p, 1.0) if side * d.mean > 0 else (1.0, p)
    return finding_of(question, d, own, cells, seeds, note)


def _in_cells(
    question: str, found: Mapping[ClaimCell, Difference], worst: ClaimCell, p: tuple[float, float], note: str
) -> ClaimFinding:
    """Finding on every cell, which reports the effect of the `worst`."""
    seeds = [n for d in found.values() for n in d.n]
    if seeds and max(min(d.n) for d in found.values()) < MIN_UNITS:
        note = _join(note, f"fewer than {MIN_UNITS} seeds; {TOO_FEW}")
    return finding_of(question, found[worst], p, found, seeds, _join(note, f"shown: {_cell_name(worst)}"))


def finding_of(
    question: str, d: Difference, p: tuple[float, float], cells: Collection[ClaimCell], seeds: list[int], note: str
) -> ClaimFinding:
    """Finding on some cells, with its p for and against the claim; `decide_questions` gives the verdict."""
    settings = unique(setting for setting, _ in cells)
    return ClaimFinding(
        question,
        d.mean,
        d.low,
        d.high,
        OPEN,
        len({dataset_identity(s.dataset) for s in settings}),
        len(settings),
        (min(seeds), max(seeds)) if seeds else (0, 0),
        [_cell_name(cell) for cell in cells],
        _join(note, d.refused),
        *p,
    )


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _cell_name(cell: ClaimCell) -> str:
    return " ".join((*cell[0], cell[1])).strip()
