"""Registered members, read from source: nothing is imported to list names and parameters."""

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any

from fathom.core.member_call import MemberExitError, is_plugin, member_call
from fathom.core.records import FathomError
from fathom.registry import source
from fathom.registry.module_search import OWN, ModuleOrigin, find_module
from fathom.registry.spec_string import NAME, Value, spell

KINDS = ("dataset", "regime", "paradigm", "query", "backbone")
DECORATORS = {"score": "query", "selection": "query"} | {kind: kind for kind in KINDS if kind != "query"}

# Parameters of every query method, in addition to the method's own (see `query.method`).
QUERY_PARAMETERS: dict[str, dict[str, Value]] = {
    "score": {"draws": 0, "dropout": "auto", "subsample": 0, "sampling": "top", "beta": 1.0, "stratify": False},
    "selection": {"draws": 0, "dropout": "auto", "subsample": 0},
}


@dataclass(frozen=True)
class Entry:
    """A registered member, known from its source alone.

    Args:
        kind: One of `KINDS`.
        name: Full name, `my_al/margin` for a plug-in's.
        module: Dotted module name.
        path: Its source file.
        line: Line of its decorator.
        attribute: Name in the module.
        doc: Its docstring.
        options: The decorator's keyword arguments.
        parameters: Name -> default of each parameter of a spec string.
    """

    kind: str
    name: str
    module: str
    path: Path
    line: int
    attribute: str
    doc: str
    options: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Value] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return self.doc.split("\n")[0]

    @property
    def builtin(self) -> bool:
        """True for a member of Fathom itself."""
        return self.module.partition(".")[0] == "fathom"

    def pin(self) -> None:
        """Read its module and what that imports, so that what is hashed is what runs."""
        if self.module.startswith(source.PLUGIN):
            source.pin(self.module, ModuleOrigin(OWN, self.path))
        elif not self.builtin:
            source.pin_own(self.module, None)

    def load(self) -> Any:
        """Import the member.

        Raises:
            FathomError: Its module raises an error on import; the message has file, line and error.
        """
        guard = member_call(f"the import of {self.path.name}") if is_plugin(self.name) else nullcontext()
        try:
            self.pin()
            with guard:
                return getattr(importlib.import_module(self.module), self.attribute)
        except (Exception, SystemExit) as error:  # SystemExit: a built-in that exits at its end
            cause = error.__cause__ if isinstance(error, MemberExitError) and error.__cause__ else error
            lines = [frame.lineno for frame in extract_tb(cause.__traceback__) if frame.filename == str(self.path)]
            where = f"{self.path}, line {lines[-1]}" if lines else str(self.path)
            raise FathomError(
                f"{self.kind} {self.name!r} cannot be imported ({where}): {type(cause).__name__}: {cause}"
            ) from error


def source_files(target: str) -> list[tuple[str, Path]]:
    """List (module, file) of an entry point's target: a module, or all modules of a package, sorted by name."""
    target = target.split(":")[0]
    found = find_module(target, None, source.folders())
    if found.path is None or found.path.suffix != ".py":
        raise FathomError(
            f"entry point {target!r} of group fathom names no module; reinstall the package that declares it"
        )
    if not found.folder:
        return [(target, found.path)]
    files = source.list_sources(Path(found.folder))
    return [(target if f.stem == "__init__" else f"{target}.{f.stem}", f) for f in files]


def scan(module: str, path: Path, prefix: str) -> list[Entry]:
    """Read the members of one source file.

    Args:
        module: Its dotted name.
        path: The file.
        prefix: Start of their names.

    Raises:
        FathomError: The file cannot be read, an argument of a decorator or a default is not a plain value, or two
            definitions have one name, of which Python would use the last.
    """
    try:
        tree = ast.parse(importlib.util.decode_source(source.read_source(path)), filename=str(path))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two: nested too deeply
        raise FathomError(
            f"cannot read {path} as Python source (UTF-8 unless its first line says otherwise): {error}"
        ) from error
    entries: list[Entry] = []
    defined: dict[str, int] = {}  # line of each definition
    for node in (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)):
        for kind, name, line, options in _decorators(node, path):
            doc, parameters = (ast.get_docstring(node) or "").strip(), _parameters(node, options, path)
            made = Entry(kind, prefix + name, module, path, line, node.name, doc, options, parameters)
            if other := next((entry for entry in entries if (entry.kind, entry.name) == (kind, made.name)), None):
                raise FathomError(twice(other, made))
            entries.append(made)
        first = defined.setdefault(node.name, node.lineno)
        if first != node.lineno and any(entry.attribute == node.name for entry in entries):
            raise FathomError(
                f"{path}:{first} and {path}:{node.lineno} both define {node.name}, and Python would use the last for "
                "both; give each member a function or class of its own name"
            )
    return entries


def twice(one: Entry, other: Entry) -> str:
    """Message for two members of one name."""
    places = f"{one.path}:{one.line} and {other.path}:{other.line}"
    return f"{one.kind} {one.name!r} is registered twice: {places}; rename one of them"


def _decorators(node: ast.FunctionDef | ast.ClassDef, path: Path) -> Iterable[tuple[str, str, int, dict[str, Any]]]:
    for call in node.decorator_list:
        if not isinstance(call, ast.Call):
            continue
        word = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if word not in DECORATORS or not call.args:
            continue
        try:
            name = ast.literal_eval(call.args[0])
            options = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
        except (ValueError, TypeError, RecursionError) as error:
            raise FathomError(f"{path}:{node.lineno}: the arguments of @{word} must be plain values") from error
        kind = DECORATORS[word]
        # Models are named with underscores where they come from; everything else is kebab-case.
        if not isinstance(name, str) or not re.fullmatch(NAME, name.replace("_", "-") if kind == "backbone" else name):
            raise FathomError(f"{path}:{node.lineno}: {name!r} is not a kebab-case name")
        yield kind, name, call.lineno, ({"method": word, **options} if kind == "query" else options)


def _parameters(node: ast.FunctionDef | ast.ClassDef, options: dict[str, Any], path: Path) -> dict[str, Value]:
    """Keyword-only parameters of a function, annotated fields of a class, with their defaults."""
    pairs: list[tuple[str, ast.expr | None]]
    if isinstance(node, ast.FunctionDef):
        pairs = [(a.arg, d) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
    else:
        pairs = [
            (f.target.id, f.value) for f in node.body if isinstance(f, ast.AnnAssign) and isinstance(f.target, ast.Name)
        ]
    own = {name: _default(name, default, path) for name, default in pairs}
    common = dict(QUERY_PARAMETERS.get(options.get("method", ""), {}))
    if "draws" in common:
        common["draws"] = options.get("draws", 0)
    return common | own


def _default(name: str, default: ast.expr | None, path: Path) -> Value:
    """Default of a parameter. It must be a value that a spec string can hold, to be listed and compared with one."""
    if default is None:
        return None
    try:
        value: Value = ast.literal_eval(default)
        spell(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise FathomError(
            f"{path}:{default.lineno}: the default of {name} must be a plain value (number, string, true, false, none, "
            "or a tuple of these), as in a spec string"
        ) from error
    return value
