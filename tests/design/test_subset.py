"""Parts of a study, by name."""

import pytest

from fathom.core.records import FathomError, RunSpec, Study
from fathom.design.subset import select

STUDY = Study(
    "mine",
    tuple(
        RunSpec(d, r, p, q, s)
        for d in ("cifar10", "cifar10-lt(rho=10)")
        for r in ("low", "mid(val_size=2500)")
        for p in ("standard", "self-sl(head=linear, lr=0.01)")
        for q in ("random", "random(dropout=0.5)")
        for s in (0, 1, 10)
    ),
)


@pytest.mark.parametrize(
    ("only", "runs"),
    [
        ([], 48),
        (["dataset=cifar10"], 24),
        (["dataset=cifar10-lt"], 24),  # the name stands for every variation of it
        (["dataset=cifar10+cifar10-lt"], 48),
        (["dataset=cifar10", "dataset=cifar10-lt"], 48),
        (["dataset=cifar10,regime=mid"], 12),
        (["dataset=cifar10", "regime=mid(val_size=2500)", "seed=1"], 4),
        (["query=random(dropout=0.5),seed=0+10"], 16),
        (["paradigm=self-sl(lr=0.01,head=linear)+standard, regime=low"], 24),  # spelled otherwise, with a comma inside
        (["seed=1"], 16),
    ],
)
def test_a_run_is_chosen_if_each_axis_has_one_of_its_values(only: list[str], runs: int) -> None:
    chosen = select(STUDY, only)
    assert len(chosen.runs) == runs
    assert [r for r in STUDY.runs if r in chosen.runs] == list(chosen.runs)
    assert chosen.name == STUDY.name


def test_a_name_means_the_plain_call_and_its_variations_but_a_call_itself_alone() -> None:
    assert len(select(STUDY, ["query=random"]).runs) == 48
    assert len(select(STUDY, ["query=random(dropout=0.5)"]).runs) == 24


@pytest.mark.parametrize(
    ("only", "said"),
    [
        (["dataset=cifar11"], "Did you mean 'cifar10'"),
        (["seed=2"], "seed '2'"),
        (["regime"], "expected AXIS=VALUE"),
        (["regimes=low"], "Did you mean 'regime'"),
        (["query=badge"], "has query 'badge'"),
    ],
)
def test_what_the_study_does_not_have_is_told(only: list[str], said: str) -> None:
    with pytest.raises(FathomError, match="--only") as error:
        select(STUDY, only)
    assert said in str(error.value)


def test_values_that_no_run_has_together_are_told() -> None:
    one = Study("mine", (RunSpec("a", "low", "p", "q", 0), RunSpec("b", "mid", "p", "q", 0)))
    with pytest.raises(FathomError, match="no run of mine has dataset=a, regime=mid together"):
        select(one, ["dataset=a,regime=mid"])
