"""Record store: a folder of checked records that are written once.

Reading moves nothing: a damaged record counts as absent, with a warning. It moves to quarantine when its result is
computed again and put in its place, so only processes that compute repair a store.
"""

import hashlib
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from fathom.core.inputs import user_path
from fathom.core.records import FathomError, digest
from fathom.store import atomic_files, locks
from fathom.store.leftovers import remove_leftovers

Record = tuple[dict[str, Any], dict[str, Any]]  # (content, clock)
LOCKS = ".locks"  # folder of locks and markers


class RecordStore:
    """Records by name, such as `shared/hp-choice/<key>`.

    Args:
        root: The folder. Nothing is written before the first `put` or `lock`.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = user_path(root)
        self.lease: locks.Lease | None = None  # of the job that this process does now

    def expect_lease(self) -> None:
        """Refuse to write a result of a job that another process has taken over.

        Raises:
            TakenOverError: Another process has.
        """
        if self.lease is not None and self.lease.lost():
            raise locks.TakenOverError(self.lease.path.stem)

    def path(self, name: str) -> Path:
        """The file of a record."""
        return self.root / f"{name}.json"

    def put(self, name: str, content: Mapping[str, Any], clock: Mapping[str, Any] | None = None) -> None:
        """Commit a record. One that is there already stays if its content is equal, and is replaced if it is damaged.

        Raises:
            FathomError: A sound record with another content is there.
            TakenOverError: Another process has taken over the job that this one does.
        """
        self.expect_lease()
        path, data = self.path(name), atomic_files.pack_record(content, clock or {})
        while True:
            try:
                return atomic_files.write(path, data)
            except FileExistsError:
                found, _ = atomic_files.try_read(path)
            if found is None:  # damaged, or moved away by another process just now
                self.quarantine(name, lambda: atomic_files.try_read(path)[1])
            elif digest(found[0]) == digest(content):
                return None
            else:
                raise self.differing(name)

    def differing(self, name: str) -> FathomError:
        """The error of a record that is there with another content."""
        return FathomError(
            f"{self.path(name)} holds another result than the one just computed. The machine, its threads or a package "
            "changed during this study, or a file was edited; compare them before you continue"
        )

    def get(self, name: str) -> Record | None:
        """(content, clock) of a record, or None where it is absent, damaged or malformed."""
        from fathom.store.shapes import malformed  # here, so that a command that reads no record starts faster

        found, reason = atomic_files.try_read(self.path(name))
        if found and (reason := malformed(name, found)):
            found = None
        if reason:
            self.warn(name, reason)
        return found

    def records(self, kind: str) -> dict[str, Record]:
        """All sound records of a folder, for example `shared/hp-choice`: stem -> (content, clock), sorted by stem."""
        names = sorted(p.stem for p in (self.root / kind).glob("*.json"))
        found = {name: self.get(f"{kind}/{name}") for name in names}
        return {name: record for name, record in found.items() if record}

    def damaged(self, kind: str) -> list[str]:
        """Stems of the records of a folder that cannot be read as they were written."""
        found = sorted((self.root / kind).glob("*.json"))
        return [path.stem for path in found if atomic_files.try_read(path)[1]]

    def put_arrays(self, name: str, data: bytes) -> str:
        """Write packed arrays (safetensors) next to a record of the same name, before that record is committed.

        Returns:
            The SHA-256 of the file, for the record: a file without a record, or with another hash, does not count.
        """
        self.expect_lease()
        atomic_files.write(self.root / f"{name}.safetensors", data, replace=True)
        return hashlib.sha256(data).hexdigest()

    def get_arrays(self, name: str, sha256: str) -> bytes | None:
        """Read the packed arrays that `put_arrays` wrote; None where the file is absent or damaged.

        Only a process that is about to compute reads arrays, so damage is repaired here: arrays and record move to
        quarantine, and their job is open again.
        """
        path = self.root / f"{name}.safetensors"
        if data := _checked(path, sha256):
            return data

        def damage() -> str:
            # No damage any more if another process has meanwhile removed the record, or done the job again.
            record, _ = atomic_files.try_read(self.path(name))
            concerns = record is not None and sha256 in record[0].values()
            return "SHA-256 of its arrays differs" if concerns and not _checked(path, sha256) else ""

        self.quarantine(name, damage, ".safetensors")
        return None

    def put_named_by_content(self, folder: str, data: bytes) -> str:
        """Write packed arrays under their SHA-256, before the record that names them is committed.

        Equal arrays are one file, whoever writes it first, and a damaged file is replaced. A process that is killed
        before its record is committed leaves a file that nothing names; the same work writes the same file again.

        Returns:
            The SHA-256.
        """
        self.expect_lease()
        sha256 = hashlib.sha256(data).hexdigest()
        if self.get_named_by_content(folder, sha256) is None:
            atomic_files.write(self.root / folder / f"{sha256}.safetensors", data, replace=True)
        return sha256

    def get_named_by_content(self, folder: str, sha256: str) -> bytes | None:
        """Read packed arrays by their SHA-256; None where they are absent or damaged."""
        return _checked(self.root / folder / f"{sha256}.safetensors", sha256)

    def lock(
        self, name: str, *, wait: bool = False, takes_over: bool = False
    ) -> AbstractContextManager[locks.Lease | None]:
        """Hold the lock of a job (see `locks.lock`); yields None where another process holds it."""
        path = self.root / LOCKS / f"{name.replace('/', '-')}.lock"
        return locks.lock(path, wait=wait, takes_over=takes_over)

    def marker_path(self, name: str, session: str) -> Path:
        """The file that marks an attempt of a session at a job, made and removed by the holder of the job's lock."""
        return self.root / LOCKS / f"{name.replace('/', '-')}.{session}"

    def clean(self) -> None:
        """Remove temporary files and markers of dead processes of this machine, and locks that nobody holds."""
        remove_leftovers(self.root)
        locks.clean_locks(self.root / LOCKS)

    # --------------------------------------------------------------------------------------------------- damage

    def warn(self, name: str, reason: str) -> None:
        """Warn that a record is damaged."""
        text = f"{self.path(name)}: {reason}; it counts as absent; the same `fathom run` computes it again"
        warnings.warn(text, atomic_files.DamageWarning, stacklevel=3)

    def quarantine(self, name: str, damage: Callable[[], str], *more: str) -> None:
        """Move a record to quarantine if it is still damaged, with the files of its name that end in `more`.

        Args:
            name: The record.
            damage: Returns the damage that is there now, or an empty text. Called again under the lock that every
                process holds while it moves files: another one may have moved the damaged record just now, and
                even have put the good one there.
            more: Endings such as `.safetensors`.
        """
        if not damage():
            return
        with self.lock("quarantine", wait=True):
            if not (reason := damage()):
                return
            for ending in (*more, ".json"):  # the record last: once it is gone, its job may begin again
                path, target = self.root / f"{name}{ending}", self.root / "quarantine" / name.replace("/", "-")
                if moved := atomic_files.quarantine(path, target.with_name(target.name + ending)):
                    text = f"{path}: {reason}; moved to {moved}, it is computed again"
                    warnings.warn(text, atomic_files.DamageWarning, stacklevel=3)


def _checked(path: Path, sha256: str) -> bytes | None:
    """The bytes of a file; None where it is absent or has another digest."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return data if hashlib.sha256(data).hexdigest() == sha256 else None
