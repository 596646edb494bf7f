"""Spec string -> paradigm."""

from inspect import get_annotations
from typing import Any

from fathom.core.member_call import guard, is_plugin
from fathom.core.records import FathomError
from fathom.learn.plugin_paradigm import guarded_paradigm
from fathom.learn.task import Paradigm
from fathom.registry.registry import find


def build_paradigm(text: str) -> Paradigm:
    """Build the training paradigm of a spec string, for example `standard(dropout=0.5)`.

    Raises:
        FathomError: Unknown name or parameter, or a value that the paradigm refuses.
    """
    entry, call = find("paradigm", text)
    try:
        made = entry.load()
        with guard(str(call)):
            member: Any = made(**dict(call.arguments))
    except TypeError as error:
        raise FathomError(f"paradigm {entry.name!r} ({entry.path}) cannot be built from {text!r}: {error}") from error
    if not isinstance(member, Paradigm):
        needed = [*get_annotations(Paradigm), *(name for name in vars(Paradigm) if not name.startswith("_"))]
        missing = [name for name in needed if not hasattr(member, name)]
        raise FathomError(
            f"paradigm {entry.name!r} ({entry.path}) lacks {', '.join(missing)}; see fathom.learn.task.Paradigm"
        )
    return guarded_paradigm(member, str(call)) if is_plugin(entry.name) else member
