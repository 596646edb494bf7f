"""Sphinx extension: a directive that documents every name of `fathom.__all__`, and the types behind them.

    .. public-api:: names      every public name
    .. public-api:: types      the types of Fathom that public functions take and return
    .. public-api:: plug-ins   the types that a plug-in meets, as far as they are not among those
    .. public-api:: checks     the functions of `fathom.testing`

A name that is added to `fathom.__all__` is on the page without an edit, and so is a type that is added to a signature.
"""

import contextlib
import dataclasses
import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import fathom

# Where a plug-in meets Fathom: the arguments and results of query methods, datasets and paradigms.
PLUG_IN_TYPES = (
    "fathom.query.view.PoolView",
    "fathom.query.view.Selection",
    "fathom.data.dataset.Dataset",
    "fathom.learn.task.Paradigm",
)


def public_names() -> list[str]:
    """Return the names that `import fathom` offers, with the package's name, sorted."""
    return sorted(f"fathom.{name}" for name in fathom.__all__)


def public_types() -> list[str]:
    """Return the full names of the types that public functions take or return and that are no public names."""
    public = [find(name) for name in public_names()]
    return _names(set(_closure(public)) - set(public))


def plug_in_types() -> list[str]:
    """Return the full names of the types that a plug-in meets and that `public_types` does not list."""
    types = [find(name) for name in PLUG_IN_TYPES]
    met = {*types, *_closure([*types, *map(find, checks())])}
    shown = {*public_types(), *public_names()}
    return [name for name in _names(met) if name not in shown]


def checks() -> list[str]:
    """Return the full names of the functions that check whether a plug-in keeps its contract, sorted."""
    found = vars(importlib.import_module("fathom.testing")).items()
    return sorted(f"fathom.testing.{name}" for name, thing in found if inspect.isfunction(thing) and name[0] != "_")


LISTS: dict[str, Callable[[], list[str]]] = {
    "names": public_names,
    "types": public_types,
    "plug-ins": plug_in_types,
    "checks": checks,
}


def find(name: str) -> Any:
    """Return the object of a full name such as `fathom.query.view.PoolView`."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _names(classes: Iterable[type]) -> list[str]:
    return sorted(f"{cls.__module__}.{cls.__qualname__}" for cls in classes)


def _closure(seeds: Iterable[Any]) -> list[type]:
    """Return the classes of Fathom in the annotations of some functions and classes, and in those of these classes."""
    found: list[type] = []
    waiting = [cls for seed in seeds for cls in _annotated(seed)]
    while waiting:
        cls = waiting.pop()
        if cls not in found:
            found.append(cls)
            waiting += _annotated(cls)
    return found


def _annotated(thing: Any) -> Iterator[type]:
    """Yield the classes of Fathom in the annotations of a function, or of a class's fields and public methods."""
    if inspect.isclass(thing):
        members = [member for name, member in vars(thing).items() if not name.startswith("_")]
        for member in members:
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if inspect.isfunction(function):
                yield from _annotated(function)
        if not (dataclasses.is_dataclass(thing) or getattr(thing, "_is_protocol", False)):
            return
    elif not inspect.isfunction(thing):
        return
    names = vars(sys.modules[thing.__module__])
    for hint in inspect.get_annotations(thing).values():
        # A name that is imported for type checkers only cannot be looked up. If it is a type of Fathom, Sphinx finds
        # no target for it and the build fails (-n -W), so nothing goes missing unnoticed.
        with contextlib.suppress(NameError):
            yield from _classes_of(eval(hint, dict(names)) if isinstance(hint, str) else hint)


def _classes_of(hint: Any) -> Iterator[type]:
    """Yield the classes of Fathom inside one annotation, such as `Sequence[RunSpec] | None`."""
    if inspect.isclass(hint) and hint.__module__.split(".")[0] == "fathom":
        yield hint
    for part in typing.get_args(hint):
        yield from _classes_of(part)


def source(name: str) -> list[str]:
    """Return the lines of reStructuredText that document one name."""
    thing = find(name)
    if not inspect.isclass(thing):
        return [f".. autofunction:: {name}", ""]
    if issubclass(thing, Exception):
        return [f".. autoexception:: {name}", ""]
    return [f".. autoclass:: {name}", "   :members:", ""]


def setup(app: Any) -> dict[str, Any]:
    """Register the directive; Sphinx calls this."""
    from docutils import nodes
    from docutils.statemachine import StringList
    from sphinx.util.docutils import SphinxDirective, switch_source_input
    from sphinx.util.parsing import nested_parse_to_nodes

    class PublicApi(SphinxDirective):
        """Document each name of one of `LISTS`."""

        required_arguments = 1

        def run(self) -> list[nodes.Node]:
            """Return what the directives of the single names give."""
            lines = StringList([line for name in LISTS[self.arguments[0]]() for line in source(name)], "public-api")
            with switch_source_input(self.state, lines):
                return nested_parse_to_nodes(self.state, lines)

    app.add_directive("public-api", PublicApi)
    return {"parallel_read_safe": True, "version": "1"}
