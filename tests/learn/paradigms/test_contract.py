"""The contract of paradigms over the registry (a new one only says how it is made short), and what it catches."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.faults import fault
from tests.studies import study

from fathom.core.member_call import GlobalStateWarning
from fathom.core.records import FathomError
from fathom.engine.engine import run_study
from fathom.learn.paradigms.standard import Standard
from fathom.registry import registry
from fathom.registry.registry import index
from fathom.store.store import Store
from fathom.testing import check_paradigm, paradigm_findings

BROKEN_CONTRACT = fault("methods", "paradigm that breaks the contract", "check_paradigm finds and names it")

BUILT_IN = [name for name in index()["paradigm"] if "/" not in name]
SHORT = {  # spec strings of seconds; a paradigm that is not here is checked as it comes
    "standard": ["standard(recipe=short, epochs=2)"],
    "self-sl": [
        "self-sl(recipe=short, pretrain_epochs=2, epochs=1)",
        "self-sl(recipe=short, pretrain_epochs=2, epochs=1, head=linear)",
    ],
    "semi-sl": ["semi-sl(recipe=short, epochs=3, steps=2)"],
    "frozen": ["frozen(backbone=pixels, epochs=2)", "frozen(backbone=pixels, epochs=2, head=mlp)"],
}  # fmt: skip


@pytest.mark.parametrize("text", [text for name in BUILT_IN for text in SHORT.get(name, [name])])
def test_every_paradigm_keeps_the_contract(text: str) -> None:
    check_paradigm(text)


BREACHES = '''"""Paradigms that each break the contract in one way."""
import random
from dataclasses import dataclass, replace
import torch
import fathom
from fathom.learn.paradigms.standard import Standard

@dataclass(frozen=True)
class Short(Standard):
    epochs: int = 1
    epoch_size: int = 40
    batch_size: int = 20
    warmup: int = 0
    lr: float = 0.01
    weight_decay: float = 0.0
    augmentation: str = "standard"

@fathom.paradigm("good")
@dataclass(frozen=True)
class Good(Short):
    """Keeps it."""

@fathom.paradigm("undocumented")
@dataclass(frozen=True)
class Undocumented(Short):
    pass

@fathom.paradigm("no-grid")
@dataclass(frozen=True)
class NoGrid(Short):
    """Has nothing to choose from."""
    def grid(self, task):
        return []

@fathom.paradigm("global-state")
@dataclass(frozen=True)
class GlobalState(Short):
    """Draws from torch\'s own generator."""
    def fit(self, task, hparams, state, streams, **options):
        torch.rand(3)
        return super().fit(task, hparams, state, streams, **options)

@fathom.paradigm("lucky")
@dataclass(frozen=True)
class Lucky(Short):
    """Draws a learning rate from Python\'s own generator."""
    def fit(self, task, hparams, state, streams, **options):
        return super().fit(task, {**hparams, "lr": random.uniform(0.01, 0.1)}, state, streams, **options)

@fathom.paradigm("forgetful")
@dataclass(frozen=True)
class Forgetful(Short):
    """Restores another classifier."""
    def restore(self, task, state, **options):
        made = super().restore(task, state, **options)
        torch.nn.init.zeros_(made.network.head.weight)
        return made

@fathom.paradigm("curious")
@dataclass(frozen=True)
class Curious(Short):
    """Looks behind the pool."""
    def fit(self, task, hparams, state, streams, **options):
        task.pool.ids
        return super().fit(task, hparams, state, streams, **options)

@fathom.paradigm("content")
@dataclass(frozen=True)
class Content(Short):
    """Trains on nothing."""
    def fit(self, task, hparams, state, streams, **options):
        if not len(task.labels):
            return None
        return super().fit(task, hparams, state, streams, **options)

class Columns:
    """A classifier whose weights lie in memory column by column."""
    def __init__(self, made):
        self.__dict__.update(vars(made), made=made)
    def stream(self, *given):
        return self.made.stream(*given)
    def state(self):
        return {name: t.mT.contiguous().mT if t.dim() > 1 else t for name, t in self.made.state().items()}

@fathom.paradigm("columns")
@dataclass(frozen=True)
class ByColumns(Short):
    """Gives a state that is not contiguous."""
    def fit(self, *given, **options):
        return Columns(super().fit(*given, **options))

class Linked(Columns):
    def state(self):
        state = self.made.state()
        next(iter(state.values())).made = self.made
        return state

@fathom.paradigm("by-reference")
@dataclass(frozen=True)
class ByReference(Short):
    """Restores from an object that no file holds."""
    def fit(self, *given, **options):
        return Linked(super().fit(*given, **options))
    def restore(self, task, state, **options):
        return next(iter(state.values())).made

@fathom.paradigm("deaf")
@dataclass(frozen=True)
class Deaf(Short):
    """Has no dropout."""
    def fit(self, *given, dropout=0.0, **options):
        return super().fit(*given, **options)
    def restore(self, *given, dropout=0.0, **options):
        return super().restore(*given, **options)

@fathom.paradigm("threads")
@dataclass(frozen=True)
class Threads(Short):
    """Takes two threads."""
    def fit(self, *given, **options):
        torch.set_num_threads(2)
        return super().fit(*given, **options)

@fathom.paradigm("leaves")
@dataclass(frozen=True)
class Leaves(Short):
    """Leaves the program."""
    def fit(self, *given, **options):
        raise SystemExit(0)

@fathom.paradigm("meddling")
@dataclass(frozen=True)
class Meddling(Short):
    """Changes its labels."""
    def fit(self, task, hparams, state, streams, **options):
        made = super().fit(task, hparams, state, streams, **options)
        task.labels[0] = 1 - task.labels[0].clamp(max=1)
        return made
'''


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = Path(tmp_path_factory.mktemp("plugin")) / "odd_paradigms.py"
    path.write_text(BREACHES)
    yield registry.add_file(path)
    registry._files.pop(path.stem)
    registry.index.cache_clear()


@BROKEN_CONTRACT
@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("undocumented", "has no docstring"),
        ("no-grid", "grid gave []"),
        ("global-state", "fit uses the global random state of torch"),
        ("lucky", "fit gives another result for equal arguments and streams"),
        ("forgetful", "restore gives a classifier whose predictions differ"),
        ("curious", "raised AttributeError"),
        ("content", "expected a FathomError"),
        ("meddling", "fit changed the labels"),
        ("by-reference", "raised AttributeError"),
        ("deaf", "gives a classifier whose draws are all equal"),
        ("threads", "fit changes torch's number of threads from 1 to 2"),
        ("leaves", "raised SystemExit(0), which would end the whole command"),
    ],
)
def test_each_breach_is_found(prefix: str, name: str, finding: str) -> None:
    found = paradigm_findings(f"{prefix}/{name}")
    assert any(finding in line for line in found), found
    with pytest.raises(FathomError, match="breaks its contract in"):
        check_paradigm(f"{prefix}/{name}")


@pytest.mark.parametrize("name", ["good", "columns"])
def test_who_keeps_the_contract_is_left_alone(name: str, prefix: str) -> None:
    assert paradigm_findings(f"{prefix}/{name}") == []


@fault("methods", "a paradigm's weights are not contiguous", "every round is that of contiguous ones", cases=1)
def test_weights_in_any_layout_give_the_same_rounds(prefix: str, tmp_path: Path) -> None:
    found = []
    for name in ("good", "columns"):
        paradigm, out = f"{prefix}/{name}", tmp_path / name
        assert run_study(study(("random",), paradigm=paradigm), out, workers=0).finished
        store = Store.open(out)
        found.append([r.content() for r in store.rounds(store.study.runs[0])])
    assert found[0] == found[1]


def test_a_run_finds_that_another_classifier_is_restored(prefix: str, tmp_path: Path) -> None:
    outcome = run_study(study(("random",), paradigm=f"{prefix}/forgetful"), tmp_path / "out", workers=0)
    assert not outcome.complete
    assert "restores another classifier from its state than it trained" in outcome.failures[0]["message"]


def test_a_run_restores_what_a_paradigm_changes(prefix: str, tmp_path: Path) -> None:
    """Another paradigm of the process has its own numbers, and the change is told once."""
    alone, beside = f"{prefix}/good", f"{prefix}/threads"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for paradigm in (beside, alone):
            assert run_study(study(("random",), paradigm=paradigm), tmp_path / paradigm, workers=0).finished
            assert torch.get_num_threads() == 1
    told = [str(w.message) for w in caught if issubclass(w.category, GlobalStateWarning)]
    assert told == [f"{beside} changes torch's number of threads from 1 to 2 for the whole process; set it back "
                    "before the call returns. Fathom has set it back"]  # fmt: skip


@BROKEN_CONTRACT
def test_values_that_are_not_finite_are_found(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Standard.fit

    def fit(self, *given, **options):  # type: ignore[no-untyped-def]
        made = real(self, *given, **options)
        made.network.head.bias.data[0] = float("nan")
        return made

    monkeypatch.setattr(Standard, "fit", fit)
    assert any("fit gave values that are not finite" in line for line in paradigm_findings(f"{prefix}/good"))
