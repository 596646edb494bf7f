"""Recheck a study: a sample of its results is computed again by ordinary workers (see `recheck.recompute`)."""

import dataclasses
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fathom.core.html import html_table
from fathom.core.machine import Machine
from fathom.core.records import FathomError
from fathom.engine.engine import MOST_PROCESSES, data_root, worker_machine
from fathom.engine.local import LocalEngine
from fathom.engine.worker import WorkerOrders
from fathom.machine.environment import check
from fathom.protocol.context import WorkerContext
from fathom.recheck.compare_records import TOLERANCE
from fathom.recheck.recompute import OUTCOMES, RecheckItem, RecheckOutcome, damage, make_bench
from fathom.recheck.sample import draw
from fathom.registry.code import codes_of
from fathom.registry.registry import export_code
from fathom.store.store import Store

Progress = Callable[[int, int], None]  # (rechecked, to be rechecked)


@dataclass(frozen=True)
class Rechecked:
    """Result of a recheck.

    Args:
        out: The study's folder.
        outcomes: One per item, in the order of the sample.
        damaged: Files that cannot be read, or do not follow those before them.
        tolerance: Of metrics, where the environment is not that of the committed results.
    """

    out: str
    outcomes: list[RecheckOutcome] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    tolerance: float = TOLERANCE

    @property
    def sound(self) -> bool:
        """True if every outcome equals the committed result and nothing is damaged."""
        return not self.damaged and all(outcome.same for outcome in self.outcomes)

    def _repr_html_(self) -> str:
        rows = [(o.what, "equal" if o.same else "differs", "; ".join(o.differences)) for o in self.outcomes]
        return html_table(
            [*rows, *((text, "damaged", "") for text in self.damaged)], ("round", "outcome", "differences")
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-plain values."""
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
    """Compute a sample of the committed rounds again and compare them with the store; outcomes are kept in the store.

    Outcomes that are kept already are reused, so the same call resumes a recheck that was interrupted.

    Args:
        out: The study's folder.
        sample: Number of rounds.
        seed: Seed for choosing the rounds.
        shared: Number of HP-search and full-data trainings to compute again too.
        workers: Worker processes; 0 works in this process.
        machine: Data and device. `threads` and `fast` are those of the study's first environment instead.
        progress: Called with (rechecked, to be rechecked). None: no progress of any kind is shown.

    Raises:
        FathomError: There is no study, no sound round, no data; an argument is out of range; or a worker failed.
    """
    if sample < 1 or shared < 0 or seed < 0 or not 0 <= workers <= MOST_PROCESSES:
        raise FathomError(
            f"expected sample >= 1, shared >= 0, seed >= 0 and workers >= 0 (at most {MOST_PROCESSES:,}); got "
            f"{sample}, {shared}, {seed} and {workers}"
        )
    store = Store.open(out)
    found = damage(store)
    items = draw(store, sample, seed, shared)
    known = store.records("environments")
    if not known and (lost := store.damaged("environments")):
        raise FathomError(
            f"{store.path(f'environments/{lost[0]}')} is damaged, so the environment of the results is not known. "
            "Restore that file before you recheck them"
        )
    first = next((decides for decides, _ in known.values()), {})
    threads, fast = int(first.get("threads") or 1), first.get("mode") == "fast"
    engine = LocalEngine(dataclasses.replace(machine, threads=threads, fast=fast), min(workers, len(items)))
    root = data_root(machine, quiet=progress is None)
    # Workers lock, fail and report in the temporary store: a study that may only be read can be rechecked too.
    with tempfile.TemporaryDirectory(prefix="fathom-recheck-") as folder:
        bench = make_bench(store, Path(folder) / "bench")
        environment = engine.describe()
        check(bench, environment, accept=True)
        context = WorkerContext(bench, root, engine.device, environment.name)
        runs = {item.run for item in items}
        context.codes = codes_of(spec for spec in store.study.runs if shared or spec.key in runs)
        orders = WorkerOrders(
            out=str(bench.root),
            machine=worker_machine(engine.machine, root).to_json(),
            session=uuid.uuid4().hex[:12],
            environment=environment.name,
            jobs=[dataclasses.asdict(item) for item in items],
            job_type=f"{RecheckItem.__module__}:{RecheckItem.__name__}",
            code=export_code(),
            codes={name: dataclasses.asdict(code) for name, code in context.codes.items()},
        )
        watch = _Watch(bench, len(items), progress or (lambda done, total: None))
        watch.look()
        with engine.worker_pool():
            engine.work(orders, items, context, watch)
        watch.look()  # at what was done since the last look
        return Rechecked(str(store.root), [_outcome(bench, item) for item in items], found)


def _outcome(bench: Store, item: RecheckItem) -> RecheckOutcome:
    record = bench.get(item.outcome_name)
    assert record is not None, item  # a failed item has raised in `_Watch.look`
    return RecheckOutcome(item, **record[0])


@dataclass
class _Watch:
    """Progress of a recheck: reports the outcomes in the temporary store, and stops at the first failure."""

    bench: Store
    total: int
    progress: Progress
    seen: int = -1

    def look(self) -> None:
        """Report progress if there is any.

        Raises:
            FathomError: An item failed, which no comparison can tell about: absent data, a bug, a dead process.
        """
        count = len(list((self.bench.root / OUTCOMES).glob("*.json")))
        if count > self.seen:
            self.seen = count
            self.progress(count, self.total)
        for failure in self.bench.failures():
            raise FathomError(
                f"{failure['what']}: {failure['message']}\n{failure['traceback']}".rstrip()
                + f"\n{count} of {self.total} results are rechecked and kept; run the same command again to resume"
            )
