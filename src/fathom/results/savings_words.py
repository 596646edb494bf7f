"""Labels saved in words: closed intervals, open ends, more labels needed, and why nothing can be estimated."""

from collections.abc import Callable
from math import isinf

from fathom.results.names import label
from fathom.stats.decisions import MIN_UNITS
from fathom.stats.savings import CONSTANT, FEW_SEEDS, FLAT, NO_SPREAD, LabelSaving, MatchedBudget, Triple

Named = Callable[[str], str]  # spec string -> name


def whole(value: float) -> str:
    """Number without decimals, with a typographic minus."""
    return f"{value:z.0f}".replace("-", "\u2212")


def saved_words(saving: LabelSaving, named: Named = label) -> str:
    """Labels saved as the rest of a sentence on the method: `saves 80 (50 to 110) of 200 labels`."""
    needs, total = saving.needs, f"of {whole(saving.budget)} labels"
    if needs.refused:
        return f"saves a number of labels that is {refused_words(saving, needs, named)}"
    point, low, high = saving.labels
    reference = f"{whole(saving.budget)} of {named(saving.reference)}"
    if isinf(needs.high):
        if high <= 0:
            if high < 0:
                return f"needs at least {whole(-high)} labels more than the {reference}"
            return f"needs more than the {whole(saving.budget)} labels of {named(saving.reference)}"
        return f"saves at most {whole(high)} {total}"
    if needs.low == 0:
        if low < 0:
            return f"needs at most {whole(-low)} labels more than the {reference}"
        return f"saves at least {whole(low)} {total}"
    if point < 0:
        return f"needs {_with_interval((-point, -high, -low))} more than {whole(saving.budget)} labels"
    return f"saves {_with_interval(saving.labels)} {total}"


def savings_words(saving: LabelSaving, named: Named = label) -> str:
    """Sentences on the labels saved, as a share of training labels and of all paid labels, and on the reverse.

    The reverse is the number of labels that the reference needs for the score of the method.
    """
    own, other = named(saving.query), named(saving.reference)
    forward = _needs_words(saving, saving.needs, (own, other), named)
    if not saving.needs.refused:
        forward += f": it {saved_words(saving, named)}{_shares(saving)}"
    sentences = [f"{forward}.", f"{_needs_words(saving, saving.reference_needs, (other, own), named)}{_extra(saving)}."]
    if isinf(saving.needs.high) or isinf(saving.reference_needs.high):
        sentences.append(f"The curves end at {whole(saving.last)} labels, so what lies beyond is open.")
    if not (saving.needs.refused and saving.reference_needs.refused):
        level = f"{whole(100 * saving.level)} %"
        sentences.append(f"All bounds: {level} interval, n = {saving.n} seeds, not corrected for several methods.")
    return " ".join(sentences)


def saved_text(saving: LabelSaving) -> str:
    """Labels saved for a table: `80 [50, 110]`, or `≥ 50` or `≤ 110` where an end is open."""
    return _bounds(saving.labels, saving.needs, saved=True)


def share_text(saving: LabelSaving, paid: bool = False) -> str:
    """Share saved for a table, of the training labels or of all paid labels: `40 [25, 55] %`."""
    point, low, high = (100 * value for value in saving.share(paid))
    return _bounds((point, low, high), saving.needs, saved=True) + ("" if saving.needs.refused else " %")


def needed_text(found: MatchedBudget) -> str:
    """Labels needed for a table: `120 [90, 150]`, `≥ 140`, or `≤ 120`."""
    return _bounds((found.point, found.low, found.high), found, saved=False)


def _bounds(values: Triple, found: MatchedBudget, saved: bool) -> str:
    """Point and interval; `saved` turns the side of an open end, since more needed is less saved."""
    if found.refused:
        return "not estimable"
    point, low, high = (whole(value) for value in values)
    if isinf(found.high):
        return f"≤ {high}" if saved else f"≥ {low}"
    if found.low == 0:
        return f"≥ {low}" if saved else f"≤ {high}"
    return f"{point} [{low}, {high}]"


def refused_words(saving: LabelSaving, found: MatchedBudget, named: Named = label) -> str:
    """Reason why a budget is not estimable: `not estimable, because Random's curve is flat`."""
    if found.refused == FLAT:
        return f"not estimable, because {named(found.flat)}'s curve is flat"
    reasons = {
        CONSTANT: "because the score to match is no better than always giving one answer",
        NO_SPREAD: "because the scores do not vary between seeds",
        FEW_SEEDS: f"because n = {saving.n} seeds are too few"
        + (f" (at least {MIN_UNITS})" if saving.n < MIN_UNITS else " for their spread"),
    }
    return f"not estimable, {reasons.get(found.refused, f'because of an {found.refused}')}"


def _needs_words(saving: LabelSaving, found: MatchedBudget, names: tuple[str, str], named: Named) -> str:
    """Labels that the first method needs for the second one's score at B, without a full stop."""
    own, other = names
    what = f"for {other}'s score at {whole(saving.budget)} labels"
    if found.refused:
        return f"The labels that {own} needs {what} are {refused_words(saving, found, named)}"
    if isinf(found.high):
        if found.low >= saving.last:
            return f"{own} does not reach {other}'s score at {whole(saving.budget)} labels"
        return f"{own} needs at least {whole(found.low)} labels {what}"
    if found.low == 0:
        return f"{own} needs at most {whole(found.high)} labels {what}"
    return f"{own} needs {_with_interval((found.point, found.low, found.high))} labels {what}"


def _extra(saving: LabelSaving) -> str:
    """Labels that the reference needs in addition, where it is known that it needs more or fewer."""
    found, (point, low, high) = saving.reference_needs, saving.extra
    if found.refused or (isinf(found.high) and low <= 0) or (found.low == 0 and high >= 0):
        return ""
    if isinf(found.high):
        return f": at least {whole(low)} more"
    if found.low == 0:
        return f": at least {whole(-high)} fewer"
    if point < 0:
        return f": {_with_interval((-point, -high, -low))} fewer"
    return f": {_with_interval((point, low, high))} more"


def _shares(saving: LabelSaving) -> str:
    """Shares of training labels and of all paid labels; empty where nothing is saved for sure or at most."""
    _, low, high = saving.labels
    if (saving.needs.low == 0 and low <= 0) or (isinf(saving.needs.high) and high <= 0):
        return ""
    sign = -1 if saving.labels[0] < 0 else 1
    texts = []
    for paid, what in ((False, "training labels"), (True, "all paid labels")):
        point, low, high = (100 * value for value in saving.share(paid))
        if isinf(saving.needs.high):
            text = f"at most {whole(high)} %"
        elif saving.needs.low == 0:
            text = f"at least {whole(low)} %"
        else:
            point, low, high = (point, low, high) if sign > 0 else (-point, -high, -low)
            text = f"{whole(point)} % ({whole(low)} to {whole(high)} %)"
        texts.append(f"{text} of {what}")
    return f", {' and '.join(texts)}"


def _with_interval(values: Triple) -> str:
    """`80 (50 to 110)`."""
    point, low, high = values
    return f"{whole(point)} ({whole(low)} to {whole(high)})"
