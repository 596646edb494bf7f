"""Growth of a study's overhead from 1,000 to 100,000 runs, with the real store, scheduler, status and report.

    python bench/scaling.py                                    # 1,000 and 10,000 runs, minutes
    python bench/scaling.py --sizes 1000 10000 100000          # an hour; stopped and run again, it resumes
    python bench/scaling.py --page docs/scaling.md             # put the table and the picture into the page

Only the trainings are simulated: a job commits records with invented scores and with durations that were read from a
real study (results/frozen-reduced.parquet), and takes no time. All else is what `fathom run`, `status`, `plan` and
`report` do. Every phase runs in a process of its own, which gives its CPU seconds and its peak memory; wall-clock
depends on the file system (two fsyncs a record) and on who else uses the machine, and is given beside them.

The store lies in `--folder`; 100,000 runs are 700,000 files, 3 GB.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fathom.core.records import Round, RunSpec, Study
from fathom.core.work import WorkKind

ROOT = Path(__file__).resolve().parents[1]
DURATIONS = ROOT / "results" / "frozen-reduced.parquet"
PHASES = ("plan", "start", "run", "resume", "status", "report")
BEGIN, END = "<!-- table of bench/scaling.py -->", "<!-- end of the table -->"
QUERIES = (
    "random", "entropy", "margin", "least-confidence", "bald", "core-set", "badge", "entropy(sampling=power)",
    "variation-ratios", "margin(stratify=true)",
)  # fmt: skip
SHARE = 0.99  # of the runs, after which the simulated study is interrupted and resumed


def make_study(runs: int) -> Study:
    """A study of so many runs: settings and seeds both grow with their number, ten query methods in each."""
    from fathom.registry.registry import find

    seeds = max(1, round((runs / 10) ** 0.5))
    settings = runs // (10 * seeds)
    datasets = ["digits", *(f"digits-lt(rho={rho})" for rho in (2, 3, 4, 5))]
    regimes = [f"custom(query_size={size}, rounds=5, start=20, val_size=60)" for size in (10, 15, 20, 25, 30)]
    paradigms = [f"standard(recipe=short, lr={lr}, weight_decay=0.0005)" for lr in (0.1, 0.05, 0.02, 0.01)]
    names = {kind: {t: str(find(kind, t)[1]) for t in texts} for kind, texts in
             (("dataset", datasets), ("regime", regimes), ("paradigm", paradigms), ("query", QUERIES))}  # fmt: skip
    cross = [(d, r, p) for r in regimes for p in paradigms for d in datasets][:settings]
    specs = tuple(
        RunSpec(names["dataset"][d], names["regime"][r], names["paradigm"][p], names["query"][q], seed)
        for d, r, p in cross
        for seed in range(seeds)
        for q in QUERIES
    )
    return Study(f"scaling-{runs}", specs, full_data=1)


# ------------------------------------------------------------------------------------------------ simulated jobs


class Simulation:
    """Does jobs in no time, with durations of a real study; stops after some runs.

    Args:
        stop: Runs after which it raises KeyboardInterrupt, as Ctrl-C does; None for never.
    """

    def __init__(self, stop: int | None = None) -> None:
        import pandas as pd

        steps = [f"seconds_{step}" for step in ("total", "train", "predict", "query")]
        self.clocks = pd.read_parquet(DURATIONS, columns=steps).to_dict("records")
        self.stop, self.runs, self.rounds, self.seconds = stop, 0, 0, 0.0
        self.first: float | None = None

    def do(self, job: Any, context: Any) -> None:
        """Commit the records of a job."""
        self.first = self.first or time.process_time()
        began = time.process_time()
        if job.kind == WorkKind.HP_CHOICE:
            return self.real(job, context)
        if job.kind == WorkKind.RUN:
            if self.runs == self.stop:
                raise KeyboardInterrupt
            self.runs += 1
            made = self._rounds(job.spec, context)
            self.seconds += time.process_time() - began  # of inventing content, which is no overhead of the framework
            for record in made:
                context.store.commit(job.spec, record)
            self.rounds += len(made)
            return None
        facts = {**job.setting._asdict(), "seed": job.seed, "hparams": {"lr": 0.1}, "val_score": 0.9}
        facts["recalls"] = [0.9] * 10
        metrics = {"accuracy": 0.95, "balanced_accuracy": 0.95, "log_loss": 0.2}
        clock = {"seconds": self._clock(self.rounds)["total"], **context.stamp(job.setting)}
        context.store.put(job.name, {**facts, "metrics": metrics, "budget": 1000}, clock)
        return None

    def _clock(self, number: int) -> dict[str, float]:
        row = self.clocks[number % len(self.clocks)]
        return {key.removeprefix("seconds_"): float(value) for key, value in row.items()}

    def _rounds(self, spec: RunSpec, context: Any) -> list[Round]:
        """A saturating curve with noise."""
        regime, rng = context.store.regime(spec), np.random.default_rng(int(spec.key, 16))
        found, labeled = [], np.full(10, regime.start // 10)
        for number in range(regime.rounds):
            budget, last = regime.start + number * regime.query_size, number + 1 == regime.rounds
            score = float(np.clip(0.95 - 0.4 * np.exp(-budget / 60) + rng.normal(0, 0.01), 0, 1))
            classes = [] if last else rng.integers(0, 10, regime.query_size).tolist()
            found.append(Round(
                round=number, budget=budget, paid=budget + regime.val_size, hparams={"lr": 0.1},
                metrics={"accuracy": score, "balanced_accuracy": score, "log_loss": 1 - score, "val_score": score},
                recalls=[score] * 10, queried=list(range(budget, budget + len(classes))), queried_classes=classes,
                scores=None if last else [0.5] * len(classes), labeled_classes=labeled.tolist(),
                seconds=self._clock(self.rounds + number), finished=f"2026-01-01T00:{number:02d}:00+00:00",
                **context.stamp(spec.setting, spec.query),
            ))  # fmt: skip
            labeled = labeled + np.bincount(classes, minlength=10) if classes else labeled
        return found

    def install(self) -> "Simulation":
        """Take the place of the work of every job of this process."""
        from fathom.engine.jobs import Job

        self.real = Job.do
        Job.do = lambda job, context: self.do(job, context)  # type: ignore[method-assign]
        return self


# -------------------------------------------------------------------------------------------------------- phases


def phase_plan(runs: int, out: Path) -> dict[str, Any]:
    """`fathom plan --no-probe`."""
    from fathom.estimate.plan import estimate_plan

    plan = estimate_plan(make_study(runs), probe=False)
    return {"experiments": plan.experiments, "trainings": plan.total}


def phase_start(runs: int, out: Path) -> dict[str, Any]:
    """The first call of `run`, up to its first job."""
    return _call(runs, out, Simulation(stop=0))


def phase_run(runs: int, out: Path) -> dict[str, Any]:
    """All runs but the last hundredth; then it is interrupted."""
    return _call(runs, out, Simulation(stop=int(SHARE * runs)))


def phase_resume(runs: int, out: Path) -> dict[str, Any]:
    """That command again: up to its first open job, and the rest."""
    return _call(runs, out, Simulation())


def _call(runs: int, out: Path, simulation: Simulation) -> dict[str, Any]:
    from fathom.engine.engine import Interrupted, run_study

    study, shown = make_study(runs), [time.monotonic()]

    def progress(done: int, total: int) -> None:
        if time.monotonic() - shown[0] > 20:
            shown[0] = time.monotonic()
            print(f"    {done:,} of {total:,} trainings", file=sys.stderr, flush=True)

    simulation.install()
    began = time.process_time()
    with contextlib.suppress(Interrupted):
        run_study(study, out, workers=0, progress=progress)
    ended = time.process_time()
    first = simulation.first or ended
    return {
        "rounds": simulation.rounds,
        "to_first_job": first - began,
        "invented": simulation.seconds,
        "working": ended - first - simulation.seconds,
    }


def phase_status(runs: int, out: Path) -> dict[str, Any]:
    """`fathom status`."""
    from fathom.engine.status import status_of
    from fathom.store.store import Store

    found = status_of(Store.open(out))
    assert found is not None
    return {"done": found.jobs["done"], "seconds_left": found.seconds_left}


def phase_report(runs: int, out: Path) -> dict[str, Any]:
    """`fathom report`."""
    from fathom.report.report import report

    page = report(out)
    files = [p.stat().st_size for p in page.parent.rglob("*") if p.is_file()]
    return {"html_mb": page.stat().st_size / 1e6, "files": len(files), "report_mb": sum(files) / 1e6}


def measure(phase: Callable[[int, Path], dict[str, Any]], runs: int, out: Path) -> dict[str, Any]:
    """Run a phase in this process: what it says, its CPU seconds, wall-clock and peak memory."""
    began = time.perf_counter()
    found = phase(runs, out)
    used = resource.getrusage(resource.RUSAGE_SELF)
    usage = {"cpu": used.ru_utime + used.ru_stime, "wall": time.perf_counter() - began, "rss_mb": used.ru_maxrss / 1024}
    return {"runs": runs, **usage, **found}


# --------------------------------------------------------------------------------------------------------- table


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The measurements as Markdown: CPU seconds, the factor of growth for ten times the runs, peak memory."""
    sizes = sorted({row["runs"] for row in rows.values()})
    head = ["what", *(f"{size:,} runs" for size in sizes), *(f"growth to {size:,}" for size in sizes[1:])]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]

    def add(label: str, phase: str, value: Callable[[dict[str, Any]], float], digits: int) -> None:
        found = [value(rows[f"{phase}-{s}"]) if f"{phase}-{s}" in rows else None for s in sizes]
        cells = ["" if v is None else f"{v:,.{digits}f}" for v in found]
        growth = ["" if None in (a, b) or not a else f"x {b / a:.1f}" for a, b in pairwise(found)]
        lines.append("| " + " | ".join([label, *cells, *growth]) + " |")

    add("plan, CPU s", "plan", lambda r: r["cpu"], 1)
    add("first start to first job, CPU s", "start", lambda r: r["to_first_job"], 1)
    add("overhead per round, CPU ms", "run", lambda r: 1000 * r["working"] / max(1, r["rounds"]), 2)
    add("resume of a study 99 % done, to first open job, CPU s", "resume", lambda r: r["to_first_job"], 1)
    add("status, CPU s", "status", lambda r: r["cpu"], 1)
    add("report, CPU s", "report", lambda r: r["cpu"], 1)
    add("report.html, MB", "report", lambda r: r["html_mb"], 1)
    for phase in PHASES:
        add(f"peak memory of {phase}, MB", phase, lambda r: r["rss_mb"], 0)
    return "\n".join(lines) + "\n"


def picture(rows: dict[str, dict[str, Any]]) -> bytes:
    """CPU seconds of each phase by number of runs, both logarithmic, with a line of linear growth."""
    import io

    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "scaling"
    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    for phase in PHASES:
        measured = "to_first_job" if phase in ("start", "resume") else "cpu"
        points = sorted((row["runs"], row[measured]) for name, row in rows.items() if name.startswith(f"{phase}-"))
        axes.loglog(*zip(*points, strict=True), marker="o", label=phase)
    low, high = min(r["runs"] for r in rows.values()), max(r["runs"] for r in rows.values())
    axes.loglog([low, high], [2, 2 * high / low], color="gray", linestyle=":", label="linear")
    axes.set(xlabel="runs", ylabel="CPU seconds")
    axes.legend()
    data = io.BytesIO()
    figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()


# ------------------------------------------------------------------------------------------------------- command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--folder", type=Path, default=ROOT / "out" / "scaling", help="stores and measurements")
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=PHASES)
    parser.add_argument("--page", type=Path, help="page that gets the table; the picture lies beside it")
    parser.add_argument("--one", nargs=2, metavar=("PHASE", "RUNS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        phase, runs = options.one[0], int(options.one[1])
        print(json.dumps(measure(globals()[f"phase_{phase}"], runs, options.folder / str(runs))))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = options.folder / "measured.json"
    rows: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else {}
    for runs in options.sizes:
        for phase in (phase for phase in options.phases if f"{phase}-{runs}" not in rows):
            print(f"{runs:,} runs: {phase}", file=sys.stderr, flush=True)
            command = [sys.executable, __file__, "--folder", str(options.folder), "--one", phase, str(runs)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            rows[f"{phase}-{runs}"] = json.loads(done.stdout.splitlines()[-1])
            print(f"  {done.stdout.splitlines()[-1]}", file=sys.stderr, flush=True)
            kept.write_text(json.dumps(rows, indent=1))
    print(table(rows))
    if options.page:
        text = options.page.read_text(encoding="utf-8")
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        options.page.write_text(f"{before}{BEGIN}\n\n{table(rows)}\n{END}{after}", encoding="utf-8")
        options.page.with_suffix(".svg").write_bytes(picture(rows))


if __name__ == "__main__":
    main()
