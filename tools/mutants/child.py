"""Run tests in a forked process that has torch and its kin imported already, but nothing of Fathom."""

import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

PRELOADED = (
    "torch", "torchvision", "pandas", "scipy.stats", "scipy.special", "sklearn.datasets", "sklearn.metrics",
    "hypothesis", "beartype", "jaxtyping", "pydantic", "cyclopts", "rich.progress", "safetensors.torch", "filelock",
    "PIL.Image", "jinja2", "pyarrow.parquet", "coverage",
)  # fmt: skip
MEMORY = 8 << 30  # bytes of data that a mutant may hold, which otherwise could take the machine with it


def preload() -> None:
    """Import what takes seconds, once, so that forked processes need not."""
    for name in PRELOADED:
        with suppress(ImportError):
            importlib.import_module(name)


class Chosen:
    """A pytest plugin: run these tests in this order, and write down the first that fails.

    Args:
        tests: Node ids in order; everything that was collected if None.
        note: File for the node id of the first failure.
    """

    def __init__(self, tests: Sequence[str] | None, note: Path) -> None:
        self.tests, self.note = tests, note

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the chosen tests."""
        if self.tests is not None:
            found = {item.nodeid: item for item in items}
            items[:] = [found[name] for name in self.tests if name in found]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the first failure."""
        if report.failed and not self.note.exists():
            self.note.write_text(report.nodeid)


class Cover:
    """A pytest plugin: measure which test runs which line, how long each test takes, and which fail.

    Args:
        tree: The copy of the repository.
        files: Source files that are measured, relative to it.
        out: JSON file for the result.
    """

    def __init__(self, tree: Path, files: Sequence[str], out: Path) -> None:
        import coverage

        self.tree, self.files, self.out = tree, [str(tree / file) for file in files], out
        self.seconds: dict[str, float] = {}
        self.bad: set[str] = set()
        self.coverage = coverage.Coverage(data_file=None, include=self.files, config_file=False)
        self.coverage.start()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Book lines and seconds to the test."""
        self.coverage.switch_context(item.nodeid)
        began = time.perf_counter()
        yield
        self.seconds[item.nodeid] = time.perf_counter() - began
        self.coverage.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Leave out what is skipped or fails without any mutant."""
        if report.failed or report.skipped:
            self.bad.add(report.nodeid)

    def pytest_unconfigure(self) -> None:
        """Write the result."""
        self.coverage.stop()
        data = self.coverage.get_data()
        lines = {os.path.relpath(file, self.tree): {n: [c for c in names if c]
                 for n, names in data.contexts_by_lineno(file).items()}
                 for file in self.files if file in data.measured_files()}  # fmt: skip
        seconds = {name: spent for name, spent in self.seconds.items() if name not in self.bad}
        self.out.write_text(json.dumps({"lines": lines, "seconds": seconds, "bad": sorted(self.bad)}))


def run(
    tree: Path, files: Sequence[str], plugin: Callable[[Path], Any], limit: float, options: Sequence[str] = ()
) -> tuple[int | None, dict[str, str]]:
    """Run test files of a copy of the repository in a fork of this process.

    Args:
        tree: The copy; its `src` is what is imported, in worker processes too.
        files: Test files, relative to the copy.
        plugin: Makes the pytest plugin from a scratch folder, in the forked process.
        limit: Seconds after which the process and its children are killed.
        options: Further options of pytest.

    Returns:
        pytest's exit code, None where the limit was reached; and the text files of the scratch folder by name.
    """
    scratch = Path(tempfile.mkdtemp(prefix="mutant-"))
    process = os.fork()
    if not process:
        _tests(tree, files, plugin, scratch, options)
    code = _wait(process, limit)
    texts = {p.name: p.read_text(errors="replace") for p in scratch.iterdir() if p.is_file()}
    shutil.rmtree(scratch, ignore_errors=True)
    return code, texts


def _tests(tree: Path, files: Sequence[str], plugin: Any, scratch: Path, options: Sequence[str]) -> None:
    code = 70
    try:
        os.setsid()
        with (scratch / "log").open("w") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        (scratch / "tmp").mkdir()
        os.environ.update(
            TMPDIR=str(scratch / "tmp"),
            HYPOTHESIS_STORAGE_DIRECTORY=str(scratch / "hypothesis"),  # examples that failed do not pass to others
            PYTHONPATH=f"{tree / 'src'}{os.pathsep}{tree}",
            PYTHONDONTWRITEBYTECODE="1",
        )
        tempfile.tempdir = None
        sys.dont_write_bytecode = True
        sys.path[:] = [str(tree / "src"), *(p for p in sys.path if not Path(p or ".", "pyproject.toml").exists())]
        os.chdir(tree)
        arguments = [*files, "-p", "no:cacheprovider", "-p", "no:xdist", "--hypothesis-seed=0", "--tb=short", *options]
        arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # plugins were imported before
        code = int(pytest.main([*arguments, f"--basetemp={scratch / 'pytest'}"], plugins=[plugin(scratch)]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(process: int, limit: float) -> int | None:
    """Wait for a process; kill its session when time is up, and what it left behind in any case."""
    deadline, code = time.monotonic() + limit, None
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.02)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
    if code is None:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return code
