"""Every queried id leads to its image: in the table, the export and the report."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from tests.data.make import class_folders
from tests.faults import fault
from tests.studies import study

import fathom
from fathom.core.machine import Machine
from fathom.core.records import Study
from fathom.core.text import UNSAFE
from fathom.engine.engine import run_study
from fathom.estimate.plan import estimate_plan
from fathom.results.export import export, read_results

FAST = "frozen(epochs=1, epoch_size=32, lr=0.1, weight_decay=0.1)"
REGIME = "low(rounds=3, query_size=6)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("pets") / "images", {"cat": 40, "dog": 32, "Ünicode cow": 20})


@fault("data", "picks of a folder at two image sizes", "each id has the path of its image", cases=24)
def test_picks_are_named_by_their_files(folder: Path, tmp_path: Path) -> None:
    tables = []
    for size in (8, 12):
        spec, out = f"folder(path='{folder}', size={size})".replace("'", '"'), tmp_path / f"out{size}"
        toy, machine = study(("random",), (0,), dataset=spec, paradigm=FAST, regime=REGIME), Machine(cache=tmp_path)
        outcome = run_study(toy, out, workers=0, machine=machine)
        assert outcome.finished
        plan = estimate_plan(toy, probe=False, machine=machine)
        for notes in (outcome.notes, plan.notes):
            assert any("raw pixels" in note for note in notes)
            assert any("13 validation labels instead of 75 (5 x start)" in note for note in notes)
        tables.append(fathom.table(out))
        fathom.report(out)
        picks = pd.read_csv(out / "report/picks.csv")
        assert "picks.csv" in (out / "report/report.html").read_text(encoding="utf-8")
        assert len(picks) == 12
        for image, named in zip(picks["image"], picks["class"], strict=True):
            assert (folder / image).is_file()
            assert image.startswith(f"{named}/")
        kept = read_results(export(out, tmp_path / f"x{size}.parquet"))
        images = [list(own) for own in kept["queried_images"]]
        assert images == tables[-1]["queried_images"].tolist()
        assert [image for own in images for image in own] == picks["image"].tolist()
    assert tables[0]["queried_images"].tolist() == tables[1]["queried_images"].tolist()
    shutil.rmtree(tmp_path / "out12/images")  # as in a study from before there were names
    assert fathom.table(tmp_path / "out12")["queried_images"][0][0].startswith("train[")


def test_hostile_names_of_images_are_text_in_the_table_of_picks(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "images", {"=1+1": 40, "-cat": 32, "\u202ecow\x1b[2J": 20})
    toy = study(("random",), (0,), dataset=f'folder(path="{folder}", size=8)', paradigm=FAST, regime=REGIME)
    assert run_study(toy, tmp_path / "out", workers=0, machine=Machine(cache=tmp_path)).finished
    fathom.report(tmp_path / "out")
    picks = pd.read_csv(tmp_path / "out/report/picks.csv")
    cells = [*picks["image"], *picks["class"]]
    assert {cell[:3] for cell in cells} == {"'=1", "'-c", "\\u2"}
    assert not any(UNSAFE.search(cell) for cell in cells)


def test_images_that_are_no_files_are_named_by_split_and_index(tmp_path: Path) -> None:
    assert run_study(study(("random",), (0,), paradigm=FAST), tmp_path / "out", workers=0).finished
    table = fathom.table(tmp_path / "out")
    assert table["queried_images"][0] == [f"train[{i}]" for i in table["queried_ids"][0]]
    assert [len(ids) for ids in table["queried_ids"]] == table["queried"].tolist()


def test_a_plan_counts_two_folders_as_two_datasets(folder: Path, tmp_path: Path) -> None:
    other = class_folders(tmp_path / "other", {"cat": 40, "dog": 32})
    runs = [
        run
        for path in (folder, other)
        for run in study(("random",), (0,), dataset=f'folder(path="{path}", size=8)', paradigm=FAST, regime=REGIME).runs
    ]
    toy = Study("two", tuple(runs))
    plan = estimate_plan(toy, probe=False, machine=Machine(cache=tmp_path))
    assert {name: row["experiments"] for name, row in plan.by["dataset"].items()} == {
        f"folder(path={folder})": 1, f"folder(path={other})": 1}  # fmt: skip
