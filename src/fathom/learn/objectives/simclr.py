"""SimCLR: an encoder learned without labels, by contrasting two views of an image with those of other images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.learn.augment.families import augmentation_of
from fathom.learn.augment.simclr_views import JITTER_RANGE, MOST_JITTER, Views
from fathom.learn.network import Network, build_network, cpu_state
from fathom.learn.paradigms.recipe import PRECISIONS, expect, expect_word
from fathom.learn.predict import autocast, chunk_size, predict
from fathom.learn.reader import Reader, make_reader
from fathom.learn.task import Checkpointer, ImageSource, State, Unlabeled
from fathom.learn.training.batching import batches
from fathom.learn.training.fit import OPTIMIZERS, Objective, Optimization, fit

PROJECTION = 128  # width of the projections that views are compared by


@dataclass(frozen=True)
class Pretraining:
    """Recipe of an encoder: everything that decides it besides images, network and stream.

    Args:
        epochs: Epochs; 0 keeps the initial weights.
        batch_size: Images per mini-batch (each in two views), at least 2.
        lr: Highest learning rate.
        weight_decay: Weight decay.
        warmup: Epochs of linear warm-up, before half a cosine to 0.
        optimizer: `lars` or `sgd`.
        temperature: Of NT-Xent, above 0.
        jitter: Strength of the color jitter (`learn.augment.simclr_views`).
        blur: True to blur half of the views.
        precision: As in `fit.Optimization`; normalization and loss are float32 in any case.
    """

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup: int
    optimizer: str
    temperature: float
    jitter: float
    blur: bool
    precision: str = "auto"

    def __post_init__(self) -> None:
        """Refuse values that cannot be trained with.

        Raises:
            FathomError: A value is out of its range. The message names the field of `self-sl` it comes from.
        """
        below = max(1, self.epochs)
        checks = {
            "pretrain_epochs": (self.epochs >= 0, "a whole number from 0", self.epochs),
            "pretrain_batch": (self.batch_size >= 2, "a whole number from 2", self.batch_size),
            "pretrain_lr": (self.lr > 0, "a positive number", self.lr),
            "pretrain_weight_decay": (self.weight_decay >= 0, "a number from 0", self.weight_decay),
            "pretrain_warmup": (0 <= self.warmup < below, f"a whole number from 0, below {below} epochs", self.warmup),
            "temperature": (self.temperature > 0, "a positive number", self.temperature),
            "jitter": (0 <= self.jitter <= MOST_JITTER, JITTER_RANGE, self.jitter),
        }
        for name, (holds, what, got) in checks.items():
            expect(holds, "self-sl", name, f"auto or {what}", got)
        expect_word("self-sl", "pretrain_optimizer", self.optimizer, tuple(OPTIMIZERS))
        expect_word("self-sl", "pretrain_precision", self.precision, PRECISIONS)


# Recipes of the study by family of augmentations. It has no `digits`, which gets the one of its smallest images.
_CIFAR = Pretraining(1000, 512, 1.0, 1e-4, 10, "lars", temperature=0.5, jitter=0.5, blur=False)
_ISIC = Pretraining(1000, 256, 4.8, 1e-6, 10, "lars", temperature=0.1, jitter=1.0, blur=True)
PUBLISHED = {"cifar": _CIFAR, "digits": _CIFAR, "isic": _ISIC, "imagenet": replace(_ISIC, epochs=200)}


# Fields of `SelfSL` that decide the encoder -> fields of `Pretraining`.
FIELDS = {
    "pretrain_epochs": "epochs",
    "pretrain_batch": "batch_size",
    "pretrain_lr": "lr",
    "pretrain_weight_decay": "weight_decay",
    "pretrain_warmup": "warmup",
    "pretrain_optimizer": "optimizer",
    "pretrain_precision": "precision",
    "temperature": "temperature",
    "jitter": "jitter",
    "blur": "blur",
}


def pretraining(family: str, chosen: Mapping[str, Any]) -> Pretraining:
    """Recipe of an encoder for images of a family of augmentations.

    Args:
        family: A key of `PUBLISHED`.
        chosen: Fields of `self-sl` (`FIELDS`). `auto` is the study's value; its warm-up is at most a tenth of the
            epochs.

    Raises:
        FathomError: A value is of another type than the study's, or out of its range.
    """
    how = PUBLISHED[family]
    given = {
        FIELDS[name]: _like(getattr(how, FIELDS[name]), name, value)
        for name, value in chosen.items()
        if value != "auto"
    }
    if "epochs" in given:
        how = replace(how, warmup=max(0, min(how.warmup, given["epochs"] // 10)))
    return replace(how, **given)


def _like(example: Any, name: str, value: Any) -> Any:
    """Convert a value of a spec string to the type of the value that it replaces.

    Raises:
        FathomError: It is of another type.
    """
    kind, words = type(example), {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    fits = type(value) is kind or (kind is float and type(value) is int)
    expect(fits, "self-sl", name, f"auto or {words[kind]}", value)
    return kind(value)


def nt_xent(z: Float[Tensor, "v d"], temperature: float) -> Float[Tensor, ""]:
    """Normalized temperature-scaled cross-entropy, in nats: which of the other 2 b - 1 views is of my image?

    Args:
        z: Projections of v = 2 b views; rows i and i + b are of one image. Need not be normalized.
        temperature: Above 0.

    Raises:
        FathomError: There is one pair only, so no other image to contrast with; or rows are not in pairs.

    Source: Chen et al., 2020 (SimCLR), Eq. 1.
    """
    pairs, rest = divmod(len(z), 2)
    if rest or pairs < 2:
        raise FathomError(f"NT-Xent compares two or more pairs of views; got {len(z)} views")
    # In float32: at a temperature of 0.1 exponents reach 10, where half precision has three digits left.
    z = functional.normalize(z.float() if z.dtype in (torch.float16, torch.bfloat16) else z)
    similarity = (z @ z.T) / temperature
    similarity = similarity.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), float("-inf"))
    partner = torch.arange(len(z), device=z.device).roll(pairs)
    return functional.cross_entropy(similarity, partner)


def pair_sizes(count: int, batch_size: int) -> list[int]:
    """Images in each mini-batch of an epoch; an incomplete last one is dropped, unless it is the only one."""
    batch = min(batch_size, count)
    return [batch] * (count // batch) if count else []


class SimCLR(Objective):
    """NT-Xent between two views of each image of a mini-batch; both go through one forward, and one BatchNorm.

    Args:
        unlabeled: Images to learn from.
        network: Network to train; its logits are the projections.
        how: Mini-batches, views, temperature and precision.
        stream: Stream of the order of images and of their views.

    Raises:
        FathomError: There are fewer than two images.
    """

    def __init__(self, unlabeled: Unlabeled, network: Network, how: Pretraining, stream: Stream) -> None:
        images = unlabeled.images
        self.network, self.how, self.stream, self.device = network, how, stream, images.device
        self.count, self.read = len(images), make_reader(images)
        if self.count < 2:
            raise FathomError(f"SimCLR contrasts images with one another and needs two or more; got {self.count}")
        self.sizes = pair_sizes(self.count, how.batch_size)
        self.steps = len(self.sizes)
        self.views = Views(unlabeled.augment, how.jitter, how.blur, unlabeled.mean, unlabeled.std, self.device)

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, ...]]:
        """Views of each mini-batch."""
        order = torch.randperm(self.count, generator=self.stream.at("order", epoch).torch()).to(self.read.ids_on)
        drawn = self.stream.at("views", epoch)
        generator, jitter = drawn.torch(), drawn.at("jitter").torch()
        for images in self.read.pieces(batches(order, self.sizes)):
            yield (self.views.pair(images, generator, jitter),)

    def loss(self, *batch: Tensor) -> Float[Tensor, ""]:
        """NT-Xent of a mini-batch, in nats."""
        (views,) = batch
        with autocast(self.device, self.how.precision):
            z = self.network(views)
        return nt_xent(z.float(), self.how.temperature)


def projecting_network(name: str, unlabeled: Unlabeled, stream: Stream) -> Network:
    """Encoder and projection head: two layers with BatchNorm and ReLU between, the second without bias.

    Source: Chen et al., 2020; Lüth et al., 2023 (code): 512 -> 512 -> 128.
    """
    size = augmentation_of(unlabeled).output_size(unlabeled.images.size)
    network = build_network(name, size, PROJECTION, 0.0, stream, unlabeled.images.device, hidden=-1)
    nn.init.zeros_(network.head.bias).requires_grad_(False)  # a layer without bias, in the shape of `Network`
    return network


def train_simclr(
    unlabeled: Unlabeled, name: str, how: Pretraining, stream: Stream, checkpointer: Checkpointer
) -> State:
    """Train an encoder, and return its weights and buffers on the CPU, named as in `Network.encoder`.

    Args:
        unlabeled: Images to learn from.
        name: Name of the network (`network.build_network`).
        how: Recipe.
        stream: Stream of all random decisions.
        checkpointer: Takes state and progress.

    Raises:
        NonFiniteError: A loss, weight or buffer is not finite.
        FathomError: There are fewer than two images, or memory does not suffice.
    """
    network = projecting_network(name, unlabeled, stream.at("init"))
    objective = SimCLR(unlabeled, network, how, stream)
    optimization = Optimization(
        how.lr, how.weight_decay, how.epochs, how.warmup, optimizer=how.optimizer, keep="last", precision=how.precision
    )
    transform = augmentation_of(unlabeled)

    def embed(network: nn.Module, images: ImageSource) -> Float[Tensor, "n d"]:
        """Embeddings of images through the test transform, for the checkpointer's probe."""
        assert isinstance(network, Network)
        chunk = chunk_size(images.device, images.size)
        chunks = predict(network, Reader(images), len(images), transform, None, chunk)
        return torch.cat([p.embeddings for p in chunks])

    if how.epochs:
        fit(network, objective, optimization, checkpointer=checkpointer, embed=lambda trained: partial(embed, trained))
    return cpu_state(network.encoder)
