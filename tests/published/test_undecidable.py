"""What a design cannot test of the published claims, before anything is run."""

import dataclasses

import pytest

from fathom.design.study_file import load_study
from fathom.published.undecidable import undecidable, undecidable_words


def parts(name: str, seeds: int = 3) -> dict[str, str]:
    """`1a` -> reason."""
    study = load_study(name)
    study = dataclasses.replace(study, runs=tuple(run for run in study.runs if run.seed < seeds))
    return {f"{claim.number}{part}": reason for claim in undecidable(study) for part, reason in claim.reasons.items()}


def test_the_published_design_can_test_all_but_its_ablations() -> None:
    found = parts("paper/main")
    assert set(found) == {"6a", "6b", "6c", "7c"}  # query sizes and the starting budgets of Semi-SL are other designs
    assert set(found.values()) == {"none of its settings is planned"}


def test_one_dataset_and_one_paradigm_leave_most_open() -> None:
    found = parts("cifar10-standard")
    assert found["1a"] == "none of its settings is planned"
    assert found["2a"] == "only one kind of dataset"
    assert found["3a"] == found["4a"] == "one dataset, a decision needs at least 3"
    assert "3c" not in found
    assert "1a" not in parts("cifar10-paradigms")


def test_fewer_than_three_seeds_test_no_cell() -> None:
    found = parts("paper/main", seeds=2)
    assert found["3c"] == found["7a"] == "fewer than 3 seeds, a decision needs at least 3"
    assert "3a" not in found  # datasets are its units


def test_other_data_and_other_training_are_named(tmp_path: object) -> None:
    assert undecidable(load_study("quickstart")) == []
    assert undecidable_words([]) == ""
    study = load_study("cifar10-standard")
    short = [dataclasses.replace(run, paradigm="standard(recipe=short)") for run in study.runs]
    words = undecidable_words(undecidable(dataclasses.replace(study, runs=tuple(short))))
    assert words.startswith("published claims that this design cannot test (docs/protocol.md): 1a, 1b, 2a, 2b, 3a, ")
    assert "not comparable: recipe differs from the published one: short" in words


@pytest.mark.parametrize(
    ("regime", "reason"),
    [
        ("mid", "published with mid(start=250, val_size=2500)"),
        ("low(val_size=100)", "published with low(start=50, val_size=250)"),
        ("custom(start=70)", "custom(start=70) is no published regime of cifar10"),
    ],
)
def test_sizes_that_differ_are_named(regime: str, reason: str) -> None:
    study = load_study("cifar10-standard")
    runs = tuple(dataclasses.replace(run, regime=regime) for run in study.runs)
    assert reason in undecidable_words(undecidable(dataclasses.replace(study, runs=runs)))
