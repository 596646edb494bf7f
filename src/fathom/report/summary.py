"""Texts of a report beside its answers: warnings, facts of a setting, the penalty matrix in words."""

import numpy as np

from fathom.core.records import Setting
from fathom.core.text import joined, number_ranges, plural
from fathom.design.remarks import remarks
from fathom.report.head.answer import answers
from fathom.report.head.verdict_text import span
from fathom.report.numbers import percent
from fathom.results.classifiers import joined_notes, listed
from fathom.results.environments import mixed_words
from fathom.results.names import label
from fathom.results.results import StudyResults
from fathom.results.roles import roll_out_words
from fathom.results.statements.plan_changes import change_warnings
from fathom.stats.inference import t_interval
from fathom.stats.penalty import Penalty
from fathom.store.codes import NOT_RECORDED


def summary(results: StudyResults) -> list[str]:
    """Answers of the head as paragraphs, each after its question."""
    roles = {a: f"{a.role.capitalize()} data." if a.role else "" for a in answers(results)}
    return [joined(role, a.question, a.text) for a, role in roles.items()]


def classifier_note(results: StudyResults) -> str:
    """Note on the marks of methods with different classifiers; empty where all have one."""
    return joined_notes({results.names.title(s): c.note() for s, c in results.classifiers.items()})


# ------------------------------------------------------------------------------------------------------- warnings


def warnings(results: StudyResults) -> list[tuple[str, str]]:
    """(title, text) of everything that a reader must know before reading a number."""
    found = [statement] if (statement := roll_out_words(results)) else []
    found += change_warnings(results)
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
