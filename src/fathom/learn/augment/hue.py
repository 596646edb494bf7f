"""Rotation of hues through Pillow's 8-bit HSV, from tables: in arithmetic alone it moves six times the bytes."""

from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from fathom.learn.augment import pixels


def shift_hue(x: UInt8[Tensor, "b 3 h w"], shift: Int[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
    """Rotate the hue by `shift` 255ths of a circle, through Pillow's 8-bit HSV."""
    r, g, b = x.unbind(1)
    value, low = x.amax(1), x.amin(1)
    spread, middle = value - low, r ^ g ^ b ^ value ^ low  # the level that is neither the largest nor the smallest
    red, green = r == value, g == value
    rising = torch.where(red, g >= b, torch.where(green, b >= r, r >= g))
    order = torch.where(red, _byte(0, x.device), torch.where(green, _byte(2, x.device), _byte(4, x.device)))
    tables = _hue_tables(x.device)
    index = torch.add(pixels.int32(0, x.device), order + rising, alpha=65536).add_(spread, alpha=256).add_(middle - low)
    hue = tables.hue.index_select(0, index.reshape(-1)).view(value.shape)
    hue = (
        (hue + pixels.upload(shift.to(torch.uint8), x.device).view(-1, 1, 1)).to(torch.int32).reshape(-1)
    )  # modulo 256
    index = torch.add(pixels.int32(0, x.device), value, alpha=256).add_(spread).reshape(-1)
    fade, least = tables.fade.index_select(0, index), tables.least.index_select(0, index).view(value.shape)
    fade = fade.mul_(tables.part.index_select(0, hue)).neg_().add_(1).view(value.shape)
    other = fade.mul_(value).add_(0.5).to(torch.uint8)
    roles = tables.roles.index_select(0, hue).view(value.shape)
    channels = []
    for bit in (1, 4, 16):
        rest = torch.where((roles & (2 * bit)).to(torch.bool), other, least)
        channels.append(torch.where((roles & bit).to(torch.bool), value, rest))
    return torch.stack(channels, 1)


@dataclass(frozen=True, eq=False)
class HueTables:
    """Tables of `shift_hue`, computed as Pillow's C code computes hues.

    Args:
        hue: Hue, 0 to 255, by order of the channels (6), difference of the largest and smallest level, and of the
            middle and smallest.
        fade: Saturation in [0, 1], as rounded by HSV, by largest level and difference.
        least: Smallest level after rounding through HSV, by the same.
        part: By hue: how much of the saturation the middle level loses.
        roles: By hue: bits 0 and 1 for red, 2 and 3 for green, 4 and 5 for blue: is it the largest, is it the middle.
    """

    hue: UInt8[Tensor, "h"]
    fade: Float[Tensor, "s"]
    least: UInt8[Tensor, "s"]
    part: Float[Tensor, "256"]
    roles: UInt8[Tensor, "256"]


@cache
def _hue_tables(device: torch.device) -> HueTables:
    """Tables on a device, copied there once."""
    wide = torch.float64  # single and double precision alternate as in Pillow's C code, because levels are truncated
    level = torch.arange(256, dtype=torch.float32)
    spread, above = level.view(256, 1), level.view(1, 256)
    middle = ((spread - above) / spread.clamp(min=1)).to(wide)  # distance of the middle level from the largest
    one = torch.ones_like(middle)
    sextants = [middle - one, one - middle, 2 + middle - one, 2 + one - middle, 4 + middle - one, 4 + one - middle]
    sextant = torch.stack(sextants).to(torch.float32).to(wide)
    hue = ((sextant / 6 + 1) % 1).to(torch.float32).to(wide).mul(255).to(torch.int32) * (spread > 0)  # gray has hue 0
    fade = (level.view(1, 256) / level.view(256, 1).clamp(min=1)).to(wide).mul(255).floor().to(torch.float32).div(255)
    least = (level.view(256, 1) * (1 - fade.to(wide)) + 0.5).floor().clamp(0, 255)
    turn = torch.arange(256).to(wide) * 6 / 255
    sector, f = turn.floor(), (turn - turn.floor()).to(torch.float32)
    part = torch.where(sector % 2 == 1, f, (1 - f.to(wide)).to(torch.float32))
    # Of red, green, blue in each sector: the largest level (1), the middle (2), the smallest (0).
    sectors = ((1, 2, 0, 0, 2, 1), (2, 1, 1, 2, 0, 0), (0, 0, 2, 1, 1, 2))
    roles = sum(torch.tensor(s)[sector.long() % 6] << (2 * i) for i, s in enumerate(sectors))
    tables = (hue.to(torch.uint8), fade, least.to(torch.uint8), part, torch.as_tensor(roles).to(torch.uint8))
    return HueTables(*(table.reshape(-1).to(device) for table in tables))


@cache
def _byte(number: int, device: torch.device) -> UInt8[Tensor, ""]:
    return torch.tensor(number, dtype=torch.uint8, device=device)
