"""Decode image files of all usual formats to uint8 RGB of one size, by one rule.

The rule (its version is `RULE`; raise it whenever a pixel may change):

1. the first frame of an animation or a multi-page file, decoded completely: a truncated file is unreadable;
2. rotated to its EXIF orientation;
3. to 8-bit RGB: grey is repeated; a palette is looked up; transparent pixels are composited on white; 16-bit grey is
   scaled from 0-65535 to 0-255 (not clipped); CMYK, YCbCr and HSV are converted by Pillow. Color profiles are ignored;
4. resized bilinearly with antialiasing: `squash` both sides (the aspect ratio is not kept, as the study does for
   ISIC-2019), or `crop` the largest centered part of the requested aspect ratio.

Floating-point and 32-bit pixels have no defined white and are refused, as are images of more than `MAX_PIXELS`.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

RULE = 1
FITS = ("squash", "crop")
MAX_PIXELS = 178_956_970  # 512 MiB as RGB: more than cameras have; also Pillow's limit against decompression bombs

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


def decode(path: Source, size: tuple[int, int], fit: str = "squash") -> UInt8[np.ndarray, "3 h w"]:
    """Decode one file to RGB of (height, width), by the module's rule.

    Raises:
        UnreadableError: It is not an image, is truncated, is too large, or has pixels without a defined white.
    """
    image, _ = read_image(path)
    target = (size[1], size[0])
    if fit == "crop":
        image = ImageOps.fit(image, target, Image.Resampling.BILINEAR, centering=(0.5, 0.5))
    elif image.size != target:
        image = image.resize(target, Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def read_image(path: Source) -> tuple[Image.Image, ImageFacts]:
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
        with Image.open(path if isinstance(path, Path) else io.BytesIO(data)) as image:
            facts = ImageFacts(image.width, image.height, image.mode, image.format or "")
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableError(f"{image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read")
            image.load()
            return _rgb(_upright(image)), facts
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
        with Image.open(path) as image:
            turned = _orientation(image) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception as error:
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # a broken EXIF block has no orientation; the pixels may be fine
        return 1


def _upright(image: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(image) if _orientation(image) in range(2, 9) else image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP:
        return _from_deep(image)
    if image.mode == "F":
        raise UnreadableError("floating-point pixels have no defined white; save as 8- or 16-bit")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableError("32-bit pixels have no defined white; save as 8- or 16-bit")
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        values[values == transparent] = 65535
    grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
    return Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2))
