"""Names and numbers of verdicts, as the head of a report spells them."""

from collections.abc import Iterable, Sequence

import numpy as np

from fathom.core.records import Setting, unique
from fathom.core.text import plural
from fathom.design.freeze import role_of
from fathom.report.numbers import gain, number
from fathom.results.classifiers import listed
from fathom.results.names import label
from fathom.results.results import StudyResults
from fathom.stats.decisions import BETTER, GainVerdict
from fathom.stats.verdicts import MethodVerdict


def method_name(results: StudyResults, verdict: MethodVerdict) -> str:
    """Name of a method with its mark, and with its paradigm where the study has several: `BADGE with frozen`."""
    text = marked_label(results, verdict)
    several = len(unique(v.paradigm for v in results.verdicts)) > 1
    return f"{text} with {results.names.paradigm[verdict.paradigm]}" if several else text


def marked_label(results: StudyResults, verdict: MethodVerdict) -> str:
    """Name of a method with its mark in any of its settings (`Classifiers.mark`)."""
    marks = unique(results.classifiers[g.setting].mark(verdict.query) for g in verdict.gains)
    return label(verdict.query) + max(marks, key=len, default="")


def amount(decision: GainVerdict, unit: str) -> str:
    """A gain with its interval, level and n: `+1.7 points of AUBC [+1.3, +2.1] (10 seeds, 99 % interval)`."""
    text = f"{number(100 * decision.mean, 1, sign=True)} points of AUBC"
    count = plural(decision.n, unit.removesuffix("s"))
    if not np.isfinite(decision.low):
        return f"{text} ({count}, no interval)"
    bracket = gain(decision.mean, decision.low, decision.high).partition(" ")[2]
    return f"{text} {bracket} ({count}, {level_text(decision.level)} interval)"


def level_text(level: float) -> str:
    """Level of an interval in percent: `95 %`, `99.6 %`."""
    return f"{100 * level:.3g} %" if level < 0.9995 else f"{100 * level:.5g} %"


def scope(results: StudyResults, own: Sequence[MethodVerdict]) -> str:
    """Where verdicts hold: names of up to three datasets, else their number."""
    datasets = unique(results.names.dataset[g.setting.dataset] for v in own for g in v.gains)
    return listed(datasets) if len(datasets) <= 3 else f"{len(datasets)} datasets"


def best_verdict(own: Sequence[MethodVerdict]) -> MethodVerdict:
    """The verdict of the highest mean gain: among those that are better if there are any, else among all.

    Only methods with as many settings as any method of their paradigm has are ranked: a method could lead because its
    runs in a difficult setting are missing.
    """
    known = {id(v): len(v.gains) - len(v.lost) for v in own}
    most = {p: max(known[id(v)] for v in own if v.paradigm == p) for p in unique(v.paradigm for v in own)}
    ranked = [v for v in own if known[id(v)] == most[v.paradigm]]
    for group in ([v for v in ranked if v.decision.verdict == BETTER], [v for v in ranked if not v.decision.refused]):
        if group:
            ranked = group
            break
    return max(ranked, key=lambda v: v.decision.mean)


def lost_settings(results: StudyResults, verdict: MethodVerdict) -> list[Setting]:
    """Settings in which the study plans the method, and no seed has a gain."""
    known = {g.setting for g in verdict.gains if g.gains}
    planned = unique(run.spec.setting for run in results.runs if run.spec.query == verdict.query)
    own = [s for s in planned if s.paradigm == verdict.paradigm and s not in known]
    return [s for s in own if role_of(s.dataset, results.facts) == verdict.role]


def span(values: Iterable[int]) -> str:
    """`3`, or `2 to 3`."""
    known = sorted(set(values)) or [0]
    return str(known[0]) if len(known) == 1 else f"{known[0]} to {known[-1]}"
