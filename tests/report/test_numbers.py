"""Numbers as text, in the page and in LaTeX."""

import pytest

from fathom.core.text import plural
from fathom.report.latex import latex, tex
from fathom.report.numbers import emphasis, gain, number, p_value, percent
from fathom.report.tables import ReportTable, TableCell
from fathom.stats.decisions import BETTER, NOT_WORSE, UNDECIDED, WORSE

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "sign", "expected"),
    [
        (1.25, False, "1.2"),
        (-1.3, False, "\u22121.3"),
        (1.3, True, "+1.3"),
        (-0.01, False, "0.0"),
        (-0.01, True, "\u22120.0"),
        (0.01, True, "+0.0"),
        (0.0, True, "0.0"),
        (NAN, True, "\u2013"),
        (float("inf"), False, "\u2013"),
    ],
)
def test_numbers(value: float, sign: bool, expected: str) -> None:
    assert number(value, 1, sign=sign) == expected


def test_means_and_gains_are_percentages_and_points() -> None:
    assert percent(0.834, 0.824, 0.844) == "83.4 ± 1.0"
    assert percent(0.834, NAN, NAN) == "83.4"
    assert gain(0.017, 0.013, 0.021) == "+1.7 [+1.3, +2.1]"
    assert gain(-0.017, NAN, NAN) == "\u22121.7"
    assert gain(NAN, NAN, NAN) == percent(NAN, NAN, NAN) == "\u2013"


def test_p_values() -> None:
    assert p_value(0.0312) == ".031"
    assert p_value(0.0001) == "< .001"
    assert p_value(1.0) == "1.000"
    assert p_value(NAN) == "\u2013"


def test_only_a_decision_is_highlighted() -> None:
    assert [emphasis(v) for v in (BETTER, WORSE, NOT_WORSE, UNDECIDED, "")] == ["up", "down", "", "", ""]


def test_plurals() -> None:
    assert (plural(1, "seed"), plural(0, "seed"), plural(3, "seed")) == ("1 seed", "0 seeds", "3 seeds")


def test_latex_prints_every_name_as_it_is() -> None:
    assert tex(r"a_b & 5 % $x$ {~^\}") == (
        r"a\_b \& 5 \% \$x\$ \{\textasciitilde{}\textasciicircum{}\textbackslash{}\}"
    )
    text = latex(
        ReportTable(
            "t", "A caption.", ["Method", "AUBC"], [[TableCell("my_al/margin"), TableCell("83.4 ± 1.0")]], "A note."
        )
    )
    assert r"my\_al/margin & 83.4 $\pm$ 1.0 \\" in text
    assert r"\caption{A caption. A note.}" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
