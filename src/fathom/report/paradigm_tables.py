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
from fathom.results.paradigm_lead import ParadigmLead
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
from fathom.stats.decisions import BETTER, MIN_UNITS, WORSE


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
        "seeing the results, so its gain is optimistic; intervals of gains here are not corrected, so none of them "
        "decides anything. Labels saved: training labels saved at the score that the "
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
    dataset, n = results.names.dataset[verdict.dataset], plural(verdict.n, "seed")
    if verdict.n < MIN_UNITS:
        count = {1: "one seed", 2: "two seeds"}[verdict.n]
        opening = f"On {dataset} {count} cannot tell whether the training paradigm or the query method gains more"
    elif not any(pick for c in verdict.choices for pick in (*c.paradigm_picks, *c.query_picks)):
        opening = f"On {dataset} neither choice gained anything on average"
    elif verdict.low > 0:
        opening = f"On {dataset} the choice of the training paradigm gained more than the choice of the query method"
    elif verdict.high < 0:
        opening = f"On {dataset} the choice of the query method gained more than the choice of the training paradigm"
    else:
        opening = f"On {dataset} the runs cannot tell whether the training paradigm or the query method gains more"
    trivial = [c.group.title for c in verdict.choices if trivial_methods(results, c.reference)]
    limit = (
        " Its reference is no better than a constant answer, so this compares little with nothing." if trivial else ""
    )
    marks = {results.classifiers[c.reference].mark(pick) for c in verdict.choices for pick in c.query_picks if pick}
    if not np.isfinite(verdict.paradigm):
        return f"{opening}: nothing can be chosen on one seed and measured on another.{limit}"
    paradigm, query = (number(100 * gain, 1, sign=True) for gain in (verdict.paradigm, verdict.query))
    return (
        f"{opening}: {paradigm} points of AUBC by the paradigm, {query}{''.join(sorted(marks))} by the query method, "
        f"each chosen on the other seeds; {_lead(verdict)}, {n}, paired." + limit
    )


def _lead(verdict: ParadigmVerdict) -> str:
    """Interval for the lead of the best paradigm over the best query method, with its level."""
    level = f"{100 * verdict.level:.3g} %"
    low, high = (number(100 * bound, 1, sign=True) for bound in (verdict.low, verdict.high))
    if not (np.isfinite(verdict.low) or np.isfinite(verdict.high)):
        return "no interval for the lead of the best paradigm over the best query method"
    if not np.isfinite(verdict.high):
        return f"the best paradigm leads the best query method by {low} or more ({level} interval)"
    if not np.isfinite(verdict.low):
        return f"the best paradigm leads the best query method by {high} or less ({level} interval)"
    return f"the best paradigm leads the best query method by {low} to {high} ({level} interval)"


def across_words(found: ParadigmLead) -> str:
    """Sentence on all datasets together."""
    d = found.decision
    what = {
        BETTER: "The choice of the training paradigm gains more than the choice of the query method",
        WORSE: "The choice of the query method gains more than the choice of the training paradigm",
    }.get(d.verdict, "Datasets together cannot tell whether the training paradigm or the query method gains more")
    role = f" ({found.role} data)" if found.role else ""
    low, high = (number(100 * bound, 1, sign=True) for bound in (d.low, d.high))
    interval = f" ({100 * d.level:.3g} % interval {low} to {high})" if np.isfinite(d.low) else ""
    return (
        f"{what}{role}: {number(100 * d.mean, 1, sign=True)} points of AUBC on average over {d.n} datasets{interval}, "
        "each choice made on other seeds than it is measured on."
    )


def verdict_details(results: StudyResults, verdict: ParadigmVerdict) -> str:
    """Sentences on the compared choices and budgets, and on how their bias is avoided."""
    base = label(results.baseline)
    members = unique(choice.group.members[choice.reference] for choice in verdict.choices)
    several = len(verdict.choices) > 1
    groups = [f" ({choice.group.title})" if several else "" for choice in verdict.choices]
    paradigms = [_paradigm_change(choice) + group for choice, group in zip(verdict.choices, groups, strict=True)]
    queries = [_query_change(results, choice) + group for choice, group in zip(verdict.choices, groups, strict=True)]
    budgets = unique(_budget_list(choice.budgets) for choice in verdict.choices)
    notes = results.caption_note(unique(choice.reference for choice in verdict.choices))
    tried = max(len(c.paradigms) for c in verdict.choices), max(len(c.queries) for c in verdict.choices)
    family = f" and for {plural(verdict.family, 'dataset')}" if verdict.family > 1 else ""
    return (
        f"Training paradigm: {'; '.join(unique(paradigms))} (all with {base}). Query method: "
        f"{'; '.join(unique(queries))} (all with {listed(members)}). Compared at the budgets that all have "
        f"({'; '.join(budgets)} labels). Each gain is measured on a seed that had no part in the choice, so it is not "
        f"that of a winner picked afterwards. The interval is corrected for {plural(tried[0], 'paradigm')} and "
        f"{plural(tried[1], 'query method')} to choose from{family}. {notes}"
    ).strip()


def _paradigm_change(choice: BestChoice) -> str:
    """`self-sl instead of standard on 3 of 3 seeds`, or that none was chosen."""
    members = choice.group.members
    picks = [None if pick is None else members[pick] for pick in choice.paradigm_picks]
    return _picks(picks, members[choice.reference])


def _query_change(results: StudyResults, choice: BestChoice) -> str:
    """`BADGE instead of Random on 3 of 3 seeds`, or that none was chosen."""
    classifiers = results.classifiers[choice.reference]
    picks = [None if pick is None else label(pick) + classifiers.mark(pick) for pick in choice.query_picks]
    references = unique(label(classifiers.reference(pick)) for pick in choice.query_picks if pick)
    return _picks(picks, " and ".join(references))


def _picks(picks: list[str | None], reference: str) -> str:
    chosen = unique(pick for pick in picks if pick)
    if not chosen:
        return NOT_BETTER
    counts = [f"{pick} on {picks.count(pick)}" for pick in chosen]
    kept = f", none on {picks.count(None)}" if None in picks else ""
    return f"{listed(counts)} of {plural(len(picks), 'seed')} instead of {reference}{kept}"


NOT_BETTER = "none was better than the reference"


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
