"""Augmented views of the mini-batches of an epoch."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from fathom.core.streams import Stream
from fathom.learn.augment.families import Augmentation
from fathom.learn.reader import Reader
from fathom.learn.task import Transform
from fathom.learn.training.batching import batches

BLOCK_PIXELS = 4096 * 32 * 32  # that are augmented at once on an accelerator: 4,096 images of 32 pixels


def augmented(
    transforms: Sequence[Transform], read: Reader, order: Int[Tensor, "e"], sizes: list[int], stream: Stream
) -> Iterator[tuple[Tensor, ...]]:
    """Views of each mini-batch: one for each transform, of the same images.

    Augmentation takes some 270 kernels whatever the number of images; for 64 of them launches take longer
    than the training step. So on an accelerator several mini-batches are augmented at once. Random parameters are drawn
    for one mini-batch after the other in any case, and are those of a CPU.

    Args:
        transforms: Transforms of the images.
        read: Reader of the images.
        order: Ids of the epoch's images, on the CPU.
        sizes: Images of each mini-batch.
        stream: Random stream of all views of the epoch.
    """
    ours = [t for t in transforms if isinstance(t, Augmentation)]
    order = order.to(read.ids_on)
    if len(ours) < len(transforms):  # a transform of a plug-in draws on the device
        generator = stream.torch(read.device)
        for x in read.pieces(batches(order, sizes)):
            yield tuple(t.train(x, generator) for t in transforms)
        return
    generator, size = stream.torch(), read.images.size
    blocks = _blocks(sizes, 1 if read.device.type == "cpu" else BLOCK_PIXELS // (size[0] * size[1]))
    for block, x in zip(blocks, read.pieces(batches(order, [sum(block) for block in blocks])), strict=True):
        draws = [[t.draw(count, size, generator) for t in ours] for count in block]
        views = [torch.split(t.apply(x, drawn), block) for t, drawn in zip(ours, zip(*draws, strict=True), strict=True)]
        yield from zip(*views, strict=True)


def _blocks(sizes: list[int], images: int) -> list[list[int]]:
    """Consecutive mini-batches of at least `images` images together (the last ones may be fewer)."""
    blocks: list[list[int]] = [[]]
    for size in sizes:
        if sum(blocks[-1]) >= images:
            blocks.append([])
        blocks[-1].append(size)
    return blocks
