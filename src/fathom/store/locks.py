"""Locks that the system frees when their holder dies, and that others take over when their holder is silent.

A thread of each process touches the lock files that it holds every few seconds. A waiting process whose looks at a file
see no change for `silence()` seconds of its own time removes the file and locks a new one: the holder is frozen
(SIGSTOP, a paused virtual machine, a file server that is gone). No clocks are compared, so clocks that differ cause no
take-over. A holder that comes back finds another file under the name, and discards its result (`Lease.lost`).
"""

import contextlib
import errno
import logging
import os
import re
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from fathom.core.member_call import SIGNS_OF_LIFE
from fathom.core.records import FathomError
from fathom.store.atomic_files import is_dead

SILENCE = 600.0  # seconds without a sign of life from the holder of a lock; FATHOM_SILENCE_SECONDS sets another number
LOOK_SECONDS = 0.2  # between looks at a lock that another process holds
STEP_SECONDS = 2.0  # the most that one look adds to the silence of another process
LONGEST_PAUSE = 30.0  # seconds between two signs of life
IDENTITY = "st_dev", "st_ino"
TOUCHED = "st_ino", "st_mtime_ns"  # changes with every touch, and with another file under its name
_log = logging.getLogger(__name__)
MARKER = re.compile(r".+\.[0-9a-f]{12}-\d+(-silent)?")  # JOB.SESSION-ATTEMPT


class TakenOverError(Exception):
    """Another process took over the job, as this one was silent for too long: what it computed does not count."""


def silence() -> float:
    """Seconds after which a silent holder of a lock counts as frozen.

    Raises:
        FathomError: FATHOM_SILENCE_SECONDS is no positive number.
    """
    given = os.environ.get("FATHOM_SILENCE_SECONDS") or SILENCE
    with contextlib.suppress(ValueError):
        if float(given) > 0:
            return float(given)
    raise FathomError(f"FATHOM_SILENCE_SECONDS is {given!r}; expected a number of seconds above 0")


class Lease:
    """A lock that this process holds, until another process takes it over.

    Args:
        path: The lock file.
        taken_over: Whether the process that held it before was silent, and may still come back.
    """

    def __init__(self, path: Path, *, taken_over: bool = False) -> None:
        self.path, self.taken_over, self._file = path, taken_over, _seen(path, *IDENTITY)
        self.touch()  # else a process that watched the holder before could take this one for silent

    def lost(self) -> bool:
        """Tell whether another process took the lock over: the file of its name is another one, or gone."""
        return self._file is None or _seen(self.path, *IDENTITY) != self._file

    def touch(self) -> None:
        """Show the waiting processes that this one is alive."""
        if not self.lost():
            with contextlib.suppress(OSError):  # gone just now
                os.utime(self.path)


class Silence:
    """How long something has not changed, as far as this process has seen it.

    Counted in steps between its own looks, so that a process that was itself frozen does not count that time.
    """

    def __init__(self) -> None:
        self.seen: object = None
        self.seconds, self.looked = 0.0, time.monotonic()

    def look(self, seen: object) -> float:
        """Note its state now; returns the seconds without any change."""
        now = time.monotonic()
        self.seconds = self.seconds + min(now - self.looked, STEP_SECONDS) if seen == self.seen else 0.0
        self.seen, self.looked = seen, now
        return self.seconds


# ----------------------------------------------------------------------------------------------- signs of life

_signs: dict[object, Callable[[], None]] = {}  # what the thread calls: it touches the locks of this process
_thread: list[threading.Thread] = []


@contextlib.contextmanager
def giving_signs(sign: Callable[[], None]) -> Iterator[None]:
    """Call a function every few seconds, as long as this process runs."""
    key = object()
    _signs[key] = sign
    if not _thread:
        _thread.append(threading.Thread(target=_give_signs, name=SIGNS_OF_LIFE, daemon=True))
        _thread[0].start()
    try:
        yield
    finally:
        del _signs[key]


def _give_signs() -> None:
    pause = LONGEST_PAUSE
    while True:
        with contextlib.suppress(FathomError):  # a member may change the variable; this thread must not end by it
            pause = min(LONGEST_PAUSE, silence() / 10)
        time.sleep(pause)
        for sign in list(_signs.values()):
            with contextlib.suppress(OSError):
                sign()


def _forked() -> None:
    """Forget the thread and the locks of the parent, neither of which a fork has."""
    _signs.clear()
    _thread.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


# ------------------------------------------------------------------------------------------------------- locks

_silent: dict[Path, Silence] = {}  # of the locks that this process waits for


@contextlib.contextmanager
def lock(path: Path, *, wait: bool, takes_over: bool = False) -> Iterator[Lease | None]:
    """Hold a lock file; yields None where another process holds it. The lock of a dead process is free again.

    Args:
        path: The lock file; its folder is made where absent.
        wait: Wait for it.
        takes_over: Count the silence of the holder over repeated calls, and take the lock over. Who waits always does.
    """
    limit = silence()  # before anything is written
    path.parent.mkdir(parents=True, exist_ok=True)
    held, taken_over = FileLock(path), False
    try:
        while not (mine := _acquired(held)):
            if not (wait or takes_over):
                break
            watched, state = _silent.setdefault(path, Silence()), _seen(path, *TOUCHED)
            if watched.look(state) > limit and _removed(path, state):
                taken_over = True
            elif wait:
                time.sleep(LOOK_SECONDS)
            else:
                break
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
            raise
        raise FathomError(
            f"{path.parent} is on a file system without locks ({error.strerror}), so two workers cannot share a "
            "study there. Name another folder, or mount it with locks; fathom doctor --out FOLDER checks it"
        ) from None
    if not mine:
        yield None
        return
    _silent.pop(path, None)
    try:
        lease = Lease(path, taken_over=taken_over)
        with giving_signs(lease.touch):
            yield lease
    finally:
        held.release()


def _acquired(held: FileLock) -> bool:
    try:
        held.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _removed(path: Path, seen: tuple[int, ...] | None) -> bool:
    """Remove the lock file of a silent holder, unless another process did; returns whether it was removed."""
    # One at a time: else the second would remove the file that the first has locked by then.
    with lock(path.with_name(".take-over.lock"), wait=False) as mine:
        try:
            if mine is None or _seen(path, *TOUCHED) != seen:
                return False
            path.unlink()
            _log.warning("%s: its holder was silent for %g s; this process takes over", path.stem, silence())
        except OSError:  # gone, or a system on which a held file cannot be removed
            return False
    return True


def _seen(path: Path, *fields: str) -> tuple[int, ...] | None:
    """Fields of a file's state; None where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return tuple(getattr(found, field) for field in fields)


# ----------------------------------------------------------------------------------------------------- markers


def leave_marker(path: Path, pid: int) -> None:
    """Leave a marker that counts while a process of this machine is alive."""
    path.write_text(f"{socket.gethostname()} {pid}")


def clean_locks(folder: Path, *, finished: bool = False) -> None:
    """Remove lock files that nobody holds, and markers of dead processes of this machine.

    The holder of a lock may remove its file: filelock checks the number of links, so a process that waited for the
    removed file opens a new one. Only empty files `JOB.lock` and markers `JOB.SESSION-ATTEMPT` are ours.

    Args:
        folder: Folder of the locks and of the markers, which the holder of the lock makes.
        finished: No work is left, so that a marker means nothing unless its job's lock is held.
    """
    if os.name != "posix" or folder.is_symlink():  # elsewhere a held file cannot be removed
        return
    for path in folder.glob("*"):
        is_marker = bool(MARKER.fullmatch(path.name))
        with contextlib.suppress(OSError, ValueError):
            if not stat.S_ISREG(path.lstat().st_mode) or not (is_marker or _is_lock(path)):
                continue
            with lock(path.with_suffix(".lock"), wait=False) as mine:
                if mine and is_marker and (finished or is_dead(path.read_text())):
                    path.unlink(missing_ok=True)
                if mine:
                    mine.path.unlink(missing_ok=True)


def _is_lock(path: Path) -> bool:
    return path.suffix == ".lock" and path.lstat().st_size == 0
