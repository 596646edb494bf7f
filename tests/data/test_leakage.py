"""Groups that nobody declared, and near-duplicates: found, said, and never a pass."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.make import root
from tests.faults import fault, number

from fathom.core.records import FathomError
from fathom.data import load
from fathom.data.check import DataReport, check_data
from fathom.data.files.groups import GroupRule, likely_groups
from fathom.data.leakage import leakage_of
from fathom.data.near_duplicates import find_near_duplicates, thumbnail
from fathom.protocol.context import facts_of

FOUND = "found in check-data and in the facts that audit reads"


def scene(seed: int, shift: float = 0.0, side: int = 48) -> Image.Image:
    """A picture with edges and texture; `shift` moves the camera a little."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    picture = np.zeros((side, side, 3))
    for a, b, c, d in generator.uniform(0, 1, (14, 4)):
        inside = (abs(x + shift - a) < 0.05 + 0.2 * c) & (abs(y - b) < 0.05 + 0.2 * d)
        picture[inside] = generator.uniform(0, 1, 3)
    return Image.fromarray((picture * 255).astype(np.uint8))


def tracks(folder: Path, names: str = "video{t:02}_frame{f:04}.png", count: int = 12, frames: int = 6) -> Path:
    """Frames of videos, each of one class."""
    for t in range(count):
        for f in range(frames):
            place = folder / "ab"[t % 2] / names.format(t=t, f=f)
            place.parent.mkdir(parents=True, exist_ok=True)
            scene(t, 0.002 * f).save(place)
    return folder


def report_of(path: Path, **options: str) -> DataReport:
    text = "".join(f', {key}="{value}"' for key, value in options.items())
    return check_data(f'folder(path="{path}", size=32{text})', root(path.parent))


# --------------------------------------------------------------------------------------------------------- groups


@fault("data", "frames of one video on both sides, no groups declared", FOUND, cases=2)
def test_frames_without_groups_are_found_and_the_declaration_is_told(tmp_path: Path) -> None:
    path = tracks(tmp_path / "clips")
    report = report_of(path)
    found = {p.kind: p for p in report.problems}
    assert {"likely-groups", "near-duplicate-split", "near-duplicate"} <= set(found)
    assert 'groups="(?i)(video[_-]?[0-9]+)"' in found["likely-groups"].message
    assert "12 tracks" in found["likely-groups"].message
    assert "video00_frame" in str(found["near-duplicate-split"])
    assert any("none declared" in note for note in report.notes)
    clips = load(f'folder(path="{path}", size=32)', root(tmp_path))
    facts = facts_of("clips", clips)
    assert facts["groups_across"] is None
    assert facts["near_duplicates_across"] == len(clips.test_labels)
    assert "video" in facts["likely_groups"]
    assert any("file names look like" in note for note in clips.notes)


@fault("data", "frames of one video on both sides, no groups declared", FOUND, cases=1)
def test_the_declaration_that_is_told_works(tmp_path: Path) -> None:
    path = tracks(tmp_path / "clips")
    report = report_of(path, groups="(?i)(video[_-]?[0-9]+)")
    assert report.groups == 12
    assert {p.kind for p in report.problems} <= {"no-regime", "duplicate"}
    clips = load(f'folder(path="{path}", size=32, groups="(video[0-9]+)")', root(tmp_path))
    assert not {*clips.groups.tolist()} & {*clips.test_groups.tolist()}
    facts = leakage_of(clips)
    assert (facts["groups_across"], facts["near_duplicates_across"], facts["near_duplicates_within"]) == (0, 0, 0)
    assert facts["likely_groups"] == ""
    alone = load(f'folder(path="{path}", size=32, groups=independent)', root(tmp_path))
    assert alone.independent
    assert alone.groups is None
    assert not any("look like" in note for note in alone.notes)


def test_groups_on_both_given_sides_are_refused_for_folders_too(tmp_path: Path) -> None:
    tracks(tmp_path / "clips/train")
    tracks(tmp_path / "clips/test", count=4)
    text = f'folder(path="{tmp_path}/clips", size=32, groups="(video[0-9]+)"'
    with pytest.raises(FathomError, match=r"(?s)both train and test.*video00"):
        load(f"{text})", root(tmp_path))
    assert load(f"{text}, leaks=warn)", root(tmp_path)).groups is not None


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["video{t}_frame{f}.png"], "(?i)(video[_-]?[0-9]+)"),
        (["Patient-{t}/scan_{f}.png"], "(?i)(patient[_-]?[0-9]+)"),
        (["IMG_{t:03}_{f}.jpg"], "([^/]*[0-9][A-Za-z]?)[_. -]+[A-Za-z]*[0-9]+[.]"),
        (["2023-04-{t:02}_{f:04}.jpg"], "([^/]*[0-9][A-Za-z]?)[_. -]+[A-Za-z]*[0-9]+[.]"),
        (["{t:04}_c{f}s1_view.jpg"], "([^/]*?[0-9])[_. -][^/]*[.]"),
        (["img{t}_jpg.rf.{f}ab.jpg"], "([^/]*?[0-9])[_. -][^/]*[.]"),
        (["roll {t}/{f}.jpg"], "^(.*)/"),
        (["{t}{f}_640x480_view.png"], ""),
        (["{t}{f}.png"], ""),
        (["IMG_{t}{f}.png"], ""),
        (["{c}_{t}{f}.png"], ""),
        (["n0144{c}_{t}{f}.JPEG"], ""),
        (["sample{t}x{f}.png"], ""),
        (["ISIC_00{t}{f}.jpg"], ""),
    ],
)
def test_names_that_look_like_tracks(names: list[str], pattern: str) -> None:
    """Ten groups of five images in two classes; or names that say nothing."""
    listed = [f"{'ab'[t % 2]}/" + names[0].format(t=t, f=f, c=t % 2) for t in range(10) for f in range(5)]
    found = likely_groups(listed, [name[0] for name in listed])
    assert (found.pattern if found else "") == pattern
    if found:
        assert (found.groups, found.images) == (10, 50)
        GroupRule(found.pattern)  # is accepted


@fault("input", "group patterns that are wrong or take forever", "refused with what was expected")
@pytest.mark.parametrize(
    "text",
    ["(", "patient", "(a+)+$", "(a|aa)*b", "(.*)(.*)(.*)(.*)(.*)x", "(a)\\1", "(a{100}){100}", "(" + "a" * 300 + ")"],
)
def test_patterns_that_cannot_be_used(text: str) -> None:
    with pytest.raises(FathomError, match="groups is"):
        GroupRule(text)


def test_names_without_the_pattern_are_listed(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=r"(?s)is not found; every image needs a group.*video00_frame0000"):
        load(f'folder(path="{tracks(tmp_path / "clips")}", groups="(patient[0-9]+)")', root(tmp_path))


# ------------------------------------------------------------------------------------------------- near-duplicates

COPIES = {
    "jpeg 50": lambda image: jpeg(image, 50),
    "jpeg 95": lambda image: jpeg(image, 95),
    "half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR),
    "double": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
}


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue()))


@fault("data", "re-encoded and resized copies", FOUND, cases=4)
def test_copies_are_found_and_other_images_are_not() -> None:
    count = number(60, 600)
    images = [scene(seed, side=64) for seed in range(count)]
    for name, change in COPIES.items():
        pairs = find_near_duplicates(np.stack([thumbnail(i) for i in (*images, *map(change, images))]))
        assert pairs is not None
        right = {(i, i + count) for i in range(count)}
        found = {(int(a), int(b)) for a, b in pairs}
        assert len(right - found) <= count // 50, name
        assert len(found - right) <= count // 50, name


@fault("data", "re-encoded and resized copies", FOUND, cases=2)
def test_copies_across_the_splits_are_told(tmp_path: Path) -> None:
    for split, seeds in (("train", range(20)), ("test", range(100, 108))):
        for seed in seeds:
            place = tmp_path / f"pets/{split}/{'ab'[seed % 2]}/{seed}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            scene(seed).save(place)
    jpeg(scene(3), 60).save(tmp_path / "pets/test/b/again.png")
    scene(4).resize((30, 30)).save(tmp_path / "pets/test/a/small.png")
    report = report_of(tmp_path / "pets")
    (found,) = [p for p in report.problems if p.kind == "near-duplicate-split"]
    assert found.count == 2
    assert any("train/b/3.png" in e and "test/b/again.png" in e for e in found.examples)
    facts = facts_of("pets", load(f'folder(path="{tmp_path}/pets", size=32)', root(tmp_path)))
    assert (facts["near_duplicates_across"], facts["near_duplicates_within"]) == (2, 0)


@fault("data", "near-duplicates among real images", "measured rates hold", cases=2)
def test_rates_on_real_images(real_data: Path) -> None:
    import zipfile

    with zipfile.ZipFile(next(real_data.glob("tier1/ham10000/images_*.zip"))) as file:
        names = sorted(file.namelist())[: number(300, 2000)]
        images = [Image.open(io.BytesIO(file.read(name))).convert("RGB") for name in names]
    plain = np.stack([thumbnail(image) for image in images])
    pairs = find_near_duplicates(plain)
    assert pairs is not None
    assert len(pairs) <= len(images) // 100
    copies = np.stack([thumbnail(jpeg(image, 50)) for image in images])
    both = find_near_duplicates(np.concatenate([plain, copies]))
    assert both is not None
    found = {(int(a), int(b)) for a, b in both}
    assert sum((i, i + len(images)) in found for i in range(len(images))) >= 0.99 * len(images)


def test_many_equal_images_take_no_long_time() -> None:
    image = thumbnail(scene(1)).astype(int)
    noise = np.random.default_rng(0).integers(-1, 2, (3000, *image.shape))
    pairs = find_near_duplicates(np.clip(image + noise, 0, 255).astype(np.uint8))
    assert pairs is not None
    assert len(np.unique(pairs)) == 3000
    assert len(pairs) <= 3000 * 32
    assert find_near_duplicates(np.zeros((0, 16, 16), np.uint8)) is not None
    assert find_near_duplicates(np.zeros((3, 16, 16), np.uint8)) is not None
