"""Spec string -> paradigm."""

from typing import Any

from fathom.core.records import FathomError
from fathom.learn.task import Paradigm
from fathom.registry.registry import find


def build_paradigm(text: str) -> Paradigm:
    """Build the training paradigm of a spec string, for example `standard(dropout=0.5)`.

    Raises:
        FathomError: Unknown name or parameter, or a value that the paradigm refuses.
    """
    entry, call = find("paradigm", text)
    try:
        member: Any = entry.load()(**dict(call.arguments))
    except TypeError as error:
        raise FathomError(f"paradigm {entry.name!r} ({entry.path}) cannot be built from {text!r}: {error}") from error
    if not isinstance(member, Paradigm):
        missing = [name for name in _METHODS if not hasattr(member, name)]
        raise FathomError(
            f"paradigm {entry.name!r} ({entry.path}) lacks {', '.join(missing)}; see fathom.learn.task.Paradigm"
        )
    return member


_METHODS = [
    "search",
    "recipe_name",
    "preparation",
    "backbone",
    "grid",
    "prepare",
    "pretraining_images",
    "facts",
    "embed",
    "fit",
    "restore",
    "benchmark_copy",
    "training_images",
    "validation_images",
    "with_retry",
]
