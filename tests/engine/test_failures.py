"""What fails stays visible; what would mix results is refused with the difference."""

import warnings
from pathlib import Path

import pytest
from tests.faults import fault
from tests.studies import PARADIGM, study

from fathom import api
from fathom.core.machine import Machine, RunOptions
from fathom.core.records import FathomError
from fathom.design.study_file import load_study
from fathom.engine.engine import run_study
from fathom.registry import registry
from fathom.store.store import Store

DIVERGED = fault(
    "methods",
    "training that is not finite",
    "typed failure that stays visible; a declared retry for all runs of the setting",
)

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

@score("leave")
def leave(view):
    """Leaves the program."""
    raise SystemExit(0)

@score("exit")
def exit(view):
    """Leaves the program at once."""
    import os
    os._exit(0)

@score("interrupt")
def interrupt(view):
    """Looks like Ctrl-C."""
    raise KeyboardInterrupt

@score("close")
def close(view):
    """Looks like a closed generator."""
    raise GeneratorExit

@score("threads")
def threads(view):
    """Leaves a thread that never ends, and its threads to torch."""
    import threading
    threading.Thread(target=threading.Event().wait).start()
    torch.set_num_threads(3)
    return view.log_probs[:, 0, 0].exp()

@score("vanish")
def vanish(view):
    """Ends the process with the status of success, past Python."""
    import ctypes
    ctypes.CDLL(None)._exit(0)

@score("spread", draws=5)
def spread(view):
    """Compares draws."""
    return view.log_probs.exp().std(dim=1).sum(dim=1)

@score("die")
def die(view):
    """Kills the program, as the kernel does when memory runs out."""
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)

@score("crash")
def crash(view):
    """Has a bug."""
    return view.no_such_thing
'''


EXITS = ("leave", "exit", "interrupt", "close")


@pytest.fixture
def bad(tmp_path: Path):  # type: ignore[no-untyped-def]
    path = tmp_path / "bad.py"
    path.write_text(BAD)
    registry.add_file(path)
    yield path
    registry._files.clear()
    registry.index.cache_clear()


@fault("methods", "query method that raises", "its run fails and stays visible, the others go on")
def test_failed_runs_stay_visible_and_others_go_on(bad: Path, tmp_path: Path) -> None:
    queries = ("random", "bad/nan", "bad/twice", "bad/crash", *(f"bad/{name}" for name in EXITS))
    outcome = run_study(study(queries), tmp_path / "out", workers=0)
    assert not outcome.finished
    assert outcome.complete == 1
    messages = {f["query"]: f for f in outcome.failures}
    assert messages["bad/nan"]["error"] == "NonFiniteScoreError"
    assert "bad/twice" in messages["bad/twice"]["message"]
    assert messages["bad/crash"]["error"] == "AttributeError"
    assert "no_such_thing" in messages["bad/crash"]["traceback"]
    store = Store.open(tmp_path / "out")
    for name in EXITS:
        assert messages[f"bad/{name}"]["error"] == "MemberExitError"
        assert "would end the whole command" in messages[f"bad/{name}"]["message"]
    assert len(store.failures()) == 3 + len(EXITS)
    assert [len(store.rounds(s)) for s in store.study.runs] == [3] + [0] * (len(queries) - 1)


@fault(
    "machine",
    "worker killed by the system (out of memory)",
    "a recorded failure, tried once per call, the others go on",
)
def test_a_run_that_kills_its_worker_is_a_failure_and_the_others_go_on(bad: Path, tmp_path: Path) -> None:
    outcome = run_study(study(("bad/die", "random", "entropy")), tmp_path / "out", workers=2)
    assert outcome.complete == 2
    (failure,) = outcome.failures
    assert (failure["query"], failure["error"]) == ("bad/die", "DiedError")


@fault("methods", "a plug-in ends its worker silently", "its run fails, the others finish", cases=1)
@fault(
    "methods",
    "a plug-in leaves a thread and torch's threads behind",
    "the study ends, others have their numbers",
    cases=1,
)
def test_a_worker_that_vanishes_or_keeps_a_thread(bad: Path, tmp_path: Path) -> None:
    assert run_study(study(("random",)), tmp_path / "alone", workers=1).finished
    outcome = run_study(study(("bad/vanish", "bad/threads", "random")), tmp_path / "out", workers=1)
    (failure,) = outcome.failures
    assert (failure["query"], failure["error"]) == ("bad/vanish", "DiedError")
    assert outcome.complete == 2
    alone, beside = (Store.open(tmp_path / name) for name in ("alone", "out"))
    (spec,) = alone.study.runs
    assert [r.content() for r in alone.rounds(spec)] == [r.content() for r in beside.rounds(spec)]


WITHOUT = PARADIGM.replace("batch_size", "dropout=0, batch_size")


@fault("methods", "dropout methods without dropout", "refused before any training", cases=8)
@pytest.mark.parametrize(
    ("query", "paradigm"),
    [
        ("bald", WITHOUT),
        ("bald(draws=20, subsample=100)", WITHOUT),
        ("batch-bald(draws=5)", WITHOUT),
        ("bad/spread", WITHOUT),
        ("bad/spread(draws=3)", "frozen(backbone=pixels, dropout=0)"),
        ("bald", "semi-sl(dropout=0, recipe=short)"),
        ("bald", "self-sl(dropout=0.0, recipe=short)"),
        ("bald", "standard(dropout=0, recipe=short, lr=0.01, weight_decay=0.0005, augmentation=standard)"),
    ],
)
def test_draws_without_dropout_are_refused(query: str, paradigm: str, bad: Path, tmp_path: Path) -> None:
    for do in (run_study, lambda toy, out, workers: api.plan(toy, probe=False)):
        with pytest.raises(FathomError, match=r"compares \d+ dropout draws, and its classifier has no"):
            do(study(("random", query), paradigm=paradigm), tmp_path / "out", workers=0)
    assert not list((tmp_path / "out").glob("*/*/*"))


def test_dropout_of_its_own_is_enough(bad: Path, tmp_path: Path) -> None:
    toy = study(("bald(dropout=0.3, draws=3)", "bad/spread(dropout=0.5)"), paradigm=WITHOUT)
    assert run_study(toy, tmp_path / "out", workers=0).finished


def test_overrides_that_take_dropout_away_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\ndatasets = ["digits"]\nregimes = ["low"]\nparadigms = ["standard"]\nseeds = 1\n'
        'queries = ["random", "bald"]\n[overrides.standard]\nrecipe = "short"\ndropout = 0.0\n'
    )
    for hparams in (None, "search", "published"):
        with pytest.raises(FathomError, match="its classifier has no dropout"):
            api.plan(load_study(file, hparams), probe=False)


@fault("input", "Python files in the current folder", "not imported")
def test_nothing_is_imported_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "statistics.py").write_text("raise RuntimeError('a file of the user, not the module of that name')")
    monkeypatch.chdir(tmp_path)
    assert run_study(study(("random",)), tmp_path / "out", workers=1).finished


@DIVERGED
def test_training_that_diverges_is_a_typed_failure(tmp_path: Path) -> None:
    outcome = run_study(study(("random",), paradigm=PARADIGM.replace("lr=0.1", "lr=1e30")), tmp_path / "out", workers=0)
    assert outcome.complete == 0
    assert {f["error"] for f in outcome.failures} == {"NonFiniteError"}


@DIVERGED
def test_a_search_arm_that_diverges_loses(tmp_path: Path) -> None:
    paradigm = PARADIGM.replace("lr=0.1", "lr=1e30|0.1, search=1")
    assert run_study(study(("random",), paradigm=paradigm), tmp_path / "out", workers=0).finished
    (content, _) = next(iter(Store.open(tmp_path / "out").records("shared/hp-choice").values()))
    assert content["chosen"]["lr"] == 0.1
    assert content["table"][0]["mean"] is None


@fault("identity", "another machine, thread count or version", "refused unless accepted, told in the report")
def test_another_environment_is_refused_unless_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_study(study(), tmp_path / "out", workers=0)
    monkeypatch.setattr("torch.__version__", "9.9.9")
    with pytest.raises(FathomError, match=r"torch: .* -> 9\.9\.9"):
        run_study(study(), tmp_path / "out", workers=0)
    assert run_study(study(), tmp_path / "out", workers=0, options=RunOptions(accept_environment=True)).finished
    assert len(Store.open(tmp_path / "out").records("environments")) == 2


@fault("identity", "images changed under the results", "refused with the difference")
def test_changed_images_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "images"
    for i in range(120):
        path = folder / ("cat" if i % 2 else "dog") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 12), (i, 255 - i, 40 * (i % 2))).save(path)
    dataset = f"folder(path={folder}, size=8)"
    regime = "custom(query_size=4, rounds=2, start=8, val_size=10)"
    options = {"workers": 0, "machine": Machine(data=tmp_path / "data")}
    assert run_study(study(("random",), dataset=dataset, regime=regime), tmp_path / "out", **options).finished
    Image.new("RGB", (12, 12), (255, 0, 255)).save(folder / "cat" / "1.png")
    with pytest.raises(FathomError, match="revision"):
        run_study(study(("random",), dataset=dataset, regime=regime), tmp_path / "out", **options)


def test_a_missing_device_is_named(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=r"'cuda:7' cannot be used.*Use one of: cpu"):
        run_study(study(), tmp_path / "out", machine=Machine(device="cuda:7"))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("random(subsample=5)", "considers 5 samples.*queries 10"),
        ("batch-bald(num_samples=1)", "num_samples"),
        ("variation-ratios(of=votess)", "votes"),
        ("badge(sampler=x)", "sampler"),
    ],
)
def test_parameters_out_of_range_are_refused_before_anything_trains(query: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=message):
        run_study(study((query,)), tmp_path / "out", workers=0)
    assert not (tmp_path / "out" / "shared").exists()


def test_a_damaged_record_of_the_search_is_trained_again_not_left_out(tmp_path: Path) -> None:
    paradigm = PARADIGM.replace("lr=0.1", "lr=0.1|0.01, search=2")
    toy = study(("random",), paradigm=paradigm)
    run_study(toy, tmp_path / "out", workers=0)
    before = Store.open(tmp_path / "out").records("shared/hp-choice")
    arm = next((tmp_path / "out/shared/hp-search").glob("*.json"))
    whole = arm.read_bytes()
    arm.write_text("{")
    next((tmp_path / "out/shared/hp-choice").glob("*.json")).unlink()
    import torch

    from fathom.engine.engine import data_root
    from fathom.protocol.context import WorkerContext
    from fathom.protocol.tune import choose_hparams

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        choose_hparams(WorkerContext(Store(tmp_path / "out"), data_root(), torch.device("cpu")), toy.runs[0].setting)
    assert any("counts as absent" in str(warning.message) for warning in said)
    assert {k: v[0] for k, v in Store.open(tmp_path / "out").records("shared/hp-choice").items()} == {
        k: v[0] for k, v in before.items()
    }
    assert arm.read_bytes()[:200] == whole[:200]
