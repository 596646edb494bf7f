"""Source code of plug-ins, read once per call: the bytes that are hashed are the bytes that run, in every process.

A plug-in and every module it imports that is neither of the standard library nor of an installed package of a fixed
version are *pinned*: their file is read once, and an import compiles what was read. Worker processes are given these
bytes, so a file that is edited while a study runs changes nothing until the next call.
"""

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from fathom.core.records import FathomError
from fathom.registry.module_search import OWN, ModuleOrigin, find_module

PACKAGE = Path(__file__).parents[1]  # the folder of Fathom itself
IMPORT_IT = "Import it by its name, at the top of the file, and keep it beside the file or in an installed package"
PLUGIN = "_fathom_plugin_"  # start of the module name of a plug-in file


@dataclass(frozen=True)
class PinnedModule:
    """A module that is imported from bytes that were read once.

    Args:
        path: Its file; of a package without `__init__.py` its folder.
        data: Bytes of the file; None for a compiled module and for a package without `__init__.py`.
        folder: Folder of a package, where its modules are; empty for a plain module.
    """

    path: Path
    data: bytes | None
    folder: str = ""

    def spec(self, name: str) -> ModuleSpec | None:
        """Spec to import it under a name; None where it cannot be imported."""
        if self.data is not None:
            loader = _PinnedLoader(name, str(self.path), self.data)
            where = [self.folder] if self.folder else None
            return importlib.util.spec_from_file_location(
                name, self.path, loader=loader, submodule_search_locations=where
            )
        if not self.folder:
            return importlib.util.spec_from_file_location(name, self.path)
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [self.folder]
        return spec


class _PinnedLoader(SourceFileLoader):
    """Loads a module from given bytes."""

    def __init__(self, name: str, path: str, data: bytes) -> None:
        super().__init__(name, path)
        self.data = data

    def path_stats(self, path: Any) -> Mapping[str, Any]:
        raise OSError  # no cached bytecode: what was read is compiled

    def get_data(self, path: Any) -> bytes:
        return self.data if str(path) == str(self.path) else super().get_data(path)


_read: dict[Path, bytes] = {}  # by path
_listed: dict[Path, list[Path]] = {}  # source files of a folder
_pinned: dict[str, PinnedModule] = {}  # by module name
derived: dict[Any, Any] = {}  # what was found out from the source, forgotten with it


def read_source(path: Path) -> bytes:
    """Bytes of a source file, read from disk once per call.

    Raises:
        OSError: It cannot be read.
    """
    if path not in _read:
        _read[path] = path.read_bytes()
    return _read[path]


def list_sources(folder: Path) -> list[Path]:
    """Source files of a folder, sorted, listed once per call."""
    if folder not in _listed:
        _listed[folder] = sorted(folder.glob("*.py"))
    return _listed[folder]


def pinned() -> Mapping[str, PinnedModule]:
    """Pinned modules by name."""
    return _pinned


def beside(name: str, path: Path) -> Path:
    """Folder that a module's absolute imports search first: where its file is, or its outermost package."""
    levels = name.count(".") + (path.name == "__init__.py")
    return path.parents[min(levels, len(path.parents) - 1)]


def pin(name: str, origin: ModuleOrigin) -> PinnedModule:
    """Read a module and all that it imports outside installed packages, so that an import runs what was read.

    Raises:
        FathomError: Another file is pinned under this name, which two plug-ins cannot both import.
    """
    assert origin.path is not None
    if known := _pinned.get(name):
        if known.path != origin.path:
            raise FathomError(
                f"two plug-ins import different modules {name!r}: {known.path} and {origin.path}. A process can hold "
                "only one module of a name: rename one of the files"
            )
        return known
    data = read_source(origin.path) if origin.path.suffix == ".py" else None
    made = _pinned[name] = PinnedModule(origin.path, data, origin.folder)
    _install_finder()
    for loaded in [key for key in sys.modules if key.partition(".")[0] == name]:
        del sys.modules[loaded]  # imported before it was read here, perhaps from an older file
    package = name if made.folder else name.rpartition(".")[0]
    for target in imported(data, package) if data is not None else ():
        pin_own(target, beside(name, origin.path))
    return made


def pin_own(name: str, folder: Path | None) -> None:
    """Pin a module and the packages that it is in, if they are own code, as imported by a file in a folder."""
    parts = name.split(".")
    for whole in (".".join(parts[: i + 1]) for i in range(len(parts))):
        if (found := find_module(whole, folder, folders())).kind == OWN:
            pin(whole, found)


def imported(data: bytes, package: str) -> list[str]:
    """Names of all modules that a source file may import; for `from a import b` both `a` and `a.b`."""
    names: dict[str, None] = {}
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return []  # the import itself says what is wrong
    for node in ast.walk(tree):
        for module, attribute, _ in import_targets(node, package):
            names[module] = None
            if attribute not in (None, "*"):
                names[f"{module}.{attribute}"] = None
    return list(names)


def import_targets(node: ast.AST, package: str) -> Iterator[tuple[str, str | None, str]]:
    """(module, attribute or None, name that is bound) of an import statement, or of `import_module("name")`."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name, None, alias.asname or alias.name.partition(".")[0]
    elif isinstance(node, ast.ImportFrom):
        parts = package.split(".") if package else []
        above = parts[: len(parts) - node.level + 1] if node.level else []
        module = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names if module and (above or not node.level) else ():
            yield module, alias.name, alias.asname or alias.name
    elif isinstance(node, ast.Call) and node.args and isinstance(literal := node.args[0], ast.Constant):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in ("import_module", "__import__") and isinstance(literal.value, str) and literal.value[:1] != ".":
            yield literal.value, None, ""


def folders() -> dict[str, str]:
    """Folder of each pinned package, where its modules are searched."""
    return {name: module.folder for name, module in _pinned.items() if module.folder}


def _install_finder() -> None:
    if not any(isinstance(finder, _PinnedFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _PinnedFinder())


class _PinnedFinder(MetaPathFinder):
    """Finds pinned modules before Python does, and refuses a pinned module the code that was not read with it."""

    finds_pinned = True

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if module := _pinned.get(name):
            return module.spec(name)
        if not (importer := _pinned.get(caller := _importer(sys._getframe(1)))):
            return None
        if find_module(name, beside(caller, importer.path), folders()).kind == OWN:
            raise ImportError(
                f"{importer.path} imports {name}, which cannot be seen by reading {importer.path.name}, so it is "
                f"no part of the code that was hashed. {IMPORT_IT}",
                name=name,
            )
        return None


def _importer(frame: FrameType | None) -> str:
    """Name of the module whose code runs an import."""
    while frame and ("importlib" in frame.f_code.co_filename or frame.f_globals.get("__name__") == __name__):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")) if frame else ""


# ------------------------------------------------------------------------------------------- calls and processes


def drop_changed(plugins: Collection[Path]) -> bool:
    """Begin a call: forget what was read if a file has changed since, or is of a plug-in that is no longer registered.

    Args:
        plugins: Files that are registered as plug-ins now.

    Returns:
        Whether it was forgotten.
    """
    importlib.invalidate_caches()
    gone = [m for name, m in _pinned.items() if name.startswith(PLUGIN) and m.path not in plugins]
    same = all(_same(path, data) for path, data in _read.items() if not path.is_relative_to(PACKAGE))
    if same and not gone and all(sorted(folder.glob("*.py")) == files for folder, files in _listed.items()):
        return False
    forget()
    return True


def forget() -> None:
    """Forget every plug-in source that was read, and the modules that were made of it."""
    for name in [key for key in sys.modules if key.partition(".")[0] in _pinned or key in _pinned]:
        del sys.modules[name]
    for known in (_pinned, _listed, derived):
        known.clear()
    for path in [path for path in _read if not path.is_relative_to(PACKAGE)]:
        del _read[path]


def _same(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def export_sources() -> dict[str, Any]:
    """All pinned source as plain JSON, for worker processes, with the hashes of Fathom's own files."""
    modules = {
        name: {"path": str(module.path), "folder": module.folder, "text": _text(module.data)}
        for name, module in _pinned.items()
    }
    read = {str(path): _text(data) for path, data in _read.items() if not path.is_relative_to(PACKAGE)}
    listed = {str(folder): [str(path) for path in files] for folder, files in _listed.items()}
    return {"modules": modules, "read": read, "listed": listed, "fathom": _own_files()}


def adopt_sources(sources: Mapping[str, Any]) -> None:
    """Take over the source of the process that started this one, in place of the files on this machine's disk.

    Raises:
        FathomError: Fathom itself has other source here.
    """
    here, there = _own_files(), sources["fathom"]
    if changed := sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name)):
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise FathomError(
            f"this worker finds other source of Fathom than the process that started the study: "
            f"{', '.join(changed[:3])}{more} in {PACKAGE}. Was Fathom edited or upgraded since, or does this machine "
            "have another version? Make them equal, then run the same command again"
        )
    forget()
    _read.update({Path(path): _data(text) or b"" for path, text in sources["read"].items()})
    _listed.update({Path(folder): [*map(Path, files)] for folder, files in sources["listed"].items()})
    for name, module in sources["modules"].items():
        _pinned[name] = PinnedModule(Path(module["path"]), _data(module["text"]), module["folder"])
    _install_finder()


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("latin-1")


def _data(text: str | None) -> bytes | None:
    return None if text is None else text.encode("latin-1")


@cache
def _own_files() -> dict[str, str]:
    """Hash of each source file of Fathom."""
    files = sorted(PACKAGE.rglob("*.py"))
    return {f.relative_to(PACKAGE).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest()[:12] for f in files}
