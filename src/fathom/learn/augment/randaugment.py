"""RandAugment: n random operations on each image, batched.

Which image gets which operation is known on the host, on every device: in each step images are sorted by operation, and
an operation touches only its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from fathom.learn.augment import pixels

GEOMETRIC = ("rotate", "shear-x", "shear-y", "translate-x", "translate-y")
OPERATIONS = (
    "autocontrast", "brightness", "color", "contrast", "sharpness", "equalize", "identity", "posterize", "solarize",
    *GEOMETRIC,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class OperationDraw:
    """The random parameters of each of b images in each of n steps, on the CPU.

    Args:
        operation: Index into the pool of operations.
        strength: Whole number on the 10-point scale.
        sign: 1 or -1, for geometric operations.
        active: True where the step is applied.
    """

    operation: Int[Tensor, "n b"]
    strength: Int[Tensor, "n b"]
    sign: Int[Tensor, "n b"]
    active: Bool[Tensor, "n b"]


@dataclass(frozen=True)
class RandAugment:
    """RandAugment as FixMatch uses it: `n` operations drawn with replacement, each of a random strength.

    Args:
        n: Operations per image.
        m: Strengths are whole numbers from 1 to m - 1 (so m = 2 always gives 1), on a 10-point scale.
        p: Probability that a drawn operation is applied, in [0, 1].
        pool: Names of the operations, from `OPERATIONS`.

    Source: Cubuk et al., 2020; Sohn et al., 2020 (FixMatch), Appendix D; pool, strengths and p as in the code
        of Lüth et al., 2023.
    """

    n: int
    m: int
    p: float
    pool: tuple[str, ...] = OPERATIONS

    def draw(self, count: int, generator: torch.Generator) -> OperationDraw:
        """Random parameters for `count` images."""
        shape, device = (self.n, count), generator.device
        operation = torch.randint(len(self.pool), shape, generator=generator, device=device)
        strength = torch.randint(1, self.m, shape, generator=generator, device=device)
        sign = 1 - 2 * torch.randint(2, shape, generator=generator, device=device)
        active = torch.rand(shape, generator=generator, device=device) < self.p
        return OperationDraw(operation.cpu(), strength.cpu(), sign.cpu(), active.cpu())

    def apply(self, x: UInt8[Tensor, "b 3 h w"], draw: OperationDraw) -> UInt8[Tensor, "b 3 h w"]:
        """Apply all n steps. The result of an image depends on its own parameters only."""
        place = torch.arange(len(x))  # of each image before the first step
        family = torch.tensor([FAMILY_NAMES.index(_FAMILY.get(name, name)) for name in self.pool])
        for step in range(self.n):
            kinds = torch.where(draw.active[step], family[draw.operation[step]], FAMILY_NAMES.index("identity"))
            order = kinds[place].argsort(stable=True)
            x, place = x.index_select(0, pixels.upload(order, x.device)), place[order]
            names = [self.pool[i] for i in draw.operation[step].tolist()]
            first = 0
            for kind, count in enumerate(torch.bincount(kinds).tolist()):
                rows, part = place[first : first + count], x[first : first + count]
                if count and (operation := FAMILIES.get(FAMILY_NAMES[kind])):
                    strength, sign = draw.strength[step][rows], draw.sign[step][rows]
                    part.copy_(operation(part, [names[i] for i in rows.tolist()], strength, sign))
                first += count
        return x.index_select(0, pixels.upload(place.argsort(), x.device))

    def __call__(self, x: UInt8[Tensor, "b 3 h w"], generator: torch.Generator) -> UInt8[Tensor, "b 3 h w"]:
        return self.apply(x, self.draw(len(x), generator))


def cutout(x: UInt8[Tensor, "b 3 h w"], side: int, center: Float[Tensor, "b 2"]) -> UInt8[Tensor, "b 3 h w"]:
    """Paint a gray (127) square about the center (row, column; pixels) of each image, cut at the image's edge.

    Source: FixMatch's `CutoutAbs`: the rectangle includes both its corners, so its side is `side` + 1 pixels.
    """
    h, w = x.shape[2:]
    first = pixels.upload((center - side / 2).clamp(min=0).floor(), x.device).unsqueeze(2)
    rows, columns = torch.arange(h, device=x.device), torch.arange(w, device=x.device)
    in_rows = (rows >= first[:, 0]) & (rows <= first[:, 0] + side)
    in_columns = (columns >= first[:, 1]) & (columns <= first[:, 1] + side)
    return x.masked_fill((in_rows.unsqueeze(2) & in_columns.unsqueeze(1)).unsqueeze(1), 127)


# ------------------------------------------------------------------------- operations, each on its own images alone


def _factor(strength: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
    return strength.to(torch.float64) * 0.9 / 10 + 0.05


def _named(names: list[str], name: str) -> Bool[Tensor, "b"]:
    return torch.tensor([one == name for one in names])


def _brightness(x: Tensor, names: list[str], strength: Tensor, sign: Tensor) -> Tensor:
    return pixels.blend_levels(x, torch.zeros((1, 1, 1, 1), device=x.device), _factor(strength))


def _contrast(x: Tensor, names: list[str], strength: Tensor, sign: Tensor) -> Tensor:
    return pixels.blend_levels(x, pixels.mean_luma(pixels.luma(x)), _factor(strength))


def _levels(x: Tensor, names: list[str], strength: Tensor, sign: Tensor) -> Tensor:
    bits = torch.where(_named(names, "posterize"), (strength * 4) // 10 + 4, 8)
    threshold = torch.where(_named(names, "solarize"), 256 - (strength * 256) // 10, 256)
    return pixels.posterize_solarize(x, bits, threshold)


def _geometric(x: Tensor, names: list[str], strength: Tensor, sign: Tensor) -> Tensor:
    """The affine maps: rotations up to 30 degrees, shears and shifts up to 0.3."""
    height, width = x.shape[2:]
    fraction = strength.to(torch.float64) * 0.3 / 10 * sign
    degrees = torch.where(_named(names, "rotate"), (strength * 3 * sign).to(torch.float64), 0.0)
    a, b, c, d, e, f = pixels.rotation_matrix(degrees, height, width).unbind(1)
    b = torch.where(_named(names, "shear-x"), fraction, b)
    c = torch.where(_named(names, "translate-x"), (fraction * width).trunc(), c)
    d = torch.where(_named(names, "shear-y"), fraction, d)
    f = torch.where(_named(names, "translate-y"), (fraction * height).trunc(), f)
    return pixels.affine(x, torch.stack((a, b, c, d, e, f), 1))


# Operations of one form share a call.
FAMILIES: dict[str, Callable[[Tensor, list[str], Tensor, Tensor], Tensor]] = {
    "geometric": _geometric,
    "brightness": _brightness,
    "color": lambda x, names, strength, sign: pixels.blend(x, pixels.luma(x), _factor(strength)),
    "contrast": _contrast,
    "sharpness": lambda x, names, strength, sign: pixels.blend(x, pixels.smooth(x), _factor(strength)),
    "levels": _levels,
    "autocontrast": lambda x, names, strength, sign: pixels.autocontrast(x),
    "equalize": lambda x, names, strength, sign: pixels.equalize(x),
}
FAMILY_NAMES = [*FAMILIES, "identity"]
_FAMILY = {"posterize": "levels", "solarize": "levels"} | dict.fromkeys(GEOMETRIC, "geometric")
