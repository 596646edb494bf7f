"""Recheck a study: a sample of its results is computed again (`recheck.recompute`), here or in several processes."""

import dataclasses
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fathom.core.machine import Machine
from fathom.core.records import FathomError
from fathom.engine.engine import data_root
from fathom.machine.environment import find_device
from fathom.recheck.compare_records import TOLERANCE
from fathom.recheck.rechecker import RecheckOrders
from fathom.recheck.rechecker import outcomes as redone
from fathom.recheck.recompute import RecheckItem, RecheckOutcome, damage, draw
from fathom.registry import registry
from fathom.store.store import Store

Progress = Callable[[int, int], None]  # (rechecked, to be rechecked)


@dataclass(frozen=True)
class Rechecked:
    """How a recheck ended.

    Args:
        out: The study's folder.
        outcomes: One of each item, in the order they were drawn.
        damaged: Files that cannot be read, or do not follow those before them.
        tolerance: Of metrics, where the environment is not that of the committed ones.
    """

    out: str
    outcomes: list[RecheckOutcome] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    tolerance: float = TOLERANCE

    @property
    def sound(self) -> bool:
        """Whether all came out as committed, and nothing is damaged."""
        return not self.damaged and all(outcome.same for outcome in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        counts = {"rechecked": len(self.outcomes), "same": sum(outcome.same for outcome in self.outcomes)}
        outcomes = [outcome.to_json() for outcome in self.outcomes]
        more = {"tolerance": self.tolerance, "damaged": self.damaged, "outcomes": outcomes}
        return {"out": self.out, "sound": self.sound, **counts, **more}


def recheck(
    out: str | Path,
    *,
    sample: int,
    seed: int = 0,
    shared: int = 0,
    workers: int = 0,
    machine: Machine = Machine(),
    progress: Progress | None = None,
) -> Rechecked:
    """Compute some committed rounds again and compare them with what is committed; outcomes are kept in the store.

    Outcomes that are kept already are taken from there, so a recheck that was interrupted goes on.

    Args:
        out: The study's folder.
        sample: How many rounds.
        seed: Which; the same seed draws the same rounds of the same store.
        shared: How many trainings of the HP search and on full data besides.
        workers: Worker processes; 0 works in this process.
        machine: Data and device. `threads` and `fast` are those of the study's first environment instead.
        progress: Called with (rechecked, to be rechecked). None: no progress of any kind is shown.

    Raises:
        FathomError: There is no study, no sound round, no data; or a number makes no sense.
    """
    if sample < 1 or shared < 0 or workers < 0:
        raise FathomError(f"expected sample >= 1, shared >= 0 and workers >= 0; got {sample}, {shared} and {workers}")
    store = Store.open(out)
    found = damage(store)
    items = draw(store, sample, seed, shared)
    where, root = find_device(machine.device), data_root(machine, quiet=progress is None)
    outcomes: dict[RecheckItem, RecheckOutcome] = {}
    report = progress or (lambda done, total: None)
    report(0, len(items))
    with tempfile.TemporaryDirectory(prefix="fathom-recheck-") as aside:
        orders = RecheckOrders(
            out=str(store.root),
            aside=aside,
            data=str(root.path),
            cache=str(root.cache),
            download=machine.download,
            quiet=progress is None or workers > 1,
            device=str(where),
            threads=_threads(store),
            fast=_fast(store),
            plugins=registry.added_files(),
            items=[dataclasses.asdict(item) for item in items],
        )
        for outcome in _in_processes(orders, workers) if workers else redone(orders):
            outcomes[outcome.item] = outcome
            report(len(outcomes), len(items))
    return Rechecked(str(store.root), [outcomes[item] for item in items], found)


def _first_environment(store: Store) -> dict[str, Any]:
    return next((decides for decides, _ in store.records("environments").values()), {})


def _threads(store: Store) -> int:
    return int(_first_environment(store).get("threads") or 1)


def _fast(store: Store) -> bool:
    return _first_environment(store).get("mode") == "fast"


# ------------------------------------------------------------------------------------------------------- processes


def _in_processes(orders: RecheckOrders, workers: int) -> Iterator[RecheckOutcome]:
    """The outcomes as they come from several processes, each of which has a share of the items.

    Raises:
        FathomError: A process could not go on.
    """
    shares = [orders.items[number::workers] for number in range(min(workers, len(orders.items)))]
    lines: queue.Queue[str | None] = queue.Queue()
    processes = [_start(dataclasses.replace(orders, device=_device(orders, n), items=i)) for n, i in enumerate(shares)]
    try:
        for process in processes:
            threading.Thread(target=_listen, args=(process, lines), daemon=True).start()
        left, count = len(processes), 0
        while left:
            line = lines.get()
            if line is None:
                left -= 1
                continue
            told = json.loads(line)
            if "error" in told:
                raise FathomError(told["error"])
            count += 1
            yield RecheckOutcome(**{**told, "item": RecheckItem(**told["item"])})
        if count < len(orders.items):
            raise FathomError(
                f"a worker process died (what it said is above; memory may have run out: give --workers a smaller "
                f"number). {count} of {len(orders.items)} are rechecked and kept; type the same again to go on"
            )
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _start(orders: RecheckOrders) -> "subprocess.Popen[str]":
    threads = str(orders.threads)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "fathom.recheck.rechecker"],  # -P: nothing is imported from the current folder
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        start_new_session=True,  # Ctrl-C reaches the parent alone, which ends its workers
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(dataclasses.asdict(orders)) + "\n")
    process.stdin.flush()
    return process


def _listen(process: "subprocess.Popen[str]", lines: "queue.Queue[str | None]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _device(orders: RecheckOrders, number: int) -> str:
    """A GPU for each process, in turn."""
    if orders.device == "cuda":
        return f"cuda:{number % torch.cuda.device_count()}"
    return orders.device
