"""The cost of the framework itself: the share of a study's time in which nothing is trained, tested or queried.

    python bench/overhead.py                          # quickstart, one dataset and seed; in this process, then 1 worker
    python bench/overhead.py --study quickstart       # the whole of it
    python bench/overhead.py --from runs/quickstart   # clock readings of a study that has run; nothing is trained
    python bench/overhead.py --json overhead.json

Two shares, of different wholes. Rounds: what a round takes beside train, test, predict and query. Call: what a call of
`run` takes beside its jobs: loading and checking data, commits with their fsync, scheduling, the start of workers. Both
should stay under 5 %. A worker imports torch and scikit-learn once, which takes seconds; a short study shows them.
"""

import argparse
import dataclasses
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

import fathom
from fathom.core.machine import Machine
from fathom.core.records import Study
from fathom.core.work import WorkKind
from fathom.design.study_file import load_study
from fathom.engine.engine import run_study
from fathom.estimate.plan import estimate_plan
from fathom.store.store import Store

STEPS = ("train", "test", "predict", "query")
SHARED = (WorkKind.HP_SEARCH, WorkKind.ROUND_0, WorkKind.FULL_DATA)
TARGET = 0.05


@dataclasses.dataclass(frozen=True)
class Row:
    """One execution of a study.

    Args:
        what: Which.
        rounds, shared: How many rounds, and how many shared trainings (HP search, round 0, full data).
        rounds_seconds: Time of all rounds; of it `steps_seconds` in train, test, predict and query.
        jobs_seconds: Time of rounds and shared trainings.
        wall_seconds: Time of the call times its processes.
    """

    what: str
    rounds: int
    shared: int
    rounds_seconds: float
    steps_seconds: float
    jobs_seconds: float
    wall_seconds: float | None

    @property
    def in_rounds(self) -> float:
        return 1 - self.steps_seconds / self.rounds_seconds

    @property
    def in_call(self) -> float | None:
        return None if self.wall_seconds is None else 1 - self.jobs_seconds / self.wall_seconds


def read(store: Store, what: str, wall: float | None) -> Row:
    """The clock readings of a store."""
    rounds = [r.seconds for spec in store.study.runs for r in store.rounds(spec)]
    shared = [clock["seconds"] for kind in SHARED for _, clock in store.records(kind.folder).values()]
    total = sum(r["total"] for r in rounds)
    steps = sum(r[step] for r in rounds for step in STEPS)
    return Row(what, len(rounds), len(shared), total, steps, total + sum(shared), wall)


def measure(study: Study, options: argparse.Namespace) -> Iterator[Row]:
    """Run the study in this process and with one worker, each in a new folder.

    The first load of the data imports scikit-learn and more, once a process. It is done and told beforehand; the worker
    does it again, within the time of its call.
    """
    began = time.perf_counter()
    machine = Machine(data=options.data, device=options.device)
    estimate_plan(study, probe=False, machine=machine)
    print(f"first load of the data in a process, with imports: {time.perf_counter() - began:.2f} s")
    for workers in (0, 1):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            outcome = run_study(study, Path(folder) / "out", workers=workers, machine=machine)
            wall = time.perf_counter() - began
            if not outcome.finished:
                raise SystemExit(f"the study failed: {[f['message'] for f in outcome.failures]}")
            yield read(Store.open(outcome.out), "in this process" if workers == 0 else "1 worker", wall)


def finished(folder: Path, workers: int | None) -> Row:
    """A study that has run before. Its wall-clock is known only if it ran in one go, to the second."""
    store = Store.open(folder)
    wall = None
    if workers:
        began = min(machine["since"] for _, machine in store.records("environments").values())
        ended = max(r.finished for spec in store.study.runs for r in store.rounds(spec))
        span = datetime.fromisoformat(ended) - datetime.fromisoformat(began)
        wall = workers * span.total_seconds()
    return read(store, f"{folder}, {workers or '?'} workers", wall)


def show(row: Row) -> None:
    steps, rounds = row.steps_seconds, row.rounds_seconds
    print(f"{row.what}: n = {row.rounds} rounds, {row.shared} shared trainings")
    print(
        f"  rounds: {100 * row.in_rounds:.2f} % of {rounds:.2f} s outside train, test, predict, query ({steps:.2f} s)"
    )
    if row.in_call is not None:
        print(
            f"  call:   {100 * row.in_call:.2f} % of {row.wall_seconds:.2f} s outside jobs ({row.jobs_seconds:.2f} s)"
        )


def hardware(device: str) -> dict[str, Any]:
    """Where it was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() and device != "cpu" else None
    load = round(os.getloadavg()[0], 1)
    return {"cpu": cpu, "cores": os.cpu_count(), "gpu": gpu, "torch": torch.__version__, "fathom": fathom.__version__,
            "load": load}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", help="name or file of a study [default: one dataset and seed of the quickstart]")
    parser.add_argument("--from", dest="folder", type=Path, help="folder of a study that has run")
    parser.add_argument("--workers", type=int, help="with --from: workers it ran with, if it ran in one go")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = hardware(options.device)
    print(", ".join(f"{key} {value}" for key, value in machine.items() if value is not None))
    rows = []
    for row in [finished(options.folder, options.workers)] if options.folder else measure(_study(options), options):
        rows.append(row)
        show(row)
    worst = max(share for row in rows for share in (row.in_rounds, row.in_call) if share is not None)
    verdict = "kept" if worst < TARGET else "missed"
    print(f"largest share {100 * worst:.2f} %, target under {100 * TARGET:.0f} %: {verdict}")
    if options.json:
        shares = [{**dataclasses.asdict(r), "in_rounds": r.in_rounds, "in_call": r.in_call} for r in rows]
        options.json.write_text(json.dumps({"hardware": machine, "rows": shares}, indent=1))


def _study(options: argparse.Namespace) -> Study:
    if options.study:
        return load_study(options.study)
    whole = load_study("quickstart")
    runs = tuple(r for r in whole.runs if r.seed == 0 and r.setting == whole.runs[0].setting)
    return dataclasses.replace(whole, runs=runs, full_data=1)


if __name__ == "__main__":
    main()
