"""Files and folders below a folder, with links followed once: a link never lists an image twice."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fathom.core.records import FathomError
from fathom.data.files.layout import is_system
from fathom.data.files.listing import Problem, nfc, problem, text_of

MAX_FILES = 20_000_000  # a link to the root of a disk, rather than a dataset


@dataclass
class Tree:
    """Files and folders below a folder that are neither hidden nor a system's, sorted.

    Args:
        root: The folder.
        files: Regular files.
        folders: Folders, without `root`.
        problems: Links that are left out or lead out of the folder, and what cannot be read.
    """

    root: Path
    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


_KINDS = {
    "broken-link": ("error", "links that lead nowhere; restore their targets or remove them"),
    "unreadable-folder": ("error", "folders that cannot be read"),
    "link-again": ("warning", "links to what is listed under its own name, or to a folder around them, are left out"),
    "link-outside": ("warning", "links that lead out of the folder are followed"),
    "not-a-file": ("warning", "pipes, sockets and devices are left out"),
}


def walk(root: Path) -> Tree:
    """List what is below a folder.

    What is no link is listed first, so that the image behind a link to a sibling keeps its own name and is not listed
    again. Links out of the folder are followed, links in a circle are not.

    Raises:
        FathomError: There are more than `MAX_FILES` files.
    """
    tree, walker = Tree(root), _Walker(root)
    for path, is_folder in walker.below(root):
        (tree.folders if is_folder else tree.files).append(path)
        if len(tree.files) > MAX_FILES:
            raise FathomError(f"{text_of(root)} has more than {MAX_FILES:,} files; does a link lead out of it?")
    tree.files.sort()
    tree.folders.sort()
    for kind, (severity, message) in _KINDS.items():
        if found := sorted(walker.found.get(kind, ())):
            tree.problems.append(problem(severity, kind, message, found))
    return tree


class _Walker:
    """Walks what is no link, then link by link."""

    def __init__(self, root: Path) -> None:
        self.root, self.real = root, Path(os.path.realpath(root))
        self.seen = {_identity(folder.stat()) for folder in self.real.parents}  # a link to one of them is a circle
        self.links: list[Path] = []
        self.found: dict[str, list[str]] = {}

    def below(self, root: Path) -> Iterator[tuple[Path, bool]]:
        """(path, True for a folder) of all that is listed."""
        yield from self._folder(root)
        while self.links:
            batch, self.links = sorted(self.links), []
            for link in batch:
                yield from self._link(link)

    def _folder(self, folder: Path) -> Iterator[tuple[Path, bool]]:
        pending = [folder]
        while pending:
            here = pending.pop()
            try:
                state = here.stat()
                self.seen.add(_identity(state))
                with os.scandir(here) as entries:
                    found = [entry for entry in entries if not is_system(entry.name)]
            except OSError as error:
                self._note("unreadable-folder", here, f": {error.strerror}")
                continue
            for entry in found:
                path = here / entry.name
                if entry.is_symlink():
                    self.links.append(path)
                elif entry.is_dir():
                    pending.append(path)
                    yield path, True
                elif entry.is_file():
                    self.seen.add((state.st_dev, entry.inode()))
                    yield path, False
                else:
                    self._note("not-a-file", path)

    def _link(self, link: Path) -> Iterator[tuple[Path, bool]]:
        try:
            state = link.stat()
        except OSError:  # gone, or a circle of links
            self._note("broken-link", link, _target(link))
            return
        is_folder = stat.S_ISDIR(state.st_mode)
        if _identity(state) in self.seen:
            self._note("link-again", link, _target(link))
            return
        if not is_folder and not stat.S_ISREG(state.st_mode):
            self._note("not-a-file", link)
            return
        if not Path(os.path.realpath(link)).is_relative_to(self.real):
            self._note("link-outside", link, _target(link))
        yield link, is_folder
        if is_folder:
            yield from self._folder(link)

    def _note(self, kind: str, path: Path, more: str = "") -> None:
        self.found.setdefault(kind, []).append(nfc(path.relative_to(self.root).as_posix()) + more)


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _target(link: Path) -> str:
    try:
        return f" -> {text_of(link.readlink())}"
    except OSError:  # gone since it was listed
        return ""
