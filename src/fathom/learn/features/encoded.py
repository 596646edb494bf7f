"""Features of an encoder that Fathom pre-trained with SimCLR or imported."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.learn.augment.families import augmentation_of
from fathom.learn.network import build_network, load_weights
from fathom.learn.predict import autocast, chunk_size, in_chunks
from fathom.learn.reader import Reader
from fathom.learn.task import State, Unlabeled


def encode(
    unlabeled: Unlabeled, state: State | None, network: str, precision: str = "auto"
) -> Iterator[Float[Tensor, "b d"]]:
    """Features of all images in order, in chunks.

    Args:
        unlabeled: The images with their normalization.
        state: The encoder's weights, as prepared by `self-sl`.
        network: Name of the encoder's network (`network.build_network`).
        precision: Of the arithmetic, as in `predict.autocast`.

    Raises:
        FathomError: There is no state, it does not fit the network, or not even one image fits into memory.
    """
    if not state:
        raise FathomError(
            "an encoder's features need the pre-trained encoder, which is missing; run the study from its start"
        )
    images = unlabeled.images
    transform = augmentation_of(unlabeled)
    size = transform.output_size(images.size)
    encoder = build_network(network, size, 2, 0.0, Stream(0, ("restore",)), images.device).encoder.eval()
    load_weights(encoder, state, f"the prepared encoder does not fit the network {network}")

    @torch.no_grad()
    def work(x: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        with autocast(images.device, precision):
            features: Tensor = encoder(transform.test(x))
        return features.float()

    return in_chunks(Reader(images), len(images), chunk_size(images.device, size), work)
