"""Labels saved in words: every kind of interval, and the reasons for having none."""

from math import inf, nan

import pytest

from fathom.core.records import Setting
from fathom.results.savings_words import needed_text, saved_text, saved_words, savings_words, share_text
from fathom.stats.savings import CONSTANT, FEW_SEEDS, FLAT, NO_SPREAD, UNDEFINED, LabelSaving, MatchedBudget

Need = tuple[float, float, float]
MINUS = "\u2212"


def saving(budget: float, needs: Need | MatchedBudget, back: Need | MatchedBudget, n: int = 5) -> LabelSaving:
    """A saving of a study of 50 to 200 labels and 100 for validation."""
    both = [found if isinstance(found, MatchedBudget) else MatchedBudget(*found) for found in (needs, back)]
    return LabelSaving(Setting("d", "low", "p"), "badge", "random", budget, 200.0, 100.0, n, 0.95, both[0], both[1])


def refused(reason: str, flat: str = "") -> MatchedBudget:
    return MatchedBudget(nan, nan, nan, reason, flat)


CLOSED = saving(200, (120, 90, 150), (inf, 200, inf))
AT_LEAST = saving(200, (inf, 140, inf), (190, 150, inf))
NEVER = saving(200, (inf, 200, inf), (120, 100, 150))
FAR = saving(100, (inf, 150, inf), (70, 60, 90))
AT_MOST = saving(200, (50, 0, 50), (inf, 200, inf))
AT_MOST_MORE = saving(100, (60, 0, 120), (80, 0, 90))
MORE = saving(100, (140, 120, 160), (70, 60, 90))
EITHER = saving(100, (95, 70, 120), (105, 80, 130))
EXTRA = saving(100, (60, 55, 80), (inf, 160, inf))


@pytest.mark.parametrize(
    ("found", "words", "cells"),
    [
        (CLOSED, "saves 80 (50 to 110) of 200 labels", ("120 [90, 150]", "80 [50, 110]", "40 [25, 55] %")),
        (AT_LEAST, "saves at most 60 of 200 labels", ("≥ 140", "≤ 60", "≤ 30 %")),
        (NEVER, "needs more than the 200 labels of Random", ("≥ 200", "≤ 0", "≤ 0 %")),
        (FAR, "needs at least 50 labels more than the 100 of Random", ("≥ 150", "≤ -50", "≤ -50 %")),
        (AT_MOST, "saves at least 150 of 200 labels", ("≤ 50", "≥ 150", "≥ 75 %")),
        (AT_MOST_MORE, "needs at most 20 labels more than the 100 of Random", ("≤ 120", "≥ -20", "≥ -20 %")),
        (MORE, "needs 40 (20 to 60) more than 100 labels", ("140 [120, 160]", "-40 [-60, -20]", "-40 [-60, -20] %")),
        (EITHER, "saves 5 (-20 to 30) of 100 labels", ("95 [70, 120]", "5 [-20, 30]", "5 [-20, 30] %")),
    ],
)
def test_each_kind_of_interval(found: LabelSaving, words: str, cells: tuple[str, str, str]) -> None:
    assert saved_words(found).replace(MINUS, "-") == words
    texts = (needed_text(found.needs), saved_text(found), share_text(found))
    assert tuple(text.replace(MINUS, "-") for text in texts) == cells


def test_both_directions_in_sentences() -> None:
    assert savings_words(CLOSED) == (
        "BADGE needs 120 (90 to 150) labels for Random's score at 200 labels: it saves 80 (50 to 110) of 200 labels, "
        "40 % (25 to 55 %) of training labels and 27 % (17 to 37 %) of all paid labels. Random does not reach BADGE's "
        "score at 200 labels. The curves end at 200 labels, so what lies beyond is open. All bounds: 95 % interval, "
        "n = 5 seeds, not corrected for several methods."
    )
    for found, sentence in (
        (EXTRA, "Random needs at least 160 labels for BADGE's score at 100 labels: at least 60 more."),
        (EITHER, f"Random needs 105 (80 to 130) labels for BADGE's score at 100 labels: 5 ({MINUS}20 to 30) more."),
        (MORE, "Random needs 70 (60 to 90) labels for BADGE's score at 100 labels: 30 (10 to 40) fewer."),
        (AT_MOST_MORE, "Random needs at most 90 labels for BADGE's score at 100 labels: at least 10 fewer."),
        (AT_LEAST, "Random needs at least 150 labels for BADGE's score at 200 labels."),
        (NEVER, "BADGE does not reach Random's score at 200 labels: it needs more than the 200 labels of Random."),
        (AT_LEAST, "at most 30 % of training labels and at most 20 % of all paid labels."),
        (AT_MOST, "at least 75 % of training labels and at least 50 % of all paid labels."),
        (MORE, "40 % (20 to 60 %) of training labels and 20 % (10 to 30 %) of all paid labels."),
    ):
        assert sentence in savings_words(found)
    assert "beyond" not in savings_words(MORE)


@pytest.mark.parametrize(
    ("found", "n", "reason"),
    [
        (refused(FLAT, "random"), 5, "because Random's curve is flat"),
        (refused(FEW_SEEDS), 5, "because n = 5 seeds are too few for their spread"),
        (refused(FEW_SEEDS), 2, "because n = 2 seeds are too few (at least 3)"),
        (refused(CONSTANT), 5, "because the score to match is no better than always giving one answer"),
        (refused(NO_SPREAD), 5, "because the scores do not vary between seeds"),
        (refused(UNDEFINED), 5, "because of an undefined score"),
    ],
)
def test_reasons_for_no_estimate(found: MatchedBudget, n: int, reason: str) -> None:
    nothing = saving(200, found, found, n)
    assert saved_text(nothing) == share_text(nothing) == needed_text(found) == "not estimable"
    assert saved_words(nothing).endswith(f"not estimable, {reason}")
    assert savings_words(nothing).count(reason) == 2
    assert "interval" not in savings_words(nothing)


def test_other_names_can_be_given() -> None:
    words = savings_words(CLOSED, {"badge": "self-sl", "random": "standard"}.__getitem__)
    assert words.startswith("self-sl needs 120 (90 to 150) labels for standard's score")
