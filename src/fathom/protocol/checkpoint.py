"""Checkpoints and progress of running jobs, so that a killed job resumes where it stopped.

OUT/.work/<job>.safetensors   state at the end of some epoch; deleted once the job's result is committed
OUT/.work/<job>.json          progress of the job, for `fathom status`
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from fathom.core.records import FathomError, digest
from fathom.learn.task import Checkpointer, Embed
from fathom.learn.tensor_file import from_bytes, to_bytes
from fathom.store import atomic_files
from fathom.store.store import WORK, Store

DIGEST = 64  # hexadecimal digits of the SHA-256 that a saved state begins with
# By the clock, not by the epoch, so that short trainings never write a state.
EVERY = 30.0  # seconds between saved states; FATHOM_CHECKPOINT_SECONDS sets another number
TELL_EVERY = 1.0  # seconds between progress reports
FeatureProbe = Callable[[Embed], dict[str, float]]
ProgressCallback = Callable[[dict[str, Any]], None]  # called with the progress of a job, JSON-plain


class FileCheckpointer(Checkpointer):
    """Checkpointer that writes to the study's folder.

    Args:
        store: The study's store.
        job: Name of the job, for example `runs/<key>/round-03`.
        decides: All that decides the outcome. It is part of the file name, so that no job resumes from the state of
            another one.
        probe: Measures features during pre-training (`protocol.knn_eval`); its numbers go into `curve` alone.
        tell: Called with the progress, which is also written to the file for other processes.
        points: Number of calls of `probe` in all.
    """

    def __init__(
        self,
        store: Store,
        job: str,
        decides: Any,
        probe: FeatureProbe | None = None,
        tell: ProgressCallback | None = None,
        points: int = 20,
    ) -> None:
        stem = f"{job.replace('/', '-')}-{digest(decides, 12)}"
        self.path = store.root / WORK / f"{stem}.safetensors"
        self.job, self.probe, self.points, self.watcher = job, probe, points, tell
        self.curve: list[dict[str, float]] = []
        self.every = checkpoint_seconds()
        self._saved = self._reported = time.monotonic()  # a job of less than a second reports nothing

    def load(self) -> dict[str, Tensor] | None:
        """State saved last; None if there is none or it cannot be read, which costs only time."""
        try:
            data = self.path.read_bytes()
            if hashlib.sha256(data[DIGEST:]).hexdigest().encode() != data[:DIGEST]:
                raise ValueError("SHA-256 differs")
            curve, _, tensors = data[DIGEST:].partition(b"\n")
            self.curve, state = json.loads(curve), from_bytes(tensors)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError, RecursionError):
            self.curve = []
            return None
        return state

    def save(self, state: Callable[[], dict[str, Tensor]], *, force: bool = False) -> None:
        """Save a state if the last one is older than `every` seconds, or at once with `force`."""
        if not force and time.monotonic() - self._saved < self.every:
            return
        data = json.dumps(self.curve).encode() + b"\n" + to_bytes(state(), f"the checkpoint of {self.job}")
        atomic_files.write(self.path, hashlib.sha256(data).hexdigest().encode() + data, replace=True)
        self._saved = time.monotonic()

    def tell(self, done: int, of: int, numbers: Mapping[str, float], embed: Embed | None = None) -> None:
        """Note the numbers of an epoch, probe the features `points` times in all, and report progress."""
        if self.probe is not None and done * self.points // of > (done - 1) * self.points // of:
            measured = self.probe(embed) if embed is not None else {}
            self.curve.append({"epoch": float(done), **numbers, **measured})
        if time.monotonic() - self._reported < TELL_EVERY and done < of:
            return
        self._reported = time.monotonic()
        report = {"job": self.job, "done": done, "of": of, **(self.curve[-1] if self.curve else {}), **numbers}
        report = {name: value for name, value in report.items() if value == value}  # NaN is not JSON
        if self.watcher is not None:
            self.watcher(report)
        if done < of:
            with contextlib.suppress(FathomError):  # only who watches needs it
                atomic_files.write(self.path.with_suffix(".json"), json.dumps(report).encode(), replace=True)

    def restricted(self) -> Checkpointer:
        """Checkpointer for the work itself: it can load, save and tell, and sees nothing that is measured of it."""
        return _Restricted(self.load, self.save, self.tell)

    def close(self) -> None:
        """Delete state and progress, once the result is committed."""
        for path in (self.path, self.path.with_suffix(".json")):
            with contextlib.suppress(OSError):  # a folder of that name, which nothing here makes
                path.unlink(missing_ok=True)


class _Restricted(Checkpointer):
    """Checkpointer of three functions."""

    def __init__(self, load: Callable[..., Any], save: Callable[..., None], tell: Callable[..., None]) -> None:
        # Closures, so that no attribute leads from what a paradigm holds to what the harness measures.
        self.load = lambda: load()  # type: ignore[method-assign]
        self.save = lambda state, *, force=False: save(state, force=force)  # type: ignore[method-assign]
        self.tell = lambda done, of, numbers, embed=None: tell(done, of, numbers, embed)  # type: ignore[method-assign]


def checkpoint_seconds() -> float:
    """Seconds between saved states.

    Raises:
        FathomError: FATHOM_CHECKPOINT_SECONDS is no number.
    """
    given = os.environ.get("FATHOM_CHECKPOINT_SECONDS") or EVERY
    try:
        return float(given)
    except ValueError:
        raise FathomError(f"FATHOM_CHECKPOINT_SECONDS is {given!r}; expected a number of seconds") from None
