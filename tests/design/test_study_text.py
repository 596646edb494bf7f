"""A study written as a study file has the same runs when it is read again."""

from dataclasses import replace
from pathlib import Path

import pytest

from fathom.core.records import RunSpec, Study
from fathom.design.study_file import designs, load_study
from fathom.design.study_text import study_text


def again(study: Study, folder: Path) -> Study:
    path = folder / "study.toml"
    path.write_text(study_text(study), encoding="utf-8")
    return load_study(path)


@pytest.mark.parametrize("name", sorted(designs()))
def test_a_built_in_study_is_read_again_as_itself(name: str, tmp_path: Path) -> None:
    study = load_study(name)
    read = again(study, tmp_path)
    assert set(read.runs) == set(study.runs)
    assert replace(read, runs=study.runs) == study


def test_what_a_file_may_say_beside_its_runs_is_kept(tmp_path: Path) -> None:
    runs = (
        RunSpec("digits", "low", "standard", "random", 0), RunSpec("digits", "low", "standard", "random", 7),
        RunSpec("digits", "low", "standard", "entropy", 0), RunSpec("mnist", "low(rounds=3)", "standard", "random", 0),
    )  # fmt: skip
    told = {"title": 'A "title" \\ with\ta tab\x7f', "description": "ä 皮\n", "margin": 0.005, "retry": ("fp32",)}
    study = Study("mine", runs, full_data=0, names={"digits": "Hand digits"}, **told)  # type: ignore[arg-type]
    read = again(study, tmp_path)
    assert set(read.runs) == set(runs)
    assert replace(read, runs=runs) == study
