"""Make mutants: one changed expression each, by the operators of mutmut."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import deep_replace
from mutmut.mutation.mutators import mutation_operators, operator_string

SAME_EITHER_WAY = {"len", "isinstance"}  # calls whose mutants fail at once and say nothing about the tests


@dataclass(frozen=True)
class Mutant:
    """A change of one expression of one file.

    Args:
        package: The package it is counted with.
        file: Source file, relative to the repository.
        number: Position among the mutants of the file.
        line: Line of the expression.
        span: First and last line of the statement around it, by which its tests are found.
        before: The expression.
        after: What it is changed to.
        key: Name of the mutant; changes when the file changes.
    """

    package: str
    file: str
    number: int
    line: int
    span: tuple[int, int]
    before: str
    after: str
    key: str


@dataclass(frozen=True)
class _Site:
    node: cst.CSTNode
    replacement: cst.CSTNode
    line: int
    span: tuple[int, int]


class _Collector(cst.CSTVisitor):
    """Collects every place where an operator applies, decorated functions and constants of modules included."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        self.sites: list[_Site] = []
        self.spans: list[tuple[int, int]] = [(1, 1)]

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.SimpleStatementLine | cst.BaseCompoundStatement):
            self.spans.append(self._span(node))
        if self._left_alone(node):
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                found = list(operator(node))
                # Three mutants of one string (framed, lower case, upper case) would count it three times.
                for replacement in found[:1] if operator is operator_string else found:
                    line = self._position(node)[0] or self.spans[-1][0]
                    self.sites.append(_Site(node, replacement, line, self.spans[-1]))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.SimpleStatementLine | cst.BaseCompoundStatement):
            self.spans.pop()

    def _left_alone(self, node: cst.CSTNode) -> bool:
        """Annotations, decorators, docstrings and the words of errors decide nothing that a test should check."""
        if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom | cst.Raise):
            return True
        if isinstance(node, cst.Expr) and isinstance(node.value, cst.SimpleString | cst.ConcatenatedString):
            return True
        return (
            isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in SAME_EITHER_WAY
        ) or (isinstance(node, cst.If) and isinstance(node.test, cst.Name) and node.test.value == "TYPE_CHECKING")

    def _span(self, node: cst.CSTNode) -> tuple[int, int]:
        first, last = self._position(node)
        body = getattr(node, "body", None)
        if isinstance(node, cst.BaseCompoundStatement) and isinstance(body, cst.IndentedBlock) and body.body:
            last = max(first, self._position(body.body[0])[0] - 1)  # the header alone
        return first, last

    def _position(self, node: cst.CSTNode) -> tuple[int, int]:
        found = self.get_metadata(PositionProvider, node, None)
        return (found.start.line, found.end.line) if found else (0, 0)


@lru_cache(maxsize=64)
def _sites(source: str) -> tuple[cst.Module, list[_Site]]:
    wrapper, collector = MetadataWrapper(cst.parse_module(source)), _Collector()
    wrapper.visit(collector)
    return wrapper.module, collector.sites


def mutants_of(root: Path, file: str, package: str) -> Iterator[Mutant]:
    """Yield the mutants of a file in the order of the source."""
    source = (root / file).read_text(encoding="utf-8")
    module, sites = _sites(source)
    for number, site in enumerate(sites):
        before, after = (module.code_for_node(node).strip() for node in (site.node, site.replacement))
        key = hashlib.sha256(f"{file}\n{source}\n{number}\n{after}".encode()).hexdigest()[:12]
        yield Mutant(package, file, number, site.line, site.span, before, after, key)


def apply(source: str, mutant: Mutant) -> str:
    """Return the source with one mutant in it."""
    module, sites = _sites(source)
    site = sites[mutant.number]
    changed = deep_replace(module, site.node, site.replacement)
    assert isinstance(changed, cst.Module)
    return changed.code


def sample(root: Path, package: str, path: str, count: int, seed: int) -> tuple[list[Mutant], int]:
    """Draw mutants of a package without replacement.

    Args:
        root: The repository.
        package: Name under which they are counted.
        path: File or folder of the package, relative to `root`.
        count: How many; all of them if there are fewer.
        seed: Seed of the draw.

    Returns:
        The drawn mutants in random order, and how many there are in all.
    """
    everything = [mutant for file in _files(root, path) for mutant in mutants_of(root, file, package)]
    drawn = random.Random(f"{seed}/{package}").sample(everything, min(count, len(everything)))
    return drawn, len(everything)


def _files(root: Path, path: str) -> Sequence[str]:
    where = root / path
    found = sorted(where.rglob("*.py")) if where.is_dir() else [where]
    return [file.relative_to(root).as_posix() for file in found]
