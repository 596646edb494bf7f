"""MIO-TCD from files of the official layout, and at the official size."""

import hashlib
import io
import tarfile
import tracemalloc
from itertools import compress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.make import photo, root
from tests.faults import fault
from tests.studies import labels_of

from fathom.core.records import FathomError
from fathom.core.streams import Streams
from fathom.data import load
from fathom.data.cache.jpegs import ShardImages
from fathom.data.datasets import miotcd
from fathom.data.datasets.miotcd import CLASSES, COUNTS, TOTAL, _sketch
from fathom.data.files.archives import Archive
from fathom.data.files.official import published_test_split
from fathom.data.regimes import build_regime, check_regime
from fathom.data.splits import train_val_split

DAMAGED_ARCHIVE = fault("input", "truncated or damaged archive", "refused")

SMALL = "mio-tcd(absent=skip, size=16)"


def official(folder: Path, each: int = 6, *, backwards: bool = False, tar: bool = False, test: bool = True) -> Path:
    """The official layout in small: `train/CLASS/00000000.jpg`, and test images without labels."""
    files = []
    for c, name in enumerate(CLASSES):
        for i in range(each):
            files.append((f"train/{name}/{each * c + i:08}.jpg", photo(24 + c, 20 + i, each * c + i)))
    if test:
        files.append(("test/00009999.jpg", photo(20, 20)))
    place = folder / "MIO-TCD-Classification"
    folder.mkdir(parents=True, exist_ok=True)
    if not tar:
        for name, image in files[::-1] if backwards else files:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            image.save(place / name, quality=95)
        return place / "train"
    with tarfile.open(folder / "MIO-TCD-Classification.tar", "w") as archive:
        for name, image in files[::-1] if backwards else files:
            data = io.BytesIO()
            image.save(data, "JPEG", quality=95)
            info = tarfile.TarInfo(f"MIO-TCD-Classification/{name}")
            info.size = data.tell()
            data.seek(0)
            archive.addfile(info, data)
    return folder / "MIO-TCD-Classification.tar"


def everything(images):
    return images.take(torch.arange(len(images)))


def test_the_official_layout_makes_a_roll_out_dataset(tmp_path):
    place = official(tmp_path)
    mio = load(SMALL, root(tmp_path))
    assert (mio.role, mio.metric, mio.balanced, mio.augment) == ("roll-out", "balanced_accuracy", False, "imagenet")
    assert mio.class_names == tuple(sorted(CLASSES)) == CLASSES
    assert (len(mio.labels), len(mio.test_labels), mio.val_split) == (50, 16, 10)
    assert "66 of 519,164 official images exist: articulated_truck 6" in mio.notes[0]
    files = sorted(p.relative_to(place).as_posix() for p in place.rglob("*.jpg"))
    test = np.random.default_rng(12345).choice(66, 16, replace=False).tolist()
    train = [i for i in range(66) if i not in test]
    assert list(mio.ids) == [files[i] for i in train]
    assert [CLASSES[c] for c in labels_of(mio)] == [files[i].split("/")[0] for i in train]
    for i in (0, 49):  # as published: the short side to 256 (here 16), then the middle 224 (here 14), up to a pixel
        with Image.open(place / mio.ids[i]) as image:
            w, h = image.size
            left, top, side = (w - min(w, h)) / 2, (h - min(w, h)) / 2, min(w, h)
            expected = image.resize((16, 16), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
        got = mio.images.take(torch.tensor([i]))[0].numpy().transpose(1, 2, 0)
        assert np.abs(got.astype(int) - np.asarray(expected).astype(int)).max() <= 1


def test_tar_folder_and_listing_order_give_the_same_dataset(tmp_path):
    made = []
    for name, options in (
        ("a", {}),
        ("b", {"backwards": True}),
        ("c", {"tar": True}),
        ("d", {"tar": True, "backwards": True}),
    ):
        official(tmp_path / name, **options)
        made.append(load(SMALL, root(tmp_path / name)))
    assert len({m.revision for m in made}) == 1
    assert len({m.ids for m in made}) == 1
    assert all(torch.equal(everything(made[0].images), everything(m.images)) for m in made[1:])
    assert all(np.array_equal(made[0].test_labels, m.test_labels) for m in made[1:])


def test_the_published_split_is_the_same_on_every_machine():
    test = published_test_split(TOTAL)
    assert (int(test.sum()), int((~test).sum())) == (129_791, 389_373)
    sketch = _sketch()
    assert sum(COUNTS.values()) == TOTAL == len(sketch.labels) + len(sketch.test_labels)
    assert (sketch.val_split, sketch.images.size) == (77_874, (256, 256))
    digest = hashlib.sha256(np.flatnonzero(test).astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "f87b7c67d4997af7"
    sizes = [build_regime(name, sketch) for name in ("low", "mid", "high")]
    assert [(r.start, r.query_size, r.rounds, r.val_size) for r in sizes] == [
        (55, 55, 10, 275),
        (275, 275, 10, 1_375),
        (1_100, 1_100, 10, 5_500),
    ]
    train, val = train_val_split(sketch, Streams(0)("split"))
    assert (len(train), len(val)) == (311_499, 77_874)
    for regime in sizes:
        check_regime(sketch, regime, train, val)


def test_half_a_million_files_are_listed_and_split_in_little_memory(tmp_path, monkeypatch):
    """The official size in an archive's table; the table is made here, as half a gigabyte of tar would be slow."""
    names = [f"x/train/{name}/{i:08}.jpg" for name, n in COUNTS.items() for i in range(n)]
    order = np.random.default_rng(0).permutation(len(names))
    names = [names[i] for i in order]
    numbers = np.arange(len(names))
    path = tmp_path / "MIO-TCD-Classification.tar"
    path.write_bytes(b"")
    monkeypatch.setattr(miotcd, "open_archive", lambda path: Archive(path, names, numbers, numbers, numbers))
    files, labels, notes = miotcd._find(root(tmp_path), "error")
    assert notes == ()
    assert np.bincount(labels).tolist() == list(COUNTS.values())
    assert str(files[0]).endswith("x/train/articulated_truck/00000000.jpg")
    assert str(files[TOTAL - 1]).endswith("x/train/work_van/00009678.jpg")
    test = published_test_split(len(labels))
    listing = hashlib.sha256("\n".join(compress(files.names, test)).encode()).hexdigest()
    assert listing[:16] == "9f344fdcf5cbb91d"
    tracemalloc.start()
    for member in files:  # one at a time: none is kept
        assert member.index >= 0
        break
    list_of = sum(1 for _ in zip(files, range(20_000), strict=False))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (list_of, peak < 2**20) == (20_000, True)


def test_a_tar_of_many_members_is_listed_without_keeping_them(tmp_path):
    n = 2_000
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo()
        for i in range(n):
            info.name = f"train/car/{i:08}.jpg"
            archive.addfile(info)
            archive.members = []
    miotcd.open_archive(tmp_path / "x.tar")  # what the first call imports is not the members'
    tracemalloc.start()
    archive = miotcd.open_archive(tmp_path / "x.tar")
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(archive.names) == n
    assert peak < 600 * n  # bytes: 519,164 members stay below 300 MiB; tarfile alone keeps three times that
    assert held < 200 * n


# --------------------------------------------------------------------------------------------------------- cache


@pytest.mark.parametrize("tar", [False, True])
def test_where_pixels_do_not_fit_the_budget_jpegs_are_kept(tmp_path, tar):
    official(tmp_path, tar=tar)
    pixels = load("mio-tcd(absent=skip, size=64)", root(tmp_path))
    kept = load("mio-tcd(absent=skip, cache_gb=0.0005, size=64)", root(tmp_path))  # 0.75 MiB as pixels
    assert isinstance(kept.images.images, ShardImages)
    assert kept.revision != pixels.revision
    (shard,) = (tmp_path / "cache").glob("*.jpegs")
    assert shard.stat().st_size < 0.0005 * 2**30
    a, b = everything(pixels.images).int(), everything(kept.images).int()
    assert a.shape == b.shape
    assert (a - b).abs().float().mean() < 3
    shuffled = torch.randperm(len(kept.images), generator=torch.Generator().manual_seed(0))
    assert torch.equal(kept.images.take(shuffled), everything(kept.images)[shuffled])
    assert torch.equal(kept.images.take(shuffled[:3]), everything(kept.images)[shuffled[:3]])
    assert torch.equal(everything(kept.images.to(torch.device("cpu"))), everything(kept.images))
    before = shard.stat().st_mtime_ns
    assert load("mio-tcd(absent=skip, cache_gb=0.0005, size=64)", root(tmp_path)).revision == kept.revision
    assert shard.stat().st_mtime_ns == before  # written once


def test_a_budget_that_is_too_small_is_refused(tmp_path):
    official(tmp_path)
    for _ in range(2):
        with pytest.raises(FathomError, match=r"do not fit into 2e-05 GiB.*smaller size, or allow more with cache_gb"):
            load("mio-tcd(absent=skip, cache_gb=0.00002, size=64)", root(tmp_path))
        assert not list((tmp_path / "cache").glob("*.jpegs")) + list((tmp_path / "cache").glob(".*.part"))


@fault("data", "damaged cache", "noticed and made again, with a warning")
def test_a_damaged_shard_is_noticed(tmp_path):
    official(tmp_path)
    text = "mio-tcd(absent=skip, cache_gb=0.0005, size=64)"
    whole = load(text, root(tmp_path))
    (shard,) = (tmp_path / "cache").glob("*.jpegs")
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])  # cut: made again
    assert load(text, root(tmp_path)).revision == whole.revision
    assert shard.read_bytes() == data
    shard.write_bytes(data[:5_000] + bytes([data[5_000] ^ 1]) + data[5_001:])
    damaged = load(text, root(tmp_path))
    with pytest.raises(FathomError, match=r"is damaged at image \d+; delete it"):
        everything(damaged.images.images)


# ------------------------------------------------------------------------------------------------ hostile inputs


def test_a_part_is_refused_unless_asked_for(tmp_path):
    official(tmp_path)
    with pytest.raises(FathomError, match=r"has 66 images; the official set has 519,164.*bus 6.*absent=skip"):
        load("mio-tcd(size=16)", root(tmp_path))


def test_an_unknown_class_folder_is_refused(tmp_path):
    place = official(tmp_path)
    (place / "spaceship").mkdir()
    photo(20, 20).save(place / "spaceship" / "1.jpg")
    with pytest.raises(FathomError, match=r"not a class of MIO-TCD: spaceship.*articulated_truck"):
        load(SMALL, root(tmp_path))


def test_an_empty_class_is_refused(tmp_path):
    place = official(tmp_path)
    for file in (place / "bus").iterdir():
        file.unlink()
    with pytest.raises(FathomError, match="no image of 1 of 11 classes: bus"):
        load(SMALL, root(tmp_path))


def test_files_that_are_no_images_of_a_class_are_told(tmp_path):
    place = official(tmp_path)
    (place / "notes.txt").write_text("x")
    (place / "bus" / "thumbs.db").write_text("x")
    (place / "bus" / "._00000018.jpg").write_text("x")  # hidden: of no interest
    mio = load(SMALL, root(tmp_path))
    assert mio.notes[0] == "files that are not images of a class were left out: 2"
    assert len(mio.labels) == 50


@pytest.mark.parametrize("tar", [False, True])
def test_a_truncated_image_is_named(tmp_path, tar):
    place = official(tmp_path, tar=tar)
    if tar:
        data = bytearray(place.read_bytes())
        begin = data.index(b"\xff\xd8", data.index(b"train/bus/00000018.jpg"))
        data[begin + 300 : begin + 400] = bytes(100)
        data[begin : begin + 2] = b"no"
        place.write_bytes(data)
    else:
        file = place / "bus" / "00000018.jpg"
        file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(FathomError, match=r"1 of 66 files cannot be read as images:\n.*bus/00000018.jpg: "):
        load(SMALL, root(tmp_path))


@DAMAGED_ARCHIVE
def test_a_truncated_tar_is_refused(tmp_path):
    path = official(tmp_path, tar=True)
    path.write_bytes(path.read_bytes()[:-12_000])
    with pytest.raises(FathomError, match="damaged or incomplete"):
        load(SMALL, root(tmp_path))


@DAMAGED_ARCHIVE
def test_a_tar_of_another_size_than_was_downloaded_is_refused(tmp_path):
    path = official(tmp_path, tar=True)
    path.with_name(f"{path.name}.json").write_text(f'{{"size": {path.stat().st_size + 1}}}')
    with pytest.raises(FathomError, match="not have the size that it was downloaded with"):
        load(SMALL, root(tmp_path))


@DAMAGED_ARCHIVE
def test_a_hostile_tar_is_refused(tmp_path):
    path = official(tmp_path, tar=True)
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("MIO-TCD-Classification/train/bus/link.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(FathomError, match="is a link to '/etc/passwd'"):
        load(SMALL, root(tmp_path))


@pytest.mark.parametrize("text", ["mio-tcd(absent=maybe)", "mio-tcd(size=4)", "mio-tcd(cache_gb=0)"])
def test_unknown_values_are_refused(tmp_path, text):
    with pytest.raises(FathomError, match="expected"):
        load(text, root(tmp_path))


def test_without_files_the_error_says_what_to_do(tmp_path):
    with pytest.raises(FathomError, match=r"MIO-TCD-Classification.*--data or FATHOM_DATA.*--download"):
        load("mio-tcd", root(tmp_path))
