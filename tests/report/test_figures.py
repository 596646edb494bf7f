"""Figures: reproducible bytes, embedded fonts, and inline SVG with its own ids."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from tests.faults import fault
from tests.stats.test_penalty import NAMES, same, table, worse_and_worse

from fathom.report.drawing import Drawing
from fathom.report.figures import curve_figure, gain_figure, penalty_figure, queried_figure
from fathom.report.style import COLORS, method_styles
from fathom.results.names import label
from fathom.stats.curves import budget_curves, gain_curves, seed_gains
from fathom.stats.penalty import penalty_matrix

STYLES = method_styles(NAMES)


def all_figures(seeds: int = 3, rounds: int = 4, classes: int = 4) -> list[Drawing]:
    frame = table(same(seeds, rounds, np.random.default_rng(0)))
    names = [f"class <{c}>" for c in range(classes)]
    return [
        curve_figure("curves", budget_curves(frame), STYLES, "balanced_accuracy", 0.9),
        gain_figure("gains", gain_curves(frame, "random"), STYLES, "random", "accuracy"),
        penalty_figure("penalty", penalty_matrix(frame, draws=20), STYLES),
        queried_figure("classes", [1 / classes] * classes, {q: [3] * classes for q in NAMES}, names, STYLES),
    ]


@pytest.fixture(scope="module")
def drawings() -> list[Drawing]:
    return all_figures()


def test_the_same_table_gives_the_same_bytes(drawings: list[Drawing]) -> None:
    again = all_figures()
    for first, second in zip(drawings, again, strict=True):
        assert first.svg == second.svg
        assert b"<dc:date>" not in first.svg
    pdf = drawings[0].pdf()
    assert pdf == again[0].pdf()
    assert b"CreationDate" not in pdf


def test_fonts_are_embedded_as_truetype(drawings: list[Drawing]) -> None:
    pdf = drawings[2].pdf()
    assert pdf.count(b"/FontFile2") == 2  # regular and bold
    assert b"/Type3" not in pdf


def test_what_is_inline_follows_the_page_and_keeps_to_itself(drawings: list[Drawing]) -> None:
    for drawing in drawings:
        assert "http" not in drawing.inline
        assert "<style" not in drawing.inline
        assert "#1b1f24" not in drawing.inline
        assert "currentColor" in drawing.inline
        ids = re.findall(r'\bid="([^"]+)"', drawing.inline)
        assert len(ids) == len(set(ids))
        assert all(i.startswith(f"{drawing.name}-") for i in ids)
        used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', drawing.inline)
        assert {a or b for a, b in used} <= set(ids)
        HTMLParser().feed(drawing.inline)
    assert not re.search("|".join(light for light, _ in COLORS.values()), drawings[0].inline)


@fault("report", "hostile names", "escaped")
def test_names_are_escaped(drawings: list[Drawing]) -> None:
    assert "class <0>" not in drawings[3].inline
    assert "class &lt;0&gt;" in drawings[3].inline


def test_classes_in_any_letters_are_drawn() -> None:
    names = ["\u65e5\u672c", "$a^$", "a & b", 'say "cheese"']
    drawing = queried_figure("b", [0.25] * 4, {"random": [1, 2, 3, 4]}, names, STYLES)
    assert "\u65e5\u672c" in drawing.inline
    assert "$a^$" in drawing.inline
    assert "a &amp; b" in drawing.inline
    assert drawing.pdf().startswith(b"%PDF")


def test_they_are_told_in_words(drawings: list[Drawing]) -> None:
    assert drawings[0].alt.startswith("Budget curves: at 200 labels Random ")
    assert f'aria-label="{drawings[0].alt}"' in drawings[0].inline
    assert "BADGE 0 %" in drawings[3].alt


def test_the_smallest_study_and_many_classes_are_drawn() -> None:
    drawn = all_figures(seeds=1, rounds=1, classes=40)
    assert all(d.svg.startswith(b"<?xml") for d in drawn)
    assert "class &lt;0&gt;" not in drawn[3].inline  # too many to be named


def test_one_method_alone_is_drawn() -> None:
    frame = table(same(3, 4, np.random.default_rng(0), methods=1))
    assert curve_figure("c", budget_curves(frame), STYLES, "accuracy").inline.count("<svg") == 1
    assert queried_figure("b", [0.5, 0.5], {"random": [4, 2]}, ["a", "b"], STYLES).inline.count("<svg") == 1


def test_a_method_keeps_its_stylesand_a_variation_takes_others() -> None:
    many = [*NAMES, "bald(draws=20)", "my_al/margin", "margin", "bald(draws=5)"]
    found = method_styles(many)
    assert found["bald"].light == COLORS["bald"][0] == method_styles(["bald"])["bald"].light
    assert len({style.light for style in found.values()}) == len(many)
    assert len({style.number for style in found.values()}) == len(many)
    assert label("bald(draws=20)") == "BALD (draws=20)"
    assert label("my_al/margin") == "my_al/margin"
    assert label("core-set") == "Core-Set"


def test_an_empty_penalty_matrix_is_drawn() -> None:
    assert penalty_figure("p", penalty_matrix(pd.DataFrame([])), STYLES).alt.startswith("Pairwise penalty matrix")


def test_what_was_not_compared_is_a_dash_and_what_was_in_part_is_marked() -> None:
    styles = method_styles(["good", "bad", "worst"])
    whole = penalty_figure("p", worse_and_worse(), styles).inline
    assert "*<" not in whole
    assert not re.search(r">\u2013<", whole)
    holed = worse_and_worse(("d2", "worst"))
    drawn = penalty_figure("p", holed, styles).inline
    assert re.findall(r">([\d.]+)\*<", drawn) == ["2.00"]
    never = replace(holed, settings=holed.settings * np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]]))
    assert len(re.findall(r">\u2013<", penalty_figure("p", never, styles).inline)) == 2


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_gain_of_each_seed_is_a_point_behind_the_means(seeds: int) -> None:
    frame = table(same(seeds, 4, np.random.default_rng(0)))
    points, means = seed_gains(frame, "random"), gain_curves(frame, "random")
    drawn = gain_figure("g", means, STYLES, "random", "accuracy", points).figure.axes[0]
    clouds = [line for line in drawn.lines if line.get_linestyle() == "None" and line.get_alpha() == 0.4]
    assert len(clouds) == (4 if seeds > 1 else 0)  # the one seed is the mean
    for cloud, query in zip(clouds, means["query"].unique(), strict=False):
        assert sorted(cloud.get_ydata()) == pytest.approx(sorted(100 * points[points["query"] == query]["score"]))
        assert cloud.get_zorder() < min(line.get_zorder() for line in drawn.lines if line not in clouds)


def test_two_seeds_have_no_band_in_the_curves() -> None:
    def bands(seeds: int) -> int:
        frame = table(same(seeds, 4, np.random.default_rng(0)))
        return curve_figure("c", budget_curves(frame), STYLES, "accuracy").inline.count("FillBetween")

    assert (bands(1), bands(2), bands(3)) == (0, 0, 5)
