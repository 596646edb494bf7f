"""Every kind of image that Pillow can write, against what the rule says it must become."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.make import photo, save
from tests.faults import fault
from torchvision.transforms.v2 import functional as vision

from fathom.data.files.decode import MAX_PIXELS, UnreadableError, decode, header, pillow_quiet, read_image

BROKEN_IMAGE = fault("data", "truncated, empty or renamed image", "every such file named, none skipped silently")
UNUSUAL_IMAGE = fault(
    "data",
    "unusual image: CMYK, palette, alpha, 16 bit, rotated, animated",
    "converted by the documented rule, or refused",
)


def shown(path):
    image, _ = read_image(path)
    return np.asarray(image).astype(int)


def grey(width=16, height=8, top=255):
    return np.linspace(0, top, width * height).reshape(height, width)


@UNUSUAL_IMAGE
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA", "CMYK", "YCbCr"])
def test_modes_become_rgb(tmp_path, mode):
    source = photo(24, 16)
    image = source.convert(mode)
    suffix = "tif" if mode in ("CMYK", "YCbCr") else "png"
    image.save(tmp_path / f"x.{suffix}")
    got, facts = read_image(tmp_path / f"x.{suffix}")
    assert facts.mode == mode
    assert (got.mode, got.size) == ("RGB", (24, 16))
    assert np.abs(np.asarray(got).astype(int) - np.asarray(image.convert("RGB")).astype(int)).max() <= 1


@UNUSUAL_IMAGE
def test_cmyk_jpeg(tmp_path):
    photo(24, 16).convert("CMYK").save(tmp_path / "x.jpg", quality=95)
    difference = np.abs(shown(tmp_path / "x.jpg") - np.asarray(photo(24, 16)).astype(int))
    assert difference.mean() < 4  # not inverted


@UNUSUAL_IMAGE
def test_transparency_is_laid_on_white(tmp_path):
    layer = np.zeros((4, 4, 4), np.uint8)
    layer[..., 0] = 200
    layer[:2, :, 3] = 255
    layer[2, :, 3] = 128
    Image.fromarray(layer, "RGBA").save(tmp_path / "rgba.png")
    got = shown(tmp_path / "rgba.png")
    assert got[0, 0].tolist() == [200, 0, 0]
    assert got[3, 0].tolist() == [255, 255, 255]
    assert np.abs(got[2, 0] - [227, 127, 127]).max() <= 1
    Image.fromarray(layer[..., [0, 3]], "LA").save(tmp_path / "la.png")
    assert shown(tmp_path / "la.png")[3, 0].tolist() == [255, 255, 255]


@UNUSUAL_IMAGE
def test_transparent_palette(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "x.png", transparency=1)
    assert shown(tmp_path / "x.png").tolist() == [[[255, 0, 0], [255] * 3], [[255] * 3, [255, 0, 0]]]
    image.save(tmp_path / "bytes.png", transparency=b"\xff\x00")
    with pillow_quiet():
        assert shown(tmp_path / "bytes.png").tolist() == [[[255, 0, 0], [255] * 3], [[255] * 3, [255, 0, 0]]]


@UNUSUAL_IMAGE
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path, suffix):
    values = grey(top=65535).round().astype(np.uint16)
    Image.fromarray(values).save(tmp_path / f"x.{suffix}")
    got = shown(tmp_path / f"x.{suffix}")
    assert np.array_equal(got[..., 0], np.round(values / 257).astype(int))
    assert np.array_equal(got[..., 0], got[..., 2])
    assert got.min() == 0
    assert got.max() == 255


@UNUSUAL_IMAGE
def test_pixels_without_a_white_are_refused(tmp_path):
    Image.fromarray(grey().astype(np.float32)).save(tmp_path / "float.tif")
    Image.fromarray((grey() * 1e6).astype(np.int32)).save(tmp_path / "int.tif")
    for name in ("float.tif", "int.tif"):
        with pytest.raises(UnreadableError, match="no defined white"):
            read_image(tmp_path / name)


@UNUSUAL_IMAGE
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    upright = photo(40, 20)
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(inverse[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(shown(tmp_path / "x.png"), np.asarray(upright).astype(int))
    assert header(tmp_path / "x.png") == (20, 40)


@UNUSUAL_IMAGE
def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (6, 5), color) for color in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert shown(tmp_path / "x.gif")[2, 2].tolist() == [255, 0, 0]


def test_squash_is_the_antialiased_bilinear_of_torchvision(tmp_path):
    image = photo(61, 43)
    image.save(tmp_path / "x.png")
    got = decode(tmp_path / "x.png", (16, 24))
    assert got.shape == (3, 16, 24)
    reference = vision.resize(vision.pil_to_tensor(image), [16, 24], antialias=True)
    assert (torch.from_numpy(got).int() - reference.int()).abs().max() <= 1


def test_crop_is_resizing_the_short_side_and_cropping_the_center(tmp_path):
    image = photo(60, 20)
    image.save(tmp_path / "x.png")
    got = decode(tmp_path / "x.png", (10, 10), "crop")
    resized = vision.resize(vision.pil_to_tensor(image), [10, 30], antialias=True)
    assert (torch.from_numpy(got).int() - vision.center_crop(resized, [10, 10]).int()).abs().max() <= 1
    squashed = decode(tmp_path / "x.png", (10, 10), "squash")
    assert np.abs(squashed.astype(int) - got).max() > 50


def test_same_size_is_untouched(tmp_path):
    photo(8, 8).save(tmp_path / "x.png")
    assert np.array_equal(decode(tmp_path / "x.png", (8, 8)), np.asarray(photo(8, 8)).transpose(2, 0, 1))


def broken(path, kind):
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not a picture\n" * 20)
    elif kind == "truncated":
        save(path.with_name("whole.jpg"), width=200, height=200)
        data = path.with_name("whole.jpg").read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])
    elif kind == "truncated-png":
        save(path.with_name("whole.png"), width=200, height=200)
        data = path.with_name("whole.png").read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif kind == "folder":
        path.mkdir()
    return path


@BROKEN_IMAGE
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "empty"),
        ("text", "not an image"),
        ("truncated", "truncated"),
        ("truncated-png", "truncated|broken|Syntax|Error"),
        ("folder", "no such file"),
        ("absent", "no such file"),
    ],
)
def test_broken_files_are_unreadable_with_a_reason(tmp_path, kind, reason):
    with pytest.raises(UnreadableError, match=reason):
        read_image(broken(tmp_path / "x.jpg", kind))


@BROKEN_IMAGE
def test_truncation_beyond_the_reach_of_verify(tmp_path):
    path = broken(tmp_path / "x.jpg", "truncated")
    with Image.open(path) as image:
        image.verify()  # a header that looks sound says nothing about the pixels
    with pytest.raises(UnreadableError, match="truncated"):
        decode(path, (8, 8))


@fault("data", "decompression bomb", "refused before it is decoded")
def test_bomb_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (20_000, MAX_PIXELS // 20_000 + 1)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    with pillow_quiet(), pytest.raises(UnreadableError, match="pixels"):
        read_image(tmp_path / "bomb.png")
