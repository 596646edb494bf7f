import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tests.data.make import class_folders, photo, root, save
from tests.faults import fault

from fathom.core.records import FathomError
from fathom.core.streams import Streams
from fathom.data import load
from fathom.data.check import check_data
from fathom.data.regimes import build_regime, fit_regime, split_counts
from fathom.data.splits import train_val_split

MALFORMED_TABLE = fault("data", "malformed table", "refused with row numbers and counts")


def check(path, kind="folder", **options):
    options = "".join(f", {key}={str(value).lower()}" for key, value in options.items())
    return check_data(f'{kind}(path="{path}"{options})', root(path.parent))


def kinds(report):
    return {p.kind: p for p in report.problems}


def test_a_sound_folder(tmp_path):
    report = check(class_folders(tmp_path / "pets", {"cat": 96, "dog": 144}), val_fraction=0.4)
    assert report.ok
    assert not report.problems
    assert (report.train, report.test) == (180, 60)
    assert report.classes == {"cat": {"train": 72, "test": 24}, "dog": {"train": 108, "test": 36}}
    assert report.sizes == {"12x10": 240}
    assert report.modes == {"RGB PNG": 240}
    assert report.notes[-1] == "label regimes that fit the splits of seeds 0 to 9: low"
    assert not (tmp_path / "cache").exists()  # looks, and writes nothing


def test_all_that_is_wrong_is_found_at_once(tmp_path):
    path = class_folders(tmp_path / "pets", {"cat": 8, "dog": 8})
    save(path / "whole.jpg", width=200, height=200)
    whole = (path / "whole.jpg").read_bytes()
    (path / "whole.jpg").unlink()
    (path / "cat/truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (path / "cat/empty.png").write_bytes(b"")
    (path / "dog/text.jpg").write_text("dog")
    shutil.copy(path / "cat/000.png", path / "cat/copy.png")
    shutil.copy(path / "cat/001.png", path / "dog/also.png")
    photo(12, 10, seed=3).save(path / "cat/other-format.bmp")  # the same pixels as cat/002.png
    photo(30, 30).convert("L").save(path / "dog/grey.png")
    (path / "dog/notes.md").write_text("")
    report = check(path)
    assert not report.ok
    found = kinds(report)
    assert found["unreadable"].count == 3
    text = "\n".join(found["unreadable"].examples)
    for part in ("cat/truncated.jpg: OSError", "cat/empty.png: the file is empty", "dog/text.jpg: not an image"):
        assert part in text
    assert found["not-an-image"].examples == ("dog/notes.md",)
    assert "cat/001.png" in found["duplicate-label"].examples[0]
    assert "dog/also.png" in found["duplicate-label"].examples[0]
    copies = [e for k in ("duplicate", "duplicate-split") if k in found for e in found[k].examples]
    assert len(copies) == 2
    assert any("cat/000.png" in c and "cat/copy.png" in c for c in copies)
    assert any("cat/002.png" in c and "other-format.bmp" in c for c in copies)
    assert report.modes == {"RGB PNG": 18, "RGB BMP": 1, "L PNG": 1}
    assert [p.severity for p in report.problems] == sorted(p.severity for p in report.problems)  # errors first
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["classes"] == report.classes
    assert {p["severity"] for p in plain["problems"]} == {"error", "warning"}
    assert "cat/empty.png" in plain["problems"][0]["message"]
    cat = report.classes["cat"]
    assert [str(cat["train"]), str(cat["test"])] in [line.split()[1:] for line in report.lines()]


@fault("data", "duplicates and groups across splits", "counted or refused")
def test_equal_images_across_a_given_split(tmp_path):
    class_folders(tmp_path / "pets/train", {"cat": 3, "dog": 3})
    save(tmp_path / "pets/test/cat/x.png", seed=501)
    save(tmp_path / "pets/test/dog/x.png", seed=502)
    shutil.copy(tmp_path / "pets/train/cat/000.png", tmp_path / "pets/test/cat/seen.png")
    found = kinds(check(tmp_path / "pets"))
    assert found["duplicate-split"].count == 1
    assert "train, cat" in found["duplicate-split"].examples[0]
    assert "test, cat" in found["duplicate-split"].examples[0]


@MALFORMED_TABLE
def test_a_table_and_its_files(tmp_path):
    rows = ["path,label,split,group"]
    for i in range(8):
        save(tmp_path / f"{i}.png", seed=i, width=12, height=12)
        rows.append(f"{i}.png,{'ab'[i % 2]},{'test' if i < 2 else 'train'},g{i // 3}")
    save(tmp_path / "unlisted.png", seed=50)
    rows += ["gone.png,a,train,g9", "7.png,a,train,g9"]
    (tmp_path / "data.csv").write_text("\n".join(rows))
    report = check(tmp_path / "data.csv", "table")
    found = kinds(report)
    assert set(found) == {"missing-file", "duplicate-path", "group-leak", "unlisted", "duplicate-label"}
    assert found["group-leak"].examples == ("g0",)
    assert found["unlisted"].examples == ("unlisted.png",)
    assert found["missing-file"].examples == ("row 10: gone.png",)
    assert report.groups == 4
    assert kinds(check(tmp_path / "data.csv", "table", leaks="warn"))["group-leak"].severity == "warning"


@MALFORMED_TABLE
def test_a_table_that_cannot_be_read_is_reported(tmp_path):
    (tmp_path / "data.csv").write_text("image,class\n")
    report = check(tmp_path / "data.csv", "table")
    assert not report.ok
    assert kinds(report)["columns"].message.endswith("image, class")
    assert report.lines()


def test_registered_datasets(tmp_path):
    report = check_data("digits-lt(rho=5)", root(tmp_path))
    assert report.ok
    assert (report.train, report.test) == (1438, 359)
    assert report.sizes == {"8x8": 1797}
    assert sum(c["train"] for c in report.classes.values()) == 1438
    assert report.notes[-1].startswith("label regimes that fit the splits of seeds 0 to 9: low")
    assert not np.any([p.kind == "duplicate-label" for p in report.problems])


@pytest.mark.parametrize(
    ("counts", "options", "fits"),
    [
        ({"cat": 96, "dog": 144}, {"val_fraction": 0.4}, ["low"]),
        ({"cat": 8, "dog": 12}, {}, []),
        ({"cat": 90, "dog": 90, "cow": 6}, {}, []),
    ],
)
def test_it_says_of_a_regime_what_a_run_says(tmp_path, counts, options, fits):
    """The regimes are tried on the very split that a run of seed 0 draws, without decoding or writing anything."""
    path = class_folders(tmp_path / "pets", counts)
    report = check(path, **options)
    text = "".join(f", {key}={value}" for key, value in options.items())
    loaded = load(f'folder(path="{path}"{text})', root(tmp_path))
    refused = {}
    for name in ("low", "mid", "high"):
        try:
            splits = {seed: train_val_split(loaded, Streams(seed)("split")) for seed in range(10)}
            counts = {seed: split_counts(loaded, *split) for seed, split in splits.items()}
            fit_regime(loaded, build_regime(name, loaded), counts)
        except FathomError as error:
            refused[name] = str(error)
    assert [name for name in ("low", "mid", "high") if name not in refused] == fits
    assert report.ok
    if fits:
        assert f"label regimes that fit the splits of seeds 0 to 9: {', '.join(fits)}" in report.notes
        assert not report.problems
    else:
        (found,) = report.problems
        assert (found.severity, found.kind) == ("warning", "no-regime")
        assert found.message == f"no built-in regime fits the splits of seeds 0 to 9: {refused['low']}"


def test_the_only_image_of_a_class_stays_for_training(tmp_path):
    report = check(class_folders(tmp_path / "pets", {"cat": 60, "dog": 1}), val_fraction=0.95)
    assert report.ok
    assert "no validation image of class dog: its only train image stays for training" in report.notes


def test_images_too_few_for_a_test_split_are_an_error(tmp_path):
    path = class_folders(tmp_path / "pets", {"cat": 1, "dog": 1})
    found = kinds(check(path))
    assert "too few images for a test split" in found["unfit"].message
    assert found["unfit"].severity == "error"


@pytest.mark.parametrize(
    ("kind", "option", "message"),
    [
        ("folder", "size=4", "size is 4; expected auto or a whole number of pixels"),
        ("folder", "fit=stretch", "fit is 'stretch'; expected one of"),
        ("folder", "metric=f1", "metric is 'f1'; expected one of"),
        ("folder", "augment=mixup", "augment is 'mixup'; expected one of"),
        ("folder", "val_fraction=1", "val_fraction is 1.0; expected a number between 0 and 1"),
        ("folder", "test_fraction=none", "test_fraction expects float"),
        ("table", "leaks=ignore", "leaks is 'ignore'; expected error or warn"),
    ],
)
def test_it_refuses_the_options_that_a_run_refuses(tmp_path, kind, option, message):
    path = class_folders(tmp_path / "pets", {"cat": 4, "dog": 4})
    if kind == "table":
        path = tmp_path / "data.csv"
        path.write_text("path,label\npets/cat/000.png,cat\npets/dog/000.png,dog\n")
    for look in (check_data, load):
        with pytest.raises(FathomError, match=message):
            look(f'{kind}(path="{path}", {option})', root(tmp_path))


def test_absent_data_is_an_error_of_its_own(tmp_path):
    with pytest.raises(FathomError, match="--download"):
        check_data("cifar10", root(tmp_path))
    with pytest.raises(FathomError, match="unknown dataset"):
        check_data("cifar11", root(tmp_path))


@fault("data", "decompression bomb", "refused before it is decoded")
def test_a_bomb_does_not_stop_it(tmp_path):
    path = class_folders(tmp_path / "pets", {"cat": 4, "dog": 4})
    Image.new("1", (20_000, 10_000)).save(path / "cat/bomb.png")
    found = kinds(check(path))
    assert found["unreadable"].count == 1
    assert "pixels" in found["unreadable"].examples[0]
