"""What a claim comes to: an effect with its interval, what it rests on, and a verdict by a stated rule."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fathom.core.records import Setting, unique
from fathom.published.compare import describe_difference
from fathom.published.evidence import Evidence
from fathom.published.matching import name_of
from fathom.stats.differences import ALPHA, Difference, SeedSummary, paired, welch
from fathom.stats.inference import holm

SUPPORTED, CONTRADICTED, OPEN, UNTESTED = "supported", "contradicted", "cannot tell", "not tested"

ClaimCell = tuple[Setting, str]  # (setting, query method; empty where all of the setting's count)


@dataclass(frozen=True)
class ClaimFinding:
    """One question that a claim comes down to, and its answer.

    Args:
        question: The estimand in words, with the side that supports the claim.
        effect, low, high: A fraction, with its 95 % interval; NaN where there is none.
        verdict: `supported`, `contradicted`, `cannot tell` or `not tested`.
        datasets, settings: How many it rests on.
        seeds: The fewest and the most seeds of a cell.
        cells: What it rests on, in words.
        note: What else must be known.
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
        found: dict[str, Any] = describe_difference({**vars(self), "seeds": list(self.seeds)})
        return found


def untested(question: str, reason: str) -> ClaimFinding:
    """Nothing of what the question asks was run."""
    return ClaimFinding(question, note=reason)


def over_datasets(
    evidence: Evidence, question: str, values: Mapping[ClaimCell, float], side: int = 1, note: str = ""
) -> ClaimFinding:
    """The mean over data sets of a value of cells, each data set the mean of its own.

    Data sets are the sample: the settings and seeds of one are not independent of each other.

    Args:
        evidence: Where the values come from.
        question: The estimand.
        values: Of each cell.
        side: +1 where values above zero support the claim, -1 where those below do.
        note: What else must be known.
    """
    if not values:
        return untested(question, "no such settings")
    means = list(dataset_means(values).values())
    found = paired(means)
    if len(means) == 1:
        found = replace(found, refused="")
        note = "; ".join(text for text in (note, "one data set: nothing says how far others would differ") if text)
    return _said(evidence, question, found, list(values), side, note)


def between(
    evidence: Evidence, question: str, one: Mapping[ClaimCell, float], other: Mapping[ClaimCell, float]
) -> ClaimFinding:
    """The mean over data sets of one kind minus that over another kind, by Welch; above zero supports the claim."""
    if not one or not other:
        return untested(question, "only one kind of data set" if one or other else "no such settings")
    arms = [SeedSummary.of(dict(enumerate(dataset_means(values).values()))) for values in (one, other)]
    difference = welch(
        SeedSummary(arms[0].mean, arms[0].sd, arms[0].n), SeedSummary(arms[1].mean, arms[1].sd, arms[1].n)
    )
    difference = replace(difference, refused="")  # the counts of data sets say why there is no interval
    note = f"{arms[0].n} against {arms[1].n} data sets"
    return _said(evidence, question, difference, [*one, *other], 1, note)


def in_each(
    evidence: Evidence, question: str, found: Mapping[ClaimCell, Difference], side: int = 1, note: str = ""
) -> ClaimFinding:
    """Whether something holds in every cell; the effect shown is that of the cell that speaks most against it.

    Supported where the 95 % interval of every cell lies on the side; contradicted where a cell lies on the other side,
    Holm-corrected over the cells.
    """
    if not found:
        return untested(question, "no such settings")
    signed = {cell: side * d.mean for cell, d in found.items()}
    worst = min(signed, key=lambda cell: signed[cell])
    rejected = holm([d.p for d in found.values()]) < ALPHA
    right = [d.low > 0 if side > 0 else d.high < 0 for d in found.values()]
    wrong = [bool(r) and side * d.mean < 0 for r, d in zip(rejected, found.values(), strict=True)]
    verdict = SUPPORTED if all(right) else CONTRADICTED if any(wrong) else OPEN
    sentence = (
        f"{sum(v > 0 for v in signed.values())} of {len(found)} cells on that side, {sum(right)} by their intervals"
    )
    return _made(evidence, question, found[worst], verdict, found, _worst(worst, [sentence, note]))


def nowhere_below(
    evidence: Evidence, question: str, found: Mapping[ClaimCell, Difference], margin: float
) -> ClaimFinding:
    """Non-inferiority in every cell; the effect shown is that of the lowest cell.

    Supported where every 95 % interval lies above minus the margin; contradicted where a cell differs from zero,
    Holm-corrected over the cells, and its interval lies below minus the margin.
    """
    if not found:
        return untested(question, "no such settings")
    worst = min(found, key=lambda cell: found[cell].mean)
    rejected = holm([d.p for d in found.values()]) < ALPHA
    below = [bool(r) and d.mean < 0 for r, d in zip(rejected, found.values(), strict=True)]
    failing = [shown and d.high < -margin for shown, d in zip(below, found.values(), strict=True)]
    safe = [d.low > -margin for d in found.values()]
    verdict = SUPPORTED if all(safe) else CONTRADICTED if any(failing) else OPEN
    sentence = f"{sum(d.mean < 0 for d in found.values())} of {len(found)} cells below, {sum(below)} after Holm"
    return _made(evidence, question, found[worst], verdict, found, _worst(worst, [sentence]))


def equal_in_each(
    evidence: Evidence, question: str, found: Mapping[ClaimCell, Difference], margin: float
) -> ClaimFinding:
    """Equivalence in every cell (two one-sided tests); the effect shown is that of the cell farthest from zero.

    Contradicted where a cell differs from zero, Holm-corrected over the cells, and its interval lies outside the
    margin.
    """
    if not found:
        return untested(question, "no such settings")
    worst = max(found, key=lambda cell: abs(found[cell].mean))
    rejected = holm([d.p for d in found.values()]) < ALPHA
    apart = [d.low > margin or d.high < -margin for d in found.values()]
    outside = [bool(r) and far for r, far in zip(rejected, apart, strict=True)]
    same = [d.within(margin) for d in found.values()]
    verdict = SUPPORTED if all(same) else CONTRADICTED if any(outside) else OPEN
    sentence = f"{sum(same)} of {len(found)} cells shown to be within the margin"
    return _made(evidence, question, found[worst], verdict, found, _worst(worst, [sentence]))


def dataset_means(values: Mapping[ClaimCell, float]) -> dict[str, float]:
    """Data set -> mean over its cells."""
    names = unique(source_of(setting) for setting, _ in values)
    return {name: float(np.mean([v for (s, _), v in values.items() if source_of(s) == name])) for name in names}


def source_of(setting: Setting) -> str:
    """The data set of a setting, whatever part of it is used; one's own images are told apart by their path."""
    name = name_of(setting.dataset)
    return setting.dataset if name in ("folder", "table") else name


def _said(
    evidence: Evidence, question: str, d: Difference, cells: Iterable[ClaimCell], side: int, note: str
) -> ClaimFinding:
    """The verdict by the side that the interval lies on."""
    verdict = OPEN
    if d.low > 0 or d.high < 0:
        verdict = SUPPORTED if side * d.mean > 0 else CONTRADICTED
    return _made(evidence, question, d, verdict, cells, note)


def _made(
    evidence: Evidence,
    question: str,
    d: Difference,
    verdict: str,
    cells: Iterable[ClaimCell] | Mapping[ClaimCell, Difference],
    note: str,
) -> ClaimFinding:
    own = set(cells)
    settings = unique(setting for setting, _ in cells)
    if isinstance(cells, Mapping):
        seeds = [n for found in cells.values() for n in found.n]
    else:
        whole = {setting[:2] for setting, query in own if not query}  # all that was run of a data set and regime
        seeds = [arm.n for (s, query), arm in evidence.areas.items() if (s, query) in own or s[:2] in whole]
    return ClaimFinding(
        question,
        d.mean,
        d.low,
        d.high,
        verdict,
        len(unique(map(source_of, settings))),
        len(settings),
        (min(seeds), max(seeds)) if seeds else (0, 0),
        [sentence(cell) for cell in cells],
        "; ".join(text for text in (note, d.refused) if text),
    )


def _worst(cell: ClaimCell, notes: Sequence[str]) -> str:
    return "; ".join(text for text in (*notes, f"shown: {sentence(cell)}") if text)


def sentence(cell: ClaimCell) -> str:
    """A cell in words."""
    return " ".join((*cell[0], cell[1])).strip()
