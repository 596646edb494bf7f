"""RandAugment and cutout against Pillow, image by image, with the same parameters."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from tests.learn.pictures import back, images, pil

from fathom.learn.augment.randaugment import OPERATIONS, OperationDraw, RandAugment, cutout

AFFINE = Image.Transform.AFFINE


def one_operation(image: Image.Image, name: str, v: int, sign: int) -> Image.Image:
    """One operation in Pillow, its strength as FixMatch scales it: v * max / 10 + bias."""
    factor, fraction = float(v) * 0.9 / 10 + 0.05, sign * (float(v) * 0.3 / 10)
    return {
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(factor),
        "color": lambda: ImageEnhance.Color(image).enhance(factor),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(factor),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(factor),
        "equalize": lambda: ImageOps.equalize(image),
        "identity": lambda: image,
        "posterize": lambda: ImageOps.posterize(image, int(v * 4 / 10) + 4),
        "solarize": lambda: ImageOps.solarize(image, 256 - int(v * 256 / 10)),
        "rotate": lambda: image.rotate(sign * int(v * 30 / 10)),
        "shear-x": lambda: image.transform(image.size, AFFINE, (1, fraction, 0, 0, 1, 0)),
        "shear-y": lambda: image.transform(image.size, AFFINE, (1, 0, 0, fraction, 1, 0)),
        "translate-x": lambda: image.transform(image.size, AFFINE, (1, 0, int(fraction * image.size[0]), 0, 1, 0)),
        "translate-y": lambda: image.transform(image.size, AFFINE, (1, 0, 0, 0, 1, int(fraction * image.size[1]))),
    }[name]()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("side", [8, 32])
def test_each_operation_at_each_strength_equals_pillow(name: str, side: int):
    x = images(h=side, w=side + 3)
    for v in range(1, 10):
        for sign in (-1, 1):
            full = (1, len(x))
            draw = OperationDraw(
                torch.full(full, OPERATIONS.index(name)),
                torch.full(full, v),
                torch.full(full, sign),
                torch.ones(full, dtype=torch.bool),
            )
            got = RandAugment(1, 10, 1.0).apply(x, draw)
            want = torch.stack([back(one_operation(pil(i), name, v, sign)) for i in x])
            assert torch.equal(got, want), (v, sign)


def test_a_mixed_batch_equals_pillow_image_by_image():
    x, augment = images(40), RandAugment(2, 10, 0.7)
    draw = augment.draw(40, torch.Generator().manual_seed(0))
    got = augment.apply(x, draw)
    for i, image in enumerate(x):
        one = pil(image)
        for step in range(2):
            if draw.active[step, i]:
                name = OPERATIONS[int(draw.operation[step, i])]
                one = one_operation(one, name, int(draw.strength[step, i]), int(draw.sign[step, i]))
        assert torch.equal(got[i], back(one)), i


def test_photographs_equal_pillow(real_data: Path, monkeypatch: pytest.MonkeyPatch):
    """FixMatch's RandAugment on CIFAR-10 images, each with the parameters it drew."""
    monkeypatch.syspath_prepend(str(real_data))
    loaded = importlib.import_module("unpack_data").load_cifar("cifar10", "train", 300)[0]
    x = torch.from_numpy(np.ascontiguousarray(loaded.transpose(0, 3, 1, 2)))
    augment = RandAugment(2, 10, 1.0)
    draw = augment.draw(300, torch.Generator().manual_seed(0))
    got = augment.apply(x, draw)
    for i, image in enumerate(x):
        one = pil(image)
        for step in range(2):
            name = OPERATIONS[int(draw.operation[step, i])]
            one = one_operation(one, name, int(draw.strength[step, i]), int(draw.sign[step, i]))
        assert torch.equal(got[i], back(one)), i


@settings(derandomize=True, max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9))
def test_an_image_does_not_depend_on_the_others_in_its_batch(seed: int, count: int):
    x, augment = images(12, seed=seed), RandAugment(2, 10, 1.0)
    draw = augment.draw(12, torch.Generator().manual_seed(seed))
    some = torch.randperm(12, generator=torch.Generator().manual_seed(seed + 1))[:count]
    part = OperationDraw(draw.operation[:, some], draw.strength[:, some], draw.sign[:, some], draw.active[:, some])
    assert torch.equal(augment.apply(x, draw)[some], augment.apply(x[some], part))


def test_the_input_stays_as_it_was():
    x = images()
    before = x.clone()
    RandAugment(2, 10, 1.0)(x, torch.Generator().manual_seed(0))
    assert torch.equal(x, before)


def test_draws_cover_the_pool_and_the_strengths():
    draw = RandAugment(2, 10, 0.5).draw(5000, torch.Generator().manual_seed(0))
    share = torch.bincount(draw.operation.flatten(), minlength=14) / 10_000
    assert (share - 1 / 14).abs().max() < 5 * (1 / 14 / 10_000) ** 0.5
    assert draw.strength.unique().tolist() == list(range(1, 10))
    assert draw.sign.unique().tolist() == [-1, 1]
    assert abs(draw.active.float().mean() - 0.5) < 0.025
    assert RandAugment(1, 2, 0.5).draw(100, torch.Generator().manual_seed(0)).strength.unique().tolist() == [1]


def test_cutout_equals_pillow():
    x = images(12, h=32, w=40)
    rng = np.random.default_rng(0)
    center = torch.from_numpy(np.stack([rng.uniform(0, 32, 12), rng.uniform(0, 40, 12)], 1)).float()
    got = cutout(x, 16, center)
    for i, (cy, cx) in enumerate(center.tolist()):
        image = pil(x[i])
        x0, y0 = int(max(0, cx - 8)), int(max(0, cy - 8))
        ImageDraw.Draw(image).rectangle((x0, y0, int(min(40, x0 + 16)), int(min(32, y0 + 16))), (127, 127, 127))
        assert torch.equal(got[i], back(image)), i
