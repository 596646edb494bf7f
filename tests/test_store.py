"""The store: immutable, checked, exactly once, also when a process is killed in the middle of a commit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fathom.records import FathomError, LabelRegime, Round, RunSpec, Study
from fathom.store import Store

SPECS = tuple(RunSpec("digits", "low", "standard", query, seed) for seed in (0, 1) for query in ("random", "bald"))
REGIME = LabelRegime("low", 50, 50, 3, 250)


def a_round(number: int, accuracy: float = 0.5) -> Round:
    return Round(
        round=number,
        budget=50 * (number + 1),
        paid=250 + 50 * (number + 1),
        hparams={"lr": 0.1},
        metrics={"accuracy": accuracy},
        recalls=[0.5, None],
        queried=[number],
        queried_classes=[1],
        scores=[0.25],
        labeled_classes=[25, 25],
        seconds={"total": 1.5},
        finished="2026-01-01T00:00:00+00:00",
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "study")
    store.begin(Study("s", SPECS))
    for spec in SPECS:
        store.begin_run(spec, REGIME)
    return store


def test_rounds_come_back_as_committed(store: Store) -> None:
    for number in range(3):
        store.commit(SPECS[0], a_round(number))
    assert Store.open(store.root).rounds(SPECS[0]) == [a_round(n) for n in range(3)]
    assert store.complete(SPECS[0])
    assert not store.complete(SPECS[1])


def test_table_has_one_row_a_round(store: Store) -> None:
    store.commit(SPECS[0], a_round(0))
    store.commit(SPECS[0], a_round(1, 0.75))
    table = store.table()
    assert table["score"].tolist() == [0.5, 0.75]
    assert table["budget"].tolist() == [50, 100]
    assert set(table["query"]) == {"random"}


def test_the_same_round_twice_does_no_harm_another_is_refused(store: Store) -> None:
    store.commit(SPECS[0], a_round(0))
    store.commit(SPECS[0], a_round(0))
    with pytest.raises(FathomError, match="holds another result"):
        store.commit(SPECS[0], a_round(0, accuracy=0.6))


def test_clock_readings_are_not_content(store: Store) -> None:
    store.commit(SPECS[0], a_round(0))
    later = Round.from_json({**a_round(0).to_json(), "seconds": {"total": 9.0}, "finished": "2027"})
    store.commit(SPECS[0], later)
    assert store.rounds(SPECS[0])[0].seconds == {"total": 1.5}  # the first writer won


@pytest.mark.parametrize("damage", ["truncate", "empty", "flip-content", "flip-clock"])
def test_a_damaged_round_goes_to_quarantine_and_is_done_again(store: Store, damage: str) -> None:
    for number in range(3):
        store.commit(SPECS[0], a_round(number))
    path = store.root / "runs" / SPECS[0].key / "round-01.json"
    text = path.read_text()
    broken = {
        "truncate": text[: len(text) // 2],
        "empty": "",
        "flip-content": text.replace('"accuracy": 0.5', '"accuracy": 0.9'),
        "flip-clock": text.replace('"total": 1.5', '"total": 0.5'),
    }[damage]
    assert broken != text
    path.write_text(broken)
    with pytest.warns(UserWarning, match="moved to"):
        assert store.rounds(SPECS[0]) == [a_round(0)]
    assert list((store.root / "quarantine").iterdir())
    store.commit(SPECS[0], a_round(1))
    assert store.rounds(SPECS[0]) == [a_round(n) for n in range(3)]


def test_a_round_that_does_not_follow_the_one_before_is_quarantined(store: Store) -> None:
    store.commit(SPECS[0], a_round(0))
    store.commit(SPECS[0], a_round(1))
    store.commit(SPECS[1], a_round(0, 0.9))
    here, there = (store.root / "runs" / s.key / "round-00.json" for s in SPECS[:2])
    here.write_bytes(there.read_bytes())  # sound in itself, but another run's
    with pytest.warns(UserWarning, match="does not follow"):
        assert len(store.rounds(SPECS[0])) == 1


def test_a_changed_study_is_refused_with_the_difference(store: Store) -> None:
    changed = tuple(RunSpec("digits", "low", "standard(epochs=5)", s.query, s.seed) for s in SPECS)
    with pytest.raises(FathomError, match=r"paradigm: standard -> standard\(epochs=5\)"):
        store.begin(Study("s", changed))
    with pytest.raises(FathomError, match="not in the new study"):
        store.begin(Study("s", changed), extend=True)


def test_a_study_may_grow_if_asked(store: Store) -> None:
    grown = Study("s", (*SPECS, RunSpec("digits", "low", "standard", "badge", 0)))
    with pytest.raises(FathomError, match="--extend"):
        store.begin(grown)
    store.begin(grown, extend=True)
    assert Store.open(store.root).study.runs == grown.runs


def test_what_decides_no_result_may_change(store: Store) -> None:
    renamed = Study("s", SPECS, title="Better words", baseline="bald", ceiling=3)
    store.begin(renamed)
    assert Store.open(store.root).study == renamed


def test_a_folder_with_other_things_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(FathomError, match="not empty"):
        Store(tmp_path).begin(Study("s", SPECS))


def test_a_folder_without_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=r"no study\.json"):
        Store.open(tmp_path)


def test_records_of_a_newer_version_are_refused(store: Store) -> None:
    store.commit(SPECS[0], a_round(0))
    path = store.root / "runs" / SPECS[0].key / "round-00.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(FathomError, match="newer Fathom"):
        store.rounds(SPECS[0])


def test_tensors_are_checked_on_read(store: Store) -> None:
    import numpy as np

    sha = store.put_tensors("shared/first/x", {"w": np.arange(4.0, dtype=np.float32)})
    store.put("shared/first/x", {"tensors": sha})
    loaded = store.get_tensors("shared/first/x", sha)
    assert loaded is not None
    assert loaded["w"].tolist() == [0, 1, 2, 3]
    path = store.root / "shared/first/x.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # safetensors alone would read this without a word
    path.write_bytes(bytes(data))
    with pytest.warns(UserWarning, match="moved to"):
        assert store.get_tensors("shared/first/x", sha) is None
    assert store.get("shared/first/x") is None


def test_a_lock_excludes_and_dies_with_its_process(store: Store) -> None:
    code = f"""
import sys, time
from fathom.store import Store
with Store({str(store.root)!r}).lock("runs/a") as mine:
    print(mine, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "True"
        with store.lock("runs/a") as mine:
            assert not mine
        other.kill()
        other.wait()
    with store.lock("runs/a") as mine:
        assert mine


COMMITTER = """
import sys
sys.path.insert(0, {tests!r})
from test_store import SPECS, a_round
from fathom.store import Store
store = Store.open({root!r})
for number in range(len(store.rounds(SPECS[0])), 3):
    store.commit(SPECS[0], a_round(number))
"""


@pytest.mark.parametrize("point", ["before-fsync", "after-fsync", "after-link"])
@pytest.mark.parametrize("passage", [1, 2, 3])
def test_killed_around_the_commit_nothing_is_lost_or_doubled(store: Store, point: str, passage: int) -> None:
    code = COMMITTER.format(tests=str(Path(__file__).parent), root=str(store.root))
    died = subprocess.run([sys.executable, "-c", code], env={**os.environ, "FATHOM_CRASH_AT": f"{point}:{passage}"})
    assert died.returncode == -9
    assert len(store.rounds(SPECS[0])) == passage - (point != "after-link")
    subprocess.run([sys.executable, "-c", code], check=True)
    store.clean()
    assert store.rounds(SPECS[0]) == [a_round(n) for n in range(3)]
    assert not list(store.root.rglob(".tmp-*"))


def test_many_writers_one_wins(store: Store) -> None:
    code = f"""
import sys
from fathom.store import Store
Store.open({str(store.root)!r}).put("shared/x", {{"value": 1}}, {{"writer": sys.argv[1]}})
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, str(i)]) for i in range(4)]
    assert [w.wait() for w in writers] == [0] * 4
    record = json.loads((store.root / "shared/x.json").read_text())
    assert record["content"] == {"value": 1}
    assert not list(store.root.rglob(".tmp-*"))


def test_no_room_is_a_clear_error(store: Store) -> None:
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from fathom.records import FathomError
from fathom.store import Store
try:
    Store.open({str(store.root)!r}).put("shared/big", {{"x": "y" * 5000}})
except FathomError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "cannot write" in said
    assert "is safe" in said
    assert store.get("shared/big") is None
    assert not list(store.root.rglob(".tmp-*"))
