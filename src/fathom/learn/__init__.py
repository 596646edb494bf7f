"""Training of a classifier on the labeled samples: networks, augmentation, the training loop, the paradigms."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fathom.learn.builder import build_paradigm as build_paradigm

__all__ = ["build_paradigm"]


def __getattr__(name: str) -> Any:
    """`build_paradigm` on first use, so that a listing of this package needs no torch."""
    if name != "build_paradigm":
        raise AttributeError(f"module 'fathom.learn' has no attribute {name!r}")
    from fathom.learn.builder import build_paradigm

    return build_paradigm
