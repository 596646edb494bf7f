"""Views: each operation does to each image of a mini-batch what torchvision does to it alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as v2

from fathom.core.records import FathomError
from fathom.learn.augment import families, pixels, simclr_views
from fathom.learn.augment.simclr_views import Views

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, side: int = 12, seed: int = 0) -> torch.Tensor:
    """uint8 images, smooth enough to look like some; the first one is gray."""
    coarse = torch.rand((count, 3, 4, 4), generator=generator(seed)) * 255
    x = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 255)
    x[0] = x[0].mean(0)
    return x.round().to(torch.uint8)


def views_of(family: str, jitter: float = 0.5, blur: bool = False) -> Views:
    return Views(family, jitter, blur, MEAN, STD, torch.device("cpu"))


@pytest.mark.parametrize(
    ("ours", "theirs", "low", "high"),
    [
        (simclr_views.brightened, v2.adjust_brightness, 0.0, 1.8),
        (simclr_views.contrasted, v2.adjust_contrast, 0.0, 1.8),
        (simclr_views.saturated, v2.adjust_saturation, 0.0, 1.8),
        (simclr_views.hued, v2.adjust_hue, -0.5, 0.5),
    ],
)
def test_each_step_of_the_jitter_is_that_of_torchvision(ours, theirs, low: float, high: float):
    x = pictures(8).float() / 255
    x[1] = 0.0
    x[2] = (x[2] * 3).clamp(0, 1)  # saturated spots
    factors = torch.linspace(low, high, 8)
    expected = torch.stack([theirs(image, float(f)) for image, f in zip(x, factors, strict=True)])
    torch.testing.assert_close(ours(x, factors), expected, atol=2e-5, rtol=0)


def test_gray_is_that_of_torchvision():
    x = pictures(4).float() / 255
    torch.testing.assert_close(simclr_views.gray(x), v2.rgb_to_grayscale(x, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_blur_is_that_of_torchvision(kernel: int):
    x, sigma = pictures(5).float() / 255, torch.tensor([0.1, 0.4, 0.8, 1.3, 2.0])
    alone = [v2.gaussian_blur(image, [kernel] * 2, [float(s)] * 2) for image, s in zip(x, sigma, strict=True)]
    torch.testing.assert_close(simclr_views.blurred(x, sigma, kernel), torch.stack(alone), atol=1e-6, rtol=0)


def test_crops_are_those_of_torchvision():
    x = pictures(6, side=20)
    box = families.random_box(6, 20, 20, generator(3))
    ours = pixels.resize_box(x, box, (14, 14))
    for image, mine, sides in zip(x, ours, box.int().tolist(), strict=True):
        theirs = v2.resized_crop(image, *sides, [14, 14], antialias=True)
        assert (mine.int() - theirs.int()).abs().max() <= 1


def test_warps_turn_shift_and_resize_as_asked():
    """Against SciPy, which interpolates in a coordinate system of its own."""
    from scipy.ndimage import affine_transform

    side = 9
    x = pictures(3, side).double() / 255
    maps = simclr_views._digit_maps(3, generator(5)).double()
    ours = simclr_views.warped(x, maps).numpy()
    for image, mine, given_map in zip(x.numpy(), ours, maps.numpy(), strict=True):
        swap = np.array([[0, 1], [1, 0]])  # (x, y) -> (row, column)
        matrix = swap @ given_map[:, :2] @ swap
        middle = np.full(2, (side - 1) / 2)
        offset = middle - matrix @ middle + swap @ given_map[:, 2] * side / 2
        for channel, got in zip(image, mine, strict=True):
            expected = affine_transform(channel, matrix, offset, order=1, mode="grid-constant")
            np.testing.assert_allclose(got, expected, atol=1e-9)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), largest=st.sampled_from([0.0, 0.4, 0.9]))
def test_what_is_erased_is_one_rectangle(seed: int, largest: float):
    x = torch.ones(4, 3, 8, 8)
    out = simclr_views.erased(x, torch.rand((4, 4), generator=generator(seed)), largest)
    for hidden in out[:, 0] == 0:
        rows, columns = hidden.any(1), hidden.any(0)
        assert torch.equal(hidden, rows.unsqueeze(1) & columns.unsqueeze(0))
        assert max(int(rows.sum()), int(columns.sum())) <= round(8 * largest + 1)
        assert not largest or int(hidden.sum()) < 64
    assert largest or torch.equal(out, x)


@pytest.mark.parametrize(("family", "side", "out"), [("cifar", 16, 16), ("isic", 30, 22), ("imagenet", 32, 28)])
def test_views_are_normalized_and_of_the_size_that_is_tested_on(family: str, side: int, out: int):
    x = pictures(64, side)
    made = views_of(family, blur=family != "cifar").pair(x, generator(1), generator(2))
    assert made.shape == (128, 3, out, out)
    assert families.Augmentation(family, "standard", MEAN, STD, x.device).output_size((side, side)) == (out, out)
    back = made * torch.tensor(STD).view(1, 3, 1, 1) + torch.tensor(MEAN).view(1, 3, 1, 1)
    assert back.min() > -1e-5
    assert back.max() < 1 + 1e-5
    flat = (back.amax(1) - back.amin(1)).flatten(1).amax(1) < 1e-3
    assert 0.1 < flat.float().mean() < 0.35  # a fifth is gray


@pytest.mark.parametrize("family", ["cifar", "digits", "isic", "imagenet"])
def test_rows_a_mini_batch_apart_are_of_one_image(family: str):
    """Images of one level each: crops, flips and blur leave it, and so does a jitter of strength 0."""
    levels = torch.arange(16) * 16
    x = levels.to(torch.uint8).view(16, 1, 1, 1).repeat(1, 3, 24, 24)
    made = views_of(family, jitter=0.0, blur=True).pair(x, generator(1), generator(2))
    back = made * torch.tensor(STD).view(1, 3, 1, 1) + torch.tensor(MEAN).view(1, 3, 1, 1)
    torch.testing.assert_close(back.amax((1, 2, 3)), levels.repeat(2) / 255, atol=2e-4, rtol=0)


@pytest.mark.parametrize("family", ["cifar", "digits", "isic", "imagenet"])
def test_the_two_views_of_an_image_differ(family: str):
    first, second = views_of(family).pair(pictures(8, 24), generator(1), generator(2)).chunk(2)
    assert ((first - second).abs().flatten(1).amax(1) > 0.01).all()


def test_views_are_those_of_their_streams():
    x = pictures(8)
    same, again = (views_of("cifar").pair(x, generator(1), generator(2)) for _ in range(2))
    assert torch.equal(same, again)
    assert not torch.equal(same, views_of("cifar").pair(x, generator(3), generator(2)))
    state = torch.get_rng_state()
    views_of("digits").pair(x, generator(1), generator(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_order_of_the_jitter_is_drawn():
    """The same parameters in another order give other images."""
    x = pictures(32)
    made = [views_of("cifar", jitter=1.0).pair(x, generator(1), generator(seed)) for seed in range(4)]
    assert any(not torch.allclose(made[0], other) for other in made[1:])


def test_digits_are_neither_mirrored_nor_colored():
    """Without its random parts a digit's view is the digit."""
    x = pictures(1, 8).repeat(400, 1, 1, 1)
    made = views_of("digits").pair(x, generator(1), generator(2))
    back = made * torch.tensor(STD).view(1, 3, 1, 1) + torch.tensor(MEAN).view(1, 3, 1, 1)
    assert (back.amax(1) - back.amin(1)).max() < 1e-4
    mean, plain = back.mean(0)[0], x[0, 0].float() / 255
    near = torch.corrcoef(torch.stack([mean.flatten(), plain.flatten()]))[0, 1]
    mirrored = torch.corrcoef(torch.stack([mean.flatten(), plain.flip(1).flatten()]))[0, 1]
    assert near > 0.8
    assert near > mirrored + 0.1


def test_what_does_not_exist_is_refused():
    with pytest.raises(FathomError, match=r"unknown family of augmentations 'cats'; expected one of cifar"):
        views_of("cats")
    with pytest.raises(FathomError, match=r"number in \[0, 1.25\], got 2.0"):
        views_of("cifar", jitter=2.0)
