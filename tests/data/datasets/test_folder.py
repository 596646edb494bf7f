import csv
import os
import random
import subprocess
import sys
import unicodedata
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.make import class_folders, root, save
from tests.studies import labels_of

from fathom.core.records import FathomError
from fathom.core.streams import Streams
from fathom.data import load
from fathom.data.files.decode import decode
from fathom.data.regimes import build_regime, check_regime
from fathom.data.splits import train_val_split


def folder(path, base=None, **options):
    options = "".join(f", {key}={value}" for key, value in options.items())
    return load(f'folder(path="{path}"{options})', root(base or path.parent))


def table(path, **options):
    options = "".join(f", {key}={str(value).lower()}" for key, value in options.items())
    return load(f'table(path="{path}"{options})', root(path.parent))


def write(path, rows, head="path,label"):
    path.write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return path


def image_table(tmp_path, n=12, head="path,label", columns=lambda i: ()):
    """A table of n images; `columns(i)` gives the cells after path and label."""
    rows = []
    for i in range(n):
        save(tmp_path / f"images/{i:02}.png", seed=i, width=12, height=12)
        rows.append((f"images/{i:02}.png", "ab"[i % 2], *columns(i)))
    return write(tmp_path / "data.csv", rows, head)


# ------------------------------------------------------------------------------------------------------- folders


def test_a_folder_of_classes(tmp_path):
    path = class_folders(tmp_path / "pets", {"cat": 20, "dog": 24})
    pets = folder(path)
    assert pets.class_names == ("cat", "dog")
    assert (len(pets.labels), len(pets.test_labels)) == (33, 11)
    assert np.bincount(pets.test_labels).tolist() == [5, 6]
    assert pets.val_split == int(0.2 * 33)
    assert (pets.metric, pets.balanced, pets.augment, pets.images.size) == ("accuracy", True, "cifar", (32, 32))
    assert pets.name == f"folder(path={path})"
    for i, name in enumerate(pets.ids):
        assert name.split("/")[0] == pets.class_names[labels_of(pets)[i]]
        assert np.array_equal(pets.images.take(torch.tensor([i]))[0].numpy(), decode(path / name, (32, 32)))
    assert any("size=auto: images are 32 x 32" in note for note in pets.notes)


def test_the_order_tells_nothing_about_the_class(tmp_path):
    pets = folder(class_folders(tmp_path / "pets", {"cat": 40, "dog": 40}))
    changes = (np.diff(labels_of(pets)) != 0).sum()
    assert changes > 15  # sorted by class there would be 1


def test_the_statistics_are_those_of_the_train_images(tmp_path):
    pets = folder(class_folders(tmp_path / "pets", {"cat": 12, "dog": 12}))
    scaled = pets.images.pixels.numpy() / 255
    assert pets.mean == pytest.approx(scaled.mean((0, 2, 3)), abs=1e-6)
    assert pets.std == pytest.approx(scaled.std((0, 2, 3)), abs=1e-6)


def test_imbalance_decides_the_metric(tmp_path):
    path = class_folders(tmp_path / "pets", {"cat": 8, "dog": 40})
    assert (folder(path).balanced, folder(path).metric) == (False, "balanced_accuracy")
    assert folder(path, metric="accuracy").metric == "accuracy"


def test_options(tmp_path):
    path = class_folders(tmp_path / "pets", {"cat": 10, "dog": 10})
    pets = folder(path, size=16, fit="crop", test_fraction=0.5, val_fraction=0.3, augment="digits")
    assert (pets.images.size, len(pets.test_labels), pets.val_split, pets.augment) == ((16, 16), 10, 3, "digits")
    assert folder(path, size=96).augment == "imagenet"
    large = {}
    for i in range(6):
        large[i] = save(tmp_path / f"large/{'ab'[i % 2]}/{i}.jpg", seed=i, width=90, height=70)
    assert folder(tmp_path / "large").images.size == (64, 64)


@pytest.mark.parametrize(
    "wrong",
    [{"size": 4}, {"size": "big"}, {"size": 4096}, {"fit": "pad"}, {"metric": "f1"}, {"augment": "none_such"},
     {"test_fraction": 0}, {"test_fraction": 1.0}, {"val_fraction": -0.1}],
)  # fmt: skip
def test_wrong_options_are_refused(tmp_path, wrong):
    path = class_folders(tmp_path / "pets", {"cat": 4, "dog": 4})
    with pytest.raises(FathomError, match=f"{next(iter(wrong))} is .*expected"):
        folder(path, **wrong)


def test_given_train_and_test(tmp_path):
    for split, n in (("train", 6), ("test", 3)):
        class_folders(tmp_path / "pets" / split, {"cat": n, "dog": n})
    pets = folder(tmp_path / "pets")
    assert (len(pets.labels), len(pets.test_labels)) == (12, 6)
    assert all(name.startswith("train/") for name in pets.ids)


def test_a_class_that_is_only_tested_is_refused(tmp_path):
    class_folders(tmp_path / "pets/train", {"cat": 3, "dog": 3})
    class_folders(tmp_path / "pets/test", {"cat": 3, "eel": 3})
    with pytest.raises(FathomError, match=r"(?s)without a train image.*eel"):
        folder(tmp_path / "pets")


def test_nested_hidden_and_other_files(tmp_path):
    path = class_folders(tmp_path / "pets", {"cat/2023": 4, "cat/2024/may": 4, "dog": 8})
    (path / ".git").mkdir()
    save(path / ".git/x.png")
    save(path / "cat/.thumb.png")
    (path / "cat/readme.txt").write_text("cats")
    (path / "docs").mkdir()
    pets = folder(path)
    assert len(pets.labels) + len(pets.test_labels) == 16
    notes = "\n".join(pets.notes)
    for part in ("cat/readme.txt", "docs"):
        assert part in notes
    assert ".git" not in notes
    assert "thumb" not in notes


def test_linked_folders_are_followed_and_loops_are_not(tmp_path):
    elsewhere = class_folders(tmp_path / "elsewhere", {"cat": 5})
    path = class_folders(tmp_path / "pets", {"dog": 5})
    (path / "cat").symlink_to(elsewhere / "cat", target_is_directory=True)
    (elsewhere / "cat" / "loop").symlink_to(path, target_is_directory=True)
    pets = folder(path)
    assert sorted(pets.class_names) == ["cat", "dog"]
    assert len(pets.labels) + len(pets.test_labels) == 10


@pytest.mark.parametrize("counts", [{}, {"cat": 5}])
def test_fewer_than_two_classes_are_refused(tmp_path, counts):
    (tmp_path / "pets").mkdir()
    with pytest.raises(FathomError, match="two classes or more"):
        folder(class_folders(tmp_path / "pets", counts))


def test_unreadable_files_are_all_named(tmp_path):
    path = class_folders(tmp_path / "pets", {"cat": 8, "dog": 8})
    for name in ("cat/000.png", "dog/001.png"):
        (path / name).write_bytes((path / name).read_bytes()[:60])
    for size in ("auto", 16):
        with pytest.raises(FathomError, match=r"(?s)files cannot be read.*000\.png") as caught:
            folder(path, size=size)
        assert "check-data" in str(caught.value)


def test_paths_are_looked_up_where_people_expect(tmp_path, monkeypatch):
    class_folders(tmp_path / "data/pets", {"cat": 4, "dog": 4})
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert folder("pets", tmp_path / "data").num_classes == 2  # below --data
    with pytest.raises(FathomError, match=r"does not exist \(looked in"):
        folder("nothing", tmp_path / "data")
    with pytest.raises(FathomError, match="no path given"):
        load("folder", root(tmp_path))
    class_folders(tmp_path / "work/pets", {"eel": 4, "fox": 4})
    with pytest.raises(FathomError, match="is both"):
        folder("pets", tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data")
    assert folder("pets", tmp_path / "data").class_names == ("cat", "dog")
    with pytest.raises(FathomError, match=r"did you mean table\(path"):
        folder(save(tmp_path / "x.png"))
    with pytest.raises(FathomError, match=r"did you mean folder\(path"):
        table(tmp_path / "data")


def test_the_file_system_s_order_does_not_matter(tmp_path):
    names = [f"{c}/{n}.png" for c in ("Zebra", "apple", "Äpfel") for n in ("10", "9", "a", "B", "ä", "Z")]
    seen = []
    for seed in range(3):
        order = random.Random(seed).sample(range(len(names)), len(names))
        path = tmp_path / str(seed) / "pets"
        for i in order:
            form = "NFD" if seed == 2 else "NFC"  # as some file systems spell accents
            save(path / unicodedata.normalize(form, names[i]), seed=i, width=12, height=12)
        pets = folder(path)
        seen.append((pets.ids, pets.class_names, pets.revision, labels_of(pets).tolist()))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][1] == ("Zebra", "apple", "Äpfel")  # bytes decide, no language


def test_the_locale_and_the_hash_seed_do_not_matter(tmp_path):
    class_folders(tmp_path / "pets", {"Zebra": 6, "apple": 6, "Äpfel": 6})
    code = (
        "import sys; from pathlib import Path; from fathom.data import load; from fathom.data.dataset import DataRoot\n"
        "from fathom.data.splits import train_val_split; from fathom.core.streams import Streams\n"
        "root = DataRoot(Path(sys.argv[1]), Path(sys.argv[2]), quiet=True)\n"
        "d = load('folder(path=pets)', root)\n"
        "print(d.revision, *[a.encode() for a in d.ids], train_val_split(d, Streams(0)('split'))[1].tolist())"
    )
    environment = os.environ | {"LC_ALL": "C", "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "cache")]
    there = subprocess.run(command, env=environment, capture_output=True, check=True, cwd="/", text=True).stdout
    here = folder(tmp_path / "pets")
    val = train_val_split(here, Streams(0)("split"))[1].tolist()
    assert there.strip() == " ".join(map(str, [here.revision, *[name.encode() for name in here.ids], val]))


def test_names_that_are_no_utf8_can_be_read(tmp_path):
    path = class_folders(tmp_path / "pets", {"cat": 6, "dog": 6})
    os.rename(path / "cat", os.fsencode(path) + b"/caf\xe9")  # noqa: PTH104 - a name that pathlib does not spell
    assert folder(path).class_names == ("caf\\xe9", "dog")


def test_revision_follows_content(tmp_path):
    path = class_folders(tmp_path / "pets", {"cat": 8, "dog": 8})
    before = folder(path).revision
    (path / "cat/000.png").rename(path / "cat/zzz.png")
    (path / "cat/zzz.png").rename(path / "cat/000.png")
    assert folder(path).revision == before
    assert folder(path, size=16).revision != before
    (path / "cat/000.png").rename(path / "dog/moved.png")
    assert folder(path).revision != before


# -------------------------------------------------------------------------------------------------------- tables


def test_a_table(tmp_path):
    data = table(image_table(tmp_path, 16))
    assert data.class_names == ("a", "b")
    assert (len(data.labels), len(data.test_labels)) == (12, 4)
    assert all("ab"[int(n[7:9]) % 2] == data.class_names[c] for n, c in zip(data.ids, labels_of(data), strict=True))
    assert data.groups is None


def test_labels_are_exact_strings(tmp_path):
    names = ["01", "1", "NA", " 1.0 ", '"a, b"', "null", "Ä"]
    rows = []
    for i in range(28):
        save(tmp_path / f"{i}.png", seed=i, width=12, height=12)
        rows.append((f"{i}.png", names[i % 7]))
    path = write(tmp_path / "data.csv", rows)
    assert set(table(path).class_names) == {"01", "1", "NA", "1.0", "a, b", "null", "Ä"}
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))  # as a spreadsheet writes it
    assert set(table(path).class_names) == {"01", "1", "NA", "1.0", "a, b", "null", "Ä"}


def test_a_given_split(tmp_path):
    path = image_table(tmp_path, 12, "path,label,Split", lambda i: ("test" if i < 4 else "train",))
    data = table(path)
    assert (len(data.labels), len(data.test_labels)) == (8, 4)
    assert all(int(name[7:9]) >= 4 for name in data.ids)


@settings(derandomize=True, max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(tmp_path_factory, seed):
    tmp_path = tmp_path_factory.mktemp("rows")
    path = image_table(tmp_path, 12, "path,label,group", lambda i: (f"g{i // 2}",))
    before = table(path)
    head, *rows = path.read_text().splitlines()
    random.Random(seed).shuffle(rows)
    path.write_text("\n".join([head, *rows]))
    after = table(path)
    assert (after.ids, after.revision) == (before.ids, before.revision)
    assert np.array_equal(after.groups, before.groups)


def bad_rows(tmp_path, rows, head="path,label"):
    for i in range(8):
        save(tmp_path / f"{i}.png", seed=i, width=12, height=12)
    good = [(f"{i}.png", "ab"[i % 2], *(["train"] if "split" in head else [])) for i in range(8)]
    return write(tmp_path / "data.csv", [*good, *rows], head)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("9.png", "a"), r"(?s)do not exist.*row 10: 9\.png"),
        (("0.png", "a"), r"(?s)more than once.*0\.png: row 2, row 10"),
        (("./0.png", "a"), r"(?s)more than once.*0\.png: row 2, row 10"),
        (("7.png", "  "), r"(?s)without a label.*row 10"),
        (("", "a"), r"(?s)without a path.*row 10"),
        (("../outside.png", "a"), r"(?s)lead out of.*row 10.*outside"),
        (("7.png", "a", "b"), r"(?s)do not have 2 cells.*row 10: 3 cells"),
        (("sub", "a"), r"(?s)do not exist.*row 10: sub"),
        (("7\0.png", "a"), r"(?s)control character, such as NUL.*row 10"),
        (("7.png", "a\0"), r"(?s)control character, such as NUL.*row 10"),
        (("x" * 300 + ".png", "a"), r"(?s)do not exist.*row 10: xxx"),
        (("loop/7.png", "a"), r"(?s)(do not exist|lead out).*row 10: loop"),
    ],
)
def test_bad_rows_are_refused_with_their_number(tmp_path, row, message):
    save(tmp_path / "outside.png")
    (tmp_path / "in/sub").mkdir(parents=True)
    (tmp_path / "in/loop").symlink_to(tmp_path / "in/loop")
    with pytest.raises(FathomError, match=message):
        table(bad_rows(tmp_path / "in", [row]))


def test_many_bad_rows_are_counted(tmp_path):
    with pytest.raises(FathomError, match="and 15 more") as caught:
        table(bad_rows(tmp_path, [(f"no{i}.png", "a") for i in range(25)]))
    assert str(caught.value).count("no") >= 10
    assert "no10.png" not in str(caught.value)


def test_paths_that_lead_out(tmp_path):
    (tmp_path / "in").mkdir()
    rows = []
    for i in range(8):
        save(tmp_path / f"out/{i}.png", seed=i, width=12, height=12)
        rows.append((tmp_path / f"out/{i}.png" if i % 2 else f"../out/{i}.png", "ab"[i % 2]))
    path = write(tmp_path / "in/data.csv", rows)
    with pytest.raises(FathomError, match="outside=true"):
        table(path)
    assert len(table(path, outside=True).labels) == 6
    (tmp_path / "in/link").symlink_to(tmp_path / "out", target_is_directory=True)
    with pytest.raises(FathomError, match="outside=true"):
        table(write(tmp_path / "in/data.csv", [(f"link/{i}.png", "ab"[i % 2]) for i in range(8)]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"file;label\nx.png;a\n", "expected distinct columns path, label"),
        (b"path,label,label\nx.png,a,b\n", "expected distinct columns"),
        (b"path,label\n\xff\xfe,a\n", "not a CSV file in UTF-8"),
        (b'path,label\n"x.png,a\n', "not a CSV file"),
        (b"path,label\n", "two classes or more"),
    ],
)
def test_files_that_are_no_table_are_refused(tmp_path, content, message):
    (tmp_path / "data.csv").write_bytes(content)
    with pytest.raises(FathomError, match=message):
        table(tmp_path / "data.csv")


def test_wrong_splits_are_refused(tmp_path):
    path = bad_rows(tmp_path, [], "path,label,split")
    with pytest.raises(FathomError, match="has no test images"):
        table(path)
    path.write_text(path.read_text().replace("7.png,b,train", "7.png,b,pool"))
    with pytest.raises(FathomError, match=r"(?s)none of train, test, val.*row 9"):
        table(path)


def test_a_group_on_both_given_sides_is_refused(tmp_path):
    head = "path,label,split,group"
    path = image_table(tmp_path, 12, head, lambda i: ("test" if i < 4 else "train", f"patient {i % 5}"))
    with pytest.raises(FathomError, match=r"(?s)both train and test.*patient 0"):
        table(path)
    leaky = table(path, leaks="warn")
    assert any("both train and test" in note for note in leaky.notes)
    with pytest.raises(FathomError, match="expected error or warn"):
        table(path, leaks="ignore")


def test_an_empty_group_is_a_group_of_its_own(tmp_path):
    path = image_table(tmp_path, 24, "path,label,group", lambda i: ("" if i >= 8 else f"g{i // 4}",))
    data = table(path)
    groups = np.concatenate([data.groups, data.test_groups])
    assert len(set(groups.tolist())) == 2 + 16
    assert any("empty group" in note for note in data.notes)


def test_labels_that_differ_in_case_only_are_remarked(tmp_path):
    rows = [(f"{i}.png", ("cat", "Cat", "dog")[i % 3]) for i in range(12)]
    for i in range(12):
        save(tmp_path / f"{i}.png", seed=i, width=12, height=12)
    assert any("'Cat' / 'cat'" in note for note in table(write(tmp_path / "data.csv", rows)).notes)


def test_lesions_of_real_skin_images_stay_together(real_data, tmp_path):
    with zipfile.ZipFile(next(real_data.glob("tier1/ham10000/images_*.zip"))) as images:
        names = sorted(images.namelist())[:500]
        images.extractall(tmp_path / "images", names)
    with next(real_data.glob("tier1/ham10000/*.csv")).open() as file:
        meta = {row["image_id"]: row for row in csv.DictReader(file)}
    rows = [(f"images/{n}", meta[n[:-4]]["dx"], meta[n[:-4]]["lesion_id"]) for n in names]
    data = table(write(tmp_path / "ham.csv", rows, "path,label,group"), size=32)
    lesion = {name: group for name, _, group in rows}
    assert len(set(lesion.values())) < 480  # there are lesions with several images
    assert len(data.labels) + len(data.test_labels) == 500
    assert not set(data.groups) & set(data.test_groups)
    trained = {lesion[name] for name in data.ids}
    assert not trained & {lesion[n] for n, _, _ in rows if n not in set(data.ids)}
    assert (data.metric, data.balanced) == ("balanced_accuracy", False)
    for seed in range(5):
        train, val = train_val_split(data, Streams(seed)("split"))
        assert not {lesion[data.ids[i]] for i in train} & {lesion[data.ids[i]] for i in val}
        assert len(val) == data.val_split  # single images fill what lesions leave
        fitting = build_regime("custom(start=7, query_size=20, rounds=3, val_size=50)", data)
        if np.bincount(labels_of(data)[train], minlength=data.num_classes).min() >= 1:
            check_regime(data, fitting, train, val)
