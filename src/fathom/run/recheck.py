"""Recheck a study: a sample of what it committed is computed again (see `run.again`), in this process or in several."""

import dataclasses
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fathom import registry
from fathom.data.dataset import DataRoot
from fathom.records import FathomError
from fathom.run.again import Item, Outcome, Recheck, damage, draw
from fathom.run.backends import data_root
from fathom.run.environment import Environment, describe, find_device, set_mode
from fathom.run.same import TOLERANCE
from fathom.store import Store

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
    outcomes: list[Outcome] = field(default_factory=list)
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
    data: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    threads: int | None = None,
    workers: int = 0,
    quiet: bool = False,
    progress: Progress = lambda done, total: None,
) -> Rechecked:
    """Compute some committed rounds again and compare them with what is committed; outcomes are kept in the store.

    Outcomes that are kept already are taken from there, so a recheck that was interrupted goes on.

    Args:
        out: The study's folder.
        sample: How many rounds.
        seed: Which; the same seed draws the same rounds of the same store.
        shared: How many trainings of the HP search and on full data besides.
        data, download, device: As of `run`.
        threads: CPU threads [default: as the study's first environment].
        workers: Processes; 0 works in this one.
        quiet: No progress of image decoding and downloads.
        progress: Called with (rechecked, to be rechecked).

    Raises:
        FathomError: There is no study, no sound round, no data; or a number makes no sense.
    """
    if sample < 1 or shared < 0 or workers < 0 or (threads is not None and threads < 1):
        raise FathomError(
            f"expected a sample and threads from 1, shared and workers from 0; got sample {sample}, threads {threads}, "
            f"shared {shared}, workers {workers}"
        )
    store = Store.open(out)
    found = damage(store)
    items = draw(store, sample, seed, shared)
    where, root = find_device(device), data_root(data, download=download, quiet=quiet)
    environment = describe(where, threads or _threads(store), fast=_fast(store))
    outcomes: dict[Item, Outcome] = {}
    progress(0, len(items))
    with tempfile.TemporaryDirectory(prefix="fathom-recheck-") as aside:
        orders = _Orders(str(store.root), aside, root, where, environment)
        for item, outcome in _outcomes(orders, items, workers):
            outcomes[item] = outcome
            progress(len(outcomes), len(items))
    return Rechecked(str(store.root), [outcomes[item] for item in items], found)


def _first_environment(store: Store) -> dict[str, Any]:
    return next((decides for decides, _ in store.records("environments").values()), {})


def _threads(store: Store) -> int:
    return int(_first_environment(store).get("threads") or 1)


def _fast(store: Store) -> bool:
    return _first_environment(store).get("mode") == "fast"


# ------------------------------------------------------------------------------------------------------- processes


@dataclass(frozen=True)
class _Orders:
    """What a process is told."""

    out: str
    aside: str
    data: DataRoot
    device: torch.device
    environment: Environment
    plugins: list[str] = field(default_factory=registry.added_files)


def _outcomes(orders: _Orders, items: list[Item], workers: int) -> Iterator[tuple[Item, Outcome]]:
    """The outcomes as they come."""
    if not workers:
        own = _open(orders)
        for item in items:
            yield item, own.do(item)
        return
    context = multiprocessing.get_context("spawn")  # CUDA and torch's threads do not survive a fork
    pool = ProcessPoolExecutor(min(workers, len(items)), context, _begin, (orders,))
    try:
        waiting: dict[Future[Outcome], Item] = {pool.submit(_do, item): item for item in items}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _open(orders: _Orders) -> Recheck:
    set_mode(orders.device, fast=orders.environment.decides.get("mode") == "fast")
    torch.set_num_threads(int(orders.environment.decides["threads"]) or 1)
    aside = Path(orders.aside) / str(os.getpid())  # one a process; all go when the recheck ends
    return Recheck.open(Store.open(orders.out), aside, orders.data, orders.device, orders.environment)


_own: list[Recheck] = []  # of a worker process


def _begin(orders: _Orders) -> None:
    """Open a worker process's things; it leaves Ctrl-C to the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for path in orders.plugins:
        registry.add_file(path)
    _own.append(_open(dataclasses.replace(orders, data=dataclasses.replace(orders.data, quiet=True))))


def _do(item: Item) -> Outcome:
    return _own[0].do(item)
