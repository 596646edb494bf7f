"""Labels saved by a query method over its settings, as the head of a report says it."""

from math import isinf
from statistics import median_low

from fathom.core.text import plural
from fathom.report.numbers import DASH, number
from fathom.report.tables import TableCell
from fathom.results.results import StudyResults
from fathom.results.savings_words import saved_text, saved_words, share_text, whole
from fathom.stats.savings import LabelSaving
from fathom.stats.verdicts import MethodVerdict


def final_savings(results: StudyResults, verdict: MethodVerdict) -> list[LabelSaving]:
    """Savings of a method at the last budget, one per setting that has one."""
    found = [results.savings.get((g.setting, verdict.query), []) for g in verdict.gains]
    return [max(own, key=lambda saving: saving.budget) for own in found if own]


def saving_answer(results: StudyResults, verdict: MethodVerdict, name: str) -> str:
    """Sentence on the labels that a method saves, of all paid labels; empty where nothing was compared."""
    found = final_savings(results, verdict)
    known = [saving for saving in found if not saving.needs.refused]
    if len(found) == 1 and not known:
        return f"{name} {saved_words(found[0])}."
    if not known:
        many = f"Not known: the labels that {name} saves are not estimable in any of its {len(found)} settings."
        return many if found else ""
    rest = len(found) - len(known)
    left = f"; not estimable in {plural(rest, 'more setting')}." if rest else "."
    if len(known) == 1:
        (saving,) = known
        names = results.names.parts(saving.setting)
        place = f"On {names.dataset} ({names.regime}) " if rest else ""
        share = f"{share_text(saving, paid=True)} of all paid labels"
        level = f"{whole(100 * saving.level)} % interval, {plural(saving.n, 'seed')}"
        return f"{place}{name} {saved_words(saving)}, {share} ({level}){left}"
    above, below = (sum(sign * saving.labels[end] > 0 for saving in known) for sign, end in ((1, 1), (-1, 2)))
    return (
        f"Of all paid labels {name} saves {_median_words(known)} in the median of {len(known)} settings; the "
        f"{whole(100 * known[0].level)} % interval, not corrected, lies above 0 in {above} and below in {below}{left}"
    )


def saving_head_cell(results: StudyResults, verdict: MethodVerdict) -> TableCell:
    """Cell of the labels that a method saves: with all paid labels in one setting, else the median share."""
    found = final_savings(results, verdict)
    known = [saving for saving in found if not saving.needs.refused]
    if not known:
        return TableCell("not estimable" if found else DASH)
    if len(known) == 1:
        (saving,) = known
        where = "" if len(found) == 1 else f"{results.names.brief(saving.setting)}; not estimable in the others"
        text = f"{saved_text(saving)} of {whole(saving.budget + saving.val)}"
        return TableCell(text, saving.labels[0], title=where)
    shares = ", ".join(f"{results.names.brief(s.setting)}: {share_text(s, paid=True)}" for s in known)
    return TableCell(f"{_median_words(known)} (median)", _median(known), title=shares)


def _median(known: list[LabelSaving]) -> float:
    """Median share of all paid labels; -inf where the score is not reached in half of the settings."""
    return median_low(sorted(saving.share(paid=True)[0] for saving in known))


def _median_words(known: list[LabelSaving]) -> str:
    share = _median(known)
    return "none" if isinf(share) else f"{number(100 * share, 0)} %"
