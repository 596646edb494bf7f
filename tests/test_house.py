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


def test_only_the_three_writers_write_files() -> None:
    writers = {
        "atomic_files.py",
        "store.py",
        "pixels.py",
        "feature_file.py",
        "images.py",
        "report.py",
        "official.py",
        "download.py",
    }
    writing = re.compile(
        r"\.write_(text|bytes)\(|open\([^)]*[\"'][wax]b?\+?[\"']|np\.save\(|\.to_(csv|parquet)\(|savefig\(|\.tofile\("
    )
    found = {p.name for p in SOURCES if writing.search(p.read_text())}
    assert found <= writers, (
        f"files are written only by the store, data's cache and downloads, and the report: {found - writers}"
    )


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
