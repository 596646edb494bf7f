"""Error rates of Fathom's statistics, by simulation: `make calibration`, some minutes on two cores.

    python -m tools.calibration                  # all; stopped and run again on the same code, it resumes
    python -m tools.calibration --only Looks     # the sections whose title holds this
    python -m tools.calibration --share 0.1      # a tenth of the studies; the page is left as it is
    python -m tools.calibration --write          # no studies: the tables of those that are done, into the page

Studies whose truth is known are drawn as tidy tables and go through the functions that the report uses. The tables go
into docs/statistics.md, the numbers into out/calibration/table.csv. Ends with 1 if a rate misses its target by more
than chance.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import time
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from tools.calibration.designs import Row, Section, sections
from tools.calibration.simulate import simulate
from tools.calibration.tables import Rate, csv_lines, markdown, missed, summary

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "statistics.md"
BEGIN, END = "<!-- tables of make calibration -->", "<!-- end of the tables -->"
BLOCK = 100  # studies per task
Task = tuple[int, int, int, int]  # section, row, block, studies
Sums = dict[str, list[float]]  # measure -> [studies, sum, sum of squares]


def code_now() -> str:
    """Digest of what decides the numbers of a design: results of other code do not count."""
    own = [ROOT / "tools/calibration" / name for name in ("simulate.py", "measures.py")]
    files = sorted([*(ROOT / "src/fathom/stats").glob("*.py"), *own])
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def name_of(section: Section, row: Row) -> str:
    """Key of a design within a section."""
    return f"{section.title}: {row.design}"


def tasks_of(all_sections: list[Section], share: float) -> list[Task]:
    """Blocks of studies of every design: first one of each, then a second of each, and so on."""
    return sorted(
        (
            (s, r, block, BLOCK)
            for s, section in enumerate(all_sections)
            for r in range(len(section.rows))
            for block in range(max(1, round(section.studies * share / BLOCK)))
        ),
        key=lambda task: task[2],
    )


def run_task(task: Task) -> tuple[str, int, Sums]:
    """Simulate one block; its studies depend on the design and the number of the block alone."""
    s, r, block, studies = task
    section = sections()[s]
    name = name_of(section, section.rows[r])
    rng = np.random.default_rng([zlib.crc32(name.encode()), block])
    sums: Sums = {}
    for found in section.measure(simulate(section.rows[r].design, studies, rng)):
        for measure, value in found.items():
            if value == value:
                own = sums.setdefault(measure, [0, 0.0, 0.0])
                own[0], own[1], own[2] = own[0] + 1, own[1] + value, own[2] + value**2
    return name, block, sums


def read_blocks(path: Path) -> dict[tuple[str, int], Sums]:
    """Blocks that are done; a line that a kill cut short does not count."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]
    return {(line["name"], line["block"]): line["sums"] for line in found}


def compute(todo: list[Task], path: Path, processes: int) -> None:
    """Simulate all blocks; each is written down when it is done."""
    begin, context = time.monotonic(), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool, path.open("a") as file:
        results = as_completed([pool.submit(run_task, task) for task in todo])
        for done, (name, block, sums) in enumerate((result.result() for result in results), start=1):
            file.write(json.dumps({"name": name, "block": block, "sums": sums}) + "\n")
            file.flush()
            if done % 20 == 0 or done == len(todo):
                print(f"{done} of {len(todo)} blocks, {time.monotonic() - begin:.0f} s", flush=True)


def write_page(tables: str) -> None:
    """Put the tables into the page, between its markers."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Simulate, print and write the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.calibration", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "calibration", help="folder of the numbers")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--share", type=float, default=1.0, help="share of the studies")
    parser.add_argument("--write", action="store_true", help="only put what is done into docs/statistics.md")
    parser.add_argument("--only", default="", help="only sections whose title holds this")
    options = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"  # the processes share the cores
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{code_now()}.jsonl"
    every = sections()
    meant = [s for s, section in enumerate(every) if options.only.lower() in section.title.lower()]
    tasks = [task for task in tasks_of(every, options.share) if task[0] in meant]
    names = {task: (name_of(every[task[0]], every[task[0]].rows[task[1]]), task[2]) for task in tasks}
    done = read_blocks(path)
    if not options.write:
        compute([task for task in tasks if names[task] not in done], path, options.processes)
    blocks = read_blocks(path)
    rates: dict[str, dict[str, Rate]] = {name: {} for name, _ in names.values()}
    for name, block in names.values():
        for measure, sums in blocks.get((name, block), {}).items():
            rates[name][measure] = rates[name].get(measure, Rate()) + Rate(*sums)
    shown = [(every[s], [rates[name_of(every[s], row)] for row in every[s].rows]) for s in meant]
    tables = "\n".join(markdown(section, own) for section, own in shown)
    (options.out / "table.csv").write_text("\n".join(csv_lines(shown)) + "\n", encoding="utf-8")
    print(tables)
    off = missed(shown)
    if options.write or (options.share == 1 and not options.only):
        write_page(f"{summary(shown)}\n\n{tables}")
    print("\n".join(off) or "all rates keep to their targets")
    return 1 if off else 0
