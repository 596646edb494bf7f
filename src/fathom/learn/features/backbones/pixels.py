"""The image itself as features: the baseline for every other backbone."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from fathom.learn.features.backbone import BackboneInfo, BackboneRequest
from fathom.learn.task import ImageSource
from fathom.registry.registry import backbone


@backbone("pixels", weights=False, resizes=False)
def pixels(request: BackboneRequest) -> BackboneInfo:
    """Flatten the image, in [0, 1]; nothing is trained."""
    return BackboneInfo({"backbone": request.name}, lambda: _flatten)


def _flatten(images: ImageSource) -> Iterator[Float[Tensor, "b d"]]:
    everything = torch.arange(len(images), device=images.device)
    for ids in torch.split(everything, max(1, 2**22 // (3 * images.size[0] * images.size[1]))):
        yield images.take(ids).flatten(1).to(torch.float32) / 255
