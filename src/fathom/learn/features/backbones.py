"""Backbones: networks whose weights stay as they are, and what is known of them.

| name | weights |
|---|---|
| `pixels` | none: the image itself, flattened, in [0, 1] |
| `features` | a file of precomputed features, `.npz` or `.npy` (`fathom.learn.features.precomputed`) |
| `mobilenet_v2_uint8` | a file of 8-bit weights, `.npz` (`fathom.learn.features.mobilenet`) |
| `torchvision:resnet50`, `torchvision:resnet50.IMAGENET1K_V1` | torchvision's, or a `.safetensors` file |
| any other name | timm's of that name (`vit_small_patch14_dinov2.lvd142m`), or a `.safetensors` file |

A file is read from where `weights` says; a relative path is meant from the folder of the data. Where weights have to be
fetched, they are only if the user allows downloads. `weights=random` is an untrained network of timm or torchvision,
always the same one: what the architecture alone is worth.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional

from fathom.core.records import FathomError
from fathom.learn.features.mobilenet import MEAN, STD, load_mobilenet
from fathom.learn.features.precomputed import Precomputed
from fathom.learn.predict import autocast, in_chunks, is_out_of_memory
from fathom.learn.task import ImageSource, Library

RANDOM = "random"
INTERPOLATIONS = ("bilinear", "bicubic")

Embed = Callable[[ImageSource], Iterator[Float[Tensor, "b d"]]]


@dataclass(frozen=True)
class BackboneInfo:
    """A backbone that was found; it is loaded only when there are images for it.

    Args:
        facts: What is known of it, JSON-plain; known without loading it.
        load: Gives the function from images to chunks of features.
    """

    facts: dict[str, Any]
    load: Callable[[], Embed]


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network in evaluation mode with its own resizing and normalization.

    Args:
        network: Normalized images -> features [b, d].
        size: (height, width) of its input, pixels.
        interpolation: `bilinear` or `bicubic`, both with antialiasing.
        mean, std: Channel statistics of its normalization, in [0, 1].
        precision: Of its arithmetic, as in `predict.autocast`.
    """

    network: nn.Module
    size: tuple[int, int]
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: str = "auto"

    def __call__(self, images: ImageSource) -> Iterator[Float[Tensor, "b d"]]:
        """Features of all images in order, in chunks.

        Raises:
            FathomError: Not even one image fits into memory, the network does not take images of this size, or it does
                not give one row an image.
        """
        network = self.network.to(images.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        pixels = self.size[0] * self.size[1]
        chunk = max(1, min(1024, 2**25 // pixels)) if images.device.type == "cuda" else max(4, 2**17 // pixels)

        def work(ids: Int[Tensor, "b"]) -> Float[Tensor, "b d"]:
            x = images.take(ids)
            try:
                return self._features(network, x)
            except (RuntimeError, AssertionError) as error:
                if is_out_of_memory(error):
                    raise
                raise FathomError(
                    f"the backbone cannot work on images of {self.size[0]}x{self.size[1]} pixels: {error}. Another "
                    "size may suit it; 0 is its own"
                ) from error

        return in_chunks(len(images), chunk, images.device, work)

    @torch.no_grad()
    def _features(self, network: nn.Module, x: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        with autocast(x.device, self.precision):
            features: Tensor = network(self.normalized(x))
        if features.dim() != 2:
            raise FathomError(
                f"a backbone gave {list(features.shape)} for {len(x)} images; expected one row of features each. "
                "Choose a model that pools over positions"
            )
        return features.float()

    def normalized(self, x: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 y z"]:
        """What the network sees: the whole image resized, both sides, then normalized.

        Found: ours; the usual evaluation cuts the middle out of a larger resized image, which loses what a dataset of
            objects near the edge is about. Not rounded to 8 bits between.
        """
        out = x.to(torch.float32).contiguous(memory_format=torch.channels_last)
        if tuple(out.shape[2:]) != self.size:
            out = functional.interpolate(out, self.size, mode=self.interpolation, antialias=True).clamp_(0, 255)
        scale = torch.tensor([1 / (255 * s) for s in self.std], device=x.device).view(1, -1, 1, 1)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)], device=x.device)
        return out.mul_(scale).add_(shift.view(1, -1, 1, 1))


def find_backbone(name: str, weights: str, size: int, library: Library) -> BackboneInfo:
    """The backbone of a name.

    Args:
        name: See the table above.
        weights: File of weights or features; empty for those of the name; `random` for an untrained network.
        size: Side of the input in pixels; 0 for the network's own.
        library: Where files are found.

    Raises:
        FathomError: Unknown name, weights that are absent or do not fit, or a package that is not installed.
    """
    if name == "pixels":
        return BackboneInfo({"backbone": name}, lambda: _pixels)
    if name == "features":
        path = weight_file(name, weights, library)
        return BackboneInfo({"backbone": name, **Precomputed(path).facts()}, lambda: Precomputed(path))
    if name == "mobilenet_v2_uint8":
        return _mobilenet(name, weight_file(name, weights, library), size or 224)
    from fathom.learn.features import zoo  # imports timm or torchvision, which takes seconds

    find = zoo.torchvision_source if name.startswith(zoo.TORCHVISION) else zoo.timm_source
    file = weight_file(name, weights, library) if weights not in ("", RANDOM) else None
    return find(name, file, weights == RANDOM, size, library)


def weight_file(name: str, weights: str, library: Library) -> Path:
    """The file of `weights`; a relative path is meant from the folder of the data.

    Raises:
        FathomError: None was named, or it is not there.
    """
    if not weights or weights == RANDOM:
        raise FathomError(f"backbone {name} needs a file: frozen(backbone={name}, weights=FILE)")
    path = Path(library.path, Path(weights).expanduser())
    if not path.is_file():
        raise FathomError(
            f"weights {weights} of backbone {name} not found: expected the file {path}. A relative path is meant from "
            "the folder of the data (--data)"
        )
    return path


def file_facts(path: Path) -> dict[str, Any]:
    """Name and SHA-256 of a file."""
    with path.open("rb") as file:
        return {"weights": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def input_facts(size: tuple[int, int], interpolation: str) -> dict[str, Any]:
    """How an image becomes the input."""
    return {"input": f"{size[0]}x{size[1]}", "interpolation": interpolation}


def _pixels(images: ImageSource) -> Iterator[Float[Tensor, "b d"]]:
    everything = torch.arange(len(images), device=images.device)
    for ids in torch.split(everything, max(1, 2**22 // (3 * images.size[0] * images.size[1]))):
        yield images.take(ids).flatten(1).to(torch.float32) / 255


def _mobilenet(name: str, path: Path, side: int) -> BackboneInfo:
    if side < 32:
        raise FathomError(f"backbone {name} needs an input of 32 pixels or more; got size={side}")
    facts = {"backbone": name, **file_facts(path), **input_facts((side, side), "bilinear"), "license": "apache-2.0"}
    return BackboneInfo(facts, lambda: Backbone(load_mobilenet(path), (side, side), "bilinear", MEAN, STD))
