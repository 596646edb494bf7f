"""The list of jobs and the heartbeats of workers in a store, for those who watch a study.

OUT/jobs.json                    every job of the study: kind, name, setting, seed, query, needs, trainings
OUT/.workers/<host>-<pid>.json   one worker: its job, since when, and its counts; removed when no work is left

Neither file decides anything: the workers themselves read neither.
"""

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fathom.core.records import FathomError
from fathom.core.work import WorkKind
from fathom.store import atomic_files
from fathom.store.atomic_files import FormatError
from fathom.store.store import Store

WORKERS = ".workers"
MAX_COUNT = 2**40  # above any count, process id and time in seconds


def write_jobs(store: Store, jobs: list[dict[str, Any]]) -> None:
    """Write the list of jobs, in the order they should be done."""
    data = atomic_files.pack_record({"jobs": jobs}, {})
    path = store.path("jobs")
    with contextlib.suppress(FathomError):  # only who watches needs it
        if not path.is_file() or path.read_bytes() != data:
            atomic_files.write(path, data, replace=True)


def read_jobs(store: Store) -> list[dict[str, Any]]:
    """Read the list of jobs; empty before the first start, and where the file is anything else."""
    try:
        if not store.path("jobs").is_file():  # a pipe of that name would never end
            return []
        found, _ = atomic_files.try_read(store.path("jobs"))
        jobs = list(found[0]["jobs"]) if found else []
        sound = all(_is_job(job) for job in jobs)
    except (OSError, ValueError, KeyError, TypeError, FormatError):
        return []
    return jobs if sound else []


def _is_job(job: dict[str, Any]) -> bool:
    """Tell whether a job has what `engine.status` reads of it."""
    texts = [job["name"], job["query"], *job["setting"], *job["needs"]]
    numbers = [job["trainings"], job.get("retunings", 0)]
    counts = all(isinstance(n, int) and 0 <= n < MAX_COUNT for n in numbers) and len(job["setting"]) == 3
    return counts and WorkKind(job["kind"]) is not None and all(isinstance(text, str) for text in texts)


class Heartbeat:
    """The file in which a worker says what it does. Nothing depends on it, so a full disk here does not stop the work.

    Args:
        store: The study's store.
        device: Device it trains on.
        session: Name of the call of `run` that it works for.
    """

    def __init__(self, store: Store, device: str, session: str) -> None:
        host = socket.gethostname()
        self.path = store.root / WORKERS / f"{_host_part(host)}-{os.getpid()}.json"
        self.beat: dict[str, Any] = {"host": host, "pid": os.getpid(), "device": device, "session": session}
        self.beat |= {"since": time.time(), "doing": "", "what": "", "doing_since": 0.0}
        self.beat |= {"jobs": 0, "failed": 0, "trainings": 0, "busy": 0.0}

    @contextmanager
    def doing(self, job: str, what: str, trainings: int) -> Iterator[dict[str, bool]]:
        """Report a job while it is done. The caller sets `ok` in the yielded dict once it succeeded."""
        began, result = time.time(), {"ok": False}
        self._write(doing=job, what=what, doing_since=began)
        try:
            yield result
        finally:
            succeeded = result["ok"]
            self._write(
                doing="",
                what="",
                busy=self.beat["busy"] + time.time() - began,
                jobs=self.beat["jobs"] + succeeded,
                failed=self.beat["failed"] + (not succeeded),
                trainings=self.beat["trainings"] + trainings * succeeded,
            )

    def _write(self, **changes: Any) -> None:
        self.beat |= changes
        with contextlib.suppress(FathomError):
            atomic_files.write(self.path, json.dumps(self.beat | {"written": time.time()}).encode(), replace=True)


def live_workers(store: Store) -> list[dict[str, Any]]:
    """Read the heartbeats of the workers that may be alive, by host and process id.

    A dead process of this machine is left out. One of another machine cannot be asked: it counts while the lock of its
    job is held. No clock is compared, as clocks of two machines may differ.
    """
    found = []
    for path in sorted((store.root / WORKERS).glob("*.json")):
        beat = atomic_files.read_note(path)
        if beat is None or not _is_beat(path, beat):
            continue  # removed just now, or not of a worker
        here = beat["host"] == socket.gethostname()
        if atomic_files.alive(beat["pid"]) if here else _is_locked(store, beat["doing"]):
            found.append(beat)
    return found


def _is_beat(path: Path, beat: dict[str, Any]) -> bool:
    """Tell whether a note is a heartbeat: of its file's name, with all fields and numbers in their range."""
    texts = [beat.get(name) for name in ("host", "device", "session", "doing", "what")]
    numbers: list[Any] = [
        beat.get(name) for name in ("pid", "since", "doing_since", "jobs", "failed", "trainings", "busy")
    ]
    if not all(isinstance(text, str) and "\0" not in text for text in texts):
        return False
    if not all(type(number) in (int, float) and 0 <= number < MAX_COUNT for number in numbers):
        return False
    return type(beat["pid"]) is int and path.name == f"{_host_part(beat['host'])}-{beat['pid']}.json"


def _host_part(host: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", host)


def _is_locked(store: Store, job: str) -> bool:
    """Tell whether some process holds the job's lock."""
    if not job:
        return False
    try:
        with store.lock(job) as mine:
            return not mine
    except (OSError, FathomError):
        return True  # a store that may only be read: nothing can be locked, so nothing is known


def clear(store: Store) -> None:
    """Remove the heartbeats, once no work is left."""
    folder = store.root / WORKERS
    for path in [] if folder.is_symlink() else folder.glob("*.json"):
        beat = atomic_files.read_note(path)
        if beat is not None and _is_beat(path, beat):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
