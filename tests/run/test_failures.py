"""What fails stays visible; what would mix results is refused with the difference."""

from pathlib import Path

import pytest
from tests.run.studies import PARADIGM, study

from fathom import registry
from fathom.records import FathomError
from fathom.run.backends import run
from fathom.store import Store

BAD = '''
import torch
from fathom import score, selection

@score("nan")
def nan(view):
    """Gives no number."""
    return torch.full((len(view),), float("nan"))

@selection("twice")
def twice(view, size, stream):
    """Picks one sample again and again."""
    return torch.zeros(size, dtype=torch.int64)

@score("crash")
def crash(view):
    """Has a bug."""
    return view.no_such_thing
'''


@pytest.fixture
def bad(tmp_path: Path):  # type: ignore[no-untyped-def]
    path = tmp_path / "bad.py"
    path.write_text(BAD)
    registry.add_file(path)
    yield path
    registry._files.clear()
    registry.index.cache_clear()


def test_failed_runs_stay_visible_and_others_go_on(bad: Path, tmp_path: Path) -> None:
    outcome = run(study(("random", "bad/nan", "bad/twice", "bad/crash")), tmp_path / "out", workers=0)
    assert not outcome.finished
    assert outcome.complete == 1
    messages = {f["query"]: f for f in outcome.failures}
    assert messages["bad/nan"]["error"] == "NonFiniteError"
    assert "bad/twice" in messages["bad/twice"]["message"]
    assert messages["bad/crash"]["error"] == "AttributeError"
    assert "no_such_thing" in messages["bad/crash"]["traceback"]
    store = Store.open(tmp_path / "out")
    assert len(store.failures()) == 3
    assert [len(store.rounds(s)) for s in store.study.runs] == [3, 0, 0, 0]


def test_training_that_diverges_is_a_typed_failure(tmp_path: Path) -> None:
    outcome = run(study(("random",), paradigm=PARADIGM.replace("lr=0.1", "lr=1e30")), tmp_path / "out", workers=0)
    assert outcome.complete == 0
    assert {f["error"] for f in outcome.failures} == {"NonFiniteError"}


def test_a_search_arm_that_diverges_loses(tmp_path: Path) -> None:
    paradigm = PARADIGM.replace("lr=0.1", "lr=1e30|0.1, search=1")
    assert run(study(("random",), paradigm=paradigm), tmp_path / "out", workers=0).finished
    (content, _) = next(iter(Store.open(tmp_path / "out").records("shared/hparams").values()))
    assert content["chosen"]["lr"] == 0.1
    assert content["table"][0]["mean"] is None


def test_another_environment_is_refused_unless_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(study(), tmp_path / "out", workers=0)
    monkeypatch.setattr("torch.__version__", "9.9.9")
    with pytest.raises(FathomError, match=r"torch: .* -> 9\.9\.9"):
        run(study(), tmp_path / "out", workers=0)
    assert run(study(), tmp_path / "out", workers=0, accept_environment=True).finished
    assert len(Store.open(tmp_path / "out").records("environments")) == 2


def test_changed_images_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "images"
    for i in range(120):
        path = folder / ("cat" if i % 2 else "dog") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 12), (i, 255 - i, 40 * (i % 2))).save(path)
    dataset = f"folder(path={folder}, size=8)"
    regime = "custom(query_size=4, rounds=2, start=8, val_size=10)"
    options = {"workers": 0, "data": tmp_path / "data"}
    assert run(study(("random",), dataset=dataset, regime=regime), tmp_path / "out", **options).finished
    Image.new("RGB", (12, 12), (255, 0, 255)).save(folder / "cat" / "1.png")
    with pytest.raises(FathomError, match="revision"):
        run(study(("random",), dataset=dataset, regime=regime), tmp_path / "out", **options)


def test_a_missing_device_is_named(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=r"'cuda:7' cannot be used.*Here: cpu"):
        run(study(), tmp_path / "out", device="cuda:7")
