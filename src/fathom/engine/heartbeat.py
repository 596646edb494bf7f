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
from typing import Any

from fathom.core.records import FathomError
from fathom.store import atomic_files
from fathom.store.store import Store

WORKERS = ".workers"


def write_jobs(store: Store, jobs: list[dict[str, Any]]) -> None:
    """Write the list of jobs, in the order they should be done."""
    data = atomic_files.pack_record({"jobs": jobs}, {})
    path = store.path("jobs")
    if not path.is_file() or path.read_bytes() != data:
        atomic_files.write(path, data, replace=True)


def read_jobs(store: Store) -> list[dict[str, Any]]:
    """Read the list of jobs; empty before the first start."""
    found, _ = atomic_files.try_read(store.path("jobs"))
    return list(found[0]["jobs"]) if found else []


class Heartbeat:
    """The file in which a worker says what it does. Nothing depends on it, so a full disk here does not stop the work.

    Args:
        store: The study's store.
        device: Device it trains on.
        session: Name of the call of `run` that it works for.
    """

    def __init__(self, store: Store, device: str, session: str) -> None:
        host = socket.gethostname()
        self.path = store.root / WORKERS / f"{re.sub(r'[^A-Za-z0-9.-]', '-', host)}-{os.getpid()}.json"
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
        try:
            beat = json.loads(path.read_bytes())
            here = beat["host"] == socket.gethostname()
            alive = atomic_files.alive(beat["pid"]) if here else _is_locked(store, beat["doing"])
        except (OSError, ValueError, KeyError):
            continue  # removed just now
        if alive:
            found.append(beat)
    return found


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
    for path in (store.root / WORKERS).glob("*"):
        path.unlink(missing_ok=True)
