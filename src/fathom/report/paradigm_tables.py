"""Comparison of training paradigms, as a table and in sentences."""

from typing import Any

import numpy as np

from fathom.core.records import Setting, unique
from fathom.core.text import plural
from fathom.report.numbers import DASH, MINUS, number
from fathom.report.setting_tables import gain_cell, rows_by_query, saving_cell, score_cell
from fathom.report.tables import EMPTY_CELL, ReportTable, TableCell, method_cell, text_cell
from fathom.results.classifiers import listed
from fathom.results.names import label
from fathom.results.paradigms import (
    REFERENCE,
    BestChoice,
    Pair,
    ParadigmGroup,
    ParadigmVerdict,
    budgets_of,
    compare_paradigms,
)
from fathom.results.results import StudyResults
from fathom.results.trivial import trivial_methods
from fathom.stats.inference import Interval


def paradigm_table(results: StudyResults, group: ParadigmGroup, name: str) -> ReportTable:
    """Scores of each paradigm with the baseline and with its best query method, and the gains of both choices."""
    pairs = {member: compare_paradigms(results, group, member) for member in group.members}
    rows = [_row(results, group, member, pairs[member]) for member in group.members]
    base = label(results.baseline)
    reference = "its reference" if len(group.references) > 1 else group.members[group.references[0]]
    columns = ["Paradigm", "Seeds", f"{base} AUBC", f"{base} final", "Best method", "Its AUBC", "Its final"]
    columns += ["AL gain", "Paradigm gain", "Final gain", "Labels saved", "Budgets"]
    caption = (
        f"Training paradigms with {base} and with the query method of the highest mean AUBC: mean over seeds ± half "
        f"the 95 % t-interval, in % {results.metric(group.references[0]).replace('_', ' ')}. AL gain: AUBC of the best "
        f"method {MINUS} AUBC of {base} within the paradigm. Paradigm gain, final gain (last shared budget) and labels "
        f"saved: compared with {reference}, both with {base}. Gains in points, paired by seed, with 95 % t-intervals "
        "(not corrected for several comparisons)."
    )
    return ReportTable(name, caption, columns, rows, " ".join(_notes(results, group, pairs)))


def _row(results: StudyResults, group: ParadigmGroup, member: Setting, pair: Pair | None) -> list[TableCell]:
    means = rows_by_query(results.means, member)
    base = means.get(results.baseline)
    planned = results.seeds(member, results.baseline)
    done = int(base["n"]) if base else 0
    row = [
        text_cell(group.members[member], " · ".join(member)),
        TableCell(str(done) if done == planned else f"{done} of {planned}", float(done)),
    ]
    row += [score_cell(base, "aubc"), score_cell(base, "final")] if base else [EMPTY_CELL, EMPTY_CELL]
    best = _best_method(results, member, means)
    if best is None:
        row += [EMPTY_CELL] * 4
    else:
        row += [method_cell(results, best), score_cell(means[best], "aubc"), score_cell(means[best], "final")]
        gained = rows_by_query(results.gains, member).get(best)
        decision = results.details.get((member, best))
        verdict, mark = decision.verdict if decision else "", results.classifiers[member].mark(best)
        row.append(gain_cell(gained, "aubc", mark, verdict) if gained else EMPTY_CELL)
    return [*row, *_paradigm_cells(results, group, member, pair)]


def _best_method(results: StudyResults, member: Setting, means: dict[str, dict[str, Any]]) -> str | None:
    """Query method of the highest mean AUBC, without baseline and matched controls.

    Only methods with the highest number of complete seeds are ranked: the others might lead by missing a bad seed.
    """
    classifiers = results.classifiers[member]
    candidates = {q: row for q, row in means.items() if q != results.baseline and not classifiers.is_control(q)}
    most = max((row["n"] for row in candidates.values()), default=0)
    areas = {q: float(row["aubc"]) for q, row in candidates.items() if row["n"] == most and np.isfinite(row["aubc"])}
    return max(areas, key=areas.__getitem__) if areas else None


def _paradigm_cells(results: StudyResults, group: ParadigmGroup, member: Setting, pair: Pair | None) -> list[TableCell]:
    """Gain over the reference in AUBC and final score, labels saved, and the number of compared budgets."""
    own = budgets_of(results, member, [results.baseline])
    if member == group.reference[member]:
        budgets = TableCell(str(len(own)) if own else DASH, float(len(own)))
        return [TableCell("reference"), EMPTY_CELL, EMPTY_CELL, budgets]
    if pair is None:
        return [TableCell(DASH, title="no budget or seed that both have completed"), *[EMPTY_CELL] * 3]
    shared = len(pair.budgets)
    text = f"{shared} of {len(own)}" if shared < len(own) else str(shared)
    budgets = TableCell(text, float(shared), title=", ".join(map(str, pair.budgets)))
    names = {"reference": group.members[group.reference[member]], "member": group.members[member]}
    saved = saving_cell(pair.saving, names.__getitem__)
    return [gain_cell(pair.row, "aubc"), gain_cell(pair.row, "final"), saved, budgets]


def _notes(results: StudyResults, group: ParadigmGroup, pairs: dict[Setting, Pair | None]) -> list[str]:
    base = label(results.baseline)
    notes = [
        f"All paradigms start with the same {group.start} labels and choose their HPs on the same {group.val_size} "
        "validation labels: a seed has one split and one starting set in all of them. The best method was chosen after "
        "seeing the results, so its gain is optimistic. Labels saved: training labels saved at the score that the "
        f"reference has with {base} at the last shared budget, with their 95 % interval (paired, not corrected); ≤, ≥: "
        "open, since the curves end there."
    ]
    notes += _regime_note(results, group, pairs)
    if len(group.references) > 1:
        compared = [f"{group.members[m]} with {group.members[r]}" for m, r in group.reference.items() if m != r]
        notes.append(f"Compared: {', '.join(compared)}.")
    elif group.references[0].paradigm.split("(")[0] != REFERENCE:
        notes.append(f"The reference is {group.members[group.references[0]]}, since {REFERENCE} was not run here.")
    dropouts = {group.members[m]: results.classifiers[m].dropouts.get(results.baseline, 0.0) for m in group.members}
    if len(set(dropouts.values())) > 1:
        values = [f"{name} {value:g}" for name, value in dropouts.items()]
        notes.append(f"The classifiers of {base} also differ in dropout: {listed(values)}.")
    if footnote := results.footnote(group.members):
        notes.append(footnote)
    return notes


def _regime_note(results: StudyResults, group: ParadigmGroup, pairs: dict[Setting, Pair | None]) -> list[str]:
    """Note for a group with several regimes, whose members have different budgets."""
    if len({setting.regime for setting in group.members}) == 1:
        return []
    regimes = {member: regime for member in group.members if (regime := results.regime(member))}
    sizes = [f"{group.members[member]} {regime.query_size}" for member, regime in regimes.items()]
    differ = len({regime.query_size for regime in regimes.values()}) > 1
    what = f"Query sizes differ ({', '.join(sizes)})" if differ else "Numbers of rounds differ"
    budgets = [f"{group.members[member]}: {_budget_list(pair.budgets)}" for member, pair in pairs.items() if pair]
    shared = f" ({'; '.join(budgets)})" if budgets else ""
    return [
        f"{what}, so paradigms are compared only at the budgets that both have{shared}; scores and AL gains are over "
        "each paradigm's own budgets and must not be compared between rows."
    ]


def _budget_list(budgets: list[int]) -> str:
    if len(budgets) <= 6:
        return listed(list(map(str, budgets)))
    return f"{len(budgets)} from {budgets[0]} to {budgets[-1]}"


# ------------------------------------------------------------------------------------------------------ sentences


def verdict_words(results: StudyResults, verdict: ParadigmVerdict) -> str:
    """Sentence on which choice gains more, paradigm or query method, or that the runs cannot tell."""
    dataset = results.names.dataset[verdict.dataset]
    if not any(c.paradigm or c.query for c in verdict.choices):
        opening = f"On {dataset} neither choice gained anything on average"
    elif not np.isfinite(verdict.difference.low):
        opening = f"On {dataset} one seed cannot tell whether the training paradigm or the query method gains more"
    elif verdict.difference.low > 0:
        opening = f"On {dataset} the choice of the training paradigm gained more than the choice of the query method"
    elif verdict.difference.high < 0:
        opening = f"On {dataset} the choice of the query method gained more than the choice of the training paradigm"
    else:
        opening = f"On {dataset} the runs cannot tell whether the training paradigm or the query method gains more"
    trivial = [c.group.title for c in verdict.choices if trivial_methods(results, c.reference)]
    limit = (
        " Its reference is no better than a constant answer, so this compares little with nothing." if trivial else ""
    )
    marks = {results.classifiers[c.reference].mark(c.query) for c in verdict.choices if c.query}
    paradigm, query = (number(100 * band.mean, 1, sign=True) for band in (verdict.paradigm, verdict.query))
    return (
        f"{opening}: {paradigm} points of AUBC with the best paradigm, {query}{''.join(sorted(marks))} with the best "
        f"query method; difference {_points(verdict.difference)}, {plural(verdict.difference.n, 'seed')}, paired."
        + limit
    )


def verdict_details(results: StudyResults, verdict: ParadigmVerdict) -> str:
    """Sentences on the compared choices and budgets, and on the bias of choosing the best."""
    base = label(results.baseline)
    members = unique(choice.group.members[choice.reference] for choice in verdict.choices)
    several = len(verdict.choices) > 1
    groups = [f" ({choice.group.title})" if several else "" for choice in verdict.choices]
    paradigms = [_paradigm_change(choice) + group for choice, group in zip(verdict.choices, groups, strict=True)]
    queries = [_query_change(results, choice) + group for choice, group in zip(verdict.choices, groups, strict=True)]
    paradigm, query = _change(verdict.paradigm, paradigms, base), _change(verdict.query, queries, listed(members))
    budgets = unique(_budget_list(choice.budgets) for choice in verdict.choices)
    notes = results.caption_note(unique(choice.reference for choice in verdict.choices))
    return (
        f"Training paradigm: {paradigm}. Query method: {query}. Compared at the budgets that all have "
        f"({'; '.join(budgets)} labels). Both choices were made after seeing the results, so both gains are "
        f"optimistic. {notes}"
    ).strip()


NOT_BETTER = "none was better than the reference"


def _paradigm_change(choice: BestChoice) -> str:
    """`self-sl instead of standard`, or `NOT_BETTER`."""
    members = choice.group.members
    return f"{members[choice.paradigm]} instead of {members[choice.reference]}" if choice.paradigm else NOT_BETTER


def _query_change(results: StudyResults, choice: BestChoice) -> str:
    """`BADGE instead of Random`, or `NOT_BETTER`."""
    if not choice.query:
        return NOT_BETTER
    classifiers = results.classifiers[choice.reference]
    reference = label(classifiers.reference(choice.query))
    return f"{label(choice.query)} instead of {reference}{classifiers.mark(choice.query)}"


def _change(band: Interval, changes: list[str], other: str) -> str:
    """Change in each group with its mean gain; `other` is the part of the setting that stays."""
    text = f"{'; '.join(unique(changes))} (all with {other})"
    if changes == [NOT_BETTER]:
        return text
    return f"{text}: {_points(band)} of AUBC{', averaged over these' if len(changes) > 1 else ''}"


def _points(band: Interval) -> str:
    text = f"{number(100 * band.mean, 1, sign=True)} points"
    if not np.isfinite(band.low):
        return f"{text} (no interval)"
    return f"{text} (95 % t-interval {number(100 * band.low, 1, sign=True)} to {number(100 * band.high, 1, sign=True)})"


def not_compared_words(results: StudyResults, settings: list[Setting]) -> str:
    """Sentence on settings that could not be compared with another paradigm; empty where there are none."""
    if not settings:
        return ""
    starts = [
        f"{results.names.title(setting)} ({regime.start} labels, {regime.val_size} for validation)"
        for setting in settings
        if (regime := results.regime(setting))
    ]
    return (
        "Not compared, because no other paradigm starts with the same numbers of labels and validation labels: "
        f"{listed(starts)}. With another start a seed has another starting set, so its runs are not a pair."
    )
