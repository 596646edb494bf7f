"""Atomic files: temporary name, fsync, link into place; a SHA-256 that every read checks."""

import errno
import json
import os
import signal
import socket
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fathom.core.records import FORMAT, FathomError, digest

MAX_NOTE = 2**16  # bytes of a heartbeat or a progress report


class DamagedError(Exception):
    """A stored file cannot be read back as it was written."""


class FormatError(FathomError):
    """A stored file was written by another version of Fathom, in a format that this one does not read."""


class DamageWarning(UserWarning):
    """A stored file is damaged: it counts as absent, and its result is computed again."""


def pack_record(content: Mapping[str, Any], clock: Mapping[str, Any]) -> bytes:
    """The bytes of a record: content and clock readings, each with its SHA-256."""
    record = {"format": FORMAT, "content": content, "sha256": digest(content), "clock": clock}
    record["clock_sha256"] = digest(clock)
    lines = [f'"{key}": {json.dumps(value, sort_keys=True, allow_nan=False)}' for key, value in record.items()]
    return ("{" + ",\n ".join(lines) + "}\n").encode()


def read_record(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(content, clock) of a record.

    Raises:
        FileNotFoundError: It is not there.
        DamagedError: It cannot be read, or a SHA-256 differs.
        FormatError: It was written by a version with another format.
        FathomError: It is there and cannot be opened, so nothing is known about it.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        if isinstance(error, IsADirectoryError) or error.errno == errno.ELOOP:
            raise DamagedError(f"is not a file ({error.strerror})") from None
        raise FathomError(
            f"{path} cannot be opened: {error.strerror}. Fix its permission or the disk, then run the command again"
        ) from None
    try:
        record = json.loads(data)
        if type(record["format"]) is not int:
            raise TypeError
        if record["format"] > FORMAT:
            raise FormatError(f"{path} was written by a newer Fathom: upgrade with pip install -U fathom-al")
        if record["format"] < FORMAT:
            raise FormatError(
                f"{path} was written by an earlier development version (format {record['format']}, expected {FORMAT}): "
                "make it again: a study in a new folder (fathom run), a freeze with fathom freeze STUDY"
            )
        content, clock = record["content"], record["clock"]
        if not (isinstance(content, dict) and isinstance(clock, dict)):
            raise TypeError
        sound = record["sha256"] == digest(content) and record["clock_sha256"] == digest(clock)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"cannot be read ({type(error).__name__})") from None
    if not sound:
        raise DamagedError("SHA-256 differs")
    return content, clock


def try_read(path: Path) -> tuple[tuple[dict[str, Any], dict[str, Any]] | None, str]:
    """((content, clock), "") of a record; (None, "") where it is absent, (None, reason) where it is damaged.

    Raises:
        FormatError: It was written by a version with another format.
    """
    try:
        return read_record(path), ""
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except DamagedError as error:
        return None, str(error)


def _link(temporary: Path, path: Path) -> None:
    """Give the file its name, if the name is free."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: the job's lock still keeps two writers apart
        if path.exists():
            raise FileExistsError(path) from None
        temporary.replace(path)


def _sync_folder(path: Path) -> None:
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def alive(pid: int) -> bool:
    """Tell whether a process of this machine is alive."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _crash_point(name: str) -> None:
    """Kill this process here if a test asks for it: `FATHOM_CRASH_AT=after-link:3` kills at the third passage."""
    if wanted := os.environ.get("FATHOM_CRASH_AT"):
        point, _, count = wanted.partition(":")
        if point == name:
            left = int(count or 1) - 1
            os.environ["FATHOM_CRASH_AT"] = f"{point}:{left}"
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def temporary_path(folder: Path) -> Path:
    """A new name for a file to write in a folder; `fathom gc` knows by it which process made the file."""
    return folder / f".tmp-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def write(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Write a file whole or not at all; without `replace` the first writer wins.

    Raises:
        FileExistsError: The name is taken.
        FathomError: No room, no permission, or a folder or device of that name.
    """
    if replace and path.exists() and not path.is_file():
        raise FathomError(f"{path} is a folder or a device; expected the name of a file")
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not replace and os.path.lexists(path):
            # Before anything is synced: most records of a resumed study are there, and the folder keeps its time.
            raise FileExistsError(path)
        name = temporary_path(path.parent)
        with name.open("xb") as file:  # not mkstemp, whose files only their owner can read
            temporary = name
            file.write(data)
            file.flush()
            _crash_point("before-fsync")
            os.fsync(file.fileno())
        _crash_point("after-fsync")
        if replace:
            temporary.replace(path)
        else:
            _link(temporary, path)
        _crash_point("after-link")
    except OSError as error:
        # Raised by _link or before it; else a parent folder's name is that of a file.
        if isinstance(error, FileExistsError) and os.path.lexists(path):
            raise
        raise FathomError(
            f"cannot write {path} ({len(data)} bytes): {error.strerror}. Committed results are kept; free "
            "disk space or fix the permission, then run the same command again to resume"
        ) from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def is_dead(text: str) -> bool:
    """Tell whether a marker, `HOST PID`, is of a dead process of this machine."""
    host, _, pid = text.rpartition(" ")
    return host == socket.gethostname() and pid.isdecimal() and not alive(int(pid))


def read_note(path: Path) -> dict[str, Any] | None:
    """Read a small JSON object that decides nothing; None where it is absent or anything else."""
    try:
        # A pipe of that name would never end.
        if not stat.S_ISREG(path.lstat().st_mode) or path.lstat().st_size > MAX_NOTE:
            return None
        note = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return note if isinstance(note, dict) else None


def quarantine(path: Path, target: Path) -> Path | None:
    """Rename a damaged file to `target-1`, `-2`, ..., never over another one. All callers hold one lock.

    Returns:
        Its new name; None where it is absent.

    Raises:
        FathomError: No permission.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while (numbered := target.with_name(f"{target.stem}-{number}{target.suffix}")).exists():
            number += 1
        path.rename(numbered)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FathomError(
            f"cannot move the damaged {path} to {target.parent}: {error.strerror}. Fix the permission"
        ) from None
    return numbered
