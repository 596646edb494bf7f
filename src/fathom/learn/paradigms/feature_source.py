"""Source of a frozen paradigm's features: a fixed backbone, or an encoder pre-trained by `self-sl`."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fathom.core.member_call import each_call, guard
from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.learn.features.backbone import Backbone, find_backbone
from fathom.learn.features.backbones.precomputed import Precomputed
from fathom.learn.features.encoded import encode
from fathom.learn.features.encoders import check_name
from fathom.learn.paradigms.recipe import expect, expect_word
from fathom.learn.paradigms.self_sl import SelfSL
from fathom.learn.task import Checkpointer, Library, State, Unlabeled
from fathom.registry.registry import ENCODERS, backbone_entry
from fathom.registry.spec_string import SpecString

COARSE = 0.1  # of the deviation between images, which rounding may not exceed in most dimensions
ENOUGH, LOOKED_AT = 32, 1024  # images to judge by; images after which nobody looks any more
DTYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class FeatureSource:
    """Source of features; the arguments are those of `frozen.frozen`."""

    name: str
    weights: str
    size: int
    dtype: str
    pretrain: str
    probing: int = 0  # images of an encoder's pre-training that only measures speed; 0 for the real one
    pretrain_lr: float | str = "auto"  # as in `self-sl`: what was changed after a pre-training that was not finite
    pretrain_precision: str = "auto"
    order: str = ""

    def __post_init__(self) -> None:
        """Refuse values that do not fit together.

        Raises:
            FathomError: A value is out of its range.
        """
        expect(bool(self.name), "frozen", "backbone", "a name", self.name)
        expect(self.size >= 0, "frozen", "size", "0 or a number of pixels", self.size)
        expect_word("frozen", "dtype", self.dtype, tuple(DTYPES))
        expect_word("frozen", "pretrain", self.pretrain, ("study", "short"))
        encoder = self.name in ENCODERS
        options = {} if encoder else backbone_entry(self.name)[0].options
        if self.name == "simclr" or not options.get("weights", True):
            expect(not self.weights, "frozen", "weights", f"left out, as {self.name} reads no file", self.weights)
        if encoder or not options.get("resizes", True):
            expect(not self.size, "frozen", "size", f"left out, as {self.name} resizes nothing", self.size)
        if self.name == "encoder":
            check_name(self.weights)
        if self.name != "simclr":
            expect(self.pretrain == "study", "frozen", "pretrain", "left out but for backbone=simclr", self.pretrain)
        expect_word("frozen", "order", self.order, ("", "dataset"))
        if self.name != "features":
            expect(not self.order, "frozen", "order", "left out but for backbone=features", self.order)

    def __str__(self) -> str:
        """All that decides the features, as a spec string without default values."""
        usual = {"weights": "", "size": 0, "dtype": "float16", "pretrain": "study"}
        usual |= {"pretrain_lr": "auto", "pretrain_precision": "auto", "order": ""}
        said = {name: getattr(self, name) for name in usual if getattr(self, name) != usual[name]}
        return str(SpecString.make("features", {"backbone": self.name, **said}))

    @cached_property
    def encoder(self) -> SelfSL | None:
        """Pre-training recipe of an encoder trained here; None for another backbone."""
        if self.name not in ENCODERS:
            return None
        changes: dict[str, Any] = {"pretrain_lr": self.pretrain_lr, "pretrain_precision": self.pretrain_precision}
        made = SelfSL(recipe=self.pretrain, **changes) if self.name == "simclr" else SelfSL(encoder=self.weights)
        return made.benchmark_copy(self.probing) if self.probing else made

    @property
    def preparation(self) -> str:
        """Key of the encoder, which `self-sl` of the same recipe shares; empty without one."""
        return self.encoder.preparation if self.encoder else ""

    def with_retry(self, change: str, family: str) -> "FeatureSource | None":
        """A copy with a change of the encoder's pre-training; None if there is nothing to change."""
        if not self.encoder or not (changed := self.encoder.with_retry(change, family)):
            return None
        lr = changed.pretrain_lr if change == "lr/10" else self.pretrain_lr
        return replace(self, pretrain_lr=lr, pretrain_precision=changed.pretrain_precision)

    def prepare(self, unlabeled: Unlabeled, stream: Stream, library: Library, checkpointer: Checkpointer) -> State:
        """The encoder; nothing for another backbone.

        Raises:
            NonFiniteError: A loss, weight or buffer is not finite.
            FathomError: A named encoder is absent, damaged or of another architecture.
        """
        return self.encoder.prepare(unlabeled, stream, library, checkpointer) if self.encoder else {}

    def facts(self, library: Library) -> dict[str, Any]:
        """Facts about the backbone: name, SHA-256 of its weights, revision, license, input.

        Raises:
            FathomError: Unknown name, or weights that are absent.
        """
        if self.encoder:
            self.encoder.facts(library)  # refuses one that is not here
            return {"backbone": self.name, "weights": self.encoder.preparation}
        return find_backbone(self.name, self.weights, self.size, library, self.order).facts

    def embed(self, unlabeled: Unlabeled, state: State | None, library: Library) -> Iterator[Float[Tensor, "b d"]]:
        """Features of all images in order, in chunks, of the kind they are kept as.

        Where that is float32, so is the arithmetic; else it is bfloat16 where the device is faster with it.

        Raises:
            FathomError: Unknown name, weights that are absent or do not fit, or features that float16 cannot tell
                from one another.
        """
        precision = "fp32" if self.dtype == "float32" else "auto"
        if self.encoder:
            chunks = encode(unlabeled, state, self.encoder.network, precision)
        else:
            found = find_backbone(self.name, self.weights, self.size, library, self.order)
            with guard(self.name):
                backbone = found.load()
            if isinstance(backbone, Backbone):
                backbone = replace(backbone, precision=precision)
            elif isinstance(backbone, Precomputed):
                backbone = replace(backbone, rows=unlabeled.rows)
            chunks = backbone(unlabeled.images)
        dtype, rounding = DTYPES[self.dtype], Rounding(self.name)
        for chunk in each_call(self.name, iter(chunks)):
            kept = chunk.to(dtype)
            if dtype != chunk.dtype:
                rounding.check(chunk, kept)
            yield kept


class Rounding:
    """The loss of precision when features are kept in fewer bits, measured on the first images.

    Features far from 0 that hardly differ between images, or tiny ones, come out of float16 as noise or zeros. (What
    is too large for it becomes infinite, and is found where features are kept.)

    Args:
        name: Of the backbone.
    """

    def __init__(self, name: str) -> None:
        self.name, self.count = name, 0
        self.first, self.sums = torch.zeros(0), torch.zeros(0)

    def check(self, chunk: Float[Tensor, "b d"], kept: Float[Tensor, "b d"]) -> None:
        """Refuse rounding that most dimensions do not bear.

        Raises:
            FathomError: In most dimensions it is more than `COARSE` of the deviation between images.
        """
        if self.count >= LOOKED_AT or not len(chunk):
            return
        x, y = chunk.double(), kept.double()
        if not self.count:
            self.first, self.sums = x[:1], torch.zeros((3, x.shape[1]), dtype=x.dtype, device=x.device)
        self.count += len(x)
        apart = x - self.first  # so that squares of large means do not drown what differs
        error = torch.where(y.isfinite(), y - x, 0.0)
        self.sums += torch.stack((apart.sum(0), apart.square().sum(0), error.square().sum(0)))
        mean, square, lost = self.sums / self.count
        variance = (square - mean.square()).clamp(min=0)
        varying = variance > 0
        if self.count >= ENOUGH and bool((lost > COARSE**2 * variance)[varying].float().mean() > 0.5):
            raise FathomError(
                f"features of {self.name} differ so little between images that float16 loses it: in most dimensions "
                f"its rounding is more than {COARSE:.0%} of their deviation. Ask for dtype=float32"
            )
