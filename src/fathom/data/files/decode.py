"""Decode image files of all usual formats to uint8 RGB of one size, by one rule.

The rule (its version is `RULE`; raise it whenever a pixel may change):

1. the first frame of an animation or a multi-page file, decoded completely: a truncated file is unreadable;
2. rotated to its EXIF orientation;
3. to 8-bit RGB: grey is repeated; a palette is looked up; transparent pixels are composited on white; 16-bit grey is
   scaled from 0-`white` to 0-255 (not clipped), see below; CMYK, YCbCr and HSV are converted by Pillow. Color profiles
   are ignored;
4. resized bilinearly with antialiasing: `squash` both sides (the aspect ratio is not kept, as the study does for
   ISIC-2019), or `crop` the largest centered part of the requested aspect ratio.

A 16-bit file does not say how many of its bits a camera or scanner used: 12-bit values in it would keep 16 of 256 grey
levels. So `white` is the largest value of as many bits (8, 10, 12, 14 or 16) as the largest value in any file of the
dataset needs (`cache.value_range`), train and test together: it depends neither on the single image nor on the order.

Floating-point and 32-bit pixels have no defined white and are refused, as are images of more than `MAX_PIXELS`.
"""

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

RULE = 1
FITS = ("squash", "crop")
_LARGE = 2**26  # pixels; larger images are decoded one at a time, as 16 threads with one each would fill the memory
_large = threading.Lock()
MAX_PIXELS = 178_956_970  # 512 MiB as RGB: more than cameras have; also Pillow's limit against decompression bombs

# Not EPS, which would run a program, and not the odd ones, whose decoders few people look at.
FORMATS = ("JPEG", "JPEG2000", "MPO", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "AVIF", "PPM", "TGA")
WHITES = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
WHITE = WHITES[-1]

_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I")


class UnreadableError(Exception):
    """One file cannot be decoded; the message is the reason, without the path."""


@runtime_checkable
class Source(Protocol):
    """An image file: a path, or a member of an archive."""

    def read_bytes(self) -> bytes:
        """All of it."""


@dataclass(frozen=True)
class ImageFacts:
    """Properties of a file as stored, before the rule is applied.

    Args:
        width, height: In pixels, as stored.
        mode: Pillow's name of the pixel format, for example `RGB`, `L`, `P`, `CMYK`, `I;16`.
        format: For example `JPEG`.
    """

    width: int
    height: int
    mode: str
    format: str


@contextmanager
def pillow_quiet() -> Iterator[None]:
    """Suppress Pillow's warnings about odd metadata; real problems are raised.

    For a whole batch: warning filters are shared by all threads, so they are set once around them and not in each.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def white_of(peak: int) -> int:
    """White of 16-bit files whose largest value is `peak`, 0 to 65,535."""
    return min(white for white in WHITES if white >= peak)


def decode(path: Source, size: tuple[int, int], fit: str = "squash", white: int = WHITE) -> UInt8[np.ndarray, "3 h w"]:
    """Decode one file to RGB of (height, width), by the module's rule; `white` is that of 16-bit grey.

    Raises:
        UnreadableError: It is not an image, is truncated, is too large, or has pixels without a defined white.
    """
    image, _ = read_image(path, white)
    target = (size[1], size[0])
    if fit == "crop":
        image = ImageOps.fit(image, target, Image.Resampling.BILINEAR, centering=(0.5, 0.5))
    elif image.size != target:
        image = image.resize(target, Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def read_image(path: Source, white: int = WHITE) -> tuple[Image.Image, ImageFacts]:
    """Decode one file completely at its own size, upright, to 8-bit RGB; with its properties as stored.

    Raises:
        UnreadableError: As for `decode`.
    """
    try:
        if isinstance(path, Path) and not path.is_file():
            raise UnreadableError("no such file")
        data = b"" if isinstance(path, Path) else path.read_bytes()
        if not (path.stat().st_size if isinstance(path, Path) else len(data)):
            raise UnreadableError("the file is empty")
        with Image.open(path if isinstance(path, Path) else io.BytesIO(data), formats=_formats()) as image:
            facts = ImageFacts(image.width, image.height, image.mode, image.format or "")
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableError(f"{image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read")
            with _large if image.width * image.height > _LARGE else contextlib.nullcontext():
                image.load()
                return _rgb(_upright(image), white), facts
    except UnreadableError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableError("not an image, or of a format Pillow does not read") from error
    except Image.DecompressionBombError as error:
        raise UnreadableError(f"more pixels than the {MAX_PIXELS:,} that are read") from error
    except MemoryError as error:
        raise UnreadableError("not enough memory to decode it") from error
    except Exception as error:  # a broken file can raise anything: struct.error, zlib.error, SyntaxError, ...
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def header(path: Path) -> tuple[int, int]:
    """(height, width) of the file after its EXIF orientation, without decoding the pixels.

    Raises:
        UnreadableError: It is not an image.
    """
    try:
        with Image.open(path, formats=_formats()) as image:
            turned = _orientation(image) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception as error:
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def deep_peak(path: Path) -> tuple[str, int]:
    """(`grey`, its largest value) of a 16-bit grey file, (`color`, that of its upper 8 bits) of a 16-bit color file.

    Empty and 0 for any other file, also for one that cannot be read, of which decoding tells the reason. Pillow reads
    only the upper 8 bits of 16-bit color.
    """
    try:
        with Image.open(path, formats=_formats()) as image:
            raw = [args if isinstance(args, str) else args[0] for *_, args in image.tile if args]
            kind = "grey" if image.mode in _DEEP else "color" if any(";16" in str(mode) for mode in raw) else ""
            if not kind or image.width * image.height > MAX_PIXELS:
                return "", 0
            values = np.asarray(image)
            return kind, int(values.max() if kind == "grey" else values[..., :3].max())
    except Exception:
        return "", 0


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # a broken EXIF block has no orientation; the pixels may be fine
        return 1


def _upright(image: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(image) if _orientation(image) in range(2, 9) else image


def _rgb(image: Image.Image, white: int) -> Image.Image:
    if image.mode in _DEEP:
        return _from_deep(image, white)
    if image.mode == "F":
        raise UnreadableError("floating-point pixels have no defined white; save as 8- or 16-bit")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(paper, layer).convert("RGB")
    return image.convert("RGB")


def _from_deep(image: Image.Image, white: int) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableError("32-bit pixels have no defined white; save as 8- or 16-bit")
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        values[values == transparent] = white
    grey = ((np.minimum(values, white) * 255 + white // 2) // white).astype(np.uint8)
    return Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2))
