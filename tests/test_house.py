"""House rules that a linter does not know."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TRACKED = [ROOT / line for line in subprocess.run(
    ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True).stdout.splitlines()]  # fmt: skip

TORCH_FREE = [
    "fathom",
    "fathom.api",
    "fathom.cli",
    "fathom.report.report",
    "fathom.audit.audit",
    "fathom.published.compare",
    "fathom.results.results",
    "fathom.design.freeze",
    "fathom.stats.penalty",
    "fathom.store.store",
    "fathom.registry.registry",
    "fathom.core.records",
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_a_file_has_one_idea(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 320, f"{lines} lines: is there more than one idea in it?"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_a_function_fits_a_screen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= 60, f"{node.name}: {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_no_global_randomness_and_no_fixed_device(path: Path) -> None:
    banned = (
        r"np\.random\.(seed|rand|choice|shuffle|permutation|normal|uniform)\b|torch\.manual_seed|random\.seed"
        r"|[\"']cuda:0[\"']"
    )
    assert not re.findall(banned, path.read_text())


# Everything else hands bytes to `store.atomic_files`, so that a file is there whole or not at all.
WRITERS = {
    "store/atomic_files.py": "the one place that writes records, encoders, exports and figures",
    "store/locks.py": "leaves markers beside locks, which decide no result",
    "data/cache/cache_file.py": "renames a part file when it is complete: decoded images are larger than memory",
    "data/cache/feature_file.py": "appends features to a part file, so that an interrupted pass resumes",
    "data/files/download.py": "appends to a part file, so that an interrupted download resumes",
    "recheck/recompute.py": "copies records into a temporary folder where a system has no links",
    "report/report.py": "replaces the files of a report, which are no results and need no fsync",
}


def test_only_these_files_write_files() -> None:
    writing = re.compile(
        r"\.write_(text|bytes)\(|open\(.*[\"'](r\+b?|rb\+|[wax][b+]{0,2})[\"']|fdopen\("
        r"|np\.save\(|savefig\(|\.tofile\(|copyfile\("
    )
    package = ROOT / "src/fathom"
    found = {path.relative_to(package).as_posix() for path in SOURCES if writing.search(path.read_text())}
    assert found == set(WRITERS)


@pytest.mark.parametrize("module", TORCH_FREE)
def test_these_rooms_start_without_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_address_of_a_registry_and_no_path_of_a_machine() -> None:
    banned = re.compile(r"p[y]pi\.org|p[y]thonhosted|n[p]mjs\.|deb\.d[e]bian|(?<![\w.])/(root|home/\w+|Users/\w+)/")
    for path in TRACKED:
        if path.suffix in {".py", ".md", ".toml", ".lock", ".cff", ".html", ".j2", ""} and path.is_file():
            assert not banned.search(path.read_text(encoding="utf-8")), path


def test_public_functions_have_a_first_line() -> None:
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"


# ------------------------------------------------------------------------------------------------------------ names

# One job under one name: the command calls the public function of its name, which calls a room.
FORWARDED = {
    "audit": "cli > api > audit: the rules on the results of a study",
    "check_data": "cli > data: check a dataset",
    "check_query": "cli > testing: the contract of query methods",
    "claim": "cli > api: decide a claim about a study",
    "compare": "cli > api: compare with the published numbers",
    "export": "cli > results: write a Parquet file",
    "freeze": "cli > api > design: write a pre-registration file",
    "plan": "cli > api: estimate a study",
    "recheck": "cli > api > recheck: recompute rounds",
    "report": "cli > api > report: write the report",
    "run": "cli > api: run a study",
    "status": "cli > api: read how far a study is",
}


def definitions(kind: type[ast.AST]) -> dict[str, list[str]]:
    """Public name at the top of a module -> the files that define it."""
    found: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, kind) and not node.name.startswith("_"):  # type: ignore[attr-defined]
                found.setdefault(node.name, []).append(path.relative_to(ROOT / "src/fathom").as_posix())  # type: ignore[attr-defined]
    return found


def test_no_two_classes_share_a_name() -> None:
    assert {name: files for name, files in definitions(ast.ClassDef).items() if len(files) > 1} == {}


def test_a_function_name_serves_one_job() -> None:
    shared = {name: files for name, files in definitions(ast.FunctionDef).items() if len(files) > 1}
    assert {name: files for name, files in shared.items() if name not in FORWARDED} == {}
    assert set(FORWARDED) <= set(shared)


REGISTERED = {"score", "selection", "dataset", "regime", "paradigm", "backbone"}


def parameters(node: ast.FunctionDef) -> int:
    """Parameters of a function; those of a registered member are the fields of its spec string, and not counted."""
    called = [d.func for d in node.decorator_list if isinstance(d, ast.Call)]
    if any((f.id if isinstance(f, ast.Name) else getattr(f, "attr", "")) in REGISTERED for f in called):
        return 0
    a = node.args
    names = [
        argument.arg for argument in (*a.posonlyargs, *a.args, *a.kwonlyargs) if argument.arg not in ("self", "cls")
    ]
    return len(names) + bool(a.vararg) + bool(a.kwarg)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_no_function_takes_more_than_eight_parameters(path: Path) -> None:
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    assert {f.name: count for f in functions if (count := parameters(f)) > 8} == {}


def test_no_room_has_more_than_about_twenty_files() -> None:
    folders = {path.parent for path in SOURCES}
    crowded = {folder: len(list(folder.glob("*.py"))) for folder in folders}
    assert {str(folder): count for folder, count in crowded.items() if count > 20} == {}
