"""Long work that is killed resumes from its checkpoint, to the same result."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.faults import fault
from tests.studies import FROZEN, ROOT, SELF_SL, SEMI_SL, contents, study

from fathom.core.records import FathomError
from fathom.engine.engine import run_study
from fathom.learn.objectives.supervised import Supervised
from fathom.learn.training.fit import Objective
from fathom.protocol.checkpoint import FileCheckpointer
from fathom.store.store import Store

DAMAGED_CHECKPOINT = fault("engine", "damaged or foreign checkpoint", "counts as none, training begins anew")


def checkpointer(tmp_path: Path, decides: object = "same", **options: object) -> FileCheckpointer:
    return FileCheckpointer(Store(tmp_path), "shared/pretrain/x", decides, **options)  # type: ignore[arg-type]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FATHOM_CHECKPOINT_SECONDS", "0")


def test_a_state_comes_back_with_the_curve(tmp_path: Path, often: None) -> None:
    first = checkpointer(tmp_path, probe=lambda embed: {"knn_accuracy": 0.5})
    first.tell(1, 4, {"loss": 2.0}, lambda images: torch.zeros(1, 1))
    first.save(lambda: {"network.weight": torch.arange(3.0)})
    again = checkpointer(tmp_path)
    state = again.load()
    assert state is not None
    assert state["network.weight"].tolist() == [0, 1, 2]
    assert again.curve == [{"epoch": 1.0, "loss": 2.0, "knn_accuracy": 0.5}]
    again.close()
    assert checkpointer(tmp_path).load() is None


@DAMAGED_CHECKPOINT
def test_a_state_of_other_work_is_not_gone_on_from(tmp_path: Path, often: None) -> None:
    checkpointer(tmp_path, "lr 0.1").save(lambda: {"w": torch.zeros(1)})
    assert checkpointer(tmp_path, "lr 0.01").load() is None


@DAMAGED_CHECKPOINT
def test_a_damaged_state_counts_as_none(tmp_path: Path, often: None) -> None:
    first = checkpointer(tmp_path)
    first.save(lambda: {"w": torch.zeros(4)})
    whole = bytearray(first.path.read_bytes())
    whole[-1] ^= 1  # one bit of a weight
    for damage in (b"", b"not safetensors", first.path.read_bytes()[:-3], bytes(whole)):
        first.path.write_bytes(damage)
        assert checkpointer(tmp_path).load() is None


def test_it_saves_seldom_unless_told_otherwise(tmp_path: Path) -> None:
    first = checkpointer(tmp_path)
    first.save(lambda: pytest.fail("too early"))
    first.save(lambda: {"w": torch.zeros(1)}, force=True)
    assert first.path.is_file()


def test_it_looks_at_twenty_points_whatever_the_epochs(tmp_path: Path) -> None:
    for of in (20, 50, 1000):
        looked: list[int] = []
        first = checkpointer(tmp_path, probe=lambda embed, looked=looked: looked.append(1) or {})
        for done in range(1, of + 1):
            first.tell(done, of, {}, lambda images: torch.zeros(1, 1))
        assert len(looked) == 20
        assert first.curve[-1]["epoch"] == of


def test_watchers_hear_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, object]] = []
    first = checkpointer(tmp_path, tell=told.append)
    first._reported = -1e9
    first.tell(3, 10, {"loss": 1.5, "val_score": float("nan")})
    assert Store(tmp_path).in_progress() == told == [{"job": "shared/pretrain/x", "done": 3, "of": 10, "loss": 1.5}]
    first.close()
    assert Store(tmp_path).in_progress() == []


def test_the_work_itself_sees_nothing_of_what_is_measured_of_it(tmp_path: Path, often: None) -> None:
    mine = checkpointer(tmp_path, probe=lambda embed: {"knn_accuracy": 0.123})
    given = mine.restricted()
    given.save(lambda: {"w": torch.ones(1)})
    given.tell(1, 1, {"loss": 1.0}, lambda images: torch.zeros(1, 1))
    assert given.load() is not None
    assert mine.curve == []  # of the state that was loaded, before anything was told
    mine.tell(1, 1, {}, lambda images: torch.zeros(1, 1))
    assert mine.curve[0]["knn_accuracy"] == 0.123
    for value in vars(given).values():
        assert not hasattr(value, "__self__"), "a bound method leads to what it is bound to"
    assert not {"look", "curve", "watcher"} & set(dir(given))


def test_a_number_of_seconds_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FATHOM_CHECKPOINT_SECONDS", "abc")
    with pytest.raises(FathomError, match="FATHOM_CHECKPOINT_SECONDS is 'abc'"):
        checkpointer(tmp_path)


# ------------------------------------------------------------------------------------------- resumes, and from where

RUNNER = """
import sys
from fathom.engine.engine import run_study
from tests.studies import study
sys.exit(0 if run_study(study(("random", "badge"), paradigm=sys.argv[1]), sys.argv[2], workers=0).finished else 3)
"""


@fault("engine", "kill -9 between epochs", "the same bits as an uninterrupted training")
@pytest.mark.parametrize("paradigm", [SELF_SL, SEMI_SL, FROZEN], ids=["self-sl", "semi-sl", "frozen"])
def test_killed_between_epochs_and_run_again(
    tmp_path: Path, paradigm: str, monkeypatch: pytest.MonkeyPatch, often: None
) -> None:
    """kill -9 around every few writes, of states and of results: in the end the same store."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache-whole"))
    assert run_study(study(("random", "badge"), paradigm=paradigm), whole, workers=0).finished
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "FATHOM_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    statuses = []
    for point in ("after-link:6", "after-fsync:4", "before-fsync:9", "after-link:5", ""):
        command = [sys.executable, "-c", RUNNER, paradigm, str(out)]
        statuses.append(subprocess.run(command, cwd=ROOT, env={**environment, "FATHOM_CRASH_AT": point}).returncode)
    assert statuses == [-signal.SIGKILL] * 4 + [0]
    assert contents(out) == contents(whole)
    assert not list(out.glob(".work/*"))


def test_epochs_before_a_stop_are_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, often: None) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    epochs: list[int] = []
    stop_at = [3]
    real = {kind: kind.batches for kind in (*_objectives(), Supervised)}

    def counted(self: Objective, epoch: int) -> Iterator[tuple[torch.Tensor, ...]]:
        epochs.append(epoch)
        if len(epochs) == stop_at[0]:
            raise MemoryError("stops here")
        return real[type(self)](self, epoch)

    for kind in real:
        monkeypatch.setattr(kind, "batches", counted)
    toy = study(("random",), paradigm=SELF_SL)
    assert not run_study(toy, tmp_path / "out", workers=0).finished
    assert epochs == [0, 1, 2]
    stop_at[0] = 0
    assert run_study(toy, tmp_path / "out", workers=0).finished
    assert epochs[3:] == [2, *[0, 1] * 3], "the last epoch of pre-training, then three trainings of two"


def _objectives() -> list[type[Objective]]:
    from fathom.learn.objectives.simclr import SimCLR

    return [SimCLR]
