"""The files of a large dataset, in a folder or in its official archive, in an order fixed by their names."""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from fathom.data.cache.cache_file import can_write, locked, read_index, renamed, sha256_of_rest
from fathom.data.cache.pixels import RACY
from fathom.data.files.archives import Archive, Member
from fathom.data.files.decode import Source


@dataclass(frozen=True, eq=False)
class SourceFiles(Sequence[Source]):
    """Image files by name; a path or member is made on access, so that half a million take little memory.

    Args:
        place: The folder, or the archive.
        names: Names that are shown and hashed.
        at: Path below the folder, or index in the archive, of each.
    """

    place: Path | Archive
    names: Sequence[str]
    at: Sequence[str] | Sequence[int]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Source: ...
    @overload
    def __getitem__(self, index: slice) -> "SourceFiles": ...
    def __getitem__(self, index: int | slice) -> "Source | SourceFiles":
        if isinstance(index, slice):
            return SourceFiles(self.place, self.names[index], self.at[index])
        if isinstance(self.place, Path):
            return Path(self.place, str(self.at[index]))
        return Member(self.place, int(self.at[index]))

    def __iter__(self) -> Iterator[Source]:
        return (self[i] for i in range(len(self)))


def contents(files: SourceFiles, cache_dir: Path) -> str:
    """Digest of the files' names and contents in order: an archive is hashed as a whole, a folder file by file.

    Files that were hashed before and whose sizes and times of change are equal are not read again. The index has one
    entry per dataset, not one for each of half a million files.
    """
    paths = [files.place.path] if isinstance(files.place, Archive) else files
    state, newest = hashlib.sha256(), 0.0
    for path in paths:
        assert isinstance(path, Path)
        found = path.stat()
        state.update(
            f"{os.fspath(path.absolute())}\0{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}\n".encode()
        )
        newest = max(newest, found.st_mtime, found.st_ctime)
    for name in files.names:
        state.update(f"{name}\n".encode(errors="surrogateescape"))
    index, key = cache_dir / "content-sets.json", state.hexdigest()
    known = read_index(index).get(key)
    if isinstance(known, str):
        return known
    total = hashlib.sha256("\n".join(files.names).encode(errors="surrogateescape"))
    for path in paths:
        assert isinstance(path, Path)
        with path.open("rb") as file:
            total.update(sha256_of_rest(file).encode())
    if time.time() - newest > RACY and can_write(cache_dir):
        with locked(cache_dir, "content-sets"):
            merged = read_index(index) | {key: total.hexdigest()}
            with renamed(index) as file:
                file.write(json.dumps(merged, sort_keys=True).encode())
    return total.hexdigest()
