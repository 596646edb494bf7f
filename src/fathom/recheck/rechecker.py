"""A process that computes committed rounds again: `python -m fathom.recheck.rechecker` (see `recheck.recheck`).

It reads its orders as one line of JSON from standard input, writes each outcome as a line of JSON to standard output,
and dies when its input closes, so that it never outlives the process that started it.
"""

import dataclasses
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fathom.core.records import FathomError
from fathom.data.dataset import DataRoot
from fathom.machine.environment import describe, set_mode
from fathom.recheck.recompute import Recheck, RecheckItem, RecheckOutcome
from fathom.registry import registry
from fathom.store.store import Store


@dataclasses.dataclass(frozen=True)
class RecheckOrders:
    """What is to be computed again, and how.

    Args:
        out: The study's folder.
        aside: Folder for what is computed; gone when the recheck ends.
        data, cache, download, quiet: See `DataRoot`.
        device, threads, fast: As of `fathom run`.
        plugins: Files with members.
        items: Of `recheck.recompute.RecheckItem`, as JSON.
    """

    out: str
    aside: str
    data: str
    cache: str
    download: bool
    quiet: bool
    device: str
    threads: int
    fast: bool
    plugins: list[str]
    items: list[dict[str, Any]]


def outcomes(orders: RecheckOrders) -> Iterator[RecheckOutcome]:
    """Compute every item again, in order."""
    device = torch.device(orders.device)
    set_mode(device, fast=orders.fast)
    torch.set_num_threads(orders.threads)
    root = DataRoot(Path(orders.data), Path(orders.cache), download=orders.download, quiet=orders.quiet)
    environment = describe(device, orders.threads, fast=orders.fast)
    own = Recheck.open(Store.open(orders.out), Path(orders.aside) / str(os.getpid()), root, device, environment)
    for item in orders.items:
        yield own.do(RecheckItem(**item))


def serve_rechecks() -> None:
    """Read the orders, compute, leave; a mistake of the user is the last line."""
    orders = RecheckOrders(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_die_with_parent, daemon=True).start()
    for path in orders.plugins:
        registry.add_file(path)
    try:
        for outcome in outcomes(orders):
            print(json.dumps(dataclasses.asdict(outcome)), flush=True)
    except FathomError as error:
        print(json.dumps({"error": str(error)}), flush=True)


def _die_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    serve_rechecks()
