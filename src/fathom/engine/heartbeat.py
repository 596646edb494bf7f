"""What a store says of the work itself, for those who watch it: the list of jobs, and who is at which.

OUT/jobs.json               every job of the study: kind, name, setting, seed, query, needs, trainings
OUT/.workers/<host>-<pid>.json   one worker: what it does, since when, and what it has done; gone when nothing is left

Neither decides anything: who computes reads neither.
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
    """Write the list of jobs down, in the order they should be done."""
    data = atomic_files.pack_record({"jobs": jobs}, {})
    path = store.path("jobs")
    if not path.is_file() or path.read_bytes() != data:
        atomic_files.write(path, data, replace=True)


def read_jobs(store: Store) -> list[dict[str, Any]]:
    """The list of jobs; empty for a store of an older version, or before the first start."""
    found, _ = atomic_files.try_read(store.path("jobs"))
    return list(found[0]["jobs"]) if found else []


class Heartbeat:
    """A worker's word on what it does. Its loss costs nobody anything, so a full disk does not stop the work here.

    Args:
        store: The study's store.
        device: What it trains on.
        session: Of the call of `run` that it works for.
    """

    def __init__(self, store: Store, device: str, session: str) -> None:
        host = socket.gethostname()
        self.path = store.root / WORKERS / f"{re.sub(r'[^A-Za-z0-9.-]', '-', host)}-{os.getpid()}.json"
        self.said: dict[str, Any] = {"host": host, "pid": os.getpid(), "device": device, "session": session}
        self.said |= {"since": time.time(), "doing": "", "what": "", "doing_since": 0.0}
        self.said |= {"jobs": 0, "failed": 0, "trainings": 0, "busy": 0.0}

    @contextmanager
    def doing(self, job: str, what: str, trainings: int) -> Iterator[dict[str, bool]]:
        """Say what is done; set `ok` in what is yielded when it went well."""
        began, result = time.time(), {"ok": False}
        self._say(doing=job, what=what, doing_since=began)
        try:
            yield result
        finally:
            well = result["ok"]
            self._say(
                doing="",
                what="",
                busy=self.said["busy"] + time.time() - began,
                jobs=self.said["jobs"] + well,
                failed=self.said["failed"] + (not well),
                trainings=self.said["trainings"] + trainings * well,
            )

    def _say(self, **changes: Any) -> None:
        self.said |= changes
        with contextlib.suppress(FathomError):
            atomic_files.write(self.path, json.dumps(self.said | {"told": time.time()}).encode(), replace=True)


def live_workers(store: Store) -> list[dict[str, Any]]:
    """The workers whose word is here and who may be alive, by host and process id.

    A process of this machine that is gone is left out. One of another machine counts while its job's lock is held.
    """
    found = []
    for path in sorted((store.root / WORKERS).glob("*.json")):
        try:
            said = json.loads(path.read_bytes())
            alive = (
                atomic_files.alive(said["pid"]) if said["host"] == socket.gethostname() else _held(store, said["doing"])
            )
        except (OSError, ValueError, KeyError):
            continue  # gone just now
        if alive:
            found.append(said)
    return found


def _held(store: Store, job: str) -> bool:
    """Whether some process holds the job's lock."""
    if not job:
        return False
    try:
        with store.lock(job) as mine:
            return not mine
    except (OSError, FathomError):
        return True  # a store that may only be read


def clear(store: Store) -> None:
    """Remove what workers said, when no work is left."""
    for path in (store.root / WORKERS).glob("*"):
        path.unlink(missing_ok=True)
