"""RandAugment: n random operations on each image, batched."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from fathom.learn.augment import pixels

GEOMETRIC = ("rotate", "shear-x", "shear-y", "translate-x", "translate-y")
BLENDS = ("brightness", "color", "contrast")
Masks = dict[str, Bool[Tensor, "b"]]  # name of an operation -> the images that it is applied to
OPERATIONS = ("autocontrast", *BLENDS, "sharpness", "equalize", "identity", "posterize", "solarize", *GEOMETRIC)


@dataclass(frozen=True, eq=False)
class OperationDraw:
    """The random parameters of each of b images in each of n steps.

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
        """Random parameters for `count` images, on the generator's device."""
        shape, device = (self.n, count), generator.device
        operation = torch.randint(len(self.pool), shape, generator=generator, device=device)
        strength = torch.randint(1, self.m, shape, generator=generator, device=device)
        sign = 1 - 2 * torch.randint(2, shape, generator=generator, device=device)
        active = torch.rand(shape, generator=generator, device=device) < self.p
        return OperationDraw(operation, strength, sign, active)

    def apply(self, x: UInt8[Tensor, "b 3 h w"], draw: OperationDraw) -> UInt8[Tensor, "b 3 h w"]:
        """Apply all n steps. The result of an image depends on its own parameters only."""
        x = x.clone()
        for step in range(self.n):
            active, operation = draw.active[step], draw.operation[step]
            chosen = {name: active & (operation == i) for i, name in enumerate(self.pool) if name != "identity"}
            x = _step(x, chosen, draw.strength[step], draw.sign[step])
        return x

    def __call__(self, x: UInt8[Tensor, "b 3 h w"], generator: torch.Generator) -> UInt8[Tensor, "b 3 h w"]:
        return self.apply(x, self.draw(len(x), generator))


def cutout(x: UInt8[Tensor, "b 3 h w"], side: int, center: Float[Tensor, "b 2"]) -> UInt8[Tensor, "b 3 h w"]:
    """Paint a gray (127) square about the center (row, column; pixels) of each image, cut at the image's edge.

    Source: FixMatch's `CutoutAbs`: the rectangle includes both its corners, so its side is `side` + 1 pixels.
    """
    h, w = x.shape[2:]
    first = (center - side / 2).clamp(min=0).floor().unsqueeze(2)
    rows, columns = torch.arange(h, device=x.device), torch.arange(w, device=x.device)
    in_rows = (rows >= first[:, 0]) & (rows <= first[:, 0] + side)
    in_columns = (columns >= first[:, 1]) & (columns <= first[:, 1] + side)
    return x.masked_fill((in_rows.unsqueeze(2) & in_columns.unsqueeze(1)).unsqueeze(1), 127)


def _step(
    x: UInt8[Tensor, "b 3 h w"], chosen: Masks, strength: Int[Tensor, "b"], sign: Int[Tensor, "b"]
) -> UInt8[Tensor, "b 3 h w"]:
    """Apply one operation to each image.

    Operations of one kind share a call, so that a mini-batch needs six passes and not one per operation.
    """
    never = torch.zeros_like(strength, dtype=torch.bool)
    is_ = {name: chosen.get(name, never) for name in OPERATIONS}
    if geometric := [chosen[k] for k in GEOMETRIC if k in chosen]:
        x = _on(x, geometric, pixels.affine, _matrix(is_, strength, sign, x.shape[2], x.shape[3]))
    factor = strength.to(torch.float64) * 0.9 / 10 + 0.05
    if blends := [chosen[k] for k in BLENDS if k in chosen]:
        x = _on(x, blends, _blend, factor, is_["color"], is_["contrast"])
    if "sharpness" in chosen:
        x = _on(x, [chosen["sharpness"]], lambda y, f: pixels.blend(y, pixels.smooth(y), f), factor)
    if levels := [chosen[k] for k in ("posterize", "solarize") if k in chosen]:
        bits = torch.where(is_["posterize"], (strength * 4) // 10 + 4, 8)
        threshold = torch.where(is_["solarize"], 256 - (strength * 256) // 10, 256)
        x = _on(x, levels, pixels.posterize_solarize, bits, threshold)
    if "autocontrast" in chosen:
        x = _on(x, [chosen["autocontrast"]], pixels.autocontrast)
    if "equalize" in chosen:
        x = _on(x, [chosen["equalize"]], pixels.equalize)
    return x


def _on(
    x: UInt8[Tensor, "b 3 h w"], masks: list[Bool[Tensor, "b"]], operation: Callable[..., Tensor], *parameters: Tensor
) -> UInt8[Tensor, "b 3 h w"]:
    """Apply an operation to the images in any of the masks.

    On a CPU only those images are computed. On an accelerator all are computed and the others dropped: listing the
    images there would synchronize with the host in every step.
    """
    members = masks[0] if len(masks) == 1 else torch.stack(masks).any(0)
    if x.device.type != "cpu":
        return torch.where(members.view(-1, 1, 1, 1), operation(x, *parameters), x)
    rows = members.nonzero().squeeze(1)
    if len(rows):
        x[rows] = operation(x[rows], *(p[rows] for p in parameters))
    return x


def _blend(
    x: UInt8[Tensor, "b 3 h w"], factor: Float[Tensor, "b"], color: Bool[Tensor, "b"], contrast: Bool[Tensor, "b"]
) -> UInt8[Tensor, "b 3 h w"]:
    """Brightness fades to black, color to gray, contrast to the mean brightness."""
    gray = pixels.luma(x)
    color, contrast = (c.view(-1, 1, 1, 1).to(torch.float32) for c in (color, contrast))
    return pixels.blend(x, gray * color + pixels.mean_luma(gray) * contrast, factor)


def _matrix(
    is_: Masks, strength: Int[Tensor, "b"], sign: Int[Tensor, "b"], height: int, width: int
) -> Float[Tensor, "b 6"]:
    """The affine map of each image: rotations up to 30 degrees, shears and shifts up to 0.3."""
    fraction = strength.to(torch.float64) * 0.3 / 10 * sign
    degrees = torch.where(is_["rotate"], (strength * 3 * sign).to(torch.float64), 0.0)
    a, b, c, d, e, f = pixels.rotation_matrix(degrees, height, width).unbind(1)
    b = torch.where(is_["shear-x"], fraction, b)
    c = torch.where(is_["translate-x"], (fraction * width).trunc(), c)
    d = torch.where(is_["shear-y"], fraction, d)
    f = torch.where(is_["translate-y"], (fraction * height).trunc(), f)
    return torch.stack((a, b, c, d, e, f), 1)
