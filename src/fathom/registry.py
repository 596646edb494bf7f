"""Names and call-strings -> the functions behind them.

A member is a function or class with one of the decorators `score`, `selection`, `dataset`, `regime`, `paradigm`.
Members are found by reading the source of the folders that the entry points of group `fathom` name, so a list of all
names and parameters needs no import of torch, and a new file needs no edit elsewhere. Built-ins and visitors' packages
come in through the same door; a visitor's names carry the name of its entry point: `my_al/margin`.
"""

import ast
import difflib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from fathom.callstring import NAME, Call, Value, parse, spell
from fathom.records import FathomError

KINDS = ("dataset", "regime", "paradigm", "query")
T = TypeVar("T", bound=Callable[..., Any])


# ------------------------------------------------------------------------------------------------- decorators


def score(name: str, *, draws: int = 0, features: bool = False) -> Callable[[T], T]:
    """Register a query method that maps each sample's prediction to one number: the highest are queried.

    `def f(view: PoolView, **parameters) -> Float[Tensor, "n"]`, pure; it sees one chunk of the pool at a time.

    Args:
        name: Kebab-case name.
        draws: Dropout draws it needs (k); 0 for the plain softmax (k = 1).
        features: Whether it needs `view.features`.
    """
    return _mark("query", name, method="score", draws=draws, features=features)


def selection(
    name: str, *, draws: int = 0, features: bool = False, labeled: bool = False, predictions: bool = True
) -> Callable[[T], T]:
    """Register a query method that sees the whole pool view and returns distinct positions in it.

    `def f(view: PoolView, size: int, stream: Stream, **parameters) -> Selection | Int[Tensor, "q"]`, pure.

    Args:
        name: Kebab-case name.
        draws: Dropout draws it needs (k); 0 for the plain softmax (k = 1).
        features: Whether it needs `view.features`.
        labeled: Whether it needs `view.labeled_features` and `view.labeled_labels`.
        predictions: Whether it needs the classifier at all; without, `view.log_probs` is [n, 0, c].
    """
    options = {"draws": draws, "features": features, "labeled": labeled, "predictions": predictions}
    return _mark("query", name, method="selection", **options)


def dataset(name: str) -> Callable[[T], T]:
    """Register a dataset: `def f(root: DataRoot, **parameters) -> Dataset`."""
    return _mark("dataset", name)


def regime(name: str) -> Callable[[T], T]:
    """Register a label regime: `def f(dataset: Dataset, **parameters) -> LabelRegime`."""
    return _mark("regime", name)


def paradigm(name: str) -> Callable[[T], T]:
    """Register a training paradigm: a frozen dataclass whose fields are its parameters (see `learn.task.Paradigm`)."""
    return _mark("paradigm", name)


def _mark(kind: str, name: str, **options: Any) -> Callable[[T], T]:
    def decorate(member: T) -> T:
        member.__fathom__ = (kind, name, options)  # type: ignore[attr-defined]
        return member

    return decorate


# What a call-string may set for every query method, on top of the method's own parameters (see `query.method`).
QUERY_PARAMETERS: dict[str, dict[str, Value]] = {
    "score": {"draws": 0, "subsample": 0, "sampling": "top", "beta": 1.0, "stratify": False},
    "selection": {"draws": 0, "subsample": 0},
}


# ------------------------------------------------------------------------------------------------------- members


@dataclass(frozen=True)
class Entry:
    """A registered member, known from its source alone.

    Args:
        kind: One of `KINDS`.
        name: Full name, `my_al/margin` for a visitor's.
        module: Dotted module name.
        path: Its source file.
        attribute: Name in the module.
        doc: Its docstring.
        options: The decorator's keyword arguments.
        parameters: Name -> default of what a call-string may set.
    """

    kind: str
    name: str
    module: str
    path: Path
    attribute: str
    doc: str
    options: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Value] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return self.doc.split("\n")[0]

    def load(self) -> Any:
        """Import the member.

        Raises:
            FathomError: Its module cannot be imported.
        """
        try:
            return getattr(_module(self.module, self.path), self.attribute)
        except ImportError as error:
            raise FathomError(f"{self.kind} {self.name!r} ({self.path}) cannot be imported: {error}") from error


_files: dict[str, Path] = {}  # plug-in files added with `add_file`, by prefix


def add_file(path: str | Path) -> str:
    """Register the members of a single file under its stem: `my_al.py` gives `my_al/...`. Returns the prefix.

    Raises:
        FathomError: The file is missing, holds no member, or its stem is taken.
    """
    path = Path(path).resolve()
    if not path.is_file() or path.suffix != ".py":
        raise FathomError(f"plug-in {path} is not a Python file; expected a .py file with a decorated function")
    if not path.stem.isidentifier():
        raise FathomError(f"plug-in {path.name}: its stem is the prefix of its names; rename it to a Python identifier")
    taken = _files.get(path.stem)
    if (taken and taken != path) or path.stem in {p.name for p in entry_points(group="fathom")}:
        raise FathomError(f"the prefix {path.stem}/ is taken already; rename {path.name}")
    if not _scan(path.stem, path, ""):
        raise FathomError(f"{path} registers nothing; decorate a function with @fathom.score or @fathom.selection")
    _files[path.stem] = path
    index.cache_clear()
    return path.stem


def added_files() -> list[str]:
    """The plug-in files added so far, for handing on to worker processes."""
    return [str(p) for p in _files.values()]


@cache
def index() -> dict[str, dict[str, Entry]]:
    """All members by kind and name, read from source without importing them.

    Raises:
        FathomError: Two members share a name, or a source file cannot be read.
    """
    found: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
    places = [(point.value, point.name, _sources(point.value)) for point in sorted(entry_points(group="fathom"))]
    places += [(prefix, prefix, [(f"_fathom_plugin_{prefix}", path)]) for prefix, path in _files.items()]
    for target, prefix, sources in places:
        builtin = target.startswith("fathom.")
        for module, path in sources:
            for entry in _scan(module, path, "" if builtin else f"{prefix}/"):
                if (other := found[entry.kind].get(entry.name)) and other.path != entry.path:
                    raise FathomError(f"{entry.kind} {entry.name!r} is registered twice: {other.path} and {path}")
                found[entry.kind][entry.name] = entry
    return {kind: dict(sorted(members.items())) for kind, members in found.items()}


def find(kind: str, text: str) -> tuple[Entry, Call]:
    """The member and the canonical, checked call of a call-string, without importing the member.

    Raises:
        FathomError: Unknown name or parameter (with the nearest valid one), or a value of the wrong type.
    """
    call = parse(text)
    members = index()[kind]
    if call.name not in members:
        raise FathomError(f"unknown {kind} {call.name!r}. {suggest(call.name, members)}")
    entry = members[call.name]
    for key, value in call.arguments:
        if key not in entry.parameters:
            raise FathomError(f"{kind} {call.name!r} has no parameter {key!r}. {suggest(key, entry.parameters)}")
        _check_type(f"{kind} {call.name}: {key}", value, entry.parameters[key])
    # What says nothing new is left out, so that one variation has one spelling and one key.
    said = {key: value for key, value in call.arguments if spell(value) != spell(entry.parameters[key])}
    return entry, Call.make(call.name, said)


def suggest(name: str, known: Iterable[str]) -> str:
    """'Did you mean ...?', or all valid names where none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else f"Expected one of: {', '.join(known) or '(none)'}"


def _check_type(what: str, value: Value, default: Value) -> None:
    if default is None or value is None or (isinstance(default, str) and default == "auto"):
        return
    allowed = default if isinstance(default, tuple) else (default,)
    kinds = {type(v) for v in allowed} or {float}
    for v in value if isinstance(value, tuple) else (value,):
        fits = type(v) in kinds or (float in kinds and type(v) is int)
        if not fits or (isinstance(value, tuple) and not isinstance(default, tuple)):
            names = " or ".join(sorted(k.__name__ for k in kinds))
            raise FathomError(f"{what} expects {names}, as its default {spell(default)}; got {spell(value)}")


# ------------------------------------------------------------------------------------------------ reading source


def _sources(target: str) -> list[tuple[str, Path]]:
    """(module, file) of an entry point's target: a module, or every module of a package's folder, sorted by name."""
    target = target.split(":")[0]
    try:
        spec = importlib.util.find_spec(target)
    except ImportError as error:
        raise FathomError(f"entry point {target!r} of group fathom cannot be found: {error}") from error
    if spec is None or spec.origin is None:
        raise FathomError(f"entry point {target!r} of group fathom names no module; reinstall the package that has it")
    if not spec.submodule_search_locations:
        return [(target, Path(spec.origin))]
    files = sorted(Path(spec.origin).parent.glob("*.py"))
    return [(target if f.stem == "__init__" else f"{target}.{f.stem}", f) for f in files]


def _scan(module: str, path: Path, prefix: str) -> list[Entry]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (OSError, SyntaxError) as error:
        raise FathomError(f"cannot read {path}: {error}") from error
    entries = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            for kind, name, options in _decorators(node, path):
                entries.append(
                    Entry(
                        kind,
                        prefix + name,
                        module,
                        path,
                        node.name,
                        (ast.get_docstring(node) or "").strip(),
                        options,
                        _parameters(node, options),
                    )
                )
    return entries


def _decorators(node: ast.FunctionDef | ast.ClassDef, path: Path) -> Iterable[tuple[str, str, dict[str, Any]]]:
    kinds = {"score": "query", "selection": "query", "dataset": "dataset", "regime": "regime", "paradigm": "paradigm"}
    for call in node.decorator_list:
        if not isinstance(call, ast.Call):
            continue
        word = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if word not in kinds or not call.args:
            continue
        try:
            name = ast.literal_eval(call.args[0])
            options = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
        except ValueError as error:
            raise FathomError(f"{path}:{node.lineno}: the arguments of @{word} must be plain values") from error
        if not isinstance(name, str) or not re.fullmatch(NAME, name):
            raise FathomError(f"{path}:{node.lineno}: {name!r} is not a kebab-case name")
        yield kinds[word], name, ({"method": word, **options} if kinds[word] == "query" else options)


def _parameters(node: ast.FunctionDef | ast.ClassDef, options: dict[str, Any]) -> dict[str, Value]:
    """Keyword-only parameters of a function, annotated fields of a class, with their defaults."""
    pairs: list[tuple[str, ast.expr | None]]
    if isinstance(node, ast.FunctionDef):
        pairs = [(a.arg, d) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
    else:
        pairs = [
            (f.target.id, f.value) for f in node.body if isinstance(f, ast.AnnAssign) and isinstance(f.target, ast.Name)
        ]
    own = {name: ast.literal_eval(default) if default is not None else None for name, default in pairs}
    common = dict(QUERY_PARAMETERS.get(options.get("method", ""), {}))
    if "draws" in common:
        common["draws"] = options.get("draws", 0)
    return common | own


def _module(name: str, path: Path) -> ModuleType:
    if name in sys.modules or not name.startswith("_fathom_plugin_"):
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no loader for {path}")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
