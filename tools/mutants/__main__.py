"""Command line of the mutation tests: `python -m tools.mutants run` and `python -m tools.mutants report`."""

import argparse
import json
import os
import sys
import time
import tomllib
from itertools import zip_longest
from pathlib import Path

from .child import preload
from .generate import sample
from .score import survivors, table
from .session import Session

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    parser.add_argument("command", choices=("run", "report"))
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "mutants", help="folder of the session")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample")
    parser.add_argument("--sample", type=int, default=40, help="mutants per package")
    parser.add_argument("--package", action="append", help="only this package (may be given again)")
    parser.add_argument("--limit", type=float, default=25, help="recorded seconds of tests per mutant")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this time; run again to resume")
    parser.add_argument("--again", action="store_true", help="test the survivors again, with the tests of today")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is the same in every run
        os.execve(sys.executable, [sys.executable, "-m", "tools.mutants", *sys.argv[1:]],
                  {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})  # fmt: skip
    session = Session(options.out, ROOT, options.limit)
    if options.command == "run":
        _run(session, options)
    sizes = json.loads((session.folder / "sizes.json").read_text())
    records = list(session.records().values())
    print(survivors(records))
    print(table(records, sizes))


def _run(session: Session, options: argparse.Namespace) -> None:
    began = time.monotonic()
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["fathom-mutants"]
    packages = {name: path for name, path in config["packages"].items()
                if not options.package or name in options.package}  # fmt: skip
    session.copy()
    preload()
    samples, sizes = [], {}
    for name, path in packages.items():
        mutants, sizes[name] = sample(session.tree, name, path, options.sample, options.seed)
        samples.append(mutants)
    # One of each package in turn, so that a session that is stopped early has tested all packages alike.
    drawn = [mutant for turn in zip_longest(*samples) for mutant in turn if mutant]
    sizes_file = session.folder / "sizes.json"
    known = json.loads(sizes_file.read_text()) if sizes_file.exists() else {}
    sizes_file.write_text(json.dumps(known | sizes))
    sources = sorted({f"{p}" for path in config["packages"].values() for p in _sources(session.tree, path)})
    coverage = session.measure(config["tests"], config["skipped"], sources)
    done = session.records()
    again = {key for key, record in done.items() if record["outcome"] in ("survived", "no test")}
    pending = [m for m in drawn if m.key not in done or (options.again and m.key in again)]
    print(f"{len(pending)} of {len(drawn)} mutants to test; {time.monotonic() - began:.0f} s so far", flush=True)
    for number, mutant in enumerate(pending, 1):
        if time.monotonic() - began > 60 * options.minutes:
            print("stopped by the clock; run the same command again to resume")
            return
        since = time.monotonic()
        record = session.test(mutant, coverage)
        print(f"{number}/{len(pending)} {mutant.file}:{mutant.line} {record['outcome']} "
              f"{time.monotonic() - since:.1f} s", flush=True)  # fmt: skip


def _sources(tree: Path, path: str) -> list[str]:
    where = tree / path
    found = where.rglob("*.py") if where.is_dir() else [where]
    return [file.relative_to(tree).as_posix() for file in found]


if __name__ == "__main__":
    main()
