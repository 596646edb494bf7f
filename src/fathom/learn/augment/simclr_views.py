"""The two random views per image that SimCLR trains on, made of whole mini-batches on the device.

| family | geometry | color |
|---|---|---|
| cifar, isic, imagenet | random resized crop, flip | jitter (p 0.8), gray (p 0.2), Gaussian blur where asked (p 0.5) |
| digits | small rotation, shear, scale, shift | brightness and contrast, a rectangle erased |

Each image has its own parameters; each operation gives the values of torchvision's for the same parameters.

Source: Chen et al., 2020 (SimCLR), App. A; Lüth et al., 2023 (code). Ours: `digits`, because a digit that is mirrored
or cut to a corner is another sign; and the jitter's four operations have one order per mini-batch and view, not per
image.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

from fathom.core.augmentations import AUGMENTATIONS
from fathom.core.records import FathomError
from fathom.learn.augment import families, pixels
from fathom.learn.task import Channels

GRAY = (0.2989, 0.587, 0.114)  # weights of red, green and blue, as torchvision's `rgb_to_grayscale`
MOST_JITTER, JITTER_RANGE = 1.25, "a number in [0, 1.25]"  # above, the factor 1 - 0.8 s would be negative
SIGMA = (0.1, 2.0)  # standard deviations of the blur, pixels


class Views:
    """Makes views: uint8 images in, normalized float32 images (channels last in memory) out.

    Args:
        family: Of `core.augmentations`.
        jitter: Strength s of the color jitter, in [0, 1.25]: (0.8 s, 0.8 s, 0.8 s, 0.2 s) for brightness, contrast,
            saturation, hue; for `digits` of brightness and contrast alone.
        blur: Blur half of the views.
        mean, std: Channel statistics, in [0, 1].
        device: Device of the images.

    Raises:
        FathomError: Unknown family, or a strength out of range.
    """

    def __init__(
        self, family: str, jitter: float, blur: bool, mean: Channels, std: Channels, device: torch.device
    ) -> None:
        if family not in AUGMENTATIONS:
            raise FathomError(f"unknown family of augmentations {family!r}; expected one of {', '.join(AUGMENTATIONS)}")
        if not 0 <= jitter <= MOST_JITTER:
            raise FathomError(f"the strength of the color jitter must be {JITTER_RANGE}, got {jitter}")
        self.family, self.jitter, self.blur = family, float(jitter), blur
        self._mean, self._std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (mean, std))

    def pair(
        self, x: UInt8[Tensor, "b 3 h w"], generator: torch.Generator, order: torch.Generator
    ) -> Float[Tensor, "v 3 y z"]:
        """Two views of each image, v = 2 b: rows i and i + b are of image i.

        Args:
            x: Images.
            generator: On the CPU: parameters of each image, the same on every device.
            order: On the CPU: the order of the jitter's operations.
        """
        views = torch.cat([self._view(x, generator, order) for _ in range(2)])
        views = views.contiguous(memory_format=torch.channels_last)
        return views.sub_(self._mean).div_(self._std)

    def _view(
        self, x: UInt8[Tensor, "b 3 h w"], generator: torch.Generator, order: torch.Generator
    ) -> Float[Tensor, "b 3 y z"]:
        """One view of each image, in [0, 1]."""
        if not AUGMENTATIONS[self.family].mirrors:
            return self._digits(x, generator)
        h, w = x.shape[2:]
        box = families.random_box(len(x), h, w, generator)
        out = pixels.resize_box(x, box, families.TRANSFORMS[self.family].size((h, w))).float().div_(255)
        out = _changed(out, _chance(len(x), 0.5, generator), lambda image: image.flip(3))
        out = self._color(out, generator, order)
        out = _changed(out, _chance(len(x), 0.2, generator), gray)
        if self.blur:
            sigma = _between(len(x), *SIGMA, generator)
            side = min(out.shape[2:]) // 10
            kernel = side + 1 - side % 2
            out = _changed(out, _chance(len(x), 0.5, generator), lambda x, s: blurred(x, s, kernel), sigma)
        return out

    def _color(
        self, x: Float[Tensor, "b 3 h w"], generator: torch.Generator, order: torch.Generator
    ) -> Float[Tensor, "b 3 h w"]:
        """Change brightness, contrast, saturation and hue in a random order, of four images in five."""
        s, b = 0.8 * self.jitter, len(x)
        bright, contrast, color = (_between(b, max(0.0, 1 - s), 1 + s, generator) for _ in range(3))
        hue = _between(b, -0.2 * self.jitter, 0.2 * self.jitter, generator)
        steps = [(brightened, bright), (contrasted, contrast), (saturated, color), (hued, hue)]
        chosen = [steps[i] for i in torch.randperm(4, generator=order).tolist()]

        def jittered(image: Tensor, *factors: Tensor) -> Tensor:
            for (step, _), factor in zip(chosen, factors, strict=True):
                image = step(image, factor)
            return image

        return _changed(x, _chance(b, 0.8, generator), jittered, *(factor for _, factor in chosen))

    def _digits(self, x: UInt8[Tensor, "b 3 h w"], generator: torch.Generator) -> Float[Tensor, "b 3 h w"]:
        """Rotate, shear, resize and shift each digit a little, change its brightness, and hide a part of it."""
        b, s = len(x), 0.8 * self.jitter
        out = warped(x.float().div_(255), _digit_maps(b, generator))
        out = contrasted(brightened(out, _between(b, 1 - s, 1 + s, generator)), _between(b, 1 - s, 1 + s, generator))
        return erased(out, _random((b, 4), generator), DIGIT_HIDDEN)


# Degrees, shear, relative change of size, shift and largest erased rectangle as fractions of a side: so small that a
# digit stays the same digit for a reader.
DIGIT_ROTATION, DIGIT_SHEAR, DIGIT_SIZE, DIGIT_SHIFT, DIGIT_HIDDEN = 15.0, 0.2, 0.2, 0.125, 0.4


def _digit_maps(count: int, generator: torch.Generator) -> Float[Tensor, "b 2 3"]:
    """Random inverse affine maps (output to input), in units of half a side from the middle."""
    angle = torch.deg2rad(_between(count, -DIGIT_ROTATION, DIGIT_ROTATION, generator))
    slant = _between(count, -DIGIT_SHEAR, DIGIT_SHEAR, generator)
    tall, wide = (_between(count, 1 - DIGIT_SIZE, 1 + DIGIT_SIZE, generator) for _ in range(2))
    dx, dy = (_between(count, -2 * DIGIT_SHIFT, 2 * DIGIT_SHIFT, generator) for _ in range(2))
    cos, sin = angle.cos(), angle.sin()
    across = torch.stack((cos / wide, (slant * cos - sin) / wide, dx), 1)
    down = torch.stack((sin / tall, (slant * sin + cos) / tall, dy), 1)
    return torch.stack((across, down), 1)


# ------------------------------------------------------------------------------- operations on images in [0, 1]


def brightened(x: Float[Tensor, "b 3 h w"], factor: Float[Tensor, "b"]) -> Float[Tensor, "b 3 h w"]:
    """Multiply each image by its factor, as torchvision's `adjust_brightness`."""
    return (x * pixels.upload(factor, x.device).view(-1, 1, 1, 1)).clamp_(0, 1)


def contrasted(x: Float[Tensor, "b 3 h w"], factor: Float[Tensor, "b"]) -> Float[Tensor, "b 3 h w"]:
    """Scale each image's distance from its mean gray, as torchvision's `adjust_contrast`."""
    return _away(x, _gray(x).mean((2, 3), keepdim=True), factor)


def saturated(x: Float[Tensor, "b 3 h w"], factor: Float[Tensor, "b"]) -> Float[Tensor, "b 3 h w"]:
    """Scale each pixel's distance from its gray, as torchvision's `adjust_saturation`."""
    return _away(x, _gray(x), factor)


def hued(x: Float[Tensor, "b 3 h w"], turn: Float[Tensor, "b"]) -> Float[Tensor, "b 3 h w"]:
    """Rotate the hue of each image by a part of the circle, in [-0.5, 0.5], as torchvision's `adjust_hue`."""
    value, low = x.amax(1), x.amin(1)
    spread = value - low
    scale = torch.where(spread > 0, spread, 1.0)
    rc, gc, bc = ((value - c).div_(scale) for c in x.unbind(1))
    red, green, _ = x.unbind(1)
    sextant = torch.where(red == value, bc - gc, torch.where(green == value, 2 + rc - bc, 4 + gc - rc))
    hue = sextant.div_(6).add_(pixels.upload(turn, x.device).view(-1, 1, 1)).remainder_(1).mul_(6)
    channels = []
    for offset in (5, 3, 1):  # red, green, blue: how far from the value each is, as a function of the hue
        at = (hue + offset).remainder_(6)
        channels.append(value - torch.minimum(at, 4 - at).clamp_(0, 1).mul_(spread))
    return torch.stack(channels, 1)


def gray(x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Remove the color, in three equal channels, as torchvision's `rgb_to_grayscale`."""
    return _gray(x).expand_as(x)


def blurred(x: Float[Tensor, "b 3 h w"], sigma: Float[Tensor, "b"], kernel: int) -> Float[Tensor, "b 3 h w"]:
    """Blur each image by a Gaussian of its own width, the edge mirrored, as torchvision's `gaussian_blur`.

    Args:
        x: Images.
        sigma: Standard deviations, pixels.
        kernel: Side of the kernel, pixels, odd.
    """
    half = kernel // 2
    at = torch.arange(-half, half + 1, device=x.device, dtype=x.dtype)
    weights = (-0.5 * (at / pixels.upload(sigma, x.device).view(-1, 1)).square()).exp()
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(3, 0)
    b, _, h, w = x.shape
    # Every image has its own kernel: all channels of all images become groups of one convolution. The Gaussian is
    # separable, so a column and a row kernel replace the square one.
    out = functional.pad(x, [half] * 4, mode="reflect").reshape(1, 3 * b, h + 2 * half, w + 2 * half)
    out = functional.conv2d(out, weights.view(-1, 1, kernel, 1), groups=3 * b)
    return functional.conv2d(out, weights.view(-1, 1, 1, kernel), groups=3 * b).view(b, 3, h, w)


def warped(x: Float[Tensor, "b 3 h w"], maps: Float[Tensor, "b 2 3"]) -> Float[Tensor, "b 3 h w"]:
    """Warp each image by its inverse affine map, bilinear, black outside."""
    grid = functional.affine_grid(pixels.upload(maps, x.device), [*x.shape], align_corners=False)
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def erased(x: Float[Tensor, "b 3 h w"], where: Float[Tensor, "b 4"], largest: float) -> Float[Tensor, "b 3 h w"]:
    """Paint one rectangle of each image black.

    Args:
        x: Images.
        where: In [0, 1): center (row, column) as fractions of the image's sides, and sides as fractions of the largest.
        largest: Largest side of a rectangle as a fraction of the image's.
    """
    hidden = []
    for axis, side in enumerate(x.shape[2:]):
        middle, half = where[:, axis, None] * side, where[:, axis + 2, None] * (largest * side / 2)
        at = torch.arange(side, device=where.device) + 0.5
        hidden.append(pixels.upload((at - middle).abs() < half, x.device))
    return x.masked_fill((hidden[0].unsqueeze(2) & hidden[1].unsqueeze(1)).unsqueeze(1), 0)


def _gray(x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    red, green, blue = x.unbind(1)
    return (GRAY[0] * red + GRAY[1] * green + GRAY[2] * blue).unsqueeze(1)


def _away(x: Float[Tensor, "b 3 h w"], plain: Float[Tensor, "b 1 _ _"], factor: Float[Tensor, "b"]) -> Tensor:
    return torch.lerp(plain.expand_as(x), x, pixels.upload(factor, x.device).view(-1, 1, 1, 1)).clamp_(0, 1)


def _changed(
    x: Float[Tensor, "b 3 h w"],
    chosen: Bool[Tensor, "b"],
    change: Callable[..., Tensor],
    *parameters: Float[Tensor, "b"],
) -> Float[Tensor, "b 3 h w"]:
    """Change the chosen images, in place: the host knows which, so that nothing is computed for the others."""
    rows = chosen.nonzero().squeeze(1)
    if len(rows):
        at = pixels.upload(rows, x.device)
        x.index_copy_(0, at, change(x.index_select(0, at), *(p[rows] for p in parameters)))
    return x


def _random(shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "..."]:
    return torch.rand(shape, generator=generator, device=generator.device).cpu()


def _between(count: int, low: float, high: float, generator: torch.Generator) -> Float[Tensor, "b"]:
    return low + (high - low) * _random((count,), generator)


def _chance(count: int, p: float, generator: torch.Generator) -> Bool[Tensor, "b"]:
    return _random((count,), generator) < p
