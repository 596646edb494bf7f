"""Every operation against Pillow, image by image."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from tests.learn.pictures import back, images, pil
from torchvision.transforms import functional as tv

from fathom.learn.augment import pixels
from fathom.learn.augment.hue import shift_hue


def expected(x: torch.Tensor, operation, *parameters) -> torch.Tensor:
    return torch.stack([back(operation(pil(one), *(p[i] for p in parameters))) for i, one in enumerate(x)])


SIZES = [(32, 32), (8, 8), (28, 28), (20, 33), (65, 64)]


@pytest.mark.parametrize(("h", "w"), SIZES)
def test_histogram_operations_equal_pillow(h: int, w: int):
    x = images(h=h, w=w)
    assert torch.equal(pixels.autocontrast(x), expected(x, ImageOps.autocontrast))
    assert torch.equal(pixels.equalize(x), expected(x, ImageOps.equalize))


@pytest.mark.parametrize(("h", "w"), SIZES)
def test_blends_equal_pillow(h: int, w: int):
    x = images(h=h, w=w)
    factors = [0.0, 0.05, 0.14, 0.23, 0.41, 0.5, 0.68, 0.86, 0.98, 1.0, 1.02, 1.5]
    factor = torch.tensor(factors, dtype=torch.float64)
    gray = pixels.luma(x)
    degenerate = {
        ImageEnhance.Brightness: torch.zeros(1, 1, 1, 1),
        ImageEnhance.Color: gray.float(),
        ImageEnhance.Contrast: pixels.mean_luma(gray),
        ImageEnhance.Sharpness: pixels.smooth(x),
    }
    for enhancer, plain in degenerate.items():
        want = expected(x, lambda image, f, enhancer=enhancer: enhancer(image).enhance(f), factors)
        assert torch.equal(pixels.blend(x, plain, factor), want), enhancer


def test_levels_equal_pillow():
    x = images()
    for value in range(1, 10):
        bits, threshold = int(value * 4 / 10) + 4, 256 - int(value * 256 / 10)
        full = torch.full((len(x),), 8), torch.full((len(x),), 256)
        posterized = pixels.posterize_solarize(x, torch.full((len(x),), bits), full[1])
        assert torch.equal(posterized, expected(x, lambda image, bits=bits: ImageOps.posterize(image, bits)))
        solarized = pixels.posterize_solarize(x, full[0], torch.full((len(x),), threshold))
        assert torch.equal(solarized, expected(x, lambda image, t=threshold: ImageOps.solarize(image, t)))


@pytest.mark.parametrize(("h", "w"), SIZES)
def test_rotation_equals_pillow(h: int, w: int):
    x = images(h=h, w=w)
    degrees = [-27.0, -24.0, -21.0, -3.0, 0.0, 3.0, 6.0, 12.0, 27.0, 45.5, -133.25, 171.0]
    got = pixels.affine(x, pixels.rotation_matrix(torch.tensor(degrees), h, w))
    assert torch.equal(got, expected(x, lambda image, d: image.rotate(d), degrees))


@pytest.mark.parametrize(("h", "w"), SIZES)
def test_affine_equals_pillow(h: int, w: int):
    x = images(h=h, w=w)
    rng = np.random.default_rng(1)
    maps = rng.normal(0, 0.4, (12, 6)) + np.array([1, 0, 0, 0, 1, 0])
    maps[:, [2, 5]] = rng.uniform(-8, 8, (12, 2))
    maps[0] = [1, 0, 5, 0, 1, -3]
    maps[1] = [1, 0.27, 0, 0, 1, 0]
    maps[2] = [1, 0, 0, -0.3, 1, 0]
    want = expected(x, lambda image, m: image.transform(image.size, Image.Transform.AFFINE, tuple(m)), maps)
    assert torch.equal(pixels.affine(x, torch.from_numpy(maps)), want)
    corner = torch.from_numpy(rng.integers(0, 4, (12, 2)))
    window = pixels.affine(x, torch.from_numpy(maps), (h - 3, w - 3), corner)
    for i, (top, left) in enumerate(corner.tolist()):
        assert torch.equal(window[i], want[i, :, top : top + h - 3, left : left + w - 3])


@pytest.mark.parametrize("reflect", [False, True])
def test_flip_and_crop_equal_pillow_and_numpy(reflect: bool):
    x = images(h=20, w=33)
    rng = np.random.default_rng(2)
    corner = torch.from_numpy(rng.integers(-4, 5, (12, 2)))
    mirrored, upended = (torch.from_numpy(rng.random(12) < 0.5) for _ in range(2))
    got = pixels.crop(x, corner, (20, 33), mirrored=mirrored, upended=upended, reflect=reflect)
    for i, (top, left) in enumerate(corner.tolist()):
        image = ImageOps.mirror(pil(x[i])) if mirrored[i] else pil(x[i])
        image = ImageOps.flip(image) if upended[i] else image
        padded = np.pad(np.array(image), ((4, 4), (4, 4), (0, 0)), mode="reflect" if reflect else "constant")
        want = padded[top + 4 : top + 24, left + 4 : left + 37]
        assert np.array_equal(got[i].permute(1, 2, 0).numpy(), want)


def test_hue_is_that_of_pillow():
    x = images()
    shifts = [-2, -1, 0, 1, 2, 0, 1, 2, -1, -2, 25, -60]
    factors = [s / 255 + (0.0005 if s > 0 else -0.0005 if s < 0 else 0) for s in shifts]
    got = shift_hue(x, torch.tensor(shifts))
    assert torch.equal(got, expected(x, tv.adjust_hue, factors))


def test_resizing_a_box_is_within_a_level_of_pillow():
    x = images(h=40, w=50)
    rng = np.random.default_rng(3)
    tops, lefts = rng.integers(0, 20, 12), rng.integers(0, 20, 12)
    heights, widths = rng.integers(5, 21, 12), rng.integers(5, 31, 12)
    heights[0], widths[0], tops[0], lefts[0] = 40, 50, 0, 0
    box = torch.from_numpy(np.stack([tops, lefts, heights, widths], 1)).double()
    got = pixels.resize_box(x, box, (24, 24))

    def crop_resize(image: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
        window = image.crop((int(left), int(top), int(left + width), int(top + height)))
        return window.resize((24, 24), Image.Resampling.BILINEAR)

    want = expected(x, crop_resize, tops, lefts, heights, widths)
    assert (got.int() - want.int()).abs().max() <= 1
