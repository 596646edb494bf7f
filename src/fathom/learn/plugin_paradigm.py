"""Plug-in paradigms and their classifiers, with a guard around every call (`core.member_call`)."""

from collections.abc import Iterator
from typing import Any, cast

from fathom.core.member_call import each_call, guarded
from fathom.learn.task import Paradigm


class _Proxy:
    def __init__(self, member: Any, what: str) -> None:
        self._member, self._what = member, what

    def __getattr__(self, name: str) -> Any:  # fields such as `dropout`
        if name.startswith("_"):
            raise AttributeError(name)  # a copy that is not filled yet
        return getattr(self._member, name)

    def _wrapped(self, result: Any) -> Any:
        """Guard what a call returned too, if it is an iterator, a paradigm or a classifier."""
        if isinstance(result, Iterator):
            return each_call(self._what, result)
        if isinstance(result, Paradigm):
            return _GuardedParadigm(result, self._what)
        if hasattr(result, "stream") and hasattr(result, "state"):
            return _GuardedClassifier(result, self._what)
        return result


@guarded(
    "grid", "prepare", "with_retry", "facts", "embed", "fit", "restore", "pretraining_images", "training_images",
    "validation_images", "benchmark_copy", read=("search", "recipe_name", "preparation", "backbone"),
)  # fmt: skip
class _GuardedParadigm(_Proxy):
    """A paradigm (`learn.task.Paradigm`)."""


@guarded("stream", "state")
class _GuardedClassifier(_Proxy):
    """A classifier (`learn.task.Classifier`)."""

    def __init__(self, member: Any, what: str) -> None:
        super().__init__(member, what)
        self.val_score, self.history = member.val_score, member.history
        self.diagnostics = getattr(member, "diagnostics", {})


def guarded_paradigm(member: Paradigm, text: str) -> Paradigm:
    """The paradigm of a spec string with the guard."""
    return cast(Paradigm, _GuardedParadigm(member, text))
