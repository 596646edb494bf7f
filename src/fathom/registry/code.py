"""Identity of a member's code: the content of what it uses, not of the file it stands in.

From the member's definition its names are followed, through the module and through imports, to every function, class,
constant and statement that it reaches. Comments, docstrings and layout do not count, nor does anything that the member
does not reach, such as another member of the file. Installed packages count by name and version; own modules, editable
installs and packages of plug-ins by content. Fathom's own members are identified in the same way; what a plug-in uses
of Fathom is identified by the protocol, a part of every run's key. In doubt a module counts whole.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fathom.core.records import FathomError, RunSpec, digest
from fathom.registry import source
from fathom.registry.module import Module, parse_module
from fathom.registry.module_search import ABSENT, FATHOM, INSTALLED, OWN, STANDARD, ModuleOrigin, find_module
from fathom.registry.plugin_scan import Entry
from fathom.registry.registry import members_of
from fathom.registry.source import IMPORT_IT

KIND_WORDS = {"query": "query method"}
WHOLE = ""  # as an attribute: all of a module
# A statement with one of these words may use anything in its module, so the module counts whole.
OPEN_WORDS = {"globals", "__import__", "vars", "exec", "eval", ".__dict__", ".__globals__", ".__subclasses__",
              "sys.modules", "__init_subclass__()", "metaclass="}  # fmt: skip
# One with these may use docstrings, comments or line numbers, so the bytes of the file count.
TEXT_WORDS = {"__doc__", ".__doc__", "getdoc", ".getdoc", "getsource", ".getsource", "linecache", ".co_firstlineno"}
# One with these runs a file whose name cannot be read from the source.
FILE_WORDS = {"spec_from_file_location", "SourceFileLoader", "run_path"}
FILE_WORDS |= {f".{word}" for word in FILE_WORDS}


@dataclass(frozen=True)
class MemberCode:
    """Identity of the code of one member.

    Args:
        kind, name: The member.
        parts: Module -> hash of what the member uses of it.
        packages: Installed package -> version.
        files: Module -> its file, for messages; no part of the identity.
    """

    kind: str
    name: str
    parts: dict[str, str]
    packages: dict[str, str]
    files: dict[str, str] = field(compare=False, default_factory=dict)

    @property
    def member(self) -> str:
        """`query my_al/margin`."""
        return f"{self.kind} {self.name}"

    def content(self) -> dict[str, Any]:
        """Plain values that identify it."""
        return {"kind": self.kind, "name": self.name, "parts": self.parts, "packages": self.packages}

    @property
    def words(self) -> str:
        """`query method my_al/margin`, for people."""
        return f"{KIND_WORDS.get(self.kind, self.kind)} {self.name}"

    def changes(self, earlier: Mapping[str, Any], clock: Mapping[str, Any]) -> list[str]:
        """Modules and packages that differ from an earlier record of the member, with their files."""
        old = {**earlier["parts"], **earlier["packages"]}
        new, files = {**self.parts, **self.packages}, {**clock.get("files", {}), **self.files}
        changed = sorted(name for name in old | new if old.get(name) != new.get(name))
        return [f"{files.get(name, name)} {_change(name, old, new)}" for name in changed]

    @property
    def sha256(self) -> str:
        """First digits of the hash of the identity."""
        return digest(self.content(), 12)


def _change(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> str:
    return "is no longer used" if name not in new else "is new" if name not in old else "has changed"


def identify_code(entry: Entry) -> MemberCode:
    """Identify the code of a member, from the source that this call has read.

    Raises:
        FathomError: It loads code in a way that hides which file is run.
    """
    key = (entry.module, entry.path, entry.kind, entry.name)
    if key not in source.derived:
        entry.pin()
        walk = _Walk(entry.builtin)
        walk.follow(entry.module, entry.attribute)
        parts = {name: _hash(part) for name, part in walk.reached()}
        files = {} if entry.builtin else {name: str(walk.modules[name].path) for name in parts}
        packages = dict(sorted(walk.packages.items()))
        source.derived[key] = MemberCode(entry.kind, entry.name, parts, packages, files)
    found: MemberCode = source.derived[key]
    return found


def codes_of(runs: Iterable[RunSpec]) -> dict[str, MemberCode]:
    """Code of every member that runs use, by member (`query my_al/margin`)."""
    used = dict.fromkeys((spec.setting, spec.query) for spec in runs)
    entries = {(e.kind, e.name): e for setting, query in used for e in members_of(setting, query)}
    return {code.member: code for code in map(identify_code, entries.values())}


def _hash(value: list[str]) -> str:
    return hashlib.sha256("\n".join(value).encode("utf-8", "surrogatepass")).hexdigest()[:16]


class _Walk:
    """All that a member reaches: statements of modules, and installed packages."""

    def __init__(self, builtin: bool) -> None:
        self.builtin = builtin
        self.modules: dict[str, Module] = {}
        self.statements: dict[str, set[int]] = {}
        self.edges: dict[str, set[str]] = {}  # imports that are reached, in words
        self.packages: dict[str, str] = {}
        self.todo: list[tuple[str, str]] = []  # (module, attribute) to reach
        self.seen: set[tuple[str, str]] = set()

    def reached(self) -> Iterator[tuple[str, list[str]]]:
        """(module, normalized text of each statement that is reached), sorted."""
        for name, module in sorted(self.modules.items()):
            found = [text for i in sorted(self.statements[name]) if (text := module.text(i))]
            words = {word for i in self.statements[name] for word in module.words[i]}
            found += [module.raw] if words & TEXT_WORDS or module.opaque else []
            if found or self.edges[name]:
                yield name, [*found, *sorted(self.edges[name])]

    def follow(self, name: str, attribute: str) -> None:
        """Reach a name of a module, and all that it uses."""
        self.todo = [(name, attribute)]
        while self.todo:
            if (found := self.todo.pop()) not in self.seen:
                self.seen.add(found)
                self._visit(*found)

    def _visit(self, name: str, attribute: str) -> None:
        """Reach a name of a module, or all of the module."""
        if (module := self._open(name)) is None:
            return
        if attribute in module.binders or attribute in module.imports:
            self._reach(module, self._name(module, attribute))
        elif attribute and self._kind(module, f"{name}.{attribute}") in (OWN, FATHOM):
            self.todo.append((f"{name}.{attribute}", WHOLE))
        else:  # all of it, or a name of `import *`, or one that is made at run time
            self._reach(module, range(len(module.nodes)))

    def _open(self, name: str) -> Module | None:
        """Parse a module of own code, and reach what its import runs: the statements that have an effect."""
        if name in self.modules:
            return self.modules[name]
        pinned = source.pinned().get(name)
        path = pinned.path if pinned else find_module(name, None, {}).path if name.startswith("fathom.") else None
        if path is None:
            return None
        module = parse_module(name, path, b"" if path.is_dir() else source.read_source(path))
        self.modules[name], self.statements[name], self.edges[name] = module, set(), set()
        if (parent := name.rpartition(".")[0]) not in ("", "fathom"):
            self._open(parent)
        # A decorator of own code may register what it decorates.
        registered = [i for i, roots in module.decorated.items() if any(self._is_own(module, root) for root in roots)]
        self._reach(module, [*module.effects, *registered])
        for imported in module.runs if not self.builtin else ():
            if imported in source.pinned():  # its effects too, be it used or not
                self._open(imported)
        return module

    def _is_own(self, module: Module, name: str) -> bool:
        """True for a name that own code defines: neither an installed package nor Fathom."""
        targets = module.imports.get(name, ())
        return name in module.binders or any(self._kind(module, target) == OWN for target, _ in targets)

    def _kind(self, module: Module, name: str) -> str:
        return self._find(module, name).kind

    def _find(self, module: Module, name: str) -> ModuleOrigin:
        if self.builtin and name.partition(".")[0] != "fathom":
            return ModuleOrigin(STANDARD)  # the versions that Fathom depends on are part of the environment
        return find_module(name, module.beside, source.folders())

    def _reach(self, module: Module, places: Iterable[int]) -> None:
        """Reach statements of a module."""
        todo, reached = list(places), self.statements[module.name]
        while todo:
            if (i := todo.pop()) in reached:
                continue
            reached.add(i)
            if not self.builtin and (hidden := module.words[i] & FILE_WORDS):
                raise FathomError(
                    f"{module.path} loads code with {min(hidden).strip('.')}, which cannot be seen by reading it, so "
                    f"it would be no part of the code that is hashed. {IMPORT_IT}"
                )
            if module.words[i] & OPEN_WORDS:
                todo += range(len(module.nodes))
            for name in module.imported[i]:  # of a module that counts whole
                todo += self._name(module, name)
            for name, attribute in sorted(module.uses[i]):
                todo += self._name(module, name, attribute)
            for target, attribute in module.inner[i]:
                self._import(module, "", target, attribute)

    def _name(self, module: Module, name: str, attribute: str = WHOLE) -> list[int]:
        """Reach a name at the top of a module, of which an attribute is used; returns the statements that bind it."""
        for target, part in module.imports.get(name, ()):
            if part is None and target.startswith(f"{name}."):  # `import a.b` binds `a`
                self._import(module, name, name, attribute)
                self._import(module, name, target, WHOLE)
            elif part is None:
                self._import(module, name, target, attribute)
            elif attribute and self._kind(module, f"{target}.{part}") in (OWN, FATHOM):
                self._import(module, name, f"{target}.{part}", attribute)
            else:
                self._import(module, name, target, part)
        if name not in module.binders and name not in module.imports:
            for star in module.stars:
                self._import(module, "*", star, WHOLE)
        return module.binders.get(name, [])

    def _import(self, module: Module, name: str, target: str, attribute: str) -> None:
        """Reach what an import gives, and note in words which name it has here."""
        found = self._find(module, target)
        if found.kind == OWN or (found.kind == FATHOM and self.builtin):
            self.todo.append((target, attribute))
        elif found.kind == INSTALLED and not self.builtin:
            self.packages[found.package] = found.version
        absent = f" ({ABSENT})" if found.kind == ABSENT else ""
        self.edges[module.name].add(f"{name} = {target}{absent} {attribute}")
