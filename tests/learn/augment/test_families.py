"""Families and strengths."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.learn.pictures import back, images, pil
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as tv

from fathom.core.augmentations import AUGMENTATIONS
from fathom.core.records import FathomError
from fathom.learn.augment import families, pixels
from fathom.learn.augment.families import STRENGTHS, TRANSFORMS, Augmentation
from fathom.learn.objectives.simclr import PUBLISHED

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def augmented(family: str, x: torch.Tensor, strength: str, generator: torch.Generator) -> torch.Tensor:
    """uint8 images before they are normalized."""
    transforms = TRANSFORMS[family]
    return transforms.train(x, strength, transforms.draw(len(x), (x.shape[2], x.shape[3]), strength, generator))


def test_every_family_has_transforms_and_pretraining() -> None:
    assert set(TRANSFORMS) == set(AUGMENTATIONS) == set(PUBLISHED)


@pytest.mark.parametrize("family", TRANSFORMS)
@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize(("h", "w"), [(8, 8), (32, 32), (45, 60)])
def test_every_transform_keeps_its_contract(family: str, strength: str, h: int, w: int):
    x = images(16, h=h, w=w)
    before = x.clone()
    transform = Augmentation(family, strength, MEAN, STD, CPU)
    first, again = (transform.train(x, generator()) for _ in range(2))
    other, tested = transform.train(x, generator(1)), transform.test(x)
    size = transform.output_size((h, w))
    assert first.shape == tested.shape == (16, 3, *size)
    assert first.dtype == tested.dtype == torch.float32
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(x, before)
    levels = (first * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)) * 255
    assert (levels - levels.round()).abs().max() < 1e-3
    assert levels.min() > -1e-3
    assert levels.max() < 255.001


def test_normalization_is_that_of_torchvision():
    x = images()
    got = Augmentation("cifar", "standard", MEAN, STD, CPU).test(x)
    want = torch.stack([tv.normalize(tv.to_tensor(pil(i)), MEAN, STD) for i in x])
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


def test_flip_and_crop_give_every_window_and_nothing_else():
    """At 8 pixels with 1 of padding there are 2 x 9 results of `cifar`, and 9 of `digits`, all about equally often."""
    image = images(1, h=8, w=8)
    for family, flips in (("cifar", 2), ("digits", 1)):
        many = augmented(family, image.expand(3600, -1, -1, -1), "standard", generator())
        found, counts = many.flatten(1).unique(dim=0, return_counts=True)
        padded = np.pad(image[0].numpy(), ((0, 0), (1, 1), (1, 1)))
        windows = {
            np.ascontiguousarray(p[:, i : i + 8, j : j + 8]).tobytes()
            for p in (padded, padded[:, :, ::-1])[:flips]
            for i in range(3)
            for j in range(3)
        }
        assert {f.numpy().tobytes() for f in found} == windows
        assert (counts / 3600 - 1 / len(windows)).abs().max() < 5 * (1 / len(windows) / 3600) ** 0.5


def test_digits_are_never_mirrored_recolored_or_hidden():
    """A bright bar on black stays as bright as it was, up to shifts, rotations and shears."""
    x = torch.zeros(200, 3, 28, 28, dtype=torch.uint8)
    x[:, :, 10:18, 12:16] = 200
    out = augmented("digits", x, "randaugment-mc", generator())
    assert set(out.unique().tolist()) == {0, 200}
    assert ((out > 0).sum((1, 2, 3)) > 0.4 * 8 * 4 * 3).all()


def test_cutout_hides_a_quarter_at_most_and_only_where_published():
    x = torch.full((300, 3, 32, 32), 127, dtype=torch.uint8).index_fill(1, torch.tensor([0]), 90)
    gray = {s: (augmented("cifar", x, s, generator())[:, 0] == 127).float().mean((1, 2)) for s in STRENGTHS}
    assert gray["standard"].max() == 0
    assert gray["randaugment"].max() == 0
    assert gray["randaugment-mc"].max() <= (17 / 32) ** 2 + 1e-6
    assert gray["randaugment-mc"].mean() > 0.1
    assert gray["fixmatch-weak"].max() == 0
    assert gray["fixmatch-strong"].mean() > 0.1


def test_the_weak_view_has_a_mirrored_edge_and_the_strong_one_half_of_the_operations():
    """Only the standard crop has a black edge; the strong view skips an operation half of the time."""
    x = torch.full((2000, 3, 32, 32), 200, dtype=torch.uint8)
    assert (augmented("cifar", x, "standard", generator()) == 0).any()
    assert (augmented("cifar", x, "fixmatch-weak", generator()) == 200).all()
    same = {}
    for strength in ("randaugment-mc", "fixmatch-strong"):
        out = augmented("cifar", x, strength, generator())
        same[strength] = float(((out == 200) | (out == 127)).flatten(1).all(1).double().mean())  # as it was, or hidden
    idle = same["randaugment-mc"] ** 0.5  # share of the operations that do nothing to a gray image
    assert 0.3 < idle < 0.7
    assert same["fixmatch-strong"] == pytest.approx((0.5 + 0.5 * idle) ** 2, abs=0.05)


@pytest.mark.parametrize("family", ["isic", "imagenet"])
def test_large_images_have_no_views_of_their_own_in_fixmatch(family: str):
    x = images(6, h=40, w=40)
    for view, usual in (("fixmatch-weak", "standard"), ("fixmatch-strong", "randaugment-mc")):
        got, want = (augmented(family, x, strength, generator()) for strength in (view, usual))
        assert torch.equal(got, want)


def test_the_random_affine_map_is_that_of_torchvision(monkeypatch: pytest.MonkeyPatch):
    h, w = 40, 50
    numbers = torch.tensor([[0.1, 0.9], [0.7, 0.25], [0.3, 0.6], [0.2, 0.8]])  # turn, down, right, size
    monkeypatch.setattr(families, "_uniform", lambda shape, g: numbers)
    matrix = families._random_affine(2, h, w, generator())
    x = images(2, h=h, w=w)
    got = pixels.affine(x, matrix)
    for i, (turn, down, right, size) in enumerate(numbers.double().T.tolist()):
        shift = (round((2 * right - 1) * 0.1 * w), round((2 * down - 1) * 0.1 * h))
        want = tv.affine(pil(x[i]), turn * 360 - 180, shift, 0.7 + 0.6 * size, [0.0, 0.0])
        assert (got[i] != back(want)).float().mean() < 0.005  # a pixel on a border between two may fall either way


def test_random_boxes_are_those_of_torchvision():
    """Same distribution of area and aspect: the quartiles of 4,000 boxes agree."""
    h, w = 60, 80
    boxes = families.random_box(4000, h, w, generator()).numpy()
    assert (boxes[:, 0] >= 0).all()
    assert (boxes[:, 0] + boxes[:, 2] <= h).all()
    assert (boxes[:, 1] + boxes[:, 3] <= w).all()
    torch.manual_seed(0)
    image = torch.zeros(3, h, w)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])
    for statistic in (
        lambda b: b[:, 2] * b[:, 3] / (h * w),
        lambda b: b[:, 3] / b[:, 2],
        lambda b: b[:, 0],
        lambda b: b[:, 1],
    ):
        ours, reference = (np.quantile(statistic(b), [0.25, 0.5, 0.75]) for b in (boxes, theirs))
        assert ours == pytest.approx(reference, rel=0.06, abs=1.0)


def test_isic_is_tested_at_the_size_of_its_crop_as_pillow_resizes():
    x = images(h=60, w=75)
    assert TRANSFORMS["isic"].size((300, 300)) == (224, 224)
    size = TRANSFORMS["isic"].size((60, 75))
    got = TRANSFORMS["isic"].test(x)
    want = torch.stack([back(pil(i).resize(size[::-1], Image.Resampling.BILINEAR)) for i in x])
    assert (got.int() - want.int()).abs().max() <= 1


def test_imagenet_is_tested_on_the_middle():
    x = images(2, h=256, w=256)
    got = TRANSFORMS["imagenet"].test(x)
    assert torch.equal(got, torch.stack([back(tv.center_crop(pil(i), [224, 224])) for i in x]))


def test_wrong_names_are_explained():
    with pytest.raises(FathomError, match=r"unknown family .*'mnist'.*cifar, digits, isic, imagenet"):
        Augmentation("mnist", "standard", MEAN, STD, CPU)
    with pytest.raises(FathomError, match=r"unknown augmentation 'strong'.*randaugment-mc"):
        Augmentation("cifar", "strong", MEAN, STD, CPU)
    with pytest.raises(FathomError, match="must be positive"):
        Augmentation("cifar", "standard", MEAN, (0.2, 0.0, 0.2), CPU)
