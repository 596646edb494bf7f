"""Training paradigms side by side, in a table and in words."""

from typing import Any

import numpy as np

from fathom.core.records import Setting, unique
from fathom.core.text import plural
from fathom.report.numbers import DASH, MINUS, gain, number, percent
from fathom.report.setting_tables import emphasis, saving_cell
from fathom.report.style import styles_of
from fathom.report.tables import ReportTable, TableCell
from fathom.results.classifiers import listed
from fathom.results.names import label
from fathom.results.paradigms import (
    REFERENCE,
    HparamChoice,
    Pair,
    ParadigmGroup,
    Verdict,
    budgets_of,
    compare_paradigms,
)
from fathom.results.results import StudyResults, of_setting
from fathom.stats.inference import Interval


def paradigm_table(reading: StudyResults, group: ParadigmGroup, name: str) -> ReportTable:
    """Each paradigm with the baseline query method and with its best one; what AL and what the paradigm gains."""
    pairs = {arm: compare_paradigms(reading, group, arm) for arm in group.members}
    rows = [_row(reading, group, arm, pairs[arm]) for arm in group.members]
    base = label(reading.baseline)
    several = len(group.references) > 1
    against = "its reference" if several else group.members[group.references[0]]
    columns = ["Paradigm", "Seeds", f"{base} AUBC", f"{base} final", "Best method", "Its AUBC", "Its final"]
    columns += ["AL gain", "Paradigm gain", "Final", "Labels saved", "Budgets"]
    caption = (
        f"Training paradigms with {base} and with the query method of the best mean AUBC: mean over seeds ± half the "
        f"95 % t-interval, in % {reading.metric(group.references[0]).replace('_', ' ')}. AL gain: AUBC of the best "
        f"method {MINUS} {base} within the paradigm. Paradigm gain, Final, Labels saved: against {against}, both with "
        f"{base}. All in points, paired by seed, with 95 % t-intervals (not corrected)."
    )
    return ReportTable(name, caption, columns, rows, " ".join(_notes(reading, group, pairs)))


def _row(reading: StudyResults, group: ParadigmGroup, arm: Setting, pair: Pair | None) -> list[TableCell]:
    means = {str(row["query"]): row for row in of_setting(reading.means, arm).to_dict("records")}
    base = means.get(reading.baseline)
    planned = reading.seeds(arm, reading.baseline)
    row = [TableCell(group.members[arm], group.members[arm], title=" · ".join(arm))]
    done = int(base["n"]) if base else 0
    row.append(TableCell(str(done) if done == planned else f"{done} of {planned}", float(done)))
    row += [_score(base, "aubc"), _score(base, "final")]
    best = _best(reading, arm, means)
    if best is None:
        row += [TableCell(DASH)] * 4
    else:
        style = styles_of(reading)[best]
        row += [
            TableCell(style.label, style.label, style.number),
            _score(means[best], "aubc"),
            _score(means[best], "final"),
        ]
        row.append(_al_gain(reading, arm, best))
    return [*row, *_paradigm_cells(reading, group, arm, pair)]


def _best(reading: StudyResults, arm: Setting, means: dict[str, dict[str, Any]]) -> str | None:
    """The query method of the best mean AUBC, of those with as many complete seeds as any has; controls do not vie."""
    own = reading.classifiers[arm]
    vying = {q: m for q, m in means.items() if q != reading.baseline and not own.is_control(q) and m["n"]}
    most = max((m["n"] for m in vying.values()), default=0)
    ranked = {q: m["aubc"] for q, m in vying.items() if m["n"] == most and np.isfinite(m["aubc"])}
    return max(ranked, key=lambda q: float(ranked[q])) if ranked else None


def _score(row: dict[str, Any] | None, what: str) -> TableCell:
    return TableCell(percent(row[what], row[f"{what}_low"], row[f"{what}_high"]), row[what]) if row else TableCell(DASH)


def _al_gain(reading: StudyResults, arm: Setting, best: str) -> TableCell:
    found = of_setting(reading.gains, arm)
    rows = found[found["query"] == best].to_dict("records") if len(found) else []
    if not rows:
        return TableCell(DASH)
    low, high = rows[0]["aubc_low"], rows[0]["aubc_high"]
    text = gain(rows[0]["aubc"], low, high) + reading.classifiers[arm].mark(best)
    return TableCell(text, rows[0]["aubc"], emphasis=emphasis(low, high))


def _paradigm_cells(reading: StudyResults, group: ParadigmGroup, arm: Setting, pair: Pair | None) -> list[TableCell]:
    """Gain over the reference in AUBC and final score, labels saved, and at how many budgets."""
    own = budgets_of(reading, arm, [reading.baseline])
    if arm == group.reference[arm]:
        return [
            TableCell("reference"),
            *[TableCell(DASH)] * 2,
            TableCell(str(len(own)) if own else DASH, float(len(own))),
        ]
    if pair is None:
        return [TableCell(DASH, title="no budget or seed that both have completed"), *[TableCell(DASH)] * 3]
    cells = []
    for what in ("aubc", "final"):
        low, high = pair.row[f"{what}_low"], pair.row[f"{what}_high"]
        cells.append(TableCell(gain(pair.row[what], low, high), pair.row[what], emphasis=emphasis(low, high)))
    cells.append(saving_cell(pair.saving))
    fewer = len(pair.budgets) < len(own)
    text = f"{len(pair.budgets)} of {len(own)}" if fewer else str(len(pair.budgets))
    return [*cells, TableCell(text, float(len(pair.budgets)), title=", ".join(map(str, pair.budgets)))]


def _notes(reading: StudyResults, group: ParadigmGroup, pairs: dict[Setting, Pair | None]) -> list[str]:
    base = label(reading.baseline)
    notes = [
        f"All begin with the same {group.start} labels and are chosen on the same {group.val_size} validation labels: "
        "a seed has one split and one starting set in all of them. The best method was picked after the fact, which "
        f"flatters it. Labels saved: of those that the reference needs for 90 % of its rise with {base}, in brackets "
        "the range of the paired bootstrap over seeds."
    ]
    if len({s[1] for s in group.members}) > 1:
        known = {a: regime for a in group.members if (regime := reading.regime(a))}
        sizes = [f"{group.members[a]} {regime.query_size}" for a, regime in known.items()]
        differ = len({regime.query_size for regime in known.values()}) > 1
        what = f"Query sizes differ ({', '.join(sizes)})" if differ else "Numbers of rounds differ"
        told = [f"{group.members[a]}: {_named(p.budgets)}" for a, p in pairs.items() if p]
        notes.append(
            f"{what}, so paradigms are compared only at the budgets that both have"
            + (f" ({'; '.join(told)})" if told else "")
            + "; scores and AL gains are over each one's own budgets and do not compare between rows."
        )
    if len(group.references) > 1:
        told = [f"{group.members[a]} against {group.members[r]}" for a, r in group.reference.items() if a != r]
        notes.append(f"Compared: {', '.join(told)}.")
    elif group.references[0][2].split("(")[0] != REFERENCE:
        notes.append(f"Reference is {group.members[group.references[0]]}, as {REFERENCE} was not run here.")
    dropouts = {group.members[a]: reading.classifiers[a].dropouts.get(reading.baseline, 0.0) for a in group.members}
    if len(set(dropouts.values())) > 1:
        told = [f"{arm} {value:g}" for arm, value in dropouts.items()]
        notes.append(f"The classifiers of {base} differ in dropout too: {listed(told)}.")
    if footnote := reading.footnote(group.members):
        notes.append(footnote)
    return notes


def _named(budgets: list[int]) -> str:
    return (
        listed([str(b) for b in budgets]) if len(budgets) <= 6 else f"{len(budgets)} from {budgets[0]} to {budgets[-1]}"
    )


# ---------------------------------------------------------------------------------------------------------- words


def verdict_words(reading: StudyResults, verdict: Verdict) -> str:
    """Whether more is gained by choosing the paradigm or the query method, or that it cannot be told; in a sentence."""
    dataset = reading.names.dataset[verdict.dataset]
    if not any(c.paradigm or c.query for c in verdict.choices):
        opening = f"On {dataset} neither choice gained anything on average"
    elif not np.isfinite(verdict.difference.low):
        opening = f"On {dataset} one seed cannot tell whether the training paradigm or the query method gains more"
    elif verdict.difference.low > 0:
        opening = f"On {dataset} more was gained by choosing the training paradigm than by choosing the query method"
    elif verdict.difference.high < 0:
        opening = f"On {dataset} more was gained by choosing the query method than by choosing the training paradigm"
    else:
        opening = f"On {dataset} it cannot be told whether the training paradigm or the query method gains more"
    marks = {reading.classifiers[c.reference].mark(c.query) for c in verdict.choices if c.query}
    return (
        f"{opening}: {number(100 * verdict.paradigm.mean, 1, sign=True)} against "
        f"{number(100 * verdict.query.mean, 1, sign=True)}{''.join(sorted(marks))} points of AUBC, a difference of "
        f"{_points(verdict.difference)}, {plural(verdict.difference.n, 'seed')}, paired."
    )


def verdict_details(reading: StudyResults, verdict: Verdict) -> str:
    """What the verdict compares: which choices, at which budgets, and how far to trust it."""
    paradigm = _change(verdict.paradigm, _names(reading, verdict.choices, "paradigm"), label(reading.baseline))
    held = dict.fromkeys(choice.group.members[choice.reference] for choice in verdict.choices)
    query = _change(verdict.query, _names(reading, verdict.choices, "query"), listed(list(held)))
    notes = reading.caption_note(unique(choice.reference for choice in verdict.choices))
    return (
        f"Training paradigm: {paradigm}. Query method: {query}. Compared {_where(verdict)}. What was best was picked "
        f"after the fact, which flatters both. {notes}"
    ).strip()


def _names(reading: StudyResults, choices: list[HparamChoice], what: str) -> list[str]:
    """What was best in place of what, in each group; empty where nothing was better than to stay."""
    found = []
    for choice in choices:
        if what == "paradigm" and choice.paradigm:
            text = f"{choice.group.members[choice.paradigm]} instead of {choice.group.members[choice.reference]}"
        elif what == "query" and choice.query:
            own = reading.classifiers[choice.reference]
            text = f"{label(choice.query)} instead of {label(own.reference(choice.query))}{own.mark(choice.query)}"
        else:
            text = "no other was better"
        found.append(text + (f" ({choice.group.title})" if len(choices) > 1 else ""))
    return found


def _change(band: Interval, names: list[str], held: str) -> str:
    told = "; ".join(dict.fromkeys(names))
    if names == ["no other was better"]:
        return f"{told}, both with {held}"
    return f"{told}, both with {held}, gains {_points(band)}" + (
        " of AUBC averaged over these" if len(names) > 1 else " of AUBC"
    )


def _points(band: Interval) -> str:
    text = f"{number(100 * band.mean, 1, sign=True)} points"
    if not np.isfinite(band.low):
        return f"{text} (no interval)"
    return f"{text} (95 % t-interval {number(100 * band.low, 1, sign=True)} to {number(100 * band.high, 1, sign=True)})"


def _where(verdict: Verdict) -> str:
    told = [_named(choice.budgets) for choice in verdict.choices]
    return f"at the budgets that all have ({'; '.join(dict.fromkeys(told))} labels)"


def apart_words(reading: StudyResults, settings: list[Setting]) -> str:
    """Which settings could not be compared with another paradigm, and why; empty where there are none."""
    if not settings:
        return ""
    told = [f"{reading.names.title(s)} ({regime.start} labels, {regime.val_size} for validation)"
            for s in settings if (regime := reading.regime(s))]  # fmt: skip
    return (
        f"Not compared, because no other paradigm begins with as many labels and validation labels: {listed(told)}. "
        "Another start is another starting set, and then a seed makes no pair."
    )
