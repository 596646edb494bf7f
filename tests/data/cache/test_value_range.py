"""Grey levels of 16-bit files: what is white is decided by the whole dataset, never by one image."""

import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.make import root, save
from tests.faults import fault

from fathom.core.records import FathomError
from fathom.data import load
from fathom.data.check import check_data
from fathom.data.files.decode import white_of

RIGHT = "white by the value range of the dataset, with a note"


def deep(path: Path, peak: int, seed: int = 0) -> Path:
    """A 16-bit grey ramp up to `peak`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.linspace(0, peak, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(np.roll(values, seed)).save(path)
    return path


def deep_color(path: Path, peak: int) -> Path:
    """A 16-bit RGB PNG, which Pillow reads and does not write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.linspace(0, peak, 16 * 16 * 3).astype(">u2").reshape(16, 48)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    return path


def levels(dataset: object) -> int:
    """Grey levels of the train images."""
    return len(torch.unique(dataset.images.pixels))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("peak", "white"),
    [(0, 255), (255, 255), (256, 1023), (1023, 1023), (1024, 4095), (4095, 4095), (4096, 16383), (16384, 65535)],
)
def test_white_is_the_largest_value_of_as_many_bits_as_are_needed(peak: int, white: int) -> None:
    assert white_of(peak) == white


@fault("data", "16-bit files with fewer bits", RIGHT)
@pytest.mark.parametrize(("peak", "bits"), [(250, 8), (1000, 10), (4095, 12), (16000, 14), (65535, 16)])
def test_all_grey_levels_are_kept(tmp_path: Path, peak: int, bits: int) -> None:
    for i in range(12):
        deep(tmp_path / f"pets/{'ab'[i % 2]}/{i}.{'png' if i % 3 else 'tif'}", peak, i)
    text = f'folder(path="{tmp_path}/pets", size=16)'
    pets = load(text, root(tmp_path))
    assert levels(pets) > 200  # 12 bits gave 16 levels
    assert abs(int(pets.images.pixels.max()) - 255 * peak / (2**bits - 1)) < 1  # type: ignore[attr-defined]
    (note,) = [note for note in pets.notes if "16-bit" in note]
    assert f"largest value of all is {peak:,}, so they are read as {bits}-bit values" in note
    report = check_data(text, root(tmp_path))
    assert note in report.notes
    assert report.ok


@fault("data", "16-bit files with fewer bits", RIGHT, cases=3)
def test_one_image_does_not_decide_and_the_order_does_not_matter(tmp_path: Path) -> None:
    """A dark image among bright ones stays dark; an image that is added brings another content of the cache."""
    seen = []
    for turn in range(2):
        places = [(f"{'ab'[i % 2]}/{i:02}.png", 4095 if i == 7 else 300, i) for i in range(16)]
        for place, peak, seed in random.Random(turn).sample(places, 16):
            deep(tmp_path / f"{turn}/pets/{place}", peak, seed)
        seen.append(load(f'folder(path="{tmp_path}/{turn}/pets", size=16)', root(tmp_path)))
    assert seen[0].revision == seen[1].revision
    dark = [i for i, name in enumerate(seen[0].ids) if "07" not in name]
    assert int(seen[0].images.pixels[dark].max()) <= 255 * 300 // 4095 + 1
    deep(tmp_path / "0/pets/a/99.png", 65535)
    again = load(f'folder(path="{tmp_path}/0/pets", size=16)', root(tmp_path))
    darker = [i for i, name in enumerate(again.ids) if "99" not in name and "07" not in name]
    assert int(again.images.pixels[darker].max()) <= 2


@fault("data", "16-bit files with fewer bits", RIGHT, cases=2)
def test_dark_16_bit_color_is_refused_and_bright_is_read(tmp_path: Path) -> None:
    for i in range(8):
        deep_color(tmp_path / f"dark/{'ab'[i % 2]}/{i}.png", 4095)
        deep_color(tmp_path / f"bright/{'ab'[i % 2]}/{i}.png", 65535)
    with pytest.raises(FathomError, match=r"no value above 4,095 .* would keep 16 of 256 levels; convert them"):
        load(f'folder(path="{tmp_path}/dark")', root(tmp_path))
    assert not check_data(f'folder(path="{tmp_path}/dark")', root(tmp_path)).ok
    assert levels(load(f'folder(path="{tmp_path}/bright", size=16)', root(tmp_path))) > 200


def test_8_bit_files_are_read_and_named_as_before(tmp_path: Path) -> None:
    for i in range(8):
        save(tmp_path / f"pets/{'ab'[i % 2]}/{i}.png", seed=i)
    pets = load(f'folder(path="{tmp_path}/pets")', root(tmp_path))
    assert not any("16-bit" in note for note in pets.notes)


@fault("data", "files of another kind under an image's name", "no program is run; refused", cases=1)
def test_postscript_is_no_image(tmp_path: Path) -> None:
    for i in range(8):
        save(tmp_path / f"pets/{'ab'[i % 2]}/{i}.png", seed=i)
    Image.new("RGB", (16, 16)).save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "pets/a/0.png")
    with pytest.raises(FathomError, match=r"0\.png.*(not an image|cannot identify)"):
        load(f'folder(path="{tmp_path}/pets", size=16)', root(tmp_path))
