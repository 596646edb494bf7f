"""What would settle a comparison, in words."""

import pytest

from fathom.stats.verdicts import remaining_units
from fathom.stats.words import in_points, settle_words


@pytest.mark.parametrize(
    ("unit", "n", "to_settle", "said"),
    [
        (
            "seeds",
            5,
            (4, 2),
            "4 more seeds would show a gain of 1 point, or 2 more that it is not worse by 1 point (80 % power)",
        ),
        (
            "datasets",
            3,
            (1, 1),
            "1 more dataset would show a gain of 1 point, or that it is not worse by 1 point (80 % power)",
        ),
        (
            "seeds",
            8,
            (1, 0),
            "8 seeds can show that it is not worse by 1 point, and 1 more seed a gain of 1 point (80 % power)",
        ),
        ("seeds", 9, (0, 0), "9 seeds can show a gain of 1 point, or that it is not worse by 1 point (80 % power)"),
        (
            "seeds",
            9,
            (None, 0),
            "9 seeds can show that it is not worse by 1 point, but a gain of 1 point would need more than 10,000 seeds"
            " (80 % power)",
        ),
        (
            "seeds",
            9,
            (None, 9000),
            "9000 more seeds would show that it is not worse by 1 point, but a gain of 1 point would need more than "
            "10,000 seeds (80 % power)",
        ),
        (
            "seeds",
            1,
            (None, None),
            "with 1 seed the spread is unknown, and so is the number of seeds that would settle it",
        ),
        ("datasets", 4, (None, None), "the spread of 4 datasets is 0 or too large to say how many would settle it"),
    ],
)
def test_what_would_settle_it(unit: str, n: int, to_settle: tuple[int | None, int | None], said: str) -> None:
    assert settle_words(unit, n, to_settle, 0.01) == said


def test_the_words_take_what_the_verdicts_compute() -> None:
    assert "not worse by 0.5 points" in settle_words("seeds", 5, remaining_units(5, 0.009, 4, 0.005), 0.005)
    assert [in_points(x) for x in (0.01, 0.0025, 0.1)] == ["1 point", "0.25 points", "10 points"]


def test_the_gain_may_be_another_than_the_margin() -> None:
    said = settle_words("seeds", 6, (0, 3), 0.01, effect=0.02)
    assert said == "6 seeds can show a gain of 2 points, and 3 more seeds that it is not worse by 1 point (80 % power)"
