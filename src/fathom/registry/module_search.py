"""The origin of a module: the standard library, an installed package of a fixed version, Fathom, or own code.

Nothing is imported to find out.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, PackageNotFoundError, distribution, entry_points, packages_distributions
from pathlib import Path

STANDARD, INSTALLED, FATHOM, OWN, ABSENT = "standard library", "installed", "fathom", "own", "absent"

COMPARED = {"torch", "torchvision", "numpy", "sklearn"}  # their versions are part of the environment of a result


@dataclass(frozen=True)
class ModuleOrigin:
    """The origin of a module.

    Args:
        kind: `STANDARD`, `INSTALLED`, `FATHOM`, `OWN` (known by its content) or `ABSENT`.
        path: Its file, or its folder where it is a package without `__init__.py`; of own code and Fathom alone.
        folder: Folder of a package.
        package, version: Of an installed package.
    """

    kind: str
    path: Path | None = None
    folder: str = ""
    package: str = ""
    version: str = ""


def find_module(name: str, beside: Path | None, folders: Mapping[str, str]) -> ModuleOrigin:
    """Find a module as the code in a folder imports it.

    Installed packages go first, then files beside the importing one, then other folders that Python searches.

    Args:
        name: Dotted name.
        beside: Folder that the importing file stands in; None: only what Python finds by itself.
        folders: Folder of each package of own code that is known.
    """
    top, _, below = name.partition(".")
    if top in sys.stdlib_module_names or top in COMPARED:
        return ModuleOrigin(STANDARD)
    if top == "fathom":
        return _within_fathom(name)
    if (parent := name.rpartition(".")[0]) in folders:
        return _within(folders[parent], name)
    if not below:
        return _top_level(top, beside)
    root = find_module(top, beside, folders)
    if root.kind != OWN:
        return root
    folder = Path(root.folder, *parent.split(".")[1:])
    return _within(str(folder), name) if root.folder else ModuleOrigin(ABSENT)


def _within(folder: str, name: str) -> ModuleOrigin:
    # By its last part: for a folder without `__init__.py` the finder would look its parent up in `sys.modules`.
    return _own(PathFinder.find_spec(name.rpartition(".")[2], [folder]))


def _top_level(name: str, beside: Path | None) -> ModuleOrigin:
    if known := _installed_origin(name):
        return known
    found = _usual(name)
    return _own((beside and PathFinder.find_spec(name, [str(beside)])) or found)


@cache
def _installed_origin(name: str) -> ModuleOrigin | None:
    spec = _usual(name)
    known = _installed(name, spec) if spec else None
    return ModuleOrigin(INSTALLED, package=known.name, version=known.version) if known else None


def _usual(name: str) -> ModuleSpec | None:
    """The spec that Python finds for a top-level module."""
    for finder in sys.meta_path:
        search = getattr(finder, "find_spec", None)
        if search and not getattr(finder, "finds_pinned", False) and (spec := search(name, None)):
            return spec  # type: ignore[no-any-return]
    return None


def _own(spec: ModuleSpec | None) -> ModuleOrigin:
    if spec is None:
        return ModuleOrigin(ABSENT)
    folder = next(iter(spec.submodule_search_locations or ()), "")
    if spec.origin in (None, "built-in", "frozen", "namespace"):
        return ModuleOrigin(OWN, Path(folder), folder) if folder else ModuleOrigin(STANDARD)
    return ModuleOrigin(OWN, Path(str(spec.origin)), folder)


def _within_fathom(name: str) -> ModuleOrigin:
    path = Path(__file__).parents[2].joinpath(*name.split("."))
    if path.is_dir():
        return ModuleOrigin(FATHOM, path / "__init__.py", str(path))
    return ModuleOrigin(FATHOM, path.with_suffix(".py")) if path.with_suffix(".py").is_file() else ModuleOrigin(ABSENT)


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


@cache
def plugin_packages() -> frozenset[str]:
    """Installed distributions that register members, other than Fathom: their code counts by content."""
    points = entry_points(group="fathom")
    return frozenset(point.dist.name for point in points if point.dist and point.dist.name != "fathom-al")


def _installed(top: str, spec: ModuleSpec) -> Distribution | None:
    """The installed distribution of a fixed version that a top-level module belongs to; None for own code."""
    place = spec.origin if spec.has_location else next(iter(spec.submodule_search_locations or ()), "built-in")
    for name in _distributions().get(top, ()):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        root = Path(str(found.locate_file(""))).resolve()
        fixed = found.read_text("RECORD") is not None or {"site-packages", "dist-packages"} & {*root.parts}
        if fixed and Path(str(place)).resolve().is_relative_to(root) and not _changes(found):
            return found
    return None


def _changes(found: Distribution) -> bool:
    """Tell whether a distribution's code counts by content: an editable install, or a package of plug-ins."""
    if found.name in plugin_packages():
        return True
    try:
        url = json.loads(found.read_text("direct_url.json") or "{}")
        return bool(url.get("dir_info", {}).get("editable"))
    except ValueError:
        return False
