"""Registry: from spec strings to the functions and classes that they name.

A member is a function or class with one of the decorators `score`, `selection`, `dataset`, `regime`,
`paradigm`, `backbone`.
Members are found by reading the source of the folders that the entry points of group `fathom` name, so a list of all
names and parameters needs no import of torch, and a new file needs no edit elsewhere. Built-ins and plug-ins are
found in the same way; names of a plug-in begin with the name of its entry point: `my_al/margin`.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from fathom.core.inputs import user_path
from fathom.core.records import DEVELOPMENT, FathomError, Setting
from fathom.core.text import quoted
from fathom.registry import source
from fathom.registry.plugin_scan import KINDS, scan, source_files, twice
from fathom.registry.plugin_scan import QUERY_PARAMETERS as QUERY_PARAMETERS
from fathom.registry.plugin_scan import Entry as Entry
from fathom.registry.spec_string import SpecString, Value, parse, spell

T = TypeVar("T", bound=Callable[..., Any])
ENCODERS = ("simclr", "encoder")  # backbones that are our own networks, prepared before; no members of the registry


# ------------------------------------------------------------------------------------------------- decorators


def score(name: str, *, draws: int = 0, features: bool | str = False) -> Callable[[T], T]:
    """Register a query method that maps each sample's prediction to one number: the highest are queried.

    `def f(view: PoolView, **parameters) -> Float[Tensor, "n"]`, pure; it sees one chunk of the pool at a time.

    Args:
        name: Kebab-case name.
        draws: Dropout draws it needs (k); 0 for the plain softmax (k = 1).
        features: Whether it needs `view.features`: true for the input of the last linear layer, `"encoder"` for the
            encoder's output, which differ where the head has two layers.
    """
    return _mark("query", name, method="score", draws=draws, features=features)


def selection(
    name: str, *, draws: int = 0, features: bool | str = False, labeled: bool = False, predictions: bool = True
) -> Callable[[T], T]:
    """Register a query method that sees the whole pool view and returns distinct positions in it.

    `def f(view: PoolView, size: int, stream: Stream, **parameters) -> Selection | Int[Tensor, "q"]`, pure.

    Args:
        name: Kebab-case name.
        draws: Dropout draws it needs (k); 0 for the plain softmax (k = 1).
        features: Whether it needs `view.features`: true for the input of the last linear layer, `"encoder"` for the
            encoder's output, which differ where the head has two layers.
        labeled: Whether it needs `view.labeled_features` and `view.labeled_labels`.
        predictions: Whether it needs the classifier at all; without, `view.log_probs` is [n, 0, c].
    """
    options = {"draws": draws, "features": features, "labeled": labeled, "predictions": predictions}
    return _mark("query", name, method="selection", **options)


def dataset(name: str, *, role: str = DEVELOPMENT, sketch: str = "") -> Callable[[T], T]:
    """Register a dataset: `def f(root: DataRoot, **parameters) -> Dataset`.

    Args:
        name: Kebab-case name.
        role: `development`, or `roll-out`: never tuned on. A parameter `role` of the dataset's own goes before it.
        sketch: Name of a function of the same module with the same keyword parameters that gives the dataset with
            official counts and without images, so that a study can be planned without the files.
    """
    return _mark("dataset", name, role=role, sketch=sketch)


def regime(name: str) -> Callable[[T], T]:
    """Register a label regime: `def f(dataset: Dataset, **parameters) -> LabelRegime`."""
    return _mark("regime", name)


def paradigm(name: str) -> Callable[[T], T]:
    """Register a training paradigm: a frozen dataclass whose fields are its parameters (see `learn.task.Paradigm`)."""
    return _mark("paradigm", name)


def backbone(name: str, *, models: bool = False, weights: bool = True, resizes: bool = True) -> Callable[[T], T]:
    """Register a backbone of `frozen`: `def f(request: BackboneRequest) -> BackboneInfo` (see `learn.features`).

    Args:
        name: Lower-case name; underscores are allowed.
        models: It offers several models, `NAME:MODEL`.
        weights: It reads a file of weights; if not, `weights` must be left out.
        resizes: It resizes images to `size`; if not, `size` must be left out.
    """
    return _mark("backbone", name, models=models, weights=weights, resizes=resizes)


def _mark(kind: str, name: str, **options: Any) -> Callable[[T], T]:
    def decorate(member: T) -> T:
        member.__fathom__ = (kind, name, options)  # type: ignore[attr-defined]
        return member

    return decorate


# ------------------------------------------------------------------------------------------------------- members

_files: dict[str, Path] = {}  # plug-in files added with `add_file`, by prefix


def add_file(path: str | Path) -> str:
    """Register the members of a single file under its stem: `my_al.py` gives `my_al/...`. Returns the prefix.

    Raises:
        FathomError: The file is missing, holds no member, or its stem is taken.
    """
    path = user_path(path).resolve()
    if not path.is_file() or path.suffix != ".py":
        raise FathomError(f"plug-in {path} is not a Python file; expected a .py file with a decorated function")
    if not path.stem.isidentifier():
        raise FathomError(f"plug-in {path.name}: its stem is the prefix of its names; rename it to a Python identifier")
    refresh([path])
    taken = _files.get(path.stem)
    if (taken and taken != path) or path.stem in {p.name for p in entry_points(group="fathom")}:
        raise FathomError(f"the prefix {path.stem}/ is taken already; rename {path.name}")
    if not scan(path.stem, path, f"{path.stem}/"):
        raise FathomError(f"{path} registers nothing; decorate a function with @fathom.score or @fathom.selection")
    _files[path.stem] = path
    index.cache_clear()
    return path.stem


def refresh(files: Iterable[Path] = ()) -> None:
    """Begin a call: source that has changed on disk since it was read is read again.

    Args:
        files: Plug-in files that are about to be added.
    """
    if source.drop_changed({*_files.values(), *files}):
        index.cache_clear()


def export_code() -> dict[str, Any]:
    """All that worker processes need to run the code that this process has read, as plain JSON."""
    for entry in (entry for members in index().values() for entry in members.values()):
        entry.pin()
    return {**source.export_sources(), "plugins": {prefix: str(path) for prefix, path in _files.items()}}


def adopt_code(code: Mapping[str, Any]) -> None:
    """Register the plug-ins of the process that started this one, as it has read them.

    Raises:
        FathomError: Fathom itself has other source here.
    """
    source.adopt_sources(code)
    _files.update({prefix: Path(path) for prefix, path in code["plugins"].items()})
    index.cache_clear()


@cache
def index() -> dict[str, dict[str, Entry]]:
    """All members by kind and name, read from source without importing them.

    Raises:
        FathomError: Two members share a name, or a source file cannot be read.
    """
    found: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
    places = [(point.value, point.name, source_files(point.value)) for point in sorted(entry_points(group="fathom"))]
    places += [(prefix, prefix, [(f"{source.PLUGIN}{prefix}", path)]) for prefix, path in _files.items()]
    for target, prefix, files in places:
        builtin = target.startswith("fathom.")
        for module, path in files:
            for entry in scan(module, path, "" if builtin else f"{prefix}/"):
                other = found[entry.kind].get(entry.name)
                if other and (other.path, other.line) != (entry.path, entry.line):
                    raise FathomError(twice(other, entry))
                found[entry.kind][entry.name] = entry
    return {kind: dict(sorted(members.items())) for kind, members in found.items()}


def find(kind: str, text: str) -> tuple[Entry, SpecString]:
    """Find the member of a spec string and the checked, canonical spec string; the member is not imported.

    Raises:
        FathomError: Unknown name or parameter (with the nearest valid one), or a value of the wrong type.
    """
    call = parse(text)
    members = index()[kind]
    if call.name not in members:
        raise FathomError(f"unknown {kind} {quoted(call.name)}. {suggest(call.name, members)}")
    entry = members[call.name]
    said: dict[str, Value] = {}
    for key, given in call.arguments:
        if key not in entry.parameters:
            raise FathomError(f"{kind} {call.name!r} has no parameter {key!r}. {suggest(key, entry.parameters)}")
        default = entry.parameters[key]
        # Where the parameter takes words, `none` is a word.
        value = "none" if given is None and isinstance(default, str) else given
        _check_type(f"{kind} {call.name}: {key}", value, default)
        if spell(value) != spell(default):  # defaults are left out, so that one variation has one spelling and one key
            said[key] = value
    return entry, SpecString.make(call.name, said)


def members_of(setting: Setting, query: str = "") -> list[Entry]:
    """The members that decide the results of a setting, and with a query method those of a run; no empty name."""
    named = {**setting._asdict(), "query": query}
    found = [find(kind, text) for kind, text in named.items() if text]
    values = [{**entry.parameters, **dict(call.arguments)} for entry, call in found if entry.kind == "paradigm"]
    backbone = values[0].get("backbone") if values else None
    known = [backbone_entry(backbone)[0]] if isinstance(backbone, str) and backbone not in ENCODERS else []
    return [*(entry for entry, _ in found), *known]


def backbone_entry(name: str) -> tuple[Entry, str]:
    """The registered backbone of a name, and the model it is asked for.

    `SOURCE:MODEL` is a model of a source that offers several (`@backbone(..., models=True)`). A name that no backbone
    has registered is a model of timm, which alone knows its thousand names.
    """
    known = index()["backbone"]
    source_name, colon, model = name.partition(":")
    entry = known.get(source_name)
    if entry is not None and bool(colon) == bool(entry.options.get("models")):
        return entry, model or name
    return known["timm"], name


def suggest(name: str, known: Iterable[str]) -> str:
    """A sentence for an error message: 'Did you mean ...?', or all valid names if none is close."""
    known, name = sorted(known), name[:100]  # of a long name the rest decides nothing, and takes quadratic time
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else f"Expected one of: {', '.join(known) or '(none)'}"


def _check_type(what: str, value: Value, default: Value) -> None:
    """Refuse a value of another type than the default. If the default is none, the member itself checks the value."""
    auto = default == "auto" and isinstance(default, str)
    if default is None or (auto and value is not None):
        return
    allowed = default if isinstance(default, tuple) else (default,)
    kinds = {type(v) for v in allowed}
    for v in value if isinstance(value, tuple) else (value,):
        fits = type(v) in kinds or (float in kinds and type(v) is int)
        if not fits or (isinstance(value, tuple) and not isinstance(default, tuple)):
            names = "a value" if auto else " or ".join(sorted(k.__name__ for k in kinds))
            raise FathomError(f"{what} expects {names}, as its default {spell(default)}; got {spell(value)}")
