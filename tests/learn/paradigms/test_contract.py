"""The contract of paradigms over the registry (a new one only says how it is made short), and what it catches."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults import fault

from fathom.core.records import FathomError
from fathom.learn.paradigms.standard import Standard
from fathom.registry import registry
from fathom.registry.registry import index
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
    ],
)
def test_each_breach_is_found(prefix: str, name: str, finding: str) -> None:
    found = paradigm_findings(f"{prefix}/{name}")
    assert any(finding in line for line in found), found
    with pytest.raises(FathomError, match="breaks its contract in"):
        check_paradigm(f"{prefix}/{name}")


def test_who_keeps_the_contract_is_left_alone(prefix: str) -> None:
    assert paradigm_findings(f"{prefix}/good") == []


@BROKEN_CONTRACT
def test_values_that_are_not_finite_are_found(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Standard.fit

    def fit(self, *given, **options):  # type: ignore[no-untyped-def]
        made = real(self, *given, **options)
        made.network.head.bias.data[0] = float("nan")
        return made

    monkeypatch.setattr(Standard, "fit", fit)
    assert any("fit gave values that are not finite" in line for line in paradigm_findings(f"{prefix}/good"))
