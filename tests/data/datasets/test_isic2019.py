"""ISIC-2019 from files of the official form, and from the real tables with the real images that are here."""

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.make import photo, root
from tests.studies import labels_of

from fathom.core.records import FathomError
from fathom.core.streams import Streams
from fathom.data import check, load
from fathom.data.check import check_data
from fathom.data.datasets.isic2019 import CLASSES, COUNTS, INPUT, LESION_TEST, METADATA, TRUTH, _sketch
from fathom.data.files.official import published_test_split
from fathom.data.regimes import build_regime, check_regime
from fathom.data.splits import train_val_split

SMALL = "isic2019(size=16)"


def official(folder: Path, lesions: int = 60, *, zipped: bool = False, order: int = 1) -> Path:
    """Official files in small: lesions of one to three images each, every fifth image of no lesion."""
    base = folder / "ISIC-2019"
    base.mkdir(parents=True, exist_ok=True)
    truth, facts, images = [], [], []
    for lesion in range(lesions):
        for _ in range(1 + lesion % 3):
            n = len(truth)
            name = f"ISIC_{n:07}"
            cells = ["1.0" if c == lesion % 8 else "0.0" for c in range(9)]
            truth.append(f"{name},{','.join(cells)}")
            facts.append(f"{name},55,torso,{'' if n % 5 == 4 else f'HAM_{lesion:04}'},female")
            images.append((name, photo(30, 20, n)))
    (base / TRUTH).write_text("\n".join([f"image,{','.join(CLASSES)},UNK", *truth]) + "\n")
    (base / METADATA).write_text("\n".join(["image,age_approx,anatom_site_general,lesion_id,sex", *facts]) + "\n")
    unpacked = base / INPUT
    unpacked.mkdir()
    for name, image in images[::order]:
        image.save(unpacked / f"{name}.jpg", quality=95)
    (unpacked / "LICENSE.txt").write_text("terms")
    if zipped:
        with zipfile.ZipFile(base / f"{INPUT}.zip", "w") as archive:
            for file in sorted(unpacked.iterdir(), reverse=True):
                archive.write(file, f"{INPUT}/{file.name}")
        shutil.rmtree(unpacked)
    return base


def lesion_of(base: Path) -> dict[str, str]:
    rows = [line.split(",") for line in (base / METADATA).read_text().splitlines()[1:]]
    return {row[0]: row[3] or row[0] for row in rows}


def test_the_official_files_make_a_roll_out_dataset(tmp_path):
    base = official(tmp_path)
    isic = load(SMALL, root(tmp_path))
    assert (isic.role, isic.metric, isic.balanced, isic.augment) == ("roll-out", "balanced_accuracy", False, "isic")
    assert isic.class_names == CLASSES
    assert len(isic.labels) + len(isic.test_labels) == 120
    assert isic.notes == ()
    assert isic.val_split == int(0.2 * len(isic.labels))
    assert isic.images.size == (16, 16)
    truth = {
        line.split(",")[0]: line.split(",")[1:].index("1.0") for line in (base / TRUTH).read_text().splitlines()[1:]
    }
    assert [truth[name] for name in isic.ids] == labels_of(isic).tolist()
    for i in (0, len(isic.ids) - 1):
        with Image.open(base / INPUT / f"{isic.ids[i]}.jpg") as image:
            expected = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        assert np.array_equal(isic.images.take(torch.tensor([i]))[0].numpy(), expected)


def test_no_lesion_is_on_two_sides_of_any_split(tmp_path):
    base = official(tmp_path, 150)
    isic = load(SMALL, root(tmp_path))
    lesion = lesion_of(base)
    number = dict(zip(isic.ids, isic.groups, strict=True))
    assert len({lesion[name] for name in isic.ids}) == len(set(number.values()))
    assert not set(isic.groups.tolist()) & set(isic.test_groups.tolist())
    inside = {lesion[name] for name in isic.ids}
    assert not inside & {lesion[name] for name in set(lesion) - set(isic.ids)}
    for seed in range(10):
        train, val = train_val_split(isic, Streams(seed)("split"))
        assert not {lesion[isic.ids[i]] for i in train} & {lesion[isic.ids[i]] for i in val}
    assert not [p for p in check_data(SMALL, root(tmp_path)).problems if p.severity == "error"]


def test_zip_folder_and_listing_order_give_the_same_dataset(tmp_path):
    made = []
    for name, options in (("a", {}), ("b", {"order": -1}), ("c", {"zipped": True})):
        official(tmp_path / name, **options)
        made.append(load(SMALL, root(tmp_path / name)))
    assert len({m.revision for m in made}) == 1
    assert made[0].ids == made[1].ids == made[2].ids
    everything = torch.arange(len(made[0].labels))
    assert all(torch.equal(made[0].images.take(everything), m.images.take(everything)) for m in made[1:])


def test_the_published_split_is_by_image(tmp_path):
    base = official(tmp_path)
    isic = load("isic2019(size=16, split=published)", root(tmp_path))
    test = set(np.random.default_rng(12345).choice(120, 30, replace=False).tolist())
    assert [int(name[5:]) for name in isic.ids] == [i for i in range(120) if i not in test]
    assert isic.groups is None
    lesion = lesion_of(base)
    names = set(lesion) - set(isic.ids)
    inside = {lesion[name] for name in isic.ids}
    torn = [name for name in names if lesion[name] in inside]
    assert f"{len({lesion[name] for name in torn})} lesions" in isic.notes[0]
    assert f"{len(torn)} of 30 test images" in isic.notes[0]


def test_the_published_split_has_the_published_sizes():
    test = published_test_split(sum(COUNTS))
    assert (len(test), int(test.sum())) == (25_331, 6_332)
    sketch = _sketch(split="published")
    assert (len(sketch.labels), sketch.val_split, sketch.images.size) == (18_999, 3_799, (300, 300))
    sizes = [build_regime(name, sketch) for name in ("low", "mid", "high")]
    assert [(r.start, r.query_size, r.rounds, r.val_size) for r in sizes] == [
        (40, 40, 10, 200),
        (200, 200, 10, 1_000),
        (800, 800, 10, 3_799),
    ]
    for regime in sizes:
        check_regime(sketch, regime, *train_val_split(sketch, Streams(0)("split")))
    with pytest.raises(FathomError, match="without images"):
        sketch.images.take(torch.tensor([0]))


def test_absent_images_are_refused_or_counted_and_named(tmp_path):
    base = official(tmp_path)
    whole = load(SMALL, root(tmp_path))
    for n in (3, 50, 51):
        (base / INPUT / f"ISIC_{n:07}.jpg").unlink()
    with pytest.raises(FathomError, match=r"lacks 3 of the 120 images.*ISIC_0000003, ISIC_0000050.*absent=skip"):
        load(SMALL, root(tmp_path))
    part = load("isic2019(absent=skip, size=16)", root(tmp_path))
    assert part.notes == ("3 of 120 rows have no image and were left out: ISIC_0000003, ISIC_0000050, ISIC_0000051",)
    assert part.revision != whole.revision
    assert set(part.ids) == set(whole.ids) - {"ISIC_0000003", "ISIC_0000050", "ISIC_0000051"}  # same sides as before


def test_images_of_no_row_are_left_out_and_told(tmp_path):
    base = official(tmp_path)
    photo(30, 20).save(base / INPUT / "ISIC_9999999.jpg")
    assert load(SMALL, root(tmp_path)).notes == (f"1 images are in no row of {TRUTH} and were left out",)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_truncated_image_is_named(tmp_path, zipped):
    base = official(tmp_path)
    file = base / INPUT / "ISIC_0000007.jpg"
    file.write_bytes(file.read_bytes()[:-60])
    if zipped:
        with zipfile.ZipFile(base / f"{INPUT}.zip", "w") as archive:
            for path in sorted((base / INPUT).iterdir()):
                archive.write(path, f"{INPUT}/{path.name}")
        shutil.rmtree(base / INPUT)
    with pytest.raises(FathomError, match=r"1 of 120 files cannot be read.*\n.*ISIC_0000007.jpg: .*truncated"):
        load(SMALL, root(tmp_path))


def edit(path: Path, line: int, old: str, new: str) -> None:
    lines = path.read_text().splitlines()
    assert old in lines[line]
    lines[line] = lines[line].replace(old, new)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("file", "line", "old", "new", "message"),
    [
        (TRUTH, 3, "1.0", "0.0", "do not have one class: row 4"),
        (TRUTH, 3, "0.0", "1.0", "do not have one class: row 4"),
        (TRUTH, 3, "1.0", "yes", "do not have one class: row 4"),
        (TRUTH, 3, "1.0", "nan", "do not have one class: row 4"),
        (TRUTH, 3, "1.0", "0.5", "do not have one class: row 4"),
        (TRUTH, 3, "ISIC_0000002", "ISIC_0000001", r"listed twice: row 4: ISIC_0000001 \(first in row 3\)"),
        (TRUTH, 3, "ISIC_0000002", "../evil", "not a plain name: row 4"),
        (TRUTH, 3, ",1.0", "", "do not have 10 cells: row 4"),
        (TRUTH, 0, "SCC", "OTHER", "expected rows below the columns image, MEL"),
        (METADATA, 0, "lesion_id", "lesion", "expected rows below the columns image, lesion_id"),
        (METADATA, 3, "ISIC_0000002", "ISIC_0000001", "listed twice: row 4"),
        (METADATA, 3, "ISIC_0000002", "ISIC_7777777", "no row for images of .*: ISIC_0000002"),
        (TRUTH, 3, "ISIC_0000002", '"ISIC', "is not a CSV file"),
    ],
)
def test_malformed_rows_are_refused_with_their_numbers(tmp_path, file, line, old, new, message):
    base = official(tmp_path)
    edit(base / file, line, old, new)
    with pytest.raises(FathomError, match=message):
        load(SMALL, root(tmp_path))


def test_an_image_of_class_unk_is_refused(tmp_path):
    base = official(tmp_path)
    edit(base / TRUTH, 1, "1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0", "0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0")
    with pytest.raises(FathomError, match="do not have one class: row 2"):
        load(SMALL, root(tmp_path))


@pytest.mark.parametrize("text", ["isic2019(split=random)", "isic2019(absent=maybe)", "isic2019(size=4)"])
def test_unknown_values_are_refused(tmp_path, text):
    with pytest.raises(FathomError, match="expected"):
        load(text, root(tmp_path))


def test_without_files_the_error_says_what_to_do(tmp_path):
    with pytest.raises(FathomError, match=r"ISIC-2019.*--data or FATHOM_DATA.*--download"):
        load("isic2019", root(tmp_path))


def test_a_lesion_on_two_sides_is_an_error_of_check_data(tmp_path, monkeypatch):
    official(tmp_path)
    isic = load(SMALL, root(tmp_path))
    leaking = replace(isic, test_groups=np.full(len(isic.test_labels), isic.groups[0]))
    monkeypatch.setattr(check, "load", lambda text, root: leaking)
    report = check_data(SMALL, root(tmp_path))
    assert [p.kind for p in report.problems if p.severity == "error"] == ["group-leak"]
    assert not report.ok


# ------------------------------------------------------------------------------------------------ the real tables


@pytest.fixture(scope="module")
def ham(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the official tables and the images of HAM10000 that the first part holds, still zipped."""
    folder = tmp_path_factory.mktemp("isic")
    base = folder / "ISIC-2019"
    base.mkdir()
    for archive in (real_data / "tier1/isic2019").glob("*.zip"):
        with zipfile.ZipFile(archive) as tables:
            for name in tables.namelist():
                (base / Path(name).name).write_bytes(tables.read(name))
    (base / f"{INPUT}.zip").symlink_to(next((real_data / "tier1/ham10000").glob("images_*.zip")))
    return folder


def test_the_real_tables_with_a_part_of_the_real_images(ham):
    with pytest.raises(FathomError, match=r"lacks 2\d,\d{3} of the 25,331 images"):
        load("isic2019(size=16)", root(ham))
    isic = load("isic2019(absent=skip, size=16)", root(ham))
    n = len(isic.labels) + len(isic.test_labels)
    assert f"{25_331 - n:,} of 25,331 rows have no image" in isic.notes[0]
    lesion = lesion_of(ham / "ISIC-2019")
    inside = {lesion[name] for name in isic.ids}
    assert len(inside) == len(set(isic.groups.tolist()))
    assert not set(isic.groups.tolist()) & set(isic.test_groups.tolist())
    for seed in range(5):
        train, val = train_val_split(isic, Streams(seed)("split"))
        assert abs(len(val) - isic.val_split) <= 1
        assert not {lesion[isic.ids[i]] for i in train} & {lesion[isic.ids[i]] for i in val}
        check_regime(isic, build_regime("low", isic), train, val)


def test_the_real_tables_have_the_published_counts(ham):
    from fathom.data.datasets.isic2019 import _read
    from fathom.data.splits import fixed_test_split

    table = _read(ham / "ISIC-2019" / TRUTH, ham / "ISIC-2019" / METADATA)
    assert np.bincount(table.labels).tolist() == list(COUNTS)
    lesions = lesion_of(ham / "ISIC-2019")
    assert len(np.unique(table.lesions)) == len(set(lesions.values()))
    test = fixed_test_split(table.labels, 0.25, table.lesions)
    assert not np.isin(table.lesions[test], table.lesions[~test]).any()
    assert np.bincount(table.labels[test]).tolist() == list(LESION_TEST)
    sketch = _sketch(split="lesion")
    assert np.bincount(sketch.test_labels).tolist() == list(LESION_TEST)
    assert np.bincount(labels_of(sketch)).tolist() == np.bincount(table.labels[~test]).tolist()
    assert sketch.val_split == int(0.2 * (~test).sum())
    share = np.bincount(table.labels[test]) / np.array(COUNTS)
    assert np.all(np.abs(share - 0.25) < 0.01)
