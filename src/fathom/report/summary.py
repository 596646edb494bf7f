"""Summary of the results in sentences, which never claim more than the runs show."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fathom.core.records import Setting, unique
from fathom.core.text import number_ranges, plural
from fathom.design.freeze import role_of
from fathom.design.remarks import remarks
from fathom.report.numbers import gain, number, p_value, percent
from fathom.report.paradigm_tables import verdict_words
from fathom.results.classifiers import CROSSED, MATCHED, joined_notes, listed
from fathom.results.environments import mixed_words
from fathom.results.names import label
from fathom.results.paradigms import verdicts
from fathom.results.results import StudyResults
from fathom.results.roles import roles, roll_out_words
from fathom.results.trivial import trivial_words
from fathom.stats.decisions import MIN_UNITS
from fathom.stats.inference import ALPHA, t_interval
from fathom.stats.penalty import Penalty
from fathom.store.codes import NOT_RECORDED


def summary(results: StudyResults) -> list[str]:
    """Paragraphs at the head of the report: verdicts on paradigms, one paragraph per training paradigm, a caveat."""
    if results.frame.empty:
        return ["No round is committed yet, so there is nothing to compare."]
    gains = _ranked_gains(results)
    if gains.empty:
        return [_no_gains(results)]
    paragraphs, paradigms = [], unique(gains["paradigm"])
    for role in roles(results):  # roll-out data were never tuned on, so their gains are never mixed with the others
        own = gains[[role_of(dataset, results.facts) == role for dataset in gains["dataset"]]]
        for paradigm in unique(own["paradigm"]):
            where = [f"on {role} data"] if len(roles(results)) > 1 else []
            where += [f"with {results.names.paradigm[paradigm]}"] if len(paradigms) > 1 else []
            text = ", ".join(where)
            opening = f"{text[0].upper()}{text[1:]}: " if text else ""
            paragraphs.append(opening + _of_paradigm(results, own[own["paradigm"] == paradigm]))
    if trivial := trivial_words(results, results.store.study.settings):
        paragraphs.insert(0, ". ".join(trivial) + ".")
    paradigm_verdicts = [_with_legend(verdict_words(results, verdict)) for verdict in verdicts(results)]
    return [*paradigm_verdicts, *paragraphs, _caveat(results, gains)]


def _ranked_gains(results: StudyResults) -> Any:
    """Gains that are ranked, with columns `label` (name and mark of the method) and `control`.

    The baseline with another classifier is left out: its gain is one of the classifier, not of a query method.
    """
    gains = results.gains
    if gains.empty:
        return gains
    settings = map(Setting, gains["dataset"], gains["regime"], gains["paradigm"])
    found = [(results.classifiers[setting], query) for setting, query in zip(settings, gains["query"], strict=True)]
    labels = [label(query) + classifiers.mark(query) for classifiers, query in found]
    gains = gains.assign(label=labels, control=[classifiers.is_control(query) for classifiers, query in found])
    gains = gains[gains["n"] > 0]
    return gains[~gains["control"]] if not gains["control"].all() else gains


def _no_gains(results: StudyResults) -> str:
    base = label(results.baseline)
    if results.baseline not in results.queries:
        return f"The baseline {base} was not run, so there are no gains; the report shows curves and areas only."
    if len(results.queries) == 1:
        return f"Only {base} was run, so there is nothing to compare it with."
    return f"No seed is complete for both {base} and another method yet, so there are no gains."


def _of_paradigm(results: StudyResults, part: Any) -> str:
    base = label(results.baseline)
    settings = len(part.groupby(["dataset", "regime"], sort=False))
    ranked, not_ranked = _ranked(part)
    mean = ranked.groupby("query", sort=False)["aubc"].mean().sort_values(ascending=False, kind="stable")
    best = str(mean.index[0])
    if mean.iloc[0] > 0:
        first = f"{_label(part, best)} gained the most over {base}: "
    else:
        first = f"No method gained over {base} on average; the closest was {_label(part, best)}: "
    first += _amount(part[part["query"] == best], settings) + "."
    if len(mean) > 1:  # the maximum of several noisy means is biased upwards
        first += f" It is the best of {len(mean)} methods, chosen after seeing the results, so this gain is optimistic."
    return _with_legend(" ".join([first, *not_ranked, *_signs(part, base, settings), *_reach(results, part)]))


def _with_legend(text: str) -> str:
    """A text with the meaning of the marks in it."""
    if CROSSED in text:
        text += f" {CROSSED} With another classifier: see “Different classifiers” below."
    if MATCHED in text:
        text += f" {MATCHED} Measured from the matched control: see “Different classifiers” below."
    return text


def _label(part: Any, query: str) -> str:
    """Name of a method with the mark that it has in any of these settings."""
    return str(max(part[part["query"] == query]["label"], key=len))


def _ranked(part: Any) -> tuple[Any, list[str]]:
    """(rows of the ranked methods, sentence on the others).

    Only methods with the highest number of settings are ranked. Means over different settings are not comparable: a
    method could lead because its runs in a difficult setting are missing.
    """
    count = part.groupby("query", sort=False).size()
    fewer = count[count < count.max()]
    if fewer.empty:
        return part, []
    methods = listed([f"{label(str(query))} ({n} of {count.max()})" for query, n in fewer.items()])
    return part[~part["query"].isin(fewer.index)], [f"Not ranked (not run in every setting): {methods}."]


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


def _signs(part: Any, base: str, settings: int) -> Iterator[str]:
    """Sentences on the methods whose intervals lie completely above or below zero, with the number of settings."""
    sized = part[part["n"] >= 2]
    for rows, words in ((sized[sized["aubc_low"] > 0], "above"), (sized[sized["aubc_high"] < 0], "below")):
        counts = rows.groupby("query", sort=False).size()
        if len(counts):
            methods = []
            for query, n in counts.items():
                methods.append(_label(rows, str(query)) + (f" ({n} of {settings} settings)" if settings > 1 else ""))
            yield f"The whole interval lies {words} {base} for {listed(methods)}."
    if len(sized) and not ((sized["aubc_low"] > 0) | (sized["aubc_high"] < 0)).any():
        yield f"Every interval includes zero: these runs do not distinguish any method from {base}."


def _reach(results: StudyResults, part: Any) -> Iterator[str]:
    """Sentence on the baseline's last budget and the full-data classifier, for a study of one setting."""
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
            f"trained on all labels the classifier reaches {number(100 * full_data)} %."
        )


def _caveat(results: StudyResults, gains: Any) -> str:
    """Statement on what these numbers of seeds can show."""
    fewest = int(gains["n"].min())
    if fewest < 2:
        return "With one seed there is no interval and no test: these numbers illustrate, they do not measure."
    if int(gains["n"].max()) < MIN_UNITS:
        return (
            f"With {fewest} seeds these numbers describe effect sizes and test nothing: a test needs at least "
            f"{MIN_UNITS}, and the intervals are not corrected for the number of methods."
        )
    passed = gains[gains["aubc_holm"] < ALPHA]
    tested = f"By paired t-tests with Holm's correction over all settings and methods ({fewest} seeds or more) "
    if passed.empty:
        return tested + "no gain or loss in AUBC is significant at .05."
    methods = []
    for row in passed.head(6).to_dict("records"):
        points, p = gain(row["aubc"], np.nan, np.nan), p_value(row["aubc_holm"])
        p = p if p.startswith("<") else f"= {p}"
        methods.append(f"{row['label']} on {_where(results, row)} ({points} points, p {p})")
    more = f" and {len(passed) - 6} more" if len(passed) > 6 else ""
    return tested + f"these differ from {label(results.baseline)} at .05: {listed(methods)}{more}."


def _where(results: StudyResults, row: Any) -> str:
    """Dataset and regime of a row, with the paradigm where the study has several."""
    dataset, regime, paradigm = results.names.parts(Setting(row["dataset"], row["regime"], row["paradigm"]))
    return ", ".join([dataset, regime, *([paradigm] if len(results.names.paradigm) > 1 else [])])


# ------------------------------------------------------------------------------------------------------- warnings


def warnings(results: StudyResults) -> list[tuple[str, str]]:
    """(title, text) of everything that a reader must know before reading a number."""
    found = [statement] if (statement := roll_out_words(results)) else []
    for recipe, settings in results.shortened.items():
        every = len(settings) == len(results.hparams)
        where = "all settings" if every else listed([results.names.title(s) for s in settings])
        if recipe.startswith("ours"):
            found.append(("Not in the published study", f"{recipe} ({where})."))
        else:
            text = f"{recipe} ({where}). These runs support no claim about the published settings."
            found.append(("Shortened recipe", text))
    settings = results.store.study.settings
    found += [("Settings", f"{text}.") for text in remarks(settings, {s: results.regimes(s) for s in settings})]
    found += [("No better than a constant answer", f"{text}.") for text in trivial_words(results, settings)]
    if unfinished := sum(not r.complete for r in results.runs):
        counts = f"{unfinished} of {len(results.runs)} runs are not complete"
        found.append(("Incomplete", f"{counts}. Means are over complete runs; tables show their number."))
    if unresolved := sum(not f["resolved"] for f in results.failures):
        attempts = plural(unresolved, "failed attempt")
        found.append(("Failures", f"{attempts} without a later success; see “Missing and failed”."))
    if results.baseline not in results.queries:
        found.append(("No baseline", f"The baseline {results.baseline} is not among the query methods of this study."))
    if mixed := mixed_words(results.environments):
        found.append(("Mixed environments", f"{mixed} See “How it was computed”."))
    if several := [member for member, codes in results.codes.items() if len({*codes} - {NOT_RECORDED}) > 1]:
        text = f"Results of {listed(several)} were computed with several versions of its code; they are not comparable."
        found.append(("Mixed code", text))
    if damaged := len(results.damage):
        text = f"{plural(damaged, 'damaged file')} left out; run the study again to repeat its work."
        found.append(("Damage", text))
    if again := results.retry_notes(results.store.study.settings):
        found.append(("Retried settings", f"{again} “Missing and failed” lists the failures."))
    if note := joined_notes({results.names.title(s): c.note() for s, c in results.classifiers.items()}):
        found.append(("Different classifiers", note.replace(f"{CROSSED} Two classifiers: d", f"{CROSSED} D")))
    return found


def setting_facts(results: StudyResults, setting: Setting) -> str:
    """One line on a setting: budgets, labels, images, full-data score."""
    facts, regime = results.facts.get(setting.dataset), results.regime(setting)
    seeds = number_ranges(run.spec.seed for run in results.runs if run.spec.setting == setting)
    parts = []
    if regime:
        parts.append(f"{regime.start} labels at the start, {regime.query_size} per query, {regime.rounds} rounds")
        held = span(r.val_size for r in results.regimes(setting))
        paid = span(regime.final + r.val_size for r in results.regimes(setting))
        parts.append(f"{regime.final} labels in the last round and {held} more for validation")
        parts.append(f"{paid} paid labels in total")
        parts.append(f"seeds {seeds}")
    if facts:
        images = f"{facts['train']:,} train and {facts['test']:,} test images".replace(",", "\u202f")
        parts.append(f"{images}, {len(facts['class_names'])} classes")
    if scores := results.full_data(setting):
        band = t_interval([r["metrics"][results.metric(setting)] for r in scores])
        text = percent(band.mean, band.low, band.high)
        parts.append(f"full data ({scores[0]['budget']:,} labels): {text} %".replace(",", "\u202f"))
    return "; ".join(parts) + "." if parts else ""


def penalty_words(p: Penalty) -> str:
    """Explanation of a pairwise penalty matrix, with its n, alpha and null band."""
    if not p.seeds:
        return "No setting has two methods with two complete seeds each, so methods cannot be compared in pairs."
    settings = plural(len(p.seeds), "setting")
    start = "with round 0" if p.include_start else "without round 0, at which nothing has been queried"
    return (
        f"A cell is the share of budgets at which the row beats the column, summed over {settings}: two-sided paired "
        f"t-tests at alpha = {p.alpha:g} over the seeds that both have completed (n = {span([*p.fewest, *p.seeds])} "
        f"seeds), {span(p.budgets)} budgets each, {start}. Such tests find “wins” even between identical methods. "
        f"{_band_words(p)}{_partly_compared(p)}"
    )


def _band_words(p: Penalty) -> str:
    """Sentences on what tells the cells of a penalty matrix from chance."""
    holm = (
        "Cells in parentheses have no win after Holm's correction over all pairs, budgets and settings, and show no "
        "difference."
    )
    if not np.isfinite(p.band):
        return holm
    shuffled = (
        f"with the names of the methods shuffled within each seed ({p.draws:,} times), the largest cell of the matrix "
        f"is at most {p.band:.2f} in 95 % of the shuffles"
    )
    if p.powerless:
        number = "one setting" if len(p.seeds) == 1 else "so few settings and seeds"
        return f"The null band shows how many: {shuffled}. With {number} it has no power, so it is not used. {holm}"
    return (
        f"The null band shows how many: {shuffled}. Cells in parentheses lie within this band and show no difference."
    )


def _partly_compared(p: Penalty) -> str:
    """Sentences on methods that were not compared in every setting, and on the meaning of their penalty."""
    compared = zip(p.queries, p.present, p.partial, strict=True)
    some = [f"{label(query)} in {n:.0f}" for query, n, partial in compared if partial]
    if not some:
        return ""
    return (
        f" Not compared in all {len(p.seeds)} settings: {listed(some)}. Their overall penalty (marked *) is the mean "
        f"over their comparisons, scaled to {len(p.seeds)} settings; how they would have done in the missing settings "
        "is not known."
    )


def span(values: Iterable[int]) -> str:
    """`3`, or `2 to 3`."""
    known = list(values) or [0]
    return str(min(known)) if min(known) == max(known) else f"{min(known)} to {max(known)}"
