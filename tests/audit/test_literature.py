"""Audit of published studies: what the text of the paper says, and no more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fathom.audit.literature import SILENT, literature, published
from fathom.audit.rules import PITFALLS
from fathom.core.records import FathomError
from fathom.report.audit_figure import comparison_figure, write_comparison

STUDIES = {s.reference: {f.rule.id: f for f in s.findings} for s in literature()}  # None is the paper's own


def having(pitfall: str, verdict: str) -> set[int | None]:
    return {number for number, cells in STUDIES.items() if cells[pitfall].verdict == verdict}


def test_what_the_paper_says_of_the_literature() -> None:
    avoided = {n for n, cells in STUDIES.items() if all(f.verdict == "pass" for f in cells.values())}
    assert avoided == {None}, "Sec. 2.3: none of them adheres to all requirements; Sec. 1: ours is the first"
    assert having("P1", "pass") == {None}, "Sec. 2.3, P1: roll-out has not been performed before"
    assert having("P2", "fail") == {30, 44, 54, 55}, "a single starting budget made of thousands of samples"
    assert having("P2", "partly") == {4, 6, 20, 43}, "two [4], two [6] or three [20, 43] starting budgets"
    assert having("P3", "partly") == {3, 4, 6, 44, 58}, "only a few studies perform limited evaluations"
    assert having("P4", "fail") >= {30, 35, 43, 51, 55}, "do not mention the use of validation splits"
    assert having("P4", "fail") >= {6, 20, 30, 35, 43, 54, 55}, "Sec. 4, P4: HP optimization is neglected"
    assert having("P4", "pass") == {None, 44}
    assert having("P5", "partly") == {6, 20, 43, 54}, "a few recent exceptions"


def test_every_known_cell_names_its_place() -> None:
    for cells in STUDIES.values():
        for finding in cells.values():
            assert ("[Sec. " in finding.evidence) != (finding.verdict == "unknown")


def test_a_description_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('name = "own"\ntitle = "Own"\n[P2]\nverdict = "partly"\nwhat = "two"\nwhere = "p. 3"\n')
    study = published(path)
    assert [f.verdict for f in study.findings] == ["unknown", "partly", "unknown", "unknown", "unknown"]
    assert (study.findings[0].evidence, study.findings[1].evidence) == (SILENT, "two [p. 3]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "Own"\ntitle = "x"', "name: expected kebab-case"),
        ('title = "x"', "name: missing"),
        ('name = "o"\ntitle = "x"\nP1 = "pass"', "P1: expected a table with verdict, what and where; got 'pass'"),
        (
            'name = "o"\ntitle = "x"\n[P1]\nverdict = "good"\nwhat = "a"\nwhere = "b"',
            "P1.verdict: expected pass, partly",
        ),
        ('name = "o"\ntitle = "x"\n[P1]\nverdict = "pass"\nwhat = "a"', "P1.where: missing"),
        ('name = "o"\ntitle = "x"\n[P6]\n', "P6: unknown key"),
        ("name = ", "not valid TOML"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(FathomError) as caught:
        published(path)
    assert said in str(caught.value)


def test_unknown_names_and_files(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="lueth-2023"):
        published("lueth-2022")
    with pytest.raises(FathomError, match="cannot read"):
        published(tmp_path / "absent.toml")


def test_the_comparison_as_a_figure(tmp_path: Path) -> None:
    svg = comparison_figure(literature()).svg.decode()
    assert all(study.title in svg for study in literature())
    assert all(svg.count(f">{p}<") == 1 for p in PITFALLS)
    write_comparison(literature(), tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_text() == svg
    with pytest.raises(FathomError, match=r"ends in \.svg"):
        write_comparison(literature(), tmp_path / "x.png")


def fathom(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "fathom.cli", "audit", *words], capture_output=True, text=True)


def test_the_command() -> None:
    done = fathom("literature", "--json")
    assert len(json.loads(done.stdout)) == len(STUDIES)
    assert fathom("lueth-2023", "--strict").returncode == 0
    assert fathom("kim-2021").returncode == 0
    assert fathom("kim-2021", "--strict").returncode == 1
    wrong = fathom()
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: expected a study's folder")
