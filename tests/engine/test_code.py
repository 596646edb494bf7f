"""Plug-ins that change while or after a study runs; records that say what results were computed with, damaged."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.faults import fault
from tests.studies import study

from fathom.core.machine import Machine, RunOptions
from fathom.core.records import FathomError, RunSpec, Study
from fathom.design.subset import select
from fathom.engine.engine import StudyOutcome, run_study
from fathom.machine import environment
from fathom.recheck.recheck import recheck
from fathom.registry import registry, source
from fathom.results.results import StudyResults
from fathom.store.store import Store

PLUGIN = '''
from pathlib import Path

import torch
import sign
from fathom import score

HERE = Path(__file__)


@score("last")
def last(view):
    """Query the last of the pool."""
    EDIT
    return torch.arange(len(view)) * sign.SIGN * 1.0


@score("first")
def first(view):
    """Query the first of the pool."""
    return torch.arange(len(view)) * -1.0
'''
EDITS = """for name, old in ((HERE.name, "* 1.0"), ("sign.py", "1")):
        path = HERE.with_name(name)
        path.write_text(path.read_text().replace(old, old.replace("1", "-1")))"""


@pytest.fixture(autouse=True)
def no_plugins() -> Iterator[None]:
    yield
    registry._files.clear()
    registry.index.cache_clear()
    source.forget()


def plugin(folder: Path, edits: str = "pass") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "sign.py").write_text("SIGN = 1\n")
    (folder / "mine.py").write_text(PLUGIN.replace("EDIT", edits))
    registry._files.clear()
    registry.add_file(folder / "mine.py")
    return folder / "mine.py"


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    registry.refresh()


def run(made: Study, out: Path, *only: str, accept: bool = False, workers: int = 0) -> StudyOutcome:
    options = RunOptions(extend=True, accept_environment=accept)
    return run_study(made, out, only=select(made, only) if only else None, workers=workers, options=options)


def queried(out: Path) -> dict[RunSpec, list[list[int]]]:
    store = Store.open(out)
    return {spec: [r.queried for r in store.rounds(spec)] for spec in store.study.runs}


LAST = study(("mine/last",), seeds=(0, 1))


@fault("identity", "a plug-in and its helper are edited while a study runs", "the call runs what it has read", cases=2)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_plugin_that_is_edited_during_a_run_changes_nothing(tmp_path: Path, workers: int) -> None:
    plugin(tmp_path / "quiet")
    assert run(LAST, tmp_path / "expected").finished
    path = plugin(tmp_path / "noisy", EDITS)
    before = path.read_text()
    assert run(LAST, tmp_path / "out", workers=workers).finished
    assert path.read_text() != before
    assert queried(tmp_path / "out") == queried(tmp_path / "expected")


@fault("identity", "a plug-in is edited between two calls", "refused for its member alone, with the file", cases=2)
def test_two_versions_of_a_member_are_not_mixed(tmp_path: Path) -> None:
    path, out = plugin(tmp_path / "own"), tmp_path / "out"
    methods = ("random", "mine/last", "mine/first")
    assert run(study(methods), out).finished
    edit(path, '"""Query the last', '# remark\n    """Queries the last')
    edit(path, "HERE = Path", "import math\n\nHERE = Path")
    more = study(methods, seeds=(0, 1))
    assert run(more, out, "query=mine/first").finished, "nothing that it uses has changed"
    edit(path.with_name("sign.py"), "1", "-1")
    assert run(more, out, "query=random").finished, "other members are left alone"
    before = {p: p.read_bytes() for p in (out / "runs").rglob("round-*.json")}
    with pytest.raises(FathomError, match=r"other code:\n  query method mine/last: .*sign\.py has changed\n.*--only"):
        run(more, out)
    assert {p: p.read_bytes() for p in (out / "runs").rglob("round-*.json")} == before
    found = recheck(out, sample=12, machine=Machine(device="cpu"))
    (differs,) = {o.what.split(" seed")[0].split()[-1] for o in found.outcomes if not o.same}
    assert differs == "mine/last"
    assert any("the code of query mine/last" in text for o in found.outcomes for text in o.differences)
    assert run(more, out, accept=True).finished
    assert len(StudyResults.of(out).codes["query mine/last"]) == 2


def test_a_method_that_failed_before_its_first_round_may_be_fixed(tmp_path: Path) -> None:
    path, out = plugin(tmp_path / "own", "1 / 0"), tmp_path / "out"
    made = study(("mine/last",))
    assert not run(made, out).finished
    edit(path, "1 / 0", "pass")
    assert run(made, out).finished


def test_results_name_the_code_of_every_member(tmp_path: Path) -> None:
    plugin(tmp_path / "own")
    assert run(study(("mine/last",), full_data=1), tmp_path / "out").finished
    codes = StudyResults.of(tmp_path / "out").codes
    assert {*codes} == {"dataset digits", "regime custom", "paradigm standard", "query mine/last"}
    assert all(len(counts) == 1 and "" not in counts for counts in codes.values())
    kept = Store.open(tmp_path / "out").records("code")
    assert {name for counts in codes.values() for name in counts} == {*kept}


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"sha256": "', b'"sha256": "0'))


@fault("identity", "the record of the environment, the dataset or the code is damaged or gone", "refused", cases=6)
@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("kind", ["environments", "datasets"])
@pytest.mark.filterwarnings("ignore::fathom.store.atomic_files.DamageWarning")
def test_a_damaged_record_lets_nothing_else_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, gone: bool
) -> None:
    out = tmp_path / "out"
    assert run(study(("random",)), out).finished
    (path,) = (out / kind).glob("*.json")
    _ = path.unlink() if gone else spoil(path)
    damaged = path.read_bytes() if not gone else b""
    now = environment.describe

    def other(*args: object, **more: object) -> environment.Environment:
        found = now(*args, **more)  # type: ignore[arg-type]
        return replace(found, decides=found.decides | {"torch": "0.1"})

    monkeypatch.setattr("fathom.engine.local.describe", other)
    with pytest.raises(FathomError, match=r"damaged|no record of their environment"):
        run(study(("random",), seeds=(0, 1)), out)
    assert (path.read_bytes() if path.exists() else b"") == damaged
    assert run(study(("random",), seeds=(0, 1)), out, accept=True).finished


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.filterwarnings("ignore::fathom.store.atomic_files.DamageWarning")
def test_a_damaged_record_of_code_lets_no_other_code_in(tmp_path: Path, gone: bool) -> None:
    path, out = plugin(tmp_path / "own"), tmp_path / "out"
    assert run(study(("mine/last",)), out).finished
    for record in (out / "code").glob("*.json"):
        _ = record.unlink() if gone else spoil(record)
    assert run(study(("mine/last",), seeds=(0, 1)), out).finished, "each result names its code"
    for record in (out / "code").glob("*.json"):
        _ = record.unlink() if gone else spoil(record)
    edit(path, "sign.SIGN * 1.0", "sign.SIGN * -1.0")
    with pytest.raises(FathomError, match=r"mine/last: is not \w+, whose record is damaged or gone"):
        run(study(("mine/last",), seeds=(0, 1, 2)), out)
