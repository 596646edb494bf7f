"""`fathom pretrain`: makes an encoder that studies find, or takes one in."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.faults import fault
from tests.studies import SELF_SL, study

from fathom.core.records import FathomError
from fathom.engine.engine import run_study
from fathom.engine.pretrain import pretrain_encoder, take_in
from fathom.store.store import Store


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_study_finds_what_was_pretrained(tmp_path: Path) -> None:
    told: list[dict[str, object]] = []
    made = pretrain_encoder("digits", SELF_SL, tell=told.append)
    assert made.path.is_file()
    assert [row["epoch"] for row in made.curve] == [1, 2, 3]
    assert all(0 < row["knn_accuracy"] <= 1 for row in made.curve)
    assert told[-1]["done"] == 3
    again = pretrain_encoder("digits", SELF_SL)
    assert again == made
    assert run_study(study(("random",), paradigm=SELF_SL), tmp_path / "out", workers=0).finished
    (record,) = Store(tmp_path / "out").records("shared/pretrain").values()
    assert record[0]["tensors"] == made.name


def test_an_encoder_of_another_program_is_taken_in_and_used(tmp_path: Path) -> None:
    made = pretrain_encoder("digits", SELF_SL)
    state = {f"module.encoder.{name}": t for name, t in load_file(made.path).items()} | {
        "module.fc.weight": torch.ones(2)
    }
    save_file(state, tmp_path / "other.safetensors")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "other.pt")
    for name in ("other.safetensors", "other.pt"):
        assert take_in(tmp_path / name).name == made.name
    imported = SELF_SL.replace("pretrain_epochs=3", f'encoder="{made.name[:16]}"')
    assert run_study(study(("random",), paradigm=imported), tmp_path / "out", workers=0).finished


class Evil:
    """Runs a program when it is unpickled."""

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (Path.touch, (Path("pwned"),))


@fault("input", "pickle with a program", "not executed")
def test_a_pickle_that_runs_code_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(FathomError, match="safetensors"):
        take_in(tmp_path / "evil.pt")
    assert not (tmp_path / "pwned").exists()


def test_what_prepares_nothing_is_refused() -> None:
    with pytest.raises(FathomError, match="trains no encoder"):
        pretrain_encoder("digits", "standard")
