"""Backbones: networks whose weights stay fixed, and the facts that identify their features.

A backbone is a member of the registry (`fathom.backbone`): a function from a `BackboneRequest` to a `BackboneInfo`. The
built-in ones are the files of `learn.features.backbones`; a plug-in adds one by one file.

Weights are read from the file that `weights` names; a relative path is relative to the data folder. Weights are fetched
only if the user allows downloads. `weights=random` is an untrained network of timm or torchvision, the same in every
run: it measures what the architecture alone is worth.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from fathom.core.inputs import user_path
from fathom.core.member_call import guard
from fathom.core.records import FathomError
from fathom.learn.predict import autocast, in_chunks, is_out_of_memory
from fathom.learn.reader import Reader
from fathom.learn.task import ImageSource, Library
from fathom.registry.code import identify_code
from fathom.registry.registry import backbone_entry

RANDOM = "random"
INTERPOLATIONS = ("bilinear", "bicubic")

Embed = Callable[[ImageSource], Iterator[Float[Tensor, "b d"]]]


@dataclass(frozen=True)
class BackboneRequest:
    """The arguments of a backbone, as `frozen` was given them.

    Args:
        name: Full name, for example `torchvision:resnet50`.
        model: The part after the colon, for a backbone that offers several models; else the name.
        weights: File of weights or features; empty for those of the name; `random` for an untrained network.
        size: Side of the input in pixels; 0 for the network's own.
        library: Where files are found, and whether weights may be fetched.
        order: `dataset` if rows of a file of features are declared to be in the dataset's order; else empty.
    """

    name: str
    model: str
    weights: str
    size: int
    library: Library
    order: str = ""

    @property
    def untrained(self) -> bool:
        """True for a network with random weights."""
        return self.weights == RANDOM

    def file(self) -> Path:
        """The file that was named; a relative path is relative to the data folder.

        Raises:
            FathomError: None was named, or it does not exist.
        """
        if self.weights in ("", RANDOM):
            raise FathomError(f"backbone {self.name} needs a file: frozen(backbone={self.name}, weights=FILE)")
        path = Path(self.library.path, user_path(self.weights))
        if not path.is_file():
            raise FathomError(
                f"weights {self.weights} of backbone {self.name} not found: expected the file {path}. A relative path "
                "is relative to the data folder (--data)"
            )
        return path


@dataclass(frozen=True)
class BackboneInfo:
    """The facts of a backbone, and how to load it. It is loaded only when there are images for it.

    Args:
        facts: JSON-plain, known without loading. They are part of the key of the features: whatever changes the
            features must change them.
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
                not give one row per image.
        """
        network = self.network.to(images.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        pixels = self.size[0] * self.size[1]
        chunk = max(1, min(1024, 2**25 // pixels)) if images.device.type == "cuda" else max(4, 2**17 // pixels)

        def work(x: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
            try:
                return self._features(network, x)
            except (RuntimeError, AssertionError) as error:
                if is_out_of_memory(error):
                    raise
                raise FathomError(
                    f"the backbone cannot work on images of {self.size[0]}x{self.size[1]} pixels: {error}. Try "
                    "another size; 0 is its own"
                ) from error

        return in_chunks(Reader(images), len(images), chunk, work)

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
        """Resize the whole image (both sides), then normalize it: the input of the network.

        Source: ours; the usual evaluation crops the center of a larger resized image, which loses objects near the
            edge. Not rounded to 8 bits in between.
        """
        out = x.to(torch.float32).contiguous(memory_format=torch.channels_last)
        if tuple(out.shape[2:]) != self.size:
            out = functional.interpolate(out, self.size, mode=self.interpolation, antialias=True).clamp_(0, 255)
        scale = torch.tensor([1 / (255 * s) for s in self.std], device=x.device).view(1, -1, 1, 1)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)], device=x.device)
        return out.mul_(scale).add_(shift.view(1, -1, 1, 1))


def find_backbone(name: str, weights: str, size: int, library: Library, order: str = "") -> BackboneInfo:
    """Look up the backbone of a name. Arguments as for `BackboneRequest`.

    Raises:
        FathomError: Unknown name, weights that are absent or do not fit, or a package that is not installed.
    """
    entry, model = backbone_entry(name)
    build = entry.load()
    with guard(name):
        found: BackboneInfo = build(BackboneRequest(name, model, weights, size, library, order))
    if entry.builtin:
        return found
    # Features outlive the process, so those of a plug-in are kept under its code too: edited code computes them anew.
    return replace(found, facts={**found.facts, "code": identify_code(entry).sha256})
