"""Answers at the head of a report: one sentence and a number per question, from the verdicts of the study.

No sentence says more than a verdict does (`stats.decisions`); each names the units that it rests on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fathom.core.records import grouped, unique
from fathom.core.text import joined, plural
from fathom.report.head.savings import saving_answer
from fathom.report.head.verdict_text import amount, best_verdict, level_text, lost_settings, method_name, scope, span
from fathom.report.numbers import number
from fathom.report.paradigm_tables import across_words, verdict_words
from fathom.results.classifiers import listed
from fathom.results.names import label
from fathom.results.paradigm_lead import across
from fathom.results.paradigms import paradigm_verdicts
from fathom.results.results import StudyResults
from fathom.results.roles import roles
from fathom.results.trivial import trivial_words, weak_words
from fathom.stats.decisions import BETTER, MIN_UNITS, NOT_WORSE, UNDECIDED, WORSE
from fathom.stats.inference import LEVEL
from fathom.stats.verdicts import DATASETS, MethodVerdict
from fathom.stats.words import in_points, settle_words

NAMED = 4  # more verdicts than that are counted instead of named
ORDER = (BETTER, NOT_WORSE, WORSE, UNDECIDED)


@dataclass(frozen=True)
class Answer:
    """A question about active learning and what the study says to it.

    Args:
        question: Empty for a statement of its own.
        text: One to three sentences.
        role: Role of the datasets, where the study has both.
    """

    question: str
    text: str
    role: str = ""


def answers(results: StudyResults) -> list[Answer]:
    """Answers of a study, most important first; where there are none, one that says why."""
    if results.frame.empty:
        return [Answer("", "No round is committed yet, so there is nothing to compare.")]
    settings = results.store.study.settings
    poor = [*trivial_words(results, settings), *weak_words(results, settings)]
    found = [Answer("Did the classifiers learn?", f"{'. '.join(poor)}.")] if poor else []
    if not results.verdicts:
        return [*found, Answer("", _no_verdict(results))]
    both = len(roles(results)) > 1
    for role in roles(results):  # roll-out data were never tuned on, so they are never mixed with the others
        if own := [v for v in results.verdicts if v.role == role]:
            found += [Answer(question, text, role if both else "") for question, text in _of_role(results, own) if text]
    return found


def _no_verdict(results: StudyResults) -> str:
    base = label(results.baseline)
    if results.baseline not in results.queries:
        return f"The baseline {base} was not run, so there are no gains; the report shows curves and areas only."
    if len(results.queries) == 1:
        return f"Only {base} was run, so there is nothing to compare it with."
    return f"No seed is complete for both {base} and another method yet, so there are no gains."


def _of_role(results: StudyResults, own: list[MethodVerdict]) -> list[tuple[str, str]]:
    best = best_verdict(own)
    return [
        ("Is active learning worth it here?", _worth(results, own)),
        ("With which query method?", _which(results, own, best)),
        ("What does it save?", saving_answer(results, best, method_name(results, best))),
        ("Is the training paradigm worth more?", _paradigm(results, own)),
        ("What is undecided, and what would settle it?", _undecided(results, own)),
        ("Does it hold for other data?", _elsewhere(results, own, best)),
        ("Where does a method fail?", _failures(results, own)),
        ("What do missing runs change?", _missing(results, own)),
    ]


# ----------------------------------------------------------------------------------------- worth it, which method


def _worth(results: StudyResults, own: list[MethodVerdict]) -> str:
    """The verdicts in one sentence: by name if there are few, else counted."""
    if all(v.decision.refused for v in own):
        few = [v.decision.n for v in own if v.decision.n < MIN_UNITS]
        reason = f"{plural(max(few), 'seed')} cannot tell a gain from chance" if few else own[0].decision.refused
        return f"Nothing is decided on {scope(results, own)}: {reason}."
    kinds = grouped((v.decision.verdict, v) for v in own)
    opening = "No gain is shown"
    if BETTER in kinds:
        opening = "It depends on the method" if WORSE in kinds else "Yes"
    elif len(kinds.get(UNDECIDED, [])) == len(own):
        opening = "Undecided"
    elif len(kinds.get(WORSE, [])) == len(own):
        opening = "No"
    parts = [_clause(results, kind, kinds[kind], len(own)) for kind in ORDER if kind in kinds]
    if len(own) <= NAMED:
        return f"{opening}: {_place(results, own)}, {listed(parts)}."
    none = [] if BETTER in kinds else [f"none is better than {label(results.baseline)}"]
    return f"{opening}: {_place(results, own)}, of {len(own)} {_things(own)} {listed([*none, *parts])}."


def _clause(results: StudyResults, kind: str, own: list[MethodVerdict], total: int) -> str:
    """`BADGE and Entropy are better than Random`, or `5 are better than Random` where there are many."""
    base, loss = label(results.baseline), in_points(own[0].decision.margin)
    words = {BETTER: f"better than {base}", NOT_WORSE: f"not worse by {loss}", WORSE: f"worse than {base}"}
    names = listed([method_name(results, v) for v in own]) if total <= NAMED else str(len(own))
    return f"{names} {'is' if len(own) == 1 else 'are'} {words.get(kind, 'undecided')}"


def _things(own: Sequence[MethodVerdict]) -> str:
    several = len(unique(v.paradigm for v in own)) > 1
    return "combinations of query method and training paradigm" if several else "query methods"


def _place(results: StudyResults, own: list[MethodVerdict]) -> str:
    """`on digits (10 seeds)`, or `over 5 datasets`."""
    decided = [v for v in own if not v.decision.refused]
    count = span(v.decision.n for v in decided)
    if all(v.unit == DATASETS for v in decided):
        return f"over {count} datasets"
    return f"on {scope(results, own)} ({count} {'units' if any(v.unit == DATASETS for v in decided) else 'seeds'})"


def _which(results: StudyResults, own: list[MethodVerdict], best: MethodVerdict) -> str:
    name, spelled = method_name(results, best), amount(best.decision, best.unit)
    if len(own) == 1:
        return f"Only {name} was run: {spelled}."
    if best.decision.verdict == BETTER:
        others = [v for v in own if v.decision.verdict == BETTER and v is not best]
        others.sort(key=lambda v: -v.decision.mean)
        more = [f"{method_name(results, v)} ({number(100 * v.decision.mean, 1, sign=True)})" for v in others[:3]]
        more += [f"{len(others) - 3} more"] if len(others) > 3 else []
        return f"{name} has the largest gain: {spelled}." + (f" Also better: {listed(more)}." if more else "")
    if best.decision.mean <= 0:
        return f"None: no mean gain is above 0; the highest is that of {name}, {spelled}."
    return (
        f"None is shown to gain. The largest mean is that of {name}, {spelled}; as the largest of {len(own)} it is "
        "optimistic."
    )


def _paradigm(results: StudyResults, own: list[MethodVerdict]) -> str:
    datasets = {g.setting.dataset for v in own for g in v.gains}
    found = [v for v in paradigm_verdicts(results) if v.dataset in datasets]
    if len(found) <= 2:
        return " ".join(verdict_words(results, v) for v in found)
    sides = [1 if v.low > 0 else -1 if v.high < 0 else 0 for v in found]
    words = {
        1: "more than the query method",
        -1: "less than the query method",
        0: "an amount that the runs cannot tell",
    }
    parts = [f"{text} on {sides.count(side)} of {len(found)} datasets" for side, text in words.items() if side in sides]
    each = f"The choice of the training paradigm gained {listed(parts)}."
    return joined(*(across_words(lead) for lead in across(results, found)), each)


# ------------------------------------------------------------------------------------- undecided, other data, risks


def _undecided(results: StudyResults, own: list[MethodVerdict]) -> str:
    waiting = [v for v in own if v.decision.verdict == UNDECIDED]
    if not waiting:
        return f"Nothing: all {len(own)} {_things(own)} are decided." if len(own) > 1 else ""
    lost = {id(v): found for v in waiting if (found := lost_settings(results, v))}
    few = [v for v in waiting if v.decision.n < MIN_UNITS and id(v) not in lost]
    if len(few) == len(own):
        there = f"there are {span(v.decision.n for v in few)}"
        return f"All of it. A decision needs at least {MIN_UNITS} {few[0].unit}, and small gains need more; {there}."
    absent = [v for v in waiting if id(v) in lost][:2]
    spelled = [
        f"{method_name(results, v)} has no complete run in {plural(len(lost[id(v)]), 'setting')}." for v in absent
    ]
    rest = sorted((v for v in waiting if id(v) not in lost), key=lambda v: v.to_settle[1] or np.inf)
    words = [
        f"{method_name(results, v)}: {settle_words(v.unit, v.decision.n, v.to_settle, v.decision.margin)}" for v in rest
    ]
    if len(waiting) <= 2:
        return joined(*spelled, *(f"{text}." for text in words))
    count = f"{len(waiting)} of {len(own)} {_things(own)}."
    if not rest:
        return joined(count, *spelled)
    far = rest[-1]
    last = (
        f" The others need up to {far.to_settle[1]} more {far.unit} for that."
        if len(rest) > 1 and far.to_settle[1]
        else ""
    )
    return joined(count, f"Nearest to a decision is {words[0]}.{last}", *spelled)


def _elsewhere(results: StudyResults, own: list[MethodVerdict], best: MethodVerdict) -> str:
    """The scope of the verdicts, and the interval for a new dataset where datasets are the units."""
    if best.prediction is None:
        return (
            f"Not known: this holds for {scope(results, own)} only. At least {MIN_UNITS} datasets are needed to say "
            "anything about others."
        )
    low, high = (number(100 * value, 1, sign=True) for value in best.prediction)
    text = (
        f"On a new dataset the gain of {method_name(results, best)} would lie between {low} and {high} points "
        f"({level_text(LEVEL)} prediction interval from {best.decision.n} datasets)."
    )
    if here := [v for v in own if v.here.verdict not in (v.decision.verdict, UNDECIDED)]:
        kinds = grouped((v.here.verdict, v) for v in here)
        parts = [_clause(results, kind, kinds[kind], len(here)) for kind in ORDER if kind in kinds]
        text += f" On these {best.decision.n} datasets alone, with seeds as the units, {listed(parts)}."
    return text


def _failures(results: StudyResults, own: list[MethodVerdict]) -> str:
    """Settings with a loss; nothing for methods with one setting, whose verdict says it."""
    wide = [v for v in own if len(v.gains) > 1]
    if not wide:
        return ""
    loss, count = in_points(wide[0].decision.margin), sum(len(v.gains) for v in wide)
    below = sum(len(v.failures) for v in wide)
    worst = min(wide, key=lambda v: v.worst.estimate.mean)
    place = results.names.parts(worst.worst.setting)
    name = f"{method_name(results, worst)} on {place.dataset}, {place.regime}"
    deepest = f"{name} ({number(100 * worst.worst.estimate.mean, 1, sign=True)} points)"
    lost = f"of {count} cases (a method in a setting) the lowest mean gain is that of {deepest}."
    text = (
        f"In {plural(below, 'case')} the mean loss exceeds {loss}: {lost}"
        if below
        else f"Nowhere by more than {loss}: {lost}"
    )
    if safe := [v for v in wide if v.safe and v.decision.verdict in (BETTER, NOT_WORSE)]:
        names = listed([method_name(results, v) for v in safe]) if len(safe) <= NAMED else f"{len(safe)} of {len(wide)}"
        text += f" No failure mode is left for {names}: a loss of {loss} is rejected in every setting."
    return text


def _missing(results: StudyResults, own: list[MethodVerdict]) -> str:
    """Comparisons that lack seeds or settings, and the verdicts without these."""
    lacking = [v for v in own if v.decision.missing or lost_settings(results, v)]
    if not lacking:
        return ""
    names = listed([method_name(results, v) for v in lacking]) if len(lacking) <= NAMED else f"{len(lacking)} of them"
    text = f"Runs are missing for {names}, or for what they are compared with; "
    text += "verdicts hold wherever the missing gains plausibly lie."
    changed = [v for v in lacking if v.decision.observed not in ("", v.decision.verdict)]
    spelled = [f"{method_name(results, v)} {v.decision.observed}" for v in changed[:NAMED]]
    if spelled:
        return f"{text} By the complete runs alone they would be: {listed(spelled)}."
    return f"{text} No verdict would differ without them."
