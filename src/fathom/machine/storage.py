"""Trials of a file system: everything that the store needs when several processes write one study."""

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fathom.core.inputs import user_path
from fathom.core.records import FathomError
from fathom.store import atomic_files, locks

SYNCS = 5  # files written to time a commit
SLOW = 0.25  # seconds per commit above which a file system is called slow
ROOM, LITTLE = 2**30, 10 * 2**30  # free bytes: below the first a trial fails, below the second it warns
NETWORK = ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "fuse.sshfs", "ceph", "fuse.glusterfs", "9p")

# Another process asks for the lock that this one holds.
ASK = """
import sys
from pathlib import Path
from fathom.store import locks
with locks.lock(Path(sys.argv[1]), wait=False) as mine:
    sys.exit(mine is not None)
"""

StorageFinding = tuple[str, str, str, str]  # (name of the trial, ok | warn | fail, finding, how to fix it)


def try_storage(folder: Path) -> list[StorageFinding]:
    """Try a folder, or the place where it would be created. No file stays behind."""
    there = nearest(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=".fathom-doctor-", dir=there) as made:
            trials = (_commits, _links, _renames, _locks)
            found = [_tried(trial, Path(made)) for trial in trials]
    except OSError as error:
        fix = "give permission, or name another folder with --out"
        return [("writable", "fail", f"{there}: {error.strerror or error}", fix)]
    return [("writable", "ok", str(there), ""), *found, _room(there), _kind(there)]


def nearest(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    folder = user_path(folder).absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _tried(trial: Callable[[Path], StorageFinding], made: Path) -> StorageFinding:
    try:
        return trial(made)
    except (OSError, FathomError) as error:
        return (trial.__name__[1:], "fail", str(error), "name a folder on another file system with --out")


def _commits(made: Path) -> StorageFinding:
    """Time commits: new files with fsync. That the first of two writers wins is tried with links."""
    spans = []
    for number in range(SYNCS):
        began = time.perf_counter()
        atomic_files.write(made / f"commit-{number}", b"x" * 4096)
        spans.append(time.perf_counter() - began)
    middle = statistics.median(spans)
    state, fix = ("warn", "short jobs wait for commits: use a faster file system") if middle > SLOW else ("ok", "")
    return ("commits", state, f"{middle * 1000:.1f} ms each, synced", fix)


def _links(made: Path) -> StorageFinding:
    """Hard links must not replace a file: commits rely on that without a lock."""
    atomic_files.write(made / "first", b"1")
    atomic_files.write(made / "second", b"2")
    try:
        os.link(made / "first", made / "linked")
    except OSError as error:
        text = f"no hard links ({error.strerror}): two writers of one file are separated by locks alone"
        return ("links", "warn", text, "for several machines use a file system with hard links, such as NFSv4")
    try:
        os.link(made / "second", made / "linked")
    except FileExistsError:
        return ("links", "ok", "hard links, which do not replace", "")
    return ("links", "fail", "a hard link replaced a file", "use another file system")


def _renames(made: Path) -> StorageFinding:
    """A rename over a file must replace it whole."""
    atomic_files.write(made / "state", b"old")
    atomic_files.write(made / "state", b"new", replace=True)
    whole = (made / "state").read_bytes() == b"new"
    return ("renames", "ok" if whole else "fail", "a file is replaced whole" if whole else "the old content stayed", "")


def _locks(made: Path) -> StorageFinding:
    """Another process must see a lock."""
    path = made / "lock"
    with locks.lock(path, wait=False) as mine:
        asked = subprocess.run([sys.executable, "-P", "-c", ASK, str(path)], timeout=60, capture_output=True)
    if mine and asked.returncode == 0:
        return ("locks", "ok", "another process of this machine sees a lock (other machines are not tried)", "")
    fix = "mount it with locks (NFSv4; Lustre: -o flock); without locks work is done twice and the first result counts"
    return ("locks", "fail", "another process does not see a lock", fix)


def _room(there: Path) -> StorageFinding:
    free = shutil.disk_usage(there).free
    state = "fail" if free < ROOM else "warn" if free < LITTLE else "ok"
    fix = "" if state == "ok" else "free disk space; fathom plan estimates how much a study needs"
    return ("room", state, f"{free / 2**30:.1f} GiB free", fix)


def _kind(there: Path) -> StorageFinding:
    """Kind of the file system, as far as the machine reports it."""
    kind = max(((len(point), kind) for point, kind in _mounts() if there.is_relative_to(point)), default=(0, ""))[1]
    local = "local to this machine: workers elsewhere do not see it"
    shared = "visible to other machines" if kind in NETWORK else local
    return ("file system", "ok", f"{kind}, {shared}" if kind else "unknown", "")


def _mounts() -> Iterator[tuple[str, str]]:
    """(mount point, kind) of each file system."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text().splitlines():
            _, point, kind, *_ = line.split()
            yield point.replace("\\040", " "), kind
