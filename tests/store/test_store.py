"""The store: immutable, checked, exactly once, also when a process is killed in the middle of a commit."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tests.faults import as_nobody, fault, open_to_all

from fathom.core.records import FORMAT, FathomError, LabelRegime, Round, RunSpec, Study
from fathom.store.atomic_files import DamageWarning, try_read
from fathom.store.locks import leave_marker
from fathom.store.store import Store
from fathom.store.tables import read_rounds, rounds_table

DEAD_HOLDER = fault(
    "store", "the holder of a lock dies; its file is removed", "the lock is free again, two never hold it"
)
LEFT_OVERS = fault("store", "files left by dead processes", "removed; those of the living and of other hosts stay")
DAMAGED_RECORD = fault("store", "damaged record or array", "noticed, set aside, computed again, never averaged")
DAMAGED_STUDY_FILE = fault("store", "damaged study file", "written again by the same study, refused to another")

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


def files_below(root: Path) -> dict[str, bytes]:
    """Every file but locks."""
    below = [p for p in root.rglob("*") if p.is_file() and ".locks" not in p.parts]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in below}


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


@fault("identity", "the record of a run's label regime is gone, and the regime has other sizes now", "refused")
@pytest.mark.parametrize("changes", [{"start": 40}, {"val_size": 200}, {"query_size": 25}])
def test_lost_sizes_of_a_run_are_not_replaced_by_others(store: Store, changes: dict[str, int]) -> None:
    for number in range(3):
        store.commit(SPECS[0], a_round(number))
    path = store.path(f"{store.run_name(SPECS[0])}/spec")
    before = path.read_bytes()
    path.unlink()
    with pytest.raises(FathomError, match="gives other sizes now than its rounds have"):
        store.begin_run(SPECS[0], replace(REGIME, **changes))
    assert not path.exists()
    store.begin_run(SPECS[0], REGIME)
    assert path.read_bytes() == before


def test_a_retry_that_another_process_declares_is_seen_when_retries_are_refreshed(store: Store) -> None:
    setting, other = SPECS[0].setting, Store.open(store.root)
    assert store.retries(setting) == other.retries(setting) == []
    other.retry(setting, 1, "lr/10", "loss is nan")
    assert other.retries(setting) == ["lr/10"]
    assert store.retries(setting) == []  # a job ends as it began
    assert store.run_name(SPECS[0]) == f"runs/{SPECS[0].key}"
    assert store.refresh_retries()
    assert store.retries(setting) == ["lr/10"]
    assert store.run_name(SPECS[0]) == f"runs/{SPECS[0].key}-1"
    assert not store.refresh_retries()  # nothing new


def test_table_has_one_row_a_round(store: Store) -> None:
    store.commit(SPECS[0], a_round(0))
    store.commit(SPECS[0], a_round(1, 0.75))
    table = rounds_table(store)
    assert table["score"].tolist() == [0.5, 0.75]
    assert table["budget"].tolist() == [50, 100]
    assert set(table["query"]) == {"random"}
    assert read_rounds(store.root).drop(columns=["queried_ids", "queried_images"]).equals(table)


def test_the_score_of_a_table_is_the_metric_of_the_dataset(store: Store) -> None:
    store.put("datasets/a", {"name": "digits", "metric": "balanced_accuracy"})
    record = a_round(0)
    record.metrics["balanced_accuracy"] = 0.25
    store.commit(SPECS[0], record)
    (row,) = rounds_table(store).to_dict("records")
    assert (row["metric"], row["score"], row["accuracy"]) == ("balanced_accuracy", 0.25, 0.5)


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


@DAMAGED_RECORD
@pytest.mark.parametrize("damage", ["truncate", "empty", "flip-content", "flip-clock"])
def test_a_damaged_round_counts_as_absent_and_goes_to_quarantine_when_done_again(store: Store, damage: str) -> None:
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
    before = files_below(store.root)
    for _ in range(2):  # looking again and again moves nothing
        with pytest.warns(DamageWarning, match="counts as absent"):
            assert Store.open(store.root).rounds(SPECS[0]) == [a_round(0)]
    assert files_below(store.root) == before
    with pytest.warns(DamageWarning, match="moved to"):
        store.commit(SPECS[0], a_round(1))
    assert [p.read_text() for p in (store.root / "quarantine").iterdir()] == [broken]
    assert store.rounds(SPECS[0]) == [a_round(n) for n in range(3)]


@DAMAGED_RECORD
def test_a_round_that_does_not_follow_the_one_before_is_done_again(store: Store) -> None:
    store.commit(SPECS[0], a_round(0))
    store.commit(SPECS[0], a_round(1))
    store.commit(SPECS[1], a_round(0, 0.9))
    here, there = (store.root / "runs" / s.key / "round-00.json" for s in SPECS[:2])
    here.write_bytes(there.read_bytes())  # sound in itself, but another run's
    with pytest.warns(DamageWarning, match="does not follow"):
        assert len(store.rounds(SPECS[0])) == 1
    with pytest.warns(DamageWarning, match="moved to"):
        store.commit(SPECS[0], a_round(1))
    assert store.rounds(SPECS[0]) == [a_round(0, 0.9), a_round(1)]


def test_a_round_is_not_committed_over_a_gap(store: Store) -> None:
    store.commit(SPECS[0], a_round(0))
    with pytest.raises(FathomError, match=r"round 2 .* cannot be committed: only 1 rounds before it"):
        store.commit(SPECS[0], a_round(2))


@DAMAGED_RECORD
def test_damage_done_twice_is_kept_twice(store: Store) -> None:
    path = store.root / "shared/x.json"
    for text in ("first", "second"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        with pytest.warns(DamageWarning, match="moved to"):
            store.put("shared/x", {"value": 1})
        assert store.get("shared/x") == ({"value": 1}, {})
    kept = sorted((store.root / "quarantine").iterdir())
    assert [(p.name, p.read_text()) for p in kept] == [("shared-x-1.json", "first"), ("shared-x-2.json", "second")]


def test_who_saw_the_damage_late_does_not_move_the_good_file(store: Store) -> None:
    """Another process mends the record between our look and our lock."""
    path = store.root / "shared/x.json"
    path.parent.mkdir()
    path.write_text("damaged")
    method_styles = []

    def damage() -> str:
        method_styles.append(found := try_read(path)[1])
        if len(method_styles) == 1:
            path.unlink()
            Store(store.root).put("shared/x", {"value": 1})
        return found

    store.quarantine("shared/x", damage)
    assert [bool(found) for found in method_styles] == [True, False]
    assert store.get("shared/x") == ({"value": 1}, {})
    assert not (store.root / "quarantine").exists()


MENDER = """
import sys, time, warnings
from fathom.store.store import Store
warnings.simplefilter("ignore")
store = Store.open({root!r})
sys.stdin.read()  # all begin at once
for i in range(40):
    store.get(f"shared/{{i}}")
    store.put(f"shared/{{i}}", {{"value": i}})
    assert store.get(f"shared/{{i}}") == ({{"value": i}}, {{}})
"""


@fault("store", "several processes repair one store", "each file moved once, all records sound", cases=40)
def test_many_processes_mend_one_store(store: Store) -> None:
    for i in range(40):
        store.put(f"shared/{i}", {"value": i})
        (store.root / f"shared/{i}.json").write_text("damaged")
    command = [sys.executable, "-c", MENDER.format(root=str(store.root))]
    menders = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(3)]
    for mender in menders:
        assert mender.stdin is not None
        mender.stdin.close()
    assert [m.wait() for m in menders] == [0] * 3
    assert store.records("shared") == {str(i): ({"value": i}, {}) for i in range(40)}
    assert [p.read_text() for p in (store.root / "quarantine").iterdir()] == ["damaged"] * 40


# ------------------------------------------------------------------------------------------------- the study file


@DAMAGED_STUDY_FILE
@pytest.mark.parametrize("damage", ["empty", "other", "absent"])
def test_a_damaged_study_file_is_told_and_written_anew_by_the_same_study(store: Store, damage: str) -> None:
    store.commit(SPECS[0], a_round(0))
    path = store.root / "study.json"
    path.unlink()
    if damage != "absent":
        path.write_text({"empty": "", "other": "{}"}[damage])
    before = files_below(store.root)
    for _ in range(2):
        with pytest.raises(FathomError, match=r"study\.json.*run the same study again .*fathom run STUDY --out"):
            Store.open(store.root)
    assert files_below(store.root) == before
    again = Store(store.root)
    with pytest.warns(DamageWarning) as told:
        again.begin(Study("s", SPECS))
    assert "written again, as all 4 runs here are of this study" in str(told[0].message)
    assert ["moved to" in str(w.message) for w in told[1:]] == ([] if damage == "absent" else [True])
    assert Store.open(store.root).study.runs == SPECS
    assert again.rounds(SPECS[0]) == [a_round(0)]


@DAMAGED_STUDY_FILE
def test_a_damaged_study_file_is_not_written_anew_by_another_study(store: Store) -> None:
    (store.root / "study.json").write_text("damaged")
    others = tuple(
        RunSpec("digits", "low", "standard", query, seed) for seed in (0, 1) for query in ("random", "badge")
    )
    before = files_below(store.root)
    with pytest.raises(FathomError, match=r"2 of the 4 runs here are not of this study(.|\n)*query: bald -> badge"):
        Store(store.root).begin(Study("s", others))
    assert files_below(store.root) == before


def test_a_study_file_damaged_before_anything_began(tmp_path: Path) -> None:
    Store(tmp_path).begin(Study("s", SPECS))
    (tmp_path / "study.json").write_text("damaged")
    with pytest.warns(DamageWarning, match="moved to"):
        Store(tmp_path).begin(Study("s", SPECS))
    assert Store.open(tmp_path).study.runs == SPECS


@fault("identity", "study edited under its results", "refused with the difference")
def test_a_changed_study_is_refused_with_the_difference(store: Store) -> None:
    changed = tuple(RunSpec("digits", "low", "standard(epochs=5)", s.query, s.seed) for s in SPECS)
    store.commit(SPECS[0], a_round(0))
    with pytest.raises(FathomError, match=r"paradigm: standard -> standard\(epochs=5\)"):
        store.begin(Study("s", changed))
    with pytest.raises(FathomError, match="not in the new study"):
        store.begin(Study("s", changed), extend=True)


def test_a_study_that_computed_nothing_makes_room_for_another(store: Store) -> None:
    """What was refused, as a regime that does not fit, must not stand in the way of what is right."""
    other = Study("s", tuple(RunSpec("digits", "mid", "standard", s.query, s.seed) for s in SPECS))
    store.begin(other)
    assert Store.open(store.root).study.runs == other.runs
    assert not list(store.root.glob(f"runs/{SPECS[0].key}/spec.json"))


def test_a_study_may_grow_if_asked(store: Store) -> None:
    grown = Study("s", (*SPECS, RunSpec("digits", "low", "standard", "badge", 0)))
    store.commit(SPECS[0], a_round(0))
    with pytest.raises(FathomError, match="--extend"):
        store.begin(grown)
    store.begin(grown, extend=True)
    assert Store.open(store.root).study.runs == grown.runs


def test_what_decides_no_result_may_change(store: Store) -> None:
    renamed = Study("s", SPECS, title="Better words", baseline="bald", full_data=3)
    store.begin(renamed)
    assert Store.open(store.root).study == renamed


def test_a_folder_with_other_things_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(FathomError, match="not empty"):
        Store(tmp_path).begin(Study("s", SPECS))


def test_a_folder_without_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=r"no study\.json"):
        Store.open(tmp_path)


@pytest.mark.parametrize("version", ["1e999", "true", "2.5", '"9"', "null"])
def test_a_version_that_is_no_whole_number_is_damage(store: Store, version: str) -> None:
    store.commit(SPECS[0], a_round(0))
    path = store.root / "runs" / SPECS[0].key / "round-00.json"
    path.write_text(path.read_text().replace(f'"format": {FORMAT}', f'"format": {version}'))
    assert try_read(path) == (None, "cannot be read (TypeError)")


@fault("store", "record of another version", "refused with what to do, left as it is")
def test_records_of_a_newer_version_are_refused(store: Store) -> None:
    store.commit(SPECS[0], a_round(0))
    path = store.root / "runs" / SPECS[0].key / "round-00.json"
    path.write_text(path.read_text().replace(f'"format": {FORMAT}', '"format": 99'))
    with pytest.raises(FathomError, match="newer Fathom"):
        store.rounds(SPECS[0])


@DAMAGED_RECORD
def test_tensors_are_checked_on_read(store: Store) -> None:
    sha = store.put_arrays("shared/round-0/x", b"packed")
    store.put("shared/round-0/x", {"tensors": sha})
    assert store.get_arrays("shared/round-0/x", sha) == b"packed"
    path = store.root / "shared/round-0/x.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # safetensors alone would read this without a word
    path.write_bytes(bytes(data))
    with pytest.warns(DamageWarning, match="moved to"):
        assert store.get_arrays("shared/round-0/x", sha) is None
    assert store.get("shared/round-0/x") is None
    assert len(list((store.root / "quarantine").iterdir())) == 2


@DAMAGED_RECORD
def test_tensors_that_are_gone_open_their_job_again(store: Store) -> None:
    sha = store.put_arrays("shared/round-0/x", b"packed")
    store.put("shared/round-0/x", {"tensors": sha})
    (store.root / "shared/round-0/x.safetensors").unlink()
    with pytest.warns(DamageWarning, match="moved to"):
        assert store.get_arrays("shared/round-0/x", sha) is None
    assert store.get("shared/round-0/x") is None
    assert store.get_arrays("shared/round-0/x", sha) is None  # another who read the record before: nothing to move
    store.put_arrays("shared/round-0/x", b"packed")
    assert store.get_arrays("shared/round-0/x", "0" * 64) is None  # a record read before the job was done anew
    assert (store.root / "shared/round-0/x.safetensors").is_file()


@LEFT_OVERS
@pytest.mark.parametrize("name", [
    ".tmp-h-99999999-12-abc", ".tmp-h-gpu-12-abc", ".tmp-h-gpu-999999999-abc", ".tmp-h-abc", ".tmp-h-12x-abc",
    ".tmp-h-99999999999999999999-abc", ".tmp-g-999999999-abc_0", ".tmp-", ".tmp-h--abc",
])  # fmt: skip
def test_temporary_files_of_other_hosts_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "h")
    (tmp_path / name).touch()
    (tmp_path / f".tmp-h-{os.getpid()}-abc").touch()  # of a living process
    (tmp_path / ".tmp-h-999999999-abc_0").touch()
    Store(tmp_path).clean()
    assert {p.name for p in tmp_path.iterdir()} == {name, f".tmp-h-{os.getpid()}-abc"}


SESSION = "0123456789ab-0"  # of a marker: the session and the attempt

HOLDER = """
import sys
from fathom.store.store import Store
with Store(sys.argv[1]).lock(sys.argv[2], wait=len(sys.argv) > 3) as mine:
    print(mine is not None, flush=True)
    sys.stdin.readline()
"""


def holder(store: Store, name: str, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLDER, str(store.root), name, *more]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@LEFT_OVERS
def test_locks_that_nobody_holds_are_removed_and_those_of_the_living_stay(store: Store) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with store.lock("runs/done"), store.lock("runs/killed"):
        pass
    leave_marker(store.marker_path("runs/killed", SESSION), dead.pid)
    leave_marker(store.marker_path("runs/living", SESSION), os.getpid())
    store.marker_path("runs/elsewhere", SESSION).write_text(f"another-machine {dead.pid}")
    store.marker_path("runs/old", SESSION).touch()
    process = holder(store, "runs/held")
    assert process.stdout.readline() == "True\n"
    leave_marker(store.marker_path("runs/held", SESSION), dead.pid)
    store.clean()
    locks = {path.name for path in (store.root / ".locks").iterdir()}
    assert locks == {f"runs-{name}.{SESSION}" for name in ("living", "elsewhere", "old", "held")} | {"runs-held.lock"}
    with store.lock("runs/held") as mine:
        assert not mine
    store.clear_work()
    assert {path.name for path in (store.root / ".locks").iterdir()} == {"runs-held.lock", f"runs-held.{SESSION}"}
    process.communicate("\n")
    store.clear_work()
    assert not list((store.root / ".locks").iterdir())


@DEAD_HOLDER
def test_who_waits_for_a_lock_that_is_removed_has_the_new_one(store: Store) -> None:
    with store.lock("runs/x", wait=True):
        process = holder(store, "runs/x", "wait")
        (store.root / ".locks/runs-x.lock").unlink()  # as `clean` does while it holds the lock
    assert process.stdout.readline() == "True\n"
    with store.lock("runs/x") as mine:
        assert not mine
    process.communicate("\n")


@fault("store", "results folder that cannot be written", "refused before training, with its name")
def test_a_folder_that_cannot_be_made_is_a_clear_error(store: Store) -> None:
    (store.root / "shared").write_text("a file")
    with pytest.raises(FathomError, match="cannot write"):
        store.put("shared/round-0/x", {})
    with pytest.raises(FathomError, match="cannot write"):
        store.put("shared/x", {})


@fault("store", "results folder that cannot be written", "refused before training, with its name")
def test_a_folder_without_permission_is_refused_before_training(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o755)
    open_to_all(tmp_path)
    out.chmod(0o555)
    said = as_nobody(lambda: Store(out).begin(Study("s", SPECS)))
    assert said.startswith(f"FathomError: cannot write to {out}: ")
    assert not list(out.iterdir())


@DEAD_HOLDER
def test_a_lock_excludes_and_dies_with_its_process(store: Store) -> None:
    code = f"""
import sys, time
from fathom.store.store import Store
with Store({str(store.root)!r}).lock("runs/a") as mine:
    print(mine is not None, flush=True)
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
from fathom.store.store import Store
store = Store.open({root!r})
for number in range(len(store.rounds(SPECS[0])), 3):
    store.commit(SPECS[0], a_round(number))
"""


@fault("store", "kill -9 around a commit", "the same store as an uninterrupted run, each round once")
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


def test_files_have_the_permissions_of_the_umask(store: Store) -> None:
    before = os.umask(0o022)
    try:
        store.put("shared/open", {"x": 1})
    finally:
        os.umask(before)
    assert (store.root / "shared/open.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.filterwarnings("ignore::fathom.store.atomic_files.DamageWarning")
def test_who_moves_a_damaged_record_waits_for_others_that_move_something(store: Store) -> None:
    store.put("shared/x", {"value": 1})
    path = store.path("shared/x")
    path.write_bytes(b"damaged")
    mover = threading.Thread(target=store.quarantine, args=("shared/x", lambda: "damaged" if path.exists() else ""))
    with store.lock("quarantine"):
        mover.start()
        mover.join(0.5)
        assert path.exists()
    mover.join(20)
    assert not path.exists()


@fault("store", "several writers of one record", "the first wins, nothing half", cases=50)
def test_many_writers_one_wins(store: Store) -> None:
    code = f"""
import sys
from fathom.store.store import Store
store = Store.open({str(store.root)!r})
print(flush=True)
sys.stdin.read()  # all begin at once
for i in range(50):
    store.put(f"shared/{{i}}", {{"value": i}}, {{"writer": sys.argv[1]}})
    assert store.get(f"shared/{{i}}")[0] == {{"value": i}}
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    writers = [subprocess.Popen([sys.executable, "-c", code, str(i)], **pipes) for i in range(4)]
    for writer in writers:
        writer.stdout.readline()
    for writer in writers:
        writer.stdin.close()
    assert [w.wait() for w in writers] == [0] * 4
    for writer in writers:
        writer.stdout.close()
    found = store.records("shared")
    assert {name: content for name, (content, _) in found.items()} == {str(i): {"value": i} for i in range(50)}
    assert len({clock["writer"] for _, clock in found.values()}) > 1, "they did not meet"
    assert not list(store.root.rglob(".tmp-*"))


@fault("store", "full disk", "path, bytes and what to do; commits intact; resumes once there is room")
def test_no_room_is_a_clear_error(store: Store) -> None:
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from fathom.core.records import FORMAT, FathomError
from fathom.store.store import Store
try:
    Store.open({str(store.root)!r}).put("shared/big", {{"x": "y" * 5000}})
except FathomError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "cannot write" in said
    assert "results are kept" in said
    assert store.get("shared/big") is None
    assert not list(store.root.rglob(".tmp-*"))
