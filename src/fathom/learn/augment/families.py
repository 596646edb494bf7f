"""Augmentation: families of transforms in several strengths, on whole mini-batches of uint8 images.

A family is made for one kind of image (`core.augmentations`); a strength is how much an image is changed:

| family | standard | randaugment | randaugment-mc | test |
|---|---|---|---|---|
| cifar | flip, crop (black edge) | flip, crop (mirrored edge), RandAugment | also cutout of half a side | unchanged |
| digits | shift by up to an eighth | shift, one mild geometric operation | shift, two strong ones | unchanged |
| isic | flips, jitter, rotation, affine, crop | RandAugment before the crop | RandAugment at the end | resized |
| imagenet | random resized crop, flip | with RandAugment | with RandAugment | center crop |

Two more strengths are FixMatch's views. `fixmatch-weak` is `standard`, for cifar with a mirrored edge;
`fixmatch-strong` is `randaugment-mc`, for cifar and digits with each operation applied half of the time.

Source: Lüth et al., 2023, and its code. Ours: `imagenet` with `randaugment` uses the operations of the other families
(their code uses another list, which paints a single gray pixel). Ours: `digits` uses only shifts, small rotations and
shears, because a mirrored or inverted digit is another sign or none, and a gray square covers all of an 8-pixel digit.

Random parameters are drawn on the host, in one order whatever the device, so an image is augmented alike everywhere.
Drawing is apart from applying: parameters of several mini-batches can be applied at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from fathom.core.records import FathomError
from fathom.learn.augment import pixels
from fathom.learn.augment.hue import shift_hue
from fathom.learn.augment.randaugment import GEOMETRIC, OperationDraw, RandAugment, cutout
from fathom.learn.task import Channels, Task, Unlabeled

STRENGTHS: Mapping[str, RandAugment | None] = {
    "standard": None,
    "randaugment": RandAugment(n=1, m=2, p=0.5),
    "randaugment-mc": RandAugment(n=2, m=10, p=1.0),
    "fixmatch-weak": None,
    "fixmatch-strong": RandAugment(n=2, m=10, p=0.5),
}
# For large images FixMatch's views are these strengths, as published.
_LARGE_VIEWS = {"fixmatch-weak": "standard", "fixmatch-strong": "randaugment-mc"}
_DIGITS = {name: r and RandAugment(n=r.n, m=r.m, p=r.p, pool=("identity", *GEOMETRIC)) for name, r in STRENGTHS.items()}

Size = tuple[int, int]
Draw = dict[str, Tensor]  # random parameters of some images, on the CPU: the first axis is the image


@dataclass(frozen=True)
class FamilyTransforms:
    """The transforms of one family.

    Args:
        draw: (number of images, their (height, width), strength, generator) -> random parameters.
        train: (images, strength, parameters) -> augmented images.
        test: Images -> images as they are tested, of the same size as the augmented ones.
        size: (height, width) before -> after.
    """

    draw: Callable[[int, Size, str, torch.Generator], Draw]
    train: Callable[[Tensor, str, Draw], Tensor]
    test: Callable[[Tensor], Tensor]
    size: Callable[[tuple[int, int]], tuple[int, int]]


class Augmentation:
    """The transforms of one training: uint8 images in, normalized float32 images (channels last in memory) out.

    Args:
        family: Of `core.augmentations`.
        strength: One of `STRENGTHS`.
        mean: Channel means, in [0, 1].
        std: Channel standard deviations, in [0, 1].
        device: Where the images are.

    Raises:
        FathomError: Unknown family or strength.
    """

    def __init__(self, family: str, strength: str, mean: Channels, std: Channels, device: torch.device) -> None:
        if family not in TRANSFORMS:
            raise FathomError(f"unknown family of augmentations {family!r}; expected one of {', '.join(TRANSFORMS)}")
        if strength not in STRENGTHS:
            raise FathomError(f"unknown augmentation {strength!r}; expected one of {', '.join(STRENGTHS)}")
        if not all(s > 0 for s in std):
            raise FathomError(f"std of the channels must be positive, got {std}")
        self.family, self.strength = TRANSFORMS[family], strength
        self._scale = torch.tensor([1 / (255 * s) for s in std], device=device).view(1, 3, 1, 1)
        self._shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=device).view(1, 3, 1, 1)

    def train(self, x: UInt8[Tensor, "b 3 h w"], generator: torch.Generator) -> Float[Tensor, "b 3 y z"]:
        """Augment each image with its own random parameters, from a generator on the CPU."""
        return self.apply(x, [self.draw(len(x), (x.shape[2], x.shape[3]), generator)])

    def draw(self, count: int, size: Size, generator: torch.Generator) -> Draw:
        """Random parameters for a mini-batch of images of (height, width)."""
        return self.family.draw(count, size, self.strength, generator)

    def apply(self, x: UInt8[Tensor, "b 3 h w"], draws: Sequence[Draw]) -> Float[Tensor, "b 3 y z"]:
        """Augment the images of one or more mini-batches with the parameters that were drawn for each."""
        draw = draws[0] if len(draws) == 1 else {name: torch.cat([d[name] for d in draws]) for name in draws[0]}
        return self._normalize(self.family.train(x, self.strength, draw))

    def test(self, x: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 y z"]:
        """Images for validation, testing and querying: no randomness."""
        return self._normalize(self.family.test(x))

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the network's input for images of `size`."""
        return self.family.size(size)

    def _normalize(self, x: UInt8[Tensor, "b 3 y z"]) -> Float[Tensor, "b 3 y z"]:
        x = x.contiguous(memory_format=torch.channels_last)
        return x.to(torch.float32).mul_(self._scale).add_(self._shift)


def augmentation_of(source: Task | Unlabeled, strength: str = "standard") -> Augmentation:
    """Augmentation of the family of some images."""
    return Augmentation(source.augment, strength, source.mean, source.std, source.images.device)


# --------------------------------------------------------------------------------------------------- small images


def _draw_cifar(count: int, size: Size, strength: str, generator: torch.Generator) -> Draw:
    draw = _draw_flip_crop(count, size, generator, flip=True) | _draw_operations(STRENGTHS[strength], count, generator)
    if strength in ("randaugment-mc", "fixmatch-strong"):
        draw["center"] = _uniform((count, 2), generator) * torch.tensor([size], dtype=torch.float32)
    return draw


def _cifar(x: UInt8[Tensor, "b 3 h w"], strength: str, draw: Draw) -> UInt8[Tensor, "b 3 h w"]:
    size = (x.shape[2], x.shape[3])
    x = pixels.crop(x, draw["corner"], size, mirrored=draw["mirrored"], reflect=strength != "standard")
    x = _operate(x, STRENGTHS[strength], draw)
    return cutout(x, min(size) // 2, draw["center"]) if "center" in draw else x


def _draw_digits(count: int, size: Size, strength: str, generator: torch.Generator) -> Draw:
    return _draw_flip_crop(count, size, generator, flip=False) | _draw_operations(_DIGITS[strength], count, generator)


def _digits(x: UInt8[Tensor, "b 3 h w"], strength: str, draw: Draw) -> UInt8[Tensor, "b 3 h w"]:
    return _operate(pixels.crop(x, draw["corner"], (x.shape[2], x.shape[3])), _DIGITS[strength], draw)


def _draw_flip_crop(count: int, size: Size, generator: torch.Generator, *, flip: bool) -> Draw:
    """Shifts of each image by up to an eighth of its side (4 pixels at 32, 1 at 8), and flips of half of them."""
    pads = [max(1, round(side / 8)) for side in size]
    draw = {"corner": torch.stack([_integers(count, 2 * pad + 1, generator) - pad for pad in pads], 1)}
    return draw | ({"mirrored": _uniform((count,), generator) < 0.5} if flip else {})


def _draw_operations(randaugment: RandAugment | None, count: int, generator: torch.Generator) -> Draw:
    """Parameters of RandAugment with the image as first axis; none where a strength has none."""
    if randaugment is None:
        return {}
    drawn = randaugment.draw(count, generator)
    return {
        "operations": torch.stack((drawn.operation, drawn.strength, drawn.sign, drawn.active.long()), 2).transpose(0, 1)
    }


def _operate(x: UInt8[Tensor, "b 3 h w"], randaugment: RandAugment | None, draw: Draw) -> UInt8[Tensor, "b 3 h w"]:
    if randaugment is None:
        return x
    operation, strength, sign, active = draw["operations"].transpose(0, 1).unbind(2)
    return randaugment.apply(x, OperationDraw(operation, strength, sign, active.bool()))


# --------------------------------------------------------------------------------------------------- large images


def _isic_size(size: tuple[int, int]) -> tuple[int, int]:
    side = max(1, round(min(size) * 224 / 300))
    return (side, side)


def _draw_isic(count: int, size: Size, strength: str, generator: torch.Generator) -> Draw:
    strength, (h, w) = _LARGE_VIEWS.get(strength, strength), size
    mirrored, upended = (_uniform((count,), generator) < 0.5 for _ in range(2))
    crop = zip(size, _isic_size(size), strict=True)
    room = torch.stack([_integers(count, side - s + 1, generator) for side, s in crop], 1)
    draw = {"mirrored": mirrored, "upended": upended, "room": room}
    if strength == "randaugment-mc":
        draw |= {"affine": _random_affine(count, h, w, generator)} | _draw_jitter(count, generator)
    else:
        draw |= _draw_jitter(count, generator) | {"degrees": _uniform((count,), generator) * 360 - 180}
        draw |= {"affine": _random_affine(count, h, w, generator)}
    return draw | _draw_operations(STRENGTHS[strength], count, generator)


def _isic(x: UInt8[Tensor, "b 3 h w"], strength: str, draw: Draw) -> UInt8[Tensor, "b 3 y z"]:
    """Skin lesions have no upright direction: flips and any rotation. The steps have the published order."""
    strength, (h, w) = _LARGE_VIEWS.get(strength, strength), (x.shape[2], x.shape[3])
    size, randaugment = _isic_size((h, w)), STRENGTHS[strength]
    corner = torch.zeros((len(x), 2), dtype=torch.int64)
    x = pixels.crop(x, corner, (h, w), mirrored=draw["mirrored"], upended=draw["upended"])
    if strength == "randaugment-mc":
        x = pixels.affine(x, draw["affine"], size, draw["room"])
        return _operate(_jitter(x, draw), randaugment, draw)
    x = pixels.affine(_jitter(x, draw), pixels.rotation_matrix(draw["degrees"], h, w))
    if randaugment is None:
        return pixels.affine(x, draw["affine"], size, draw["room"])
    return pixels.crop(_operate(pixels.affine(x, draw["affine"]), randaugment, draw), draw["room"], size)


def _random_affine(count: int, h: int, w: int, generator: torch.Generator) -> Float[Tensor, "b 6"]:
    """Rotation up to 180 degrees, shift up to a tenth of a side (whole pixels), scale 0.7 to 1.3.

    Source: `torchvision.transforms.RandomAffine(180, translate=(.1, .1), scale=(.7, 1.3))`, and its inverse matrix.
    """
    turn, dy, dx, size = _uniform((4, count), generator).to(torch.float64).unbind(0)
    angle = torch.deg2rad(turn * 360 - 180)
    shift_x, shift_y = ((2 * dx - 1) * (0.1 * w)).round(), ((2 * dy - 1) * (0.1 * h)).round()
    cos, sin = (f(angle) / (0.7 + 0.6 * size) for f in (torch.cos, torch.sin))
    x, y = w * 0.5, h * 0.5
    c = x - cos * (x + shift_x) - sin * (y + shift_y)
    f = y + sin * (x + shift_x) - cos * (y + shift_y)
    return torch.stack((cos, sin, c, -sin, cos, f), 1)


def _draw_jitter(count: int, generator: torch.Generator) -> Draw:
    """Color jitter (.02, .02, .02, .01): factors of brightness, contrast and saturation; 255ths of the circle of hues.

    Source: `torchvision.transforms.ColorJitter`; ours in a fixed order: it draws an order for each image, which at a
        strength of 0.02 changes a pixel by one or two levels and would cost four times the work.
    """
    factors = (_uniform((3, count), generator) * 0.04 + 0.98).unbind(0)
    hue = ((_uniform((count,), generator) * 0.02 - 0.01) * 255).trunc().to(torch.int32)
    return {"bright": factors[0], "contrast": factors[1], "saturation": factors[2], "hue": hue}


def _jitter(x: UInt8[Tensor, "b 3 h w"], draw: Draw) -> UInt8[Tensor, "b 3 h w"]:
    x = pixels.blend_levels(x, torch.zeros((1, 1, 1, 1), device=x.device), draw["bright"])
    x = pixels.blend_levels(x, pixels.mean_luma(pixels.luma(x)), draw["contrast"])
    x = pixels.blend(x, pixels.luma(x), draw["saturation"])
    return shift_hue(x, draw["hue"])


def _isic_test(x: UInt8[Tensor, "b 3 h w"]) -> UInt8[Tensor, "b 3 y z"]:
    """Resize the whole image to the size of the train crop (bilinear, anti-aliased)."""
    size = _isic_size((x.shape[2], x.shape[3]))
    resized = functional.interpolate(x.to(torch.float32), size, mode="bilinear", antialias=True)
    return resized.add_(0.5).clamp_(0, 255).to(torch.uint8)


def _imagenet_size(size: tuple[int, int]) -> tuple[int, int]:
    side = max(1, round(min(size) * 224 / 256))
    return (side, side)


def _draw_imagenet(count: int, size: Size, strength: str, generator: torch.Generator) -> Draw:
    box = random_box(count, *size, generator)
    draw = {"box": box, "mirrored": _uniform((count,), generator) < 0.5}
    return draw | _draw_operations(STRENGTHS[_LARGE_VIEWS.get(strength, strength)], count, generator)


def _imagenet(x: UInt8[Tensor, "b 3 h w"], strength: str, draw: Draw) -> UInt8[Tensor, "b 3 y z"]:
    x = pixels.resize_box(x, draw["box"], _imagenet_size((x.shape[2], x.shape[3])))
    mirrored = pixels.upload(draw["mirrored"], x.device).view(-1, 1, 1, 1)
    return _operate(torch.where(mirrored, x.flip(3), x), STRENGTHS[_LARGE_VIEWS.get(strength, strength)], draw)


def random_box(count: int, h: int, w: int, generator: torch.Generator) -> Float[Tensor, "b 4"]:
    """Boxes of 8 to 100 % of the area, sides 3:4 to 4:3 (log-uniform), whole pixels: (top, left, height, width).

    Source: `torchvision.transforms.RandomResizedCrop`: the first of ten proposals that fits; ours where none does: the
        whole image, where it would cut a middle part if the image is more oblong than 4:3.
    """
    area, ratio = _uniform((2, count, 10), generator).to(torch.float64).unbind(0)
    area, ratio = h * w * (0.08 + 0.92 * area), ((2 * ratio - 1) * torch.log(torch.tensor(4 / 3))).exp()
    widths, heights = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (widths <= w) & (heights <= h) & (widths > 0) & (heights > 0)
    first = fits.to(torch.int32).argmax(1, keepdim=True)
    found = fits.any(1)
    height = torch.where(found, heights.gather(1, first).squeeze(1), h)
    width = torch.where(found, widths.gather(1, first).squeeze(1), w)
    top, left = _uniform((2, count), generator).to(torch.float64).unbind(0)
    top, left = (top * (h - height + 1)).floor(), (left * (w - width + 1)).floor()
    return torch.stack((top, left, height, width), 1)


def _imagenet_test(x: UInt8[Tensor, "b 3 h w"]) -> UInt8[Tensor, "b 3 y z"]:
    """Crop the center to the size of the train crop."""
    h, w = _imagenet_size((x.shape[2], x.shape[3]))
    top, left = round((x.shape[2] - h) / 2), round((x.shape[3] - w) / 2)
    return x[:, :, top : top + h, left : left + w]


# --------------------------------------------------------------------------------------------------------- helpers


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "..."]:
    return torch.rand(shape, generator=generator, device=generator.device).cpu()


def _integers(count: int, high: int, generator: torch.Generator) -> Int[Tensor, "b"]:
    return torch.randint(high, (count,), generator=generator, device=generator.device).cpu()


TRANSFORMS: Mapping[str, FamilyTransforms] = {
    "cifar": FamilyTransforms(_draw_cifar, _cifar, lambda x: x, lambda size: size),
    "digits": FamilyTransforms(_draw_digits, _digits, lambda x: x, lambda size: size),
    "isic": FamilyTransforms(_draw_isic, _isic, _isic_test, _isic_size),
    "imagenet": FamilyTransforms(_draw_imagenet, _imagenet, _imagenet_test, _imagenet_size),
}
