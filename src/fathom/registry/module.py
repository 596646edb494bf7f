"""A source file as statements, with the names that each one binds and uses; nothing is imported."""

import ast
import hashlib
import importlib.util
import symtable
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from fathom.registry.plugin_scan import DECORATORS
from fathom.registry.source import beside, import_targets

Function = ast.FunctionDef | ast.AsyncFunctionDef
Import = ast.Import | ast.ImportFrom


class Module:
    """Statements at the top of a module; a statement is known by its place.

    Args:
        name, path, data: The module and its bytes.
    """

    def __init__(self, name: str, path: Path, data: bytes) -> None:
        self.name, self.path, self.raw = name, path, hashlib.sha256(data).hexdigest()
        self.beside = beside(name, path)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        self.binders: dict[str, list[int]] = {}  # name -> statements that bind or change it
        self.imports: dict[str, list[tuple[str, str | None]]] = {}  # name -> (module, attribute; None for the module)
        self.imported: list[list[str]] = []  # names that each import statement binds
        self.stars: list[str] = []  # modules of `from module import *`
        self.runs: list[str] = []  # modules that its import imports, and names in them
        self.nodes, table = _read(data)
        self.opaque = table is None  # compiled, or with an error
        used = _globals(self.nodes, table)
        for i, node in enumerate(self.nodes):
            self._bind(i, node, used[i], package)
        self.words = [_words(node) for node in self.nodes]
        self.effects = [i for i, node in enumerate(self.nodes) if _has_effect(node, self.imports)]
        self.decorated = {i: roots for i, node in enumerate(self.nodes) if (roots := _decorators(node))}
        self.inner = [[] if isinstance(node, Import) else _inner_imports(node, package) for node in self.nodes]
        self.uses = [self._uses(node, names) for node, names in zip(self.nodes, used, strict=True)]
        self._texts: dict[int, str] = {}

    def text(self, i: int) -> str:
        """Normalized text of a statement; empty for an import, which counts by what is used of it."""
        if i not in self._texts:
            self._texts[i] = "" if isinstance(self.nodes[i], Import) else _dump(self.nodes[i])
        return self._texts[i]

    def _bind(self, i: int, node: ast.stmt, used: set[str], package: str) -> None:
        self.imported.append([])
        defines = isinstance(node, Function | ast.ClassDef)
        for inner in [] if defines else ast.walk(node):
            for target, attribute, name in import_targets(inner, package) if isinstance(inner, Import) else ():
                if attribute == "*":
                    self.stars.append(target)
                else:
                    self.imports.setdefault(name, []).append((target, attribute))
                self.imported[i] += [name] if inner is node else []
                self.runs += [target, f"{target}.{attribute}"]
        for name in () if isinstance(node, Import) else _bound(node, used):
            self.binders.setdefault(name, []).append(i)

    def _uses(self, node: ast.stmt, used: set[str]) -> set[tuple[str, str]]:
        """(name at the top of the module, attribute that is used of it; empty for the name itself)."""
        if isinstance(node, Import):
            return set()
        inner = list(ast.walk(node))
        dotted = [n for n in inner if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
        consumed = {id(n.value) for n in dotted}
        found = {(n.value.id, n.attr) for n in dotted}  # type: ignore[attr-defined]
        found |= {(n.id, "") for n in inner if isinstance(n, ast.Name) and id(n) not in consumed}
        # A string may name what is looked up later, as the function that sketches a dataset.
        texts = {n.value for n in inner if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        return {(name, attr) for name, attr in found if name in used} | {(t, "") for t in texts & self.binders.keys()}


@cache
def parse_module(name: str, path: Path, data: bytes) -> Module:
    """Parse a module; one that is compiled or has an error has no statements."""
    return Module(name, path, data)


def _read(data: bytes) -> tuple[list[ast.stmt], symtable.SymbolTable | None]:
    """Statements at the top of a source file, without docstrings and what never runs, and its table of names."""
    try:
        tree = ast.parse(data)
        table = symtable.symtable(importlib.util.decode_source(data), "module", "exec")
    except (SyntaxError, ValueError):
        return [], None
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | Function | ast.ClassDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])
    return [node for node in tree.body if not _never_runs(node)], table


def _never_runs(node: ast.stmt) -> bool:
    """True for what only a type checker or a script sees."""
    if not isinstance(node, ast.If) or node.orelse:
        return False
    test = ast.unparse(node.test)
    return test in ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")


def _globals(nodes: list[ast.stmt], table: symtable.SymbolTable | None) -> list[set[str]]:
    """Names at the top of the module that each statement uses."""
    scopes = [(child.get_lineno(), _global_names(child)) for child in table.get_children()] if table else []
    found = []
    for node in nodes:
        outer: list[ast.AST] = [node]
        if isinstance(node, Function):
            outer = [*node.decorator_list, node.args, *([node.returns] if node.returns else [])]
        elif isinstance(node, ast.ClassDef):
            outer = [*node.decorator_list, *node.bases, *node.keywords]
        names = {n.id for part in outer for n in ast.walk(part) if isinstance(n, ast.Name)}
        if isinstance(node, ast.ClassDef):  # `lr = lr` in a class is of the class for the table, and reads a global too
            fields = [part for part in node.body if not isinstance(part, Function | ast.ClassDef)]
            loaded = [n for part in fields for n in ast.walk(part) if isinstance(n, ast.Name)]
            names |= {n.id for n in loaded if isinstance(n.ctx, ast.Load)}
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        within = [own for line, own in scopes if first <= line <= (node.end_lineno or node.lineno)]
        found.append(names.union(*within))
    return found


def _global_names(table: symtable.SymbolTable) -> set[str]:
    own = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
    return own.union(*map(_global_names, table.get_children()))


def _bound(node: ast.stmt, used: set[str]) -> set[str]:
    """Names at the top of the module that a statement binds, or whose value it changes in place."""
    found: set[str] = set()
    defines = isinstance(node, Function | ast.ClassDef)
    for inner in ast.walk(node):
        if isinstance(inner, ast.Global):
            found |= set(inner.names)
        elif isinstance(inner, ast.Attribute | ast.Subscript) and isinstance(inner.ctx, ast.Store | ast.Del):
            found |= {root} if (root := _root(inner)) in used else set()
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store | ast.Del) and not defines:
            found.add(inner.id)
        elif isinstance(inner, Function | ast.ClassDef | ast.ExceptHandler) and (inner is node or not defines):
            found |= {inner.name} if inner.name else set()
    return found


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _has_effect(node: ast.stmt, imports: dict[str, Any]) -> bool:
    """True for a statement that does more than bind names of its own module."""
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Delete | ast.Assert | ast.Raise | ast.With):
        return True
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return any(
            target.id == "_" if isinstance(target, ast.Name) else _root(target) in {*imports, "globals", "vars"}
            for target in targets
        )
    if isinstance(node, Function | ast.ClassDef):
        return False
    return any(_has_effect(inner, imports) for inner in _bodies(node))


def _bodies(node: ast.stmt) -> Iterator[ast.stmt]:
    """The statements in a compound statement."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.stmt):
            yield inner
        elif isinstance(inner, ast.ExceptHandler | ast.match_case):
            yield from inner.body


def _decorators(node: ast.stmt) -> list[str]:
    """Names that decorate a function or class; none for a member, which only its own runs use."""
    if not isinstance(node, Function | ast.ClassDef):
        return []
    called = [d.func for d in node.decorator_list if isinstance(d, ast.Call)]
    if any((f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "")) in DECORATORS for f in called):
        return []
    return [root for d in node.decorator_list if (root := _root(d))]


def _inner_imports(node: ast.stmt, package: str) -> list[tuple[str, str]]:
    """(module, attribute) of the imports within a statement; an empty attribute stands for all of a module."""
    found = [target for inner in ast.walk(node) for target in import_targets(inner, package)]
    return [(module, "" if attribute in (None, "*") else str(attribute)) for module, attribute, _ in found]


def _words(node: ast.stmt) -> set[str]:
    """Names `x`, attributes `.x`, keywords `x=` and functions `x()` in a statement."""
    found = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            found.add(inner.id)
        elif isinstance(inner, ast.Attribute):
            found |= {f".{inner.attr}", f"{_root(inner.value)}.{inner.attr}"}
        elif isinstance(inner, ast.keyword):
            found.add(f"{inner.arg}=")
        elif isinstance(inner, Function):
            found.add(f"{inner.name}()")
    return found


def _dump(value: Any) -> str:
    """Text of a syntax tree, the same in every version of Python and for every layout of its source."""
    if isinstance(value, ast.AST):
        skipped = ("ctx", "kind", "type_comment")
        fields = [(name, v) for name, v in ast.iter_fields(value) if v is not None and v != [] and name not in skipped]
        return f"{type(value).__name__}({', '.join(f'{name}={_dump(v)}' for name, v in fields)})"
    return f"[{', '.join(map(_dump, value))}]" if isinstance(value, list) else repr(value)
