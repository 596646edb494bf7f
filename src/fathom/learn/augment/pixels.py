"""Image operations on whole mini-batches that give, bit for bit, what Pillow gives for one image.

Every function takes uint8 images [b, 3, h, w] with one parameter per image, loops over no image, and gives the
result that Pillow gives for each: exactly for point operations, blends, histograms and nearest-neighbor warps,
within one level for resampling with weights. The tests compare each with Pillow. Parameters may be on the CPU.

On a GPU an operation takes as long as the bytes that it moves, so images stay uint8, indices are int32 where torch
takes them, and what depends on few values comes from a table.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

_FIX = 65536  # Pillow warps in 16.16 fixed point; other arithmetic picks other neighbors on edges of pixels


def upload(values: Shaped[Tensor, "..."], device: torch.device) -> Shaped[Tensor, "..."]:
    """Copy a small tensor to a device; through pinned memory to a GPU, so that the host does not wait for the copy."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def gather_pixels(
    x: UInt8[Tensor, "b 3 h w"], rows: Int[Tensor, "b ..."], columns: Int[Tensor, "b ..."]
) -> UInt8[Tensor, "b 3 y z"]:
    """Take the pixels at (row, column) of each image, 0 outside it; `rows` and `columns` broadcast to [b, y, z].

    Both are written to.
    """
    b, _, h, w = x.shape
    # A black edge of one pixel stands for everything outside, which saves masks of the size of the images.
    x = torch.nn.functional.pad(x, (1, 1, 1, 1))
    rows = rows.clamp_(-1, h).add_(1).mul_(w + 2)
    index = (rows + columns.clamp_(-1, w).add_(1)).to(torch.int64)
    y, z = index.shape[1:]
    return x.reshape(b, 3, -1).gather(2, index.view(b, 1, y * z).expand(b, 3, y * z)).view(b, 3, y, z)


def affine(
    x: UInt8[Tensor, "b 3 h w"],
    matrix: Float[Tensor, "b 6"],
    size: tuple[int, int] | None = None,
    corner: Int[Tensor, "b 2"] | None = None,
) -> UInt8[Tensor, "b 3 y z"]:
    """Warp by the inverse affine map, nearest neighbor, black outside.

    Args:
        x: Images.
        matrix: (a, b, c, d, e, f) of each: output pixel (x, y) takes input pixel (a x + b y + c, d x + e y + f).
        size: (height, width) of a window of the output; None for all of it.
        corner: (row, column) of the window's first pixel; None for (0, 0).

    Source: Pillow, `Image.transform(size, AFFINE, matrix, NEAREST)`, in its 16.16 fixed-point form.
    """
    height, width = size or (x.shape[2], x.shape[3])
    a, b, c, d, e, f = matrix.to(torch.float64).unbind(1)
    fixed = torch.stack((a, b, c + 0.5 * (a + b), d, e, f + 0.5 * (d + e)), 1)
    fixed = upload((fixed * _FIX + 0.5).floor().to(torch.int32), x.device)
    a, b, c, d, e, f = fixed.unsqueeze(2).unsqueeze(3).unbind(1)
    row = torch.arange(height, device=x.device, dtype=torch.int32).view(1, height, 1)
    column = torch.arange(width, device=x.device, dtype=torch.int32).view(1, 1, width)
    if corner is not None:
        first = upload(corner.to(torch.int32), x.device).view(-1, 2, 1, 1)
        row, column = row + first[:, 0], column + first[:, 1]
    rows = (d * column + (e * row + f)).bitwise_right_shift_(16)
    return gather_pixels(x, rows, (a * column + (b * row + c)).bitwise_right_shift_(16))


def rotation_matrix(degrees: Float[Tensor, "b"], height: int, width: int) -> Float[Tensor, "b 6"]:
    """The matrix of a counter-clockwise rotation about the center, as `Image.rotate` builds it."""
    angle = -torch.deg2rad(degrees.to(torch.float64))
    cos, sin = angle.cos(), angle.sin()
    x, y = width / 2, height / 2
    return torch.stack((cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y), 1)


def crop(
    x: UInt8[Tensor, "b 3 h w"],
    corner: Int[Tensor, "b 2"],
    size: tuple[int, int],
    *,
    mirrored: Shaped[Tensor, "b"] | None = None,
    upended: Shaped[Tensor, "b"] | None = None,
    reflect: bool = False,
) -> UInt8[Tensor, "b 3 y z"]:
    """Flip the marked images, then cut a window at `corner`; outside the image it is black or a reflection.

    Args:
        x: Images.
        corner: (row, column) of the window's first pixel, negative in the padding.
        size: (height, width) of the window.
        mirrored: Which images to flip left to right first (boolean).
        upended: Which images to flip upside down first (boolean).
        reflect: Padding mirrors the image about its edge pixel (else it is black).
    """
    h, w = x.shape[2:]
    rows = corner[:, :1] + torch.arange(size[0], device=corner.device)
    columns = corner[:, 1:] + torch.arange(size[1], device=corner.device)
    if reflect:
        rows, columns = (h - 1) - (rows.abs() - (h - 1)).abs(), (w - 1) - (columns.abs() - (w - 1)).abs()
    if upended is not None:
        rows = torch.where(upended.unsqueeze(1), h - 1 - rows, rows)
    if mirrored is not None:
        columns = torch.where(mirrored.unsqueeze(1), w - 1 - columns, columns)
    return gather_pixels(x, upload(rows, x.device).unsqueeze(2), upload(columns, x.device).unsqueeze(1))


def luma(x: UInt8[Tensor, "b 3 h w"]) -> UInt8[Tensor, "b 1 h w"]:
    """Brightness of each pixel, 0 to 255 (ITU-R 601-2), as `Image.convert("L")`."""
    r, g, b = x.unbind(1)
    half = int32(0x8000, x.device)  # of 16-bit fixed point, so that it rounds
    total = torch.add(half, r, alpha=19595).add_(g, alpha=38470).add_(b, alpha=7471)
    return total.bitwise_right_shift_(16).to(torch.uint8).unsqueeze(1)


def mean_luma(gray: UInt8[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 1 1"]:
    """Mean brightness of each image, rounded, as `ImageEnhance.Contrast` takes it."""
    count = gray.shape[2] * gray.shape[3]
    total = gray.sum((2, 3), keepdim=True, dtype=torch.int64)
    return ((2 * total + count) // (2 * count)).to(torch.float32)


def blend(
    x: UInt8[Tensor, "b c h w"], plain: Shaped[Tensor, "_ _ _ _"], factor: Float[Tensor, "b"]
) -> UInt8[Tensor, "b c h w"]:
    """`plain + factor * (x - plain)`, cut to whole levels, as `Image.blend`: factor 0 gives `plain`, 1 gives `x`."""
    plain, factor = plain.to(torch.float32), upload(factor.to(torch.float32), x.device).view(-1, 1, 1, 1)
    return (x - plain).mul_(factor).add_(plain).clamp_(0, 255).to(torch.uint8)


def blend_levels(
    x: UInt8[Tensor, "b 3 h w"], plain: Float[Tensor, "_ 1 1 1"], factor: Float[Tensor, "b"]
) -> UInt8[Tensor, "b 3 h w"]:
    """`blend` with one plain level per image: a table of 256 levels per image in place of arithmetic per pixel."""
    levels = torch.arange(256, dtype=torch.uint8, device=x.device).expand(len(x), 1, 1, 256)
    table = blend(levels, plain, factor)
    return look_up(x, table.view(len(x), 1, 256).expand(-1, 3, 256))


def smooth(x: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """3x3 weighted mean (center 5, others 1; the edge is unchanged), rounded, as `ImageFilter.SMOOTH`."""
    out = x.to(torch.float32)
    if min(x.shape[2:]) < 3:
        return out
    across = out[..., :-2] + out[..., 1:-1] + out[..., 2:]
    total = across[:, :, :-2] + across[:, :, 1:-1] + across[:, :, 2:] + 4 * out[:, :, 1:-1, 1:-1]
    out[:, :, 1:-1, 1:-1] = (
        total.div_(13).add_(0.5).floor_()
    )  # a multiple of 1/13 is never half a level, so all roundings agree
    return out


def posterize_solarize(
    x: UInt8[Tensor, "b 3 h w"], bits: Int[Tensor, "b"], threshold: Int[Tensor, "b"]
) -> UInt8[Tensor, "b 3 h w"]:
    """Invert levels from `threshold` up (256: none), then keep the `bits` highest bits of each (8: all)."""
    levels = torch.arange(256, device=bits.device, dtype=torch.int32)
    table = torch.where(levels < threshold.unsqueeze(1), levels, 255 - levels)
    table &= (256 - (1 << (8 - bits.to(torch.int32)))).unsqueeze(1)
    return look_up(x, upload(table.to(torch.uint8), x.device).unsqueeze(1).expand(-1, 3, 256))


def look_up(x: UInt8[Tensor, "b 3 h w"], table: UInt8[Tensor, "b 3 256"]) -> UInt8[Tensor, "b 3 h w"]:
    """Replace each level by its entry in the table of its image and channel."""
    first = torch.arange(0, 256 * 3 * len(x), 256, dtype=torch.int32, device=x.device).view(-1, 3, 1, 1)
    return table.reshape(-1).index_select(0, (x + first).reshape(-1)).view(x.shape)


def histogram(x: UInt8[Tensor, "b 3 h w"]) -> Int[Tensor, "b 3 256"]:
    """Count the pixels of each image and channel at each level."""
    flat = x.flatten(2).to(torch.int64)
    counts = torch.zeros((*x.shape[:2], 256), dtype=torch.int32, device=x.device)
    with _any_order():
        return counts.scatter_add_(2, flat, torch.ones((), dtype=torch.int32, device=x.device).expand_as(flat))


@contextmanager
def _any_order() -> Iterator[None]:
    """Allow sums in any order, for sums of integers: these do not depend on it.

    In deterministic mode torch would sort all pixels by their place in the sum.
    """
    if not torch.are_deterministic_algorithms_enabled():
        yield
        return
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=warn_only)


def autocontrast(x: UInt8[Tensor, "b 3 h w"]) -> UInt8[Tensor, "b 3 h w"]:
    """Stretch each channel from its darkest to its brightest level, as `ImageOps.autocontrast`."""
    flat = x.flatten(2)
    low, high = (t.unsqueeze(2).to(torch.float64) for t in (flat.amin(2), flat.amax(2)))
    levels = torch.arange(256, device=x.device, dtype=torch.float64)
    scale = torch.full_like(high, 255.0) / (high - low)  # 255.0 / tensor would multiply by a rounded reciprocal
    table = torch.where(high > low, levels * scale + -low * scale, levels)
    return look_up(x, table.clamp_(0, 255).to(torch.uint8))


def equalize(x: UInt8[Tensor, "b 3 h w"]) -> UInt8[Tensor, "b 3 h w"]:
    """Spread each channel's levels to a uniform histogram, as `ImageOps.equalize`."""
    counts = histogram(x)
    top = x.flatten(2).amax(2, keepdim=True).to(torch.int64)
    step = (x.shape[2] * x.shape[3] - counts.gather(2, top)) // 255
    below = counts.cumsum(2) - counts
    levels = torch.arange(256, device=x.device).expand_as(below)
    table = torch.where(step > 0, (step // 2 + below) // step.clamp(min=1), levels)
    return look_up(x, table.clamp_(0, 255).to(torch.uint8))


def resize_box(
    x: UInt8[Tensor, "b 3 h w"], box: Float[Tensor, "b 4"], size: tuple[int, int]
) -> UInt8[Tensor, "b 3 y z"]:
    """Cut the box (top, left, height, width; pixels) out of each image and resize it, bilinear and anti-aliased.

    The filter is separable, so each image is multiplied by two matrices of its own.

    Source: Pillow, `Image.resize(size, BILINEAR, box)`; ours without the rounding to 8 bits between the two passes.
    """
    box = upload(box, x.device)
    down = _resize_matrix(box[:, 0], box[:, 2], x.shape[2], size[0])
    across = _resize_matrix(box[:, 1], box[:, 3], x.shape[3], size[1])
    out = down.unsqueeze(1) @ x.to(torch.float32) @ across.transpose(1, 2).unsqueeze(1)
    return out.add_(0.5).clamp_(0, 255).to(torch.uint8)


def _resize_matrix(start: Float[Tensor, "b"], length: Float[Tensor, "b"], old: int, new: int) -> Float[Tensor, "b n o"]:
    """Weights of the triangle filter: row i of each matrix gives output pixel i from the `old` input pixels."""
    scale = (length / new).view(-1, 1, 1)
    center = start.view(-1, 1, 1) + (torch.arange(new, device=start.device).view(1, -1, 1) + 0.5) * scale
    at = torch.arange(old, device=start.device).view(1, 1, -1) + 0.5
    weights = (1 - (at - center).abs() / scale.clamp(min=1)).clamp_(min=0)
    first, last = start.view(-1, 1, 1), (start + length).view(-1, 1, 1)
    weights *= (at > first) & (at < last)  # nothing from outside the box
    return (weights / weights.sum(2, keepdim=True)).to(torch.float32)


@cache
def int32(number: int, device: torch.device) -> Int[Tensor, "1"]:
    """A number that makes sums with uint8 images int32; copied to a device once."""
    return torch.tensor([number], dtype=torch.int32, device=device)
