"""Temporary files that dead processes left behind, in a cache, a study's folder or its report.

`atomic_files.temporary_path` names the machine and the process that made a file. Nothing that has another name is
touched, and no link is followed.
"""

import contextlib
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fathom.store.atomic_files import alive

DAYS = 7.0  # age of a file of another machine, whose processes cannot be asked, from which it counts as left behind
MAX_DEPTH = 8  # folders below the one that is searched; ours are at most five deep

# A host name may end in digits like a process id, so the greedy first part splits the name at the right.
_TEMPORARY = re.compile(r"\.tmp-(?P<host>.+)-(?P<pid>\d{1,9})-[a-z0-9_]+", re.ASCII)


@dataclass(frozen=True)
class Leftover:
    """A temporary file of a process that is gone.

    Args:
        path: The file.
        nbytes: Its size.
        reason: Why it counts as left behind.
        removed: Whether it was removed.
    """

    path: Path
    nbytes: int
    reason: str
    removed: bool = False


def find_leftovers(folder: Path, days: float = DAYS) -> Iterator[Leftover]:
    """Find the temporary files of dead processes of this machine, and those of other machines that are `days` old."""
    for path in _named(folder, MAX_DEPTH):
        with contextlib.suppress(OSError):  # removed just now
            state = path.lstat()
            parts = _TEMPORARY.fullmatch(path.name)
            if parts is None or not stat.S_ISREG(state.st_mode):
                continue
            age = (time.time() - state.st_mtime) / 86400
            if parts["host"] != socket.gethostname():
                if age > days:
                    yield Leftover(path, state.st_size, f"of {parts['host']}, {age:.0f} days old")
            elif not alive(int(parts["pid"])):
                yield Leftover(path, state.st_size, f"of process {parts['pid']}, which is gone")


def remove_leftovers(folder: Path, days: float = DAYS) -> list[Leftover]:
    """Remove them; a file that may not be removed stays, and is returned as such."""
    found = []
    for left in find_leftovers(folder, days):
        with contextlib.suppress(OSError):
            left.path.unlink()
            left = Leftover(left.path, left.nbytes, left.reason, removed=True)
        found.append(left)
    return found


def _named(folder: Path, depth: int) -> Iterator[Path]:
    """Files whose name begins as those of temporary files do."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError:  # absent, or not ours to read
        return
    for entry in listed:
        if entry.name.startswith(".tmp-"):
            yield Path(entry.path)
        elif depth and entry.is_dir(follow_symlinks=False):
            yield from _named(Path(entry.path), depth - 1)
