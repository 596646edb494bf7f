"""A call that is refused changes nothing on disk: names, bytes and times of change are those of before."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.faults import ALL, fault
from tests.studies import PARADIGM, REGIME, study

from fathom import cli
from fathom.core.records import FathomError
from fathom.engine.engine import run_study
from fathom.registry import registry
from fathom.store.store import Store

NOTHING = "the folder is as it was: names, bytes and times"


def tree(root: Path) -> dict[str, Any]:
    """Everything below a folder, itself included: time of change, and content or target."""
    found: dict[str, Any] = {}
    for path in (root, *sorted(root.rglob("*"))):
        state = path.lstat()
        data: Any = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[path.relative_to(root).as_posix()] = (state.st_mtime_ns, state.st_mode, data)
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("refusals") / "out"
    assert run_study(study(("random",)), out, workers=0).finished
    return out


@pytest.fixture
def here(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a finished study in `out`, something else in `thesis`, a file, and study files."""
    place = tmp_path / "here"
    place.mkdir()
    shutil.copytree(finished, place / "out")
    (place / "thesis").mkdir()
    (place / "thesis" / "thesis.tex").write_text("mine")
    (place / "file").write_text("no folder")
    (place / "bound").mkdir()
    Store(place / "bound").begin(study(("entropy",)))
    (place / "data").mkdir()
    (place / "broken.py").write_text("def nothing(): pass\n")
    (place / "kept.freeze.json").write_text("{}")
    changes = {
        "good": {},
        "more": {"queries": ["random", "entropy"]},
        "size": {"regimes": [REGIME.replace("query_size=10", "query_size=5000")]},
        "bigger": {"queries": ["random", "entropy"], "regimes": [REGIME, REGIME.replace("start=20", "start=9000")]},
        "start": {"regimes": [REGIME.replace("start=20", "start=2")]},
        "folder": {"datasets": ["folder(path=absent)"]},
        "files": {"datasets": ["cifar10"]},
        "query": {"queries": ["random(subsample=5)"]},
        "plugin": {"queries": ["absent/method"]},
        "search": {"paradigms": ["frozen(search=1000000000)"]},
        "retune": {"paradigms": [PARADIGM.replace(")", ", retune=7)")]},
        "weights": {"paradigms": ["frozen(backbone=torch, weights=absent.pt)"]},
    }
    for name, change in changes.items():
        lists = {"datasets": ["digits"], "regimes": [REGIME], "paradigms": [PARADIGM], "queries": ["random"]} | change
        lines = [f"{key} = {values!r}" for key, values in lists.items()]
        (place / f"{name}.toml").write_text("\n".join(['name = "toy"', "seeds = 1", *lines]) + "\n")
    monkeypatch.chdir(place)
    return place


RUN = [
    *(f"run {name}.toml --out OUT" for name in ("size", "start", "folder", "files", "query", "plugin", "retune")),
    *(f"run {name}.toml --out OUT --extend" for name in ("bigger", "size", "folder", "weights")),
    "run good.toml --out OUT --plugin absent.py",
    "run good.toml --out OUT --plugin broken.py",
    "run good.toml --out OUT --device cuda:7",
    "run good.toml --out OUT --device abacus",
    "run good.toml --out OUT --freeze absent.freeze.json",
    "run good.toml --out OUT --freeze kept.freeze.json",
    "run good.toml --out OUT --workers -1",
    "run good.toml --out OUT --threads 0",
    "run good.toml --out OUT --engine slurm",
    "run good.toml --out OUT --engine ray:h:1 --workers 2",
    "run good.toml --out OUT --gpu-share 0.5",
    "run good.toml --out OUT --only query=absent",
    "run absent.toml --out OUT",
    "run search.toml --out OUT",
]
READING = ("report", "status", "compare", "audit", "recheck")
OTHERS = [
    "run more.toml --out out",
    "run good.toml --out file",
    "run good.toml --out file/below",
    f"run good.toml --out {'x' * 300}",
    *(f"{verb} {folder}" for verb in READING for folder in ("thesis", "absent", "file")),
    "recheck out --sample 0",
    "export thesis --out x.parquet",
    "freeze thesis",
    "freeze out --out kept.freeze.json",
    "freeze bound",
    "plan size.toml --no-probe",
    "plan folder.toml --no-probe",
    "plan good.toml --no-probe --save-profile x.json",
    "pretrain digits --paradigm standard",
    "pretrain --import absent.safetensors",
    "check-data folder(path=absent)",
    "check-data digits --seeds 1000000000",
    "check-query absent.py",
]  # fmt: skip


OUTS = ("new/folder", "out", "bound", "thesis")
CASES = [(words, out) for out in OUTS for words in RUN if ALL or OUTS.index(out) == RUN.index(words) % 4]


def expect_refusal(words: str, place: Path) -> None:
    before = tree(place)
    try:
        with pytest.raises((FathomError, SystemExit)) as refused:
            cli.app(words.split())
        assert not isinstance(refused.value, SystemExit) or refused.value.code
    finally:
        registry._files.clear()
        registry.index.cache_clear()
    after = tree(place)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == set()


@fault("store", "a run that is refused", NOTHING, cases=1)
@pytest.mark.parametrize(("words", "out"), CASES)
def test_a_run_that_is_refused_changes_nothing(words: str, out: str, here: Path) -> None:
    workers = "" if "--workers" in words or "ray" in words else " --workers 0"
    expect_refusal(words.replace("OUT", out) + workers, here)


@fault("store", "a call of any other command that is refused", NOTHING, cases=1)
@pytest.mark.parametrize("words", OTHERS)
def test_any_call_that_is_refused_changes_nothing(words: str, here: Path) -> None:
    expect_refusal(words, here)


@fault("store", "a run that is refused by its environment", NOTHING, cases=1)
@pytest.mark.parametrize("name", ["good", "more"])
def test_another_environment_changes_nothing(name: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.__version__", "9.9.9")
    expect_refusal(f"run {name}.toml --out out --extend --workers 0", here)


@fault("store", "a run that is refused by a variable of the environment", NOTHING, cases=1)
@pytest.mark.parametrize("variable", ["FATHOM_SILENCE_SECONDS", "FATHOM_CHECKPOINT_SECONDS"])
@pytest.mark.parametrize("out", ["new", "bound"])
def test_a_variable_of_the_environment_changes_nothing(
    variable: str, out: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "soon")
    expect_refusal(f"run good.toml --out {out} --workers 0", here)


def test_a_folder_is_not_bound_to_data_that_were_never_used(here: Path) -> None:
    """After a refusal the folder is free for the study that is right."""
    expect_refusal("run size.toml --out new", here)
    with pytest.raises(SystemExit) as left:
        cli.app(["run", "good.toml", "--out", "new", "--workers", "0", "--no-report", "--quiet"])
    assert left.value.code == 0
    assert not Store.open("new").failures()
