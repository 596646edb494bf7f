"""Where a job under way keeps its state, so that one that is killed goes on where it was, and tells how far it is.

OUT/.work/<job>.safetensors   state at the end of some epoch; gone once the job's result is committed
OUT/.work/<job>.json          how far the job is, for those who watch
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fathom.core.records import FathomError, digest
from fathom.learn.task import Checkpointer, Embed
from fathom.store import atomic_files
from fathom.store.store import WORK, Store

DIGEST = 64  # hexadecimal digits of the SHA-256 that a saved state begins with
EVERY = 30.0  # seconds between saved states; FATHOM_CHECKPOINT_SECONDS sets another number
TELL_EVERY = 1.0  # seconds between words on how far the job is
FeatureProbe = Callable[[Embed], dict[str, float]]
ProgressCallback = Callable[[dict[str, Any]], None]  # called with what a watcher should see


class FileCheckpointer(Checkpointer):
    """A journal in the study's folder.

    Args:
        store: The study's store.
        job: What is under way, for example `runs/<key>/round-03`.
        decides: All that decides the outcome: a state of another kind of work is never gone on from.
        probe: Measures features on the way (`protocol.knn_eval`); its numbers are kept in `curve` alone.
        tell: Called with what is told, beside the file for those who watch from another process.
        points: How often `look` is called in the whole of the work.
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
        self.every = _every()
        self._saved = self._told = time.monotonic()  # work of less than a second says nothing

    def load(self) -> dict[str, Tensor] | None:
        """The state saved last; one that cannot be read counts as none, and costs only time."""
        try:
            data = self.path.read_bytes()
            if hashlib.sha256(data[DIGEST:]).hexdigest().encode() != data[:DIGEST]:
                raise ValueError("SHA-256 differs")
            state: dict[str, Tensor] = load(data[DIGEST:])
            self.curve = json.loads(bytes(state.pop("journal").tolist()))
        except (OSError, SafetensorError, KeyError, ValueError):
            self.curve = []
            return None
        return state

    def save(self, state: Callable[[], dict[str, Tensor]], *, force: bool = False) -> None:
        """Keep a state, if the last one is old enough."""
        if not force and time.monotonic() - self._saved < self.every:
            return
        curve = torch.frombuffer(bytearray(json.dumps(self.curve).encode()), dtype=torch.uint8)
        tensors = {name: t.contiguous() for name, t in state().items()}
        data = save(tensors | {"journal": curve})
        atomic_files.write(self.path, hashlib.sha256(data).hexdigest().encode() + data, replace=True)
        self._saved = time.monotonic()

    def tell(self, done: int, of: int, numbers: Mapping[str, float], embed: Embed | None = None) -> None:
        """Note the numbers of an epoch, probe the features `points` times in all, and report progress."""
        if self.probe is not None and done * self.points // of > (done - 1) * self.points // of:
            measured = self.probe(embed) if embed is not None else {}
            self.curve.append({"epoch": float(done), **numbers, **measured})
        if time.monotonic() - self._told < TELL_EVERY and done < of:
            return
        self._told = time.monotonic()
        told = {"job": self.job, "done": done, "of": of, **(self.curve[-1] if self.curve else {}), **numbers}
        told = {name: value for name, value in told.items() if value == value}  # NaN is no JSON
        if self.watcher is not None:
            self.watcher(told)
        if done < of:
            atomic_files.write(self.path.with_suffix(".json"), json.dumps(told).encode(), replace=True)

    def restricted(self) -> Checkpointer:
        """What the work itself is given: it can load, save and tell, and sees nothing of what is measured of it."""
        return _Restricted(self.load, self.save, self.tell)

    def close(self) -> None:
        """The result is committed: what was kept on the way is not needed any more."""
        for path in (self.path, self.path.with_suffix(".json")):
            path.unlink(missing_ok=True)


class _Restricted(Checkpointer):
    """A journal of three functions."""

    def __init__(self, load: Callable[..., Any], save: Callable[..., None], tell: Callable[..., None]) -> None:
        # Closures, so that no attribute leads from what a paradigm holds to what the harness measures.
        def do_load() -> dict[str, Tensor] | None:
            found: dict[str, Tensor] | None = load()
            return found

        def do_save(state: Callable[[], dict[str, Tensor]], *, force: bool = False) -> None:
            save(state, force=force)

        def do_tell(done: int, of: int, numbers: Mapping[str, float], embed: Embed | None = None) -> None:
            tell(done, of, numbers, embed)

        self.load, self.save, self.tell = do_load, do_save, do_tell  # type: ignore[method-assign]


def _every() -> float:
    said = os.environ.get("FATHOM_CHECKPOINT_SECONDS") or EVERY
    try:
        return float(said)
    except ValueError:
        raise FathomError(f"FATHOM_CHECKPOINT_SECONDS is {said!r}; expected a number of seconds") from None
