"""What the runs show, in plain words, and never more than they show."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fathom.core.records import Setting, unique
from fathom.core.text import plural
from fathom.report.numbers import gain, number, p_value, percent
from fathom.report.paradigm_tables import verdict_words
from fathom.results.classifiers import CROSSED, MATCHED, joined_notes, listed
from fathom.results.environments import mixed_words
from fathom.results.names import label
from fathom.results.paradigms import verdicts
from fathom.results.results import StudyResults
from fathom.results.roles import role_of, roles, roll_out_words
from fathom.stats.inference import MIN_SEEDS, minimum_p, t_interval
from fathom.stats.penalty import Penalty


def summary(results: StudyResults) -> list[str]:
    """The sentences at the head of the report, a paragraph a training paradigm."""
    if results.frame.empty:
        return ["No round is committed yet, so there is nothing to compare."]
    gains = _ranked_gains(results)
    if gains.empty:
        return [_no_gains(results)]
    paragraphs, paradigms = [], unique(gains["paradigm"])
    for role in (both := roles(results)):
        held = gains[[role_of(results, dataset) == role for dataset in gains["dataset"]]]
        for paradigm in unique(held["paradigm"]):
            on = [f"On {role} data"] if len(both) > 1 else []
            named = [*on, f"with {results.names.paradigm[paradigm]}"] if len(paradigms) > 1 else on
            text = ", ".join(named)
            head = f"{text[0].upper()}{text[1:]}: " if text else ""
            paragraphs.append(head + _of_paradigm(results, held[held["paradigm"] == paradigm]))
    told = [" ".join([text, *_marked(text)]) for text in (verdict_words(results, v) for v in verdicts(results))]
    return [*told, *paragraphs, _caveat(results, gains)]


def _ranked_gains(results: StudyResults) -> Any:
    """The gains that a verdict is given on, with the `label` and `mark` of each method.

    The baseline with another classifier is no query method of its own: its gain is one of the classifier.
    """
    gains = results.gains
    if gains.empty:
        return gains
    settings = zip(gains["dataset"], gains["regime"], gains["paradigm"], gains["query"], strict=True)
    own = [(results.classifiers[Setting(d, r, p)], q) for d, r, p, q in settings]
    gains = gains.assign(told=[label(q) + c.mark(q) for c, q in own], control=[c.is_control(q) for c, q in own])
    gains = gains[gains["n"] > 0]
    return gains[~gains["control"]] if not gains["control"].all() else gains


def _no_gains(results: StudyResults) -> str:
    base = label(results.baseline)
    if results.baseline not in results.queries:
        return f"The baseline {base} was not run, so gains cannot be measured; curves and areas stand alone."
    if len(results.queries) == 1:
        return f"Only {base} was run; there is nothing to compare it with."
    return f"No seed is complete for both {base} and another method yet, so there is no gain to speak of."


def _of_paradigm(results: StudyResults, part: Any) -> str:
    base = label(results.baseline)
    settings = len(part.groupby(["dataset", "regime"], sort=False))
    ranked, left = _ranked(part)
    mean = ranked.groupby("query", sort=False)["aubc"].mean().sort_values(ascending=False, kind="stable")
    best = str(mean.index[0])
    if mean.iloc[0] > 0:
        first = f"{_label(part, best)} gained the most over {base}: {_amount(part[part['query'] == best], settings)}"
    else:
        first = f"No method gained over {base} on average; nearest was {_label(part, best)}: "
        first += _amount(part[part["query"] == best], settings)
    sentences = [first + _after_the_fact(len(mean)), *left, *_signs(part, base, settings), *_reach(results, part)]
    return " ".join([*sentences, *_marked(" ".join(sentences))])


def _marked(text: str) -> Iterator[str]:
    """What the marks in a text mean."""
    if CROSSED in text:
        yield f"{CROSSED} With another classifier: see “Two classifiers” below."
    if MATCHED in text:
        yield f"{MATCHED} Measured against the matched control: see “Two classifiers” below."


def _label(part: Any, query: str) -> str:
    """A method's name with the marks that its numbers carry."""
    return str(max(part[part["query"] == query]["told"], key=len))


def _ranked(part: Any) -> tuple[Any, list[str]]:
    """(rows of the methods with a gain in most settings, a sentence on the others): averages over different settings
    do not rank, or a method would lead by failing where it is bad."""
    count = part.groupby("query", sort=False).size()
    fewer = count[count < count.max()]
    if fewer.empty:
        return part, []
    told = listed([f"{label(str(q))} ({n} of {count.max()})" for q, n in fewer.items()])
    return part[~part["query"].isin(fewer.index)], [f"Not ranked, for want of settings: {told}."]


def _amount(rows: Any, settings: int) -> str:
    if settings == 1:
        row = rows.iloc[0]
        text = f"{number(100 * row['aubc'], 1, sign=True)} points of AUBC"
        if row["n"] < 2:
            return f"{text} in a single seed, without an interval"
        low, high = (number(100 * row[f"aubc_{end}"], 1, sign=True) for end in ("low", "high"))
        return f"{text} (95 % t-interval {low} to {high}, {row['n']} seeds, paired)"
    low, high = (number(100 * v, 1, sign=True) for v in (rows["aubc"].min(), rows["aubc"].max()))
    mean = number(100 * rows["aubc"].mean(), 1, sign=True)
    return f"{mean} points of AUBC on average over {len(rows)} settings ({low} to {high})"


def _after_the_fact(methods: int) -> str:
    return f". It was picked out of {methods} after the fact, which flatters it." if methods > 1 else "."


def _signs(part: Any, base: str, settings: int) -> Iterator[str]:
    """Which methods' intervals lie wholly above or below zero, and in how many settings."""
    sized = part[part["n"] >= 2]
    for rows, words in ((sized[sized["aubc_low"] > 0], "above"), (sized[sized["aubc_high"] < 0], "below")):
        counts = rows.groupby("query", sort=False).size()
        if len(counts):
            told = [
                _label(rows, str(q)) + (f" ({n} of {settings} settings)" if settings > 1 else "")
                for q, n in counts.items()
            ]
            yield f"The interval lies wholly {words} {base} for {listed(told)}."
    if len(sized) and not ((sized["aubc_low"] > 0) | (sized["aubc_high"] < 0)).any():
        yield f"No interval excludes zero: none of these differences can be told from {base} here."


def _reach(results: StudyResults, part: Any) -> Iterator[str]:
    """How far the baseline's last budget is from the full-data classifier, where there is one setting to say it of."""
    settings = unique(map(Setting, part["dataset"], part["regime"], part["paradigm"]))
    full_data = results.full_data_score(settings[0]) if len(settings) == 1 else None
    regime = results.regime(settings[0])
    if full_data is None or regime is None:
        return
    final = results.means[results.means["query"] == results.baseline]["final"]
    metric = results.metric(settings[0]).replace("_", " ")
    if len(final) == 1 and np.isfinite(final.iloc[0]):
        yield (
            f"At {regime.final} labels {label(results.baseline)} reaches {number(100 * final.iloc[0])} % {metric}; "
            f"with all labels the same training reaches {number(100 * full_data)} %."
        )


def _caveat(results: StudyResults, gains: Any) -> str:
    """What these runs cannot carry."""
    fewest = int(gains["n"].min())
    if fewest < 2:
        return "With one seed there is no interval and no test: this is a style, not a measurement."
    if fewest < MIN_SEEDS:
        return (
            f"With {fewest} seeds this describes sizes; it does not test. The smallest p that an exact test of "
            f"{fewest} pairs can give is {minimum_p(fewest):g}; and the intervals are not corrected for the number of "
            "methods."
        )
    passed = gains[gains["aubc_holm"] < 0.05]
    tested = f"Tested by paired t with Holm's correction over the methods of each setting ({fewest} seeds or more), "
    if passed.empty:
        return tested + "no gain or loss in AUBC is significant at .05."
    told = [f"{r['told']} on {_where(results, r)} ({gain(r['aubc'], np.nan, np.nan)} points, "
            f"p {_equals(p_value(r['aubc_holm'], fewest))})" for r in passed.head(6).to_dict("records")]  # fmt: skip
    more = f" and {len(passed) - 6} more" if len(passed) > 6 else ""
    return tested + f"these differ from {label(results.baseline)} at .05: {listed(told)}{more}."


def _where(results: StudyResults, row: Any) -> str:
    """Dataset and regime of a row; the paradigm too where the study has several."""
    dataset, regime, paradigm = results.names.parts(Setting(row["dataset"], row["regime"], row["paradigm"]))
    return ", ".join([dataset, regime, *([paradigm] if len(results.names.paradigm) > 1 else [])])


def _equals(text: str) -> str:
    return text if text.startswith("<") else f"= {text}"


# ------------------------------------------------------------------------------------------------------- warnings


def warnings(results: StudyResults) -> list[tuple[str, str]]:
    """(title, text) of what must be known before a number is read."""
    found = [said] if (said := roll_out_words(results)) else []
    for recipe, settings in results.shortened.items():
        where = (
            "all settings"
            if len(settings) == len(results.hparams)
            else listed([results.names.title(s) for s in settings])
        )
        if recipe.startswith("ours"):
            found.append(("Not in the published study", f"{recipe} ({where})."))
        else:
            found.append(("Shortened recipe", f"{recipe} ({where}). Not for claims about the published setting."))
    unfinished = sum(not r.complete for r in results.runs)
    if unfinished:
        text = (
            f"{unfinished} of {len(results.runs)} runs are not complete. Means cover the complete runs and say their n."
        )
        found.append(("Incomplete", text))
    standing = [f for f in results.failures if not f["resolved"]]
    if standing:
        found.append(("Failures", f"{plural(len(standing), 'failed attempt')} not made good since; see below."))
    if results.baseline not in results.queries:
        found.append(("No baseline", f"The baseline {results.baseline} is not among the query methods of this study."))
    if mixed := mixed_words(results.environments):
        found.append(("Mixed environments", f"{mixed} See “How it was computed”."))
    if damaged := len(results.damage):
        text = f"{plural(damaged, 'damaged file')} left out; run the study again to redo the work."
        found.append(("Damage", text))
    if again := results.retry_notes(results.store.study.settings):
        found.append(("Done again", f"{again} The failures, and what had been done before, are listed below."))
    if note := joined_notes({results.names.title(s): c.note() for s, c in results.classifiers.items()}):
        found.append(("Two classifiers", note.replace(f"{CROSSED} Two classifiers: d", f"{CROSSED} D")))
    return found


def setting_facts(results: StudyResults, setting: Setting) -> str:
    """One line on a setting: budgets, labels, test set."""
    facts, regime = results.facts.get(setting.dataset), results.regime(setting)
    parts = []
    if regime:
        parts.append(f"{regime.start} labels at the start, {regime.query_size} a query, {regime.rounds} rounds")
        parts.append(f"{regime.final} in the last, {regime.val_size} more for validation")
        parts.append(f"{regime.final + regime.val_size} labels paid in all")
    if facts:
        images = f"{facts['train']:,} train and {facts['test']:,} test images".replace(",", "\u202f")
        parts.append(f"{images}, {len(facts['class_names'])} classes")
    scores = results.full_data(setting)
    if scores:
        values = [r["metrics"][results.metric(setting)] for r in scores]
        band = t_interval(values)
        text = percent(band.mean, band.low, band.high)
        parts.append(f"full data ({scores[0]['budget']:,} labels): {text} %".replace(",", "\u202f"))
    return "; ".join(parts) + "." if parts else ""


def penalty_words(p: Penalty) -> str:
    """How to read a pairwise penalty matrix, with its n, alpha and null band."""
    if not p.seeds:
        return "No setting has two methods with two complete seeds each, so methods cannot be compared pair by pair."
    settings = plural(len(p.seeds), "setting")
    start = "round 0 included" if p.include_start else "round 0 left out because nothing has been queried there"
    return (
        f"A cell says in what share of the budgets the row beats the column, summed over {settings}: two-sided paired "
        f"t-tests by seed at alpha = {p.alpha:g}, n = {span(p.seeds)} seeds, {span(p.budgets)} budgets each, {start}. "
        "Such tests find “wins” between identical methods too. The null band measures that: with the methods' names "
        f"shuffled within each seed ({p.draws:,} times), the largest cell of the whole matrix stays at or below "
        f"{p.band:.2f} in 95 % of the shuffles. Cells in parentheses lie inside the band and prove nothing."
        + _partly(p)
    )


def _partly(p: Penalty) -> str:
    """Which methods were not compared everywhere, and what their overall penalty means then."""
    some = [f"{label(q)} in {n:.0f}" for q, n, fewer in zip(p.queries, p.present, p.partial, strict=True) if fewer]
    if not some:
        return ""
    return (
        f" Not compared in all {len(p.seeds)} settings: {listed(some)}. An overall penalty (marked *) is then the mean "
        f"over the comparisons made, scaled to {len(p.seeds)} settings; what a method would have lost where it is "
        "missing, nobody knows."
    )


def span(values: Iterable[int]) -> str:
    """`3`, or `2 to 3`."""
    known = list(values) or [0]
    return str(min(known)) if min(known) == max(known) else f"{min(known)} to {max(known)}"
