"""Every kind of stored file, damaged in every way: the same command computes what was lost, to the same bytes."""

import contextlib
import itertools
import json
import os
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults import ALL, as_nobody, fault, number, open_to_all
from tests.studies import FROZEN, SELF_SL, contents, study

from fathom.core.machine import Machine, RunOptions
from fathom.core.records import FathomError
from fathom.engine.engine import run_study
from fathom.results.results import StudyResults
from fathom.store.atomic_files import DamageWarning

PARADIGMS = {"self-sl": SELF_SL, "frozen": FROZEN}
# Kind of file -> where it lies below the folder that holds `out` and `cache`.
KINDS = {
    "study": "out/study.json",
    "list of jobs": "out/jobs.json",
    "facts of a dataset": "out/datasets/*.json",
    "spec of a run": "out/runs/*/spec.json",
    "first round": "out/runs/*/round-00.json",
    "round in the middle": "out/runs/*/round-01.json",
    "last round": "out/runs/*/round-02.json",
    "encoder record": "out/shared/pretrain/*.json",
    "encoder": "out/shared/pretrain/*.safetensors",
    "features record": "out/shared/features/*.json",
    "HP choice": "out/shared/hp-choice/*.json",
    "round 0 record": "out/shared/round-0/*.json",
    "round 0 classifier": "out/shared/round-0/*.safetensors",
    "full data": "out/shared/full-data/*.json",
    "cache": "cache/**/*",
}
IDENTIFYING = ("facts of a dataset",)  # what shows that data are those that the results were computed on


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    place = random.Random(path.name).randrange(len(data)) if data else 0
    data[place : place + 1] = bytes([data[place] ^ 4]) if data else b"x"
    path.write_bytes(data)


def other_json(path: Path) -> None:
    path.write_text(json.dumps({"format": 2, "content": [1], "sha256": "", "clock": 3}))


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00" * 20)


def deep(path: Path) -> None:
    path.write_text("[" * 100_000)


def removed(path: Path) -> None:
    path.unlink()


WAYS: list[Callable[[Path], None]] = [truncated, emptied, flipped, other_json, no_text, deep, removed]
CASES = list(itertools.product(KINDS, WAYS))


def run(folder: Path, paradigm: str, *, accept: bool = False) -> None:
    """Run the toy study, or resume it; damage is told, and no error."""
    options = RunOptions(accept_environment=accept)
    machine = Machine(cache=folder / "cache")
    toy = study(("random", "badge"), paradigm=PARADIGMS[paradigm], full_data=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamageWarning)
        assert run_study(toy, folder / "out", options=options, workers=0, machine=machine).finished


def results(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder / "out").items() if not name.startswith("quarantine/")}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished study of each paradigm, with its cache."""
    found = {name: tmp_path_factory.mktemp(name) for name in PARADIGMS}
    for name, folder in found.items():
        run(folder, name)
    return found


def files_of(folder: Path, kind: str) -> list[Path]:
    return [p for p in sorted(folder.glob(KINDS[kind])) if p.is_file() and p.suffix != ".lock"]


@fault("store", "every kind of stored file damaged in every way", "computed again to the same bytes, never averaged")
@pytest.mark.parametrize(("kind", "way"), CASES if ALL else random.Random(1).sample(CASES, 4))
def test_what_was_damaged_is_computed_again(
    kind: str, way: Callable[[Path], None], stores: dict[str, Path], tmp_path: Path
) -> None:
    paradigm = next(name for name, folder in stores.items() if files_of(folder, kind))
    shutil.copytree(stores[paradigm], tmp_path / "study")
    folder = tmp_path / "study"
    for path in files_of(folder, kind)[:1] if kind != "cache" else files_of(folder, kind):
        way(path)
    if kind in ("encoder", "round 0 classifier"):  # arrays are read by work that needs them, not where all is done
        for path in [*files_of(folder, "first round"), *files_of(folder, "round 0 record")[: kind == "encoder"]]:
            path.unlink()
    if kind == "cache":
        shutil.rmtree(folder / "out")  # a new study finds a damaged cache
    elif kind != "study" and way is not removed and not kind.startswith(("encoder", "round 0", "list", "features")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamageWarning)
            assert StudyResults.of(folder / "out").damage  # told by whoever reads it, before anything is computed
    if kind in IDENTIFYING:  # nothing is known to be the same until the user says so
        with pytest.raises(FathomError, match="damaged or gone"):
            run(folder, paradigm)
    run(folder, paradigm, accept=kind in IDENTIFYING)
    assert results(folder) == results(stores[paradigm])


@fault("store", "environment record damaged", "refused by name, or written again; results stay", cases=len(WAYS))
def test_a_damaged_environment_record_changes_no_result(stores: dict[str, Path], tmp_path: Path) -> None:
    for place, way in enumerate(WAYS[: number(2, len(WAYS))]):
        folder = tmp_path / str(place)
        shutil.copytree(stores["frozen"], folder)
        way(next((folder / "out/environments").glob("*.json")))
        with contextlib.suppress(FathomError):  # a record that cannot be read lets no environment in
            run(folder, "frozen")
        assert results(folder) == results(stores["frozen"])


@fault("store", "records that may not be read, or are folders", "refused or computed again, no traceback", cases=2)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_record_that_cannot_be_opened_is_no_traceback(stores: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(stores["frozen"], folder)
    path = files_of(folder, "round in the middle")[0]
    path.unlink()
    path.mkdir()
    run(folder, "frozen")
    assert results(folder) == results(stores["frozen"])
    open_to_all(tmp_path)
    path.chmod(0)
    assert as_nobody(lambda: StudyResults.of(folder / "out")).startswith(f"FathomError: {path} cannot be opened")
    path.chmod(0o644)
    assert results(folder) == results(stores["frozen"])
