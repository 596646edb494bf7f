"""The docs are in step with the code."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fathom
from fathom.registry import registry

ROOT = Path(__file__).parents[1]
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "bench").glob("*.md")])


@pytest.mark.parametrize("path", DOCS, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_and_pictures_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (path.parent / target).exists(), target


def test_protocol_page_names_functions_that_exist() -> None:
    text = (ROOT / "docs/protocol.md").read_text()
    places = re.findall(r"`([\w/]+\.py):([\w.]+)`", text)
    assert len(places) > 15
    for file, name in places:
        found = importlib.import_module("fathom." + file.removesuffix(".py").replace("/", "."))
        for part in name.split("."):
            assert hasattr(found, part) or part in getattr(found, "__annotations__", {}), f"{file}:{name}"
            found = getattr(found, part, None)


def test_every_command_in_the_readme_is_a_command() -> None:
    text = (ROOT / "README.md").read_text() + (ROOT / "docs/adding.md").read_text()
    verbs = set(re.findall(r"^\$?\s*fathom ([a-z-]+)", text, flags=re.M))
    known = subprocess.run([sys.executable, "-m", "fathom.cli", "--help"], capture_output=True, text=True).stdout
    assert verbs
    assert all(re.search(rf"│ {verb} ", known) for verb in verbs), verbs


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text()))
    rules = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    assert {"quickstart", "test"} <= targets <= rules


def test_ci_calls_the_test_command_of_the_readme() -> None:
    assert re.search(r"^make test$", (ROOT / ".ci/run").read_text(), flags=re.M)


def test_every_member_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    for kind in ("dataset", "query", "paradigm"):
        for name in registry.index()[kind]:
            assert f"`{name}" in text, f"{kind} {name} is not in the README"


def test_one_version_everywhere() -> None:
    assert f"## {fathom.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {fathom.__version__}" in (ROOT / "CITATION.cff").read_text()


def test_the_lock_holds_every_dependency_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["test"]]
    for name in (re.split(r"[<>=]", w)[0].strip() for w in wanted):
        assert re.search(rf"^{re.escape(name)}==", lock, flags=re.M | re.I), name


def test_the_query_methods_in_the_docs_keep_the_contract(tmp_path: Path) -> None:
    from fathom.testing import query_findings

    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", (ROOT / "docs/adding.md").read_text(), flags=re.S)
    assert len(blocks) == 2
    try:
        for name, code in blocks:
            (tmp_path / name).write_text(code)
            prefix = registry.add_file(tmp_path / name)
            (method,) = [m for m in registry.index()["query"] if m.startswith(f"{prefix}/")]
            assert query_findings(method) == []
    finally:
        registry._files.clear()
        registry.index.cache_clear()
