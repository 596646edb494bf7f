"""The files around the code: workflows, issue forms, hooks, and what they call exist."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted(p for p in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if p.name != "config.yml")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMMUNITY = ["CONTRIBUTING.md", "SECURITY.md", ".github/PULL_REQUEST_TEMPLATE.md"]
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, flags=re.M))


def read(path: Path) -> Any:
    """Return what a YAML file holds. YAML 1.1 reads the key `on` as true."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow: Any) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


def test_there_are_the_three_workflows() -> None:
    assert [p.stem for p in WORKFLOWS] == ["package", "release", "tests"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_calls_make_targets_that_exist(path: Path) -> None:
    commands = " ; ".join(step["run"] for step in steps(read(path)) if "run" in step)
    called = set(re.findall(r"\bmake ([\w-]+)", commands))
    assert called
    assert called <= TARGETS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_may_do_little_and_uses_pinned_actions(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "permissions" not in job or (path.stem, name, job["permissions"]) == (
            "release", "publish", {"id-token": "write"})  # fmt: skip
        if "uses" in job:  # a workflow of this repository
            assert (ROOT / job["uses"]).is_file()
            assert "workflow_call" in read(ROOT / job["uses"])[True]
        else:
            assert job["timeout-minutes"] <= 90
    for step in steps(workflow):
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@(v\d+|release/v1)", step.get("uses", "a/b@v1"))
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_the_tests_run_on_every_python_that_the_package_supports() -> None:
    workflow = read(ROOT / ".github/workflows/tests.yml")
    versions = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    assert PROJECT["project"]["requires-python"] == f">={versions[0]}"
    assert {"make test", "make check"} <= {step.get("run") for step in steps(workflow)}


def test_only_a_tag_is_published_and_only_what_was_built() -> None:
    workflow = read(ROOT / ".github/workflows/release.yml")
    assert workflow[True] == {"push": {"tags": ["v*"]}}
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    assert (publish["needs"], build["needs"]) == ("build", "tests")
    assert [step["uses"].split("@")[0] for step in publish["steps"]] == [
        "actions/download-artifact", "pypa/gh-action-pypi-publish"]  # fmt: skip
    (upload,) = [step for step in build["steps"] if "upload-artifact" in step.get("uses", "")]
    assert upload["with"]["name"] == publish["steps"][0]["with"]["name"]


def test_no_address_of_a_registry_in_settings() -> None:
    banned = re.compile(r"p[y]pi\.org|p[y]thonhosted|n[p]mjs\.|index-url|repository-url")
    for path in [*WORKFLOWS, *FORMS, ROOT / ".pre-commit-config.yaml"]:
        assert not banned.search(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("path", FORMS, ids=lambda p: p.stem)
def test_an_issue_form_has_what_the_host_asks_for(path: Path) -> None:
    form = read(path)
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)


def test_a_report_of_a_bug_or_a_wrong_number_says_what_it_ran_on() -> None:
    assert {"bug", "wrong-number", "query-method"} == {p.stem for p in FORMS}
    for name in ("bug", "wrong-number"):
        fields = read(ROOT / f".github/ISSUE_TEMPLATE/{name}.yml")["body"]
        (doctor,) = [f for f in fields if f.get("id") == "doctor"]
        assert "fathom doctor" in doctor["attributes"]["label"]
        assert doctor["validations"]["required"] is True


@pytest.mark.parametrize("name", COMMUNITY)
def test_make_targets_named_to_contributors_exist(name: str) -> None:
    named = set(re.findall(r"\bmake ([a-z]+)\b", (ROOT / name).read_text(encoding="utf-8")))
    assert named <= TARGETS | {"mutants"}


def test_set_up_takes_ten_lines() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"## Set-up\n\n```\n(.*?)```", text, flags=re.S)
    assert len(block.splitlines()) <= 10


def test_every_hook_starts_a_tool_of_the_environment() -> None:
    config = read(ROOT / ".pre-commit-config.yaml")
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert {"ruff", "ruff-format", "codespell", "check-toml"} <= {hook["id"] for hook in hooks}
    assert all(repo["repo"] == "local" for repo in config["repos"])
    for hook in hooks:
        assert shlex.split(hook["entry"])[0].startswith(".venv/bin/")
        assert hook["language"] == "system"


def test_the_toml_hook_accepts_toml_and_nothing_else(tmp_path: Path) -> None:
    config = read(ROOT / ".pre-commit-config.yaml")
    (entry,) = [hook["entry"] for hook in config["repos"][0]["hooks"] if hook["id"] == "check-toml"]
    command = [sys.executable, *shlex.split(entry)[1:]]
    (tmp_path / "bad.toml").write_text("a = \n")
    assert subprocess.run([*command, str(ROOT / "pyproject.toml")]).returncode == 0
    assert subprocess.run([*command, str(tmp_path / "bad.toml")], capture_output=True).returncode != 0


def test_checks_include_spelling_the_site_and_the_installed_package() -> None:
    recipe = MAKEFILE.split("\ncheck:")[1].split("\n\n")[0]
    assert "codespell" in recipe
    assert "$(MAKE) --no-print-directory site" in recipe
    assert "$(MAKE) --no-print-directory package" in recipe


def test_the_lock_holds_the_tools_of_checks_and_docs() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    groups = PROJECT["dependency-groups"]
    for wanted in [*groups["check"], *groups["docs"]]:
        name = re.split(r"[<>=]", wanted)[0].strip()
        assert re.search(rf"^{re.escape(name)}==", lock, flags=re.M | re.I), name
    recipe = MAKEFILE.split("\nlock:")[1].split("\n\n")[0]
    assert all(f"--group {group}" in recipe for group in ("test", "check", "docs"))


def test_the_project_names_its_authors_and_addresses() -> None:
    project = PROJECT["project"]
    assert project["authors"] == [{"name": "The Fathom developers"}]
    citation = read(ROOT / "CITATION.cff")
    assert project["urls"]["Paper"] == citation["references"][0]["url"]
    assert project["urls"]["Repository"].startswith("https://github.com/")
