"""Named random streams: randomness is an argument, named by its purpose.

Every random decision of a run draws from a stream of its own, derived from (seed, purpose, round). So two query
methods of one seed share the split, the starting set and the initial weights of a round, whatever either has drawn
before, and nothing has to be saved to resume a run: a stream is a name, not a state.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

PURPOSES = frozenset(
    {"split", "validation", "long-tail", "start", "init", "order", "augment", "dropout", "draws", "query", "pretrain"}
)


@dataclass(frozen=True)
class Stream:
    """One named stream. The same name gives the same numbers on every machine of one NumPy or torch version.

    Args:
        seed: Seed of the run, 0 or more.
        path: What the numbers are for, for example `("augment", 3)`.
    """

    seed: int
    path: tuple[str | int, ...] = ()

    def at(self, *names: str | int) -> "Stream":
        """The stream for a part of this one's purpose, for example `stream.at("epoch", 7)`."""
        return Stream(self.seed, (*self.path, *names))

    @property
    def entropy(self) -> int:
        """128 bits that only this name gives (SHA-256 of the name)."""
        name = json.dumps([self.seed, *self.path], separators=(",", ":"))
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")

    def numpy(self) -> np.random.Generator:
        """A NumPy generator at the beginning of this stream."""
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.entropy)))

    def torch(self, device: "torch.device | str" = "cpu") -> "torch.Generator":
        """A torch generator on `device` at the beginning of this stream (the numbers differ between device types)."""
        import torch

        return torch.Generator(device=device).manual_seed(self.entropy % 2**63)


@dataclass(frozen=True)
class Streams:
    """The streams of one round of one run: `streams("augment")` is a `Stream`.

    Args:
        seed: Seed of the run, 0 or more.
        round: Round of the run, from 0.
    """

    seed: int
    round: int = 0

    def __call__(self, purpose: str) -> Stream:
        """The stream of a purpose.

        Raises:
            KeyError: The purpose is not one of `PURPOSES`; a typo would silently give fresh numbers.
        """
        if purpose not in PURPOSES:
            raise KeyError(f"unknown purpose {purpose!r}; expected one of: {', '.join(sorted(PURPOSES))}")
        return Stream(self.seed, (purpose, self.round))
