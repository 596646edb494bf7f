"""Folders that are no classes never become classes: splits, system folders, links, and what remains doubtful."""

import os
from pathlib import Path

import numpy as np
import pytest
from tests.data.make import root, save
from tests.faults import fault

from fathom.core.records import FathomError
from fathom.data import load
from fathom.data.check import check_data
from fathom.data.dataset import Dataset
from fathom.data.files.layout import is_system, split_of
from fathom.data.files.tree import _Walker

SILENT = "read as it is meant, or refused with what to write; never a class"


def build(folder: Path, *places: str, n: int = 3) -> Path:
    """A folder with n images in each place."""
    for place, name in enumerate(places):
        for i in range(n):
            save(folder / name / f"{i}.png", seed=97 * place + i, width=12, height=10)
    return folder


def read(path: Path, **options: str) -> Dataset:
    text = "".join(f', {key}="{value}"' for key, value in options.items())
    return load(f'folder(path="{path}"{text})', root(path.parent))


def refusal(path: Path, **options: str) -> str:
    with pytest.raises(FathomError) as caught:
        read(path, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "split"),
    [(name, split) for split, names in {
        "train": "train Train TRAIN training Training trn train_set train-images trainset TrainData train2017 train_1",
        "val": "val Val valid VALID validation dev Dev validation_set val2017 devset",
        "test": "test Test TEST testing tst eval evaluation holdout hold-out hold_out test_set TestImages test2014",
        "unlabeled": "unlabeled Unlabelled UNLABELED unlabeled_images un-labeled",
        "": "cat trainer contest latest train_cat valve testament devil cat_test evaluated 1 ä data images",
    }.items() for name in names.split()],
)  # fmt: skip
def test_names_of_splits_in_any_case_and_combination(name: str, split: str) -> None:
    assert split_of(name) == split


@fault("data", "folders named like splits", SILENT)
@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("Train", "Test"), ("training", "testing"), ("TRAIN_SET", "hold-out")]
)
def test_train_and_test_by_any_name(tmp_path: Path, train: str, test: str) -> None:
    path = build(tmp_path / "pets", f"{train}/cat", f"{train}/dog", f"{test}/cat", f"{test}/dog")
    pets = read(path)
    assert pets.class_names == ("cat", "dog")
    assert (len(pets.labels), len(pets.test_labels)) == (6, 6)
    assert all(name.startswith(f"{train}/") for name in pets.ids or ())


@fault("data", "folders named like splits", SILENT)
@pytest.mark.parametrize("val", ["val", "Validation", "DEV"])
def test_validation_images_join_the_train_images_and_it_is_said(tmp_path: Path, val: str) -> None:
    path = build(tmp_path / "pets", *(f"{split}/{c}" for split in ("train", val, "test") for c in ("cat", "dog")))
    pets = read(path)
    assert (len(pets.labels), len(pets.test_labels)) == (12, 6)
    assert sum(name.startswith(val) for name in pets.ids or ()) == 6
    assert any("validation split join the train images" in note for note in pets.notes)
    for use, sizes in (("ignore", (6, 6)), ("test", (6, 12)), ("train", (12, 6))):
        other = read(path, val=use)
        assert (len(other.labels), len(other.test_labels)) == sizes
    assert "expected auto or train or test or ignore" in refusal(path, val="pool")


@fault("data", "folders named like splits", SILENT)
def test_validation_images_never_become_the_test_split_unasked(tmp_path: Path) -> None:
    path = build(tmp_path / "pets", "train/cat", "train/dog", "val/cat", "val/dog")
    text = refusal(path)
    for use in ("val=test", "val=train", "val=ignore"):
        assert f"folder(path={path}, {use})" in text
    assert (len(read(path, val="test").labels), len(read(path, val="test").test_labels)) == (6, 6)
    assert len(read(path, val="train").labels) + len(read(path, val="train").test_labels) == 12
    assert len(read(path, val="ignore").labels) + len(read(path, val="ignore").test_labels) == 6


DOUBTFUL = {
    "unlabeled beside splits": (
        ["train/cat", "train/dog", "test/cat", "unlabeled/x"],
        "move the unlabeled images away",
    ),
    "unlabeled beside classes": (["cat", "dog", "unlabeled"], "mixes folders named like splits"),
    "splits beside classes": (["train", "bus", "car"], "mixes folders named like splits"),
    "one split twice": (["train/a", "train/b", "Train/a", "test/a"], "several folders for one split"),
    "train alone": (["train/cat", "train/dog"], "draw a test split from them write folder(path={path}/train)"),
    "test and val": (["test/cat", "val/cat", "test/dog"], "no train images"),
    "splits in classes": (["cat/train", "cat/test", "dog/train", "dog/test"], "put the split above the class"),
    "a repository": (["data/images/cat", "data/images/dog", "docs"], "write folder(path={path}/data/images)"),
    "a repository of splits": (["data/train/cat", "data/test/cat", "figures"], "write folder(path={path}/data)"),
    "one folder deeper": (["pets/cat", "pets/dog"], "write folder(path={path}/pets)"),
    "two folders deeper": (["a/b/cat", "a/b/dog"], "write folder(path={path}/a/b)"),
    "images beside a class": (["cat", "dog", "images"], "names say that they hold files"),
    "yolo": (["train/images", "test/images"], "names say that they hold files"),
    "patients": (["patient01", "patient02", "patient03"], "named after patients"),
    "splits with a prefix": (["seg_train/a/x", "seg_test/b/x", "seg_pred"], "differ by that of a split alone"),
    "splits with a letter": (["trainA", "testA", "trainB", "testB"], "differ by that of a split alone"),
    "splits by other names": (["learn/cat", "learn/dog", "check/cat", "check/dog"], "folders of the same names"),
    "an environment": (["cat", "dog", "venv/lib/plots"], "names say that they hold files"),
    "folds": (["fold_1", "fold_2"], "named after patients, videos or parts"),
}


NESTED = {
    "sides": [f"{c}/{side}" for c in ("cat", "cow", "dog") for side in ("left", "right")],
    "years": [f"{c}/{year}" for c in ("cat", "dog") for year in (2019, 2020)],
    "pixels and masks": [f"{c}/{kind}" for c in ("cat", "dog") for kind in ("images", "masks")],
    "words like splits": ["crash_test", "test_tube", "bullet_train"],
}


@pytest.mark.parametrize("what", NESTED)
def test_classes_with_folders_in_them_are_classes(tmp_path: Path, what: str) -> None:
    path = build(tmp_path / "pets", *NESTED[what])
    assert set(read(path).class_names) == {place.split("/")[0] for place in NESTED[what]}


@fault("data", "folders whose layout is doubtful", SILENT)
@pytest.mark.parametrize("what", DOUBTFUL)
def test_what_remains_doubtful_is_refused_with_what_to_write(tmp_path: Path, what: str) -> None:
    places, message = DOUBTFUL[what]
    path = build(tmp_path / "pets", *places)
    assert message.format(path=path) in refusal(path)
    assert not check_data(f'folder(path="{path}")', root(tmp_path)).ok


@fault("data", "folders whose layout is doubtful", SILENT)
def test_loose_images_empty_folders_and_single_images_are_refused(tmp_path: Path) -> None:
    path = build(tmp_path / "loose", "cat", "dog", "")
    assert "0.png" in refusal(path)
    assert "move each into the folder of its class" in refusal(path)
    path = build(tmp_path / "empty", "cat", "dog")
    (path / "eel").mkdir()
    assert "folders without an image" in refusal(path)
    path = build(tmp_path / "single", *(f"object{i}" for i in range(30)), n=1)
    assert "30 of 30 folders have a single image" in refusal(path)


SYSTEM = [
    "@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found", ".thumbnails", ".git",
    "node_modules", "__pycache__", "@Recycle", ".Trash-1000", "@tmp", ".ipynb_checkpoints", "#snapshot", "RECYCLER",
]  # fmt: skip


@fault("data", "system and thumbnail folders", "they are nothing", cases=2)
@pytest.mark.parametrize("name", SYSTEM)
def test_system_folders_and_files_are_nothing(tmp_path: Path, name: str) -> None:
    path = build(tmp_path / "pets", "cat", "dog", name, f"cat/{name}", f"dog/{name}/deep")
    for file in ("Thumbs.db", ".DS_Store", "desktop.ini", "cat/Thumbs.db", "dog/._0.png"):
        (path / file).write_bytes(b"x")
    pets = read(path)
    assert pets.class_names == ("cat", "dog")
    assert len(pets.labels) + len(pets.test_labels) == 6
    assert not [note for note in pets.notes if name in note or "Thumbs" in note]
    assert is_system(name.upper())


# --------------------------------------------------------------------------------------------------------- links


@fault("data", "links in a folder of images", "each image is listed once, under its own name")
@pytest.mark.parametrize("link", ["a-link", "zebra", "dog/link"])
def test_a_link_to_a_sibling_class_does_not_double_it(tmp_path: Path, link: str) -> None:
    path = build(tmp_path / "pets", "cat", "dog")
    (path / link).symlink_to(path / "cat", target_is_directory=True)
    pets = read(path)
    assert pets.class_names == ("cat", "dog")
    assert sorted(np.concatenate([pets.vault.for_data_check(), pets.test_labels]).tolist()) == [0, 0, 0, 1, 1, 1]
    assert any(f"{link} -> " in note for note in pets.notes)


@fault("data", "links in a folder of images", "each image is listed once, under its own name", cases=5)
def test_circles_files_and_targets_elsewhere(tmp_path: Path) -> None:
    path = build(tmp_path / "pets", "cat", "dog")
    (path / "cat/up").symlink_to(path, target_is_directory=True)
    (path / "cat/top").symlink_to("/", target_is_directory=True)
    (path / "dog/cat.png").symlink_to(path / "cat/0.png")
    elsewhere = build(tmp_path / "elsewhere", "eel", ".store")
    (path / "eel").symlink_to(elsewhere / "eel", target_is_directory=True)
    (elsewhere / "eel/back").symlink_to(path / "cat", target_is_directory=True)
    build(path, ".annex")  # as git-annex and DVC keep the files of links: listed nowhere else
    (path / "dog/kept.png").symlink_to(path / ".annex/0.png")
    pets = read(path)
    assert sorted([*np.bincount(pets.vault.for_data_check()) + np.bincount(pets.test_labels)]) == [3, 3, 4]
    assert any("lead out of the folder are followed" in note and "eel -> " in note for note in pets.notes)
    (path / "dog/self.png").symlink_to(path / "dog/self.png")
    (path / "gone").symlink_to(tmp_path / "nothing", target_is_directory=True)
    text = refusal(path)
    assert "links that lead nowhere" in text
    assert "gone -> " in text
    assert "dog/self.png" in text


@fault("data", "pipes and devices among images", "left out; nothing waits for them", cases=1)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    path = build(tmp_path / "pets", "cat", "dog")
    os.mkfifo(path / "cat/pipe.png")
    pets = read(path)  # hung when its size was read
    assert len(pets.labels) + len(pets.test_labels) == 6
    assert any("cat/pipe.png" in note for note in pets.notes)


@fault("data", "file names that are not UTF-8", "read, kept in the cache, shown as text", cases=2)
def test_names_that_are_not_utf8_are_remembered_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fathom.data.cache.pixels.RACY", -1e9)  # hashes of new files are remembered too
    path = build(tmp_path / "pets", "cat", "dog")
    os.rename(path / "cat", os.fsencode(path) + b"/caf\xe9")  # noqa: PTH104 - a name that pathlib does not spell
    for _ in range(2):
        assert read(path).class_names == ("caf\\xe9", "dog")
    (path / "dog/0.png").write_bytes(b"")
    os.rename(path / "dog", os.fsencode(path) + b"/\xffdog")  # noqa: PTH104
    assert "\\xffdog" in refusal(path).encode("utf-8").decode()


def test_a_link_that_is_gone_when_it_is_followed_is_told(tmp_path: Path) -> None:
    (link := build(tmp_path / "pets", "cat") / "cat/soon").symlink_to(tmp_path)
    found = []
    walker = _Walker(tmp_path / "pets")
    for path, is_folder in walker.below(tmp_path / "pets"):
        if not is_folder:  # the folder of the link has been listed
            link.unlink(missing_ok=True)
        found.append(path.name)
    assert sorted(found) == ["0.png", "1.png", "2.png", "cat"]
    assert walker.found == {"broken-link": ["cat/soon"]}
