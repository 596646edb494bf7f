"""A session: a copy of the repository, which test runs which line, and the outcome of every mutant tested so far.

Everything is kept in one folder, so that a session resumes where it was stopped.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from .child import Chosen, Cover, run
from .generate import Mutant, apply

Record = dict[str, Any]


class Session:
    """The folder of a session.

    Args:
        folder: The folder; made if it is not there.
        root: The repository. Its tracked and new files are copied first, so that work on it can go on.
        limit: Recorded seconds of tests that a mutant is tested with at most.
    """

    def __init__(self, folder: Path, root: Path, limit: float) -> None:
        self.folder, self.root, self.limit = folder.resolve(), root.resolve(), limit
        self.tree = self.folder / "tree" / "repository"  # `shared` of a real checkout is not beside it
        self.results = self.folder / "results.jsonl"

    # ------------------------------------------------------------------------------------------------ the copy

    def copy(self) -> None:
        """Copy the repository as it is now."""
        shutil.rmtree(self.tree, ignore_errors=True)
        listed = subprocess.run(
            ["git", "-C", str(self.root), "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            capture_output=True, text=True, check=True,
        ).stdout.split("\0")  # fmt: skip
        for name in filter(None, listed):
            source, target = self.root / name, self.tree / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        for folder in (self.root / "src").rglob("__pycache__"):
            shutil.copytree(folder, self.tree / folder.relative_to(self.root), dirs_exist_ok=True)

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """Have a mutant in the copy. Its time stamp differs, so that no byte code of the original is taken for it."""
        path = self.tree / mutant.file
        source, stamp = path.read_text(encoding="utf-8"), path.stat().st_mtime_ns
        try:
            path.write_text(apply(source, mutant), encoding="utf-8")
            os.utime(path, ns=(stamp + 10**13, stamp + 10**13))
            yield
        finally:
            path.write_text(source, encoding="utf-8")
            os.utime(path, ns=(stamp, stamp))

    # -------------------------------------------------------------------------------------------- which test what

    def measure(
        self, tests: Sequence[str], skipped: Sequence[str], sources: Sequence[str], limit: float = 900
    ) -> dict[str, Record]:
        """Measure lines and seconds of every test, one test file after the other; only what changed is run again.

        Args:
            tests: Test files and folders, relative to the repository.
            skipped: Words of the names of tests that are left out.
            sources: Source files that are mutated.
            limit: Seconds that a test file may take.

        Returns:
            Test file -> `lines` (source file -> line -> tests), `seconds` (test -> seconds) and `bad` tests, which
            are skipped or fail without a mutant and are left out.
        """
        place = self.folder / "coverage"
        place.mkdir(parents=True, exist_ok=True)
        state = hashlib.sha256(b"".join((self.tree / s).read_bytes() for s in sources))
        found: dict[str, Record] = {}
        for file in self._test_files(tests):
            key = state.copy()
            key.update(file.encode() + (self.tree / file).read_bytes())
            kept = place / f"{key.hexdigest()[:16]}.json"
            if not kept.exists():
                measure = partial(_cover, self.tree, sources)
                code, texts = run(self.tree, [file], measure, limit, ["-k", f"not ({' or '.join(skipped)})"])
                content = texts.get("cover") or json.dumps({"lines": {}, "seconds": {}, "bad": [file]})
                if "cover" not in texts or code:
                    print(texts.get("log", "")[-2000:])
                kept.write_text(content)
                summary = json.loads(content)
                print(f"{file}: {len(summary['seconds'])} tests, {sum(summary['seconds'].values()):.0f} s, "
                      f"left out {len(summary['bad'])}, exit code {code}", flush=True)  # fmt: skip
            found[file] = json.loads(kept.read_text())
        return found

    def _test_files(self, tests: Sequence[str]) -> list[str]:
        paths = [self.tree / name for name in tests]
        files = [f for p in paths for f in (sorted(p.rglob("test_*.py")) if p.is_dir() else [p])]
        return list(dict.fromkeys(f.relative_to(self.tree).as_posix() for f in files))

    def tests_for(self, mutant: Mutant, coverage: dict[str, Record]) -> list[str]:
        """The tests of a mutant, the fastest ones up to the limit, in the order of their files, the fastest file first.

        First come the tests that run its lines. Then the others of their files, since a fixture or a cache may have run
        the lines once for all of them. Where lines run on import alone, the tests that run any line of the file.
        """
        wanted = [str(n) for n in range(mutant.span[0], mutant.span[1] + 1)]
        direct: dict[str, list[str]] = {}
        around: dict[str, list[str]] = {}
        for file, found in coverage.items():
            lines = found["lines"].get(mutant.file, {})
            around[file] = [t for names in lines.values() for t in names]
            direct[file] = [t for n in wanted for t in lines.get(n, ())]
        chosen = direct if any(direct.values()) else around
        files = [file for file in coverage if chosen[file]]
        seconds = {test: spent for file in files for test, spent in coverage[file]["seconds"].items()}
        runs_it = {test for file in files for test in chosen[file]}
        tests: list[str] = []
        left = self.limit
        for test in sorted(seconds, key=lambda test: (test not in runs_it, seconds[test])):
            if tests and seconds[test] > left:
                break
            tests.append(test)
            left -= seconds[test]
        total = {file: sum(seconds[t] for t in tests if t.startswith(f"{file}::")) for file in files}
        place = {test: number for number, test in enumerate(seconds)}
        return sorted(tests, key=lambda test: (total[test.partition("::")[0]], test.partition("::")[0], place[test]))

    # ------------------------------------------------------------------------------------------------- the mutants

    def records(self) -> dict[str, Record]:
        """The latest record of every mutant tested so far, by key."""
        if not self.results.exists():
            return {}
        lines = self.results.read_text(encoding="utf-8").splitlines()
        return {record["key"]: record for record in map(json.loads, lines)}

    def test(self, mutant: Mutant, coverage: dict[str, Record]) -> Record:
        """Test one mutant and append its record to the results."""
        tests = self.tests_for(mutant, coverage)
        outcome, killer = "survived" if tests else "no test", ""
        # The fastest file first, alone: most mutants are killed there, before the other files are even imported.
        for stage in _stages(tests):
            if outcome != "survived":
                break
            expected = sum(coverage[test.partition("::")[0]]["seconds"][test] for test in stage)
            with self.mutated(mutant):
                names = list(dict.fromkeys(test.partition("::")[0] for test in stage))
                code, texts = run(self.tree, names, partial(_choose, stage), 30 + 5 * expected, ["-x"])
            outcome = {None: "timeout", 0: "survived"}.get(code, "killed")
            killer = texts.get("failed", "")
        record = {**vars(mutant), "outcome": outcome, "killer": killer, "tests": len(tests)}
        with self.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        return record


def _cover(tree: Path, sources: Sequence[str], scratch: Path) -> Cover:
    return Cover(tree, sources, scratch / "cover")


def _stages(tests: Sequence[str]) -> list[list[str]]:
    """The tests of the first file, and all others."""
    first = tests[0].partition("::")[0] + "::" if tests else ""
    parts = [t for t in tests if t.startswith(first)], [t for t in tests if not t.startswith(first)]
    return [part for part in parts if part]


def _choose(tests: Sequence[str], scratch: Path) -> Chosen:
    return Chosen(tests, scratch / "failed")
