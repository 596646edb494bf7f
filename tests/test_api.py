"""The public functions: what they say of themselves, that the command has the same options, and that they work."""

import ast
import dataclasses
import importlib
import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from cyclopts import Parameter
from tests.studies import study

import fathom
from fathom import api, cli
from fathom.core.machine import Machine, RunOptions
from fathom.design.study_file import load_study

ROOT = Path(__file__).parents[1]

SCRIPT = """
import sys
{first}
import fathom
from tests.studies import study
toy = study(("random",), full_data=0)
print(fathom.plan(toy, probe=False).experiments)
outcome = fathom.run(toy, sys.argv[1], workers={workers}, quiet=True)
table = fathom.table(sys.argv[1])
print(outcome.finished, len(table), list(table["budget"]))
"""


def call(out: Path, first: str, workers: int) -> list[str]:
    script = out.parent / "script.py"
    script.write_text(SCRIPT.format(first=first, workers=workers))
    command = [sys.executable, str(script), str(out)]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_run_plan_and_table_although_the_room_was_imported_first(tmp_path: Path) -> None:
    assert call(tmp_path / "out", "import fathom.protocol.loop", workers=1) == ["1", "True 3 [20, 30, 40]"]


def test_import_is_light() -> None:
    code = "import sys, fathom; sys.exit(bool({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_public_name_is_listed_and_documented() -> None:
    assert set(fathom.__all__) <= set(dir(fathom))
    for name in fathom.__all__:
        found = getattr(fathom, name)
        assert callable(found), name
        assert inspect.getdoc(found), name


def test_a_room_does_not_hide_the_function_of_its_name() -> None:
    for room in ("audit.audit", "report.report", "recheck.recheck"):
        importlib.import_module(f"fathom.{room}")
    assert all(inspect.isfunction(getattr(fathom, name)) for name in ("audit", "report", "recheck"))


def test_type_checkers_see_every_public_name() -> None:
    tree = ast.parse((ROOT / "src/fathom/__init__.py").read_text())
    (checking,) = (node for node in tree.body if isinstance(node, ast.If))
    names = {alias.asname for node in checking.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert names == set(fathom.__all__)


USER = """
import fathom

outcome = fathom.run("quickstart", "out", only=["seed=0"], workers=2, machine=fathom.Machine(device="cpu"))
reveal_type(outcome.complete)
reveal_type(fathom.report("out"))
reveal_type(fathom.audit("out").failed)
reveal_type(fathom.recheck("out", sample=1).sound)
reveal_type(fathom.freeze("quickstart").hash)
fathom.run("quickstart", "out", worker=2)
"""


@pytest.mark.slow
def test_mypy_sees_the_types(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(USER)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"), "user.py"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    revealed = [line.split('"')[1] for line in said.splitlines() if "Revealed type" in line]
    assert [name.removeprefix("builtins.") for name in revealed] == ["int", "pathlib.Path", "bool", "bool", "str"]
    assert said.count("error:") == 1, said
    assert 'Unexpected keyword argument "worker" for "run"' in said


# ------------------------------------------------------------------------------------------- the command is the API

# What a verb has and its function has not: options of printing, and of options the command alone combines.
ONLY_COMMAND = {
    "run": {"json", "report"},
    "plan": {"json"},
    "status": {"json", "watch", "every"},
    "claim": {"json"},
    "compare": {"json"},
    "recheck": {"json"},
    "report": {"json", "quiet"},
    "freeze": {"json"},
    "audit": {"json", "all_", "figure", "strict"},  # audit_literature is the function of --all and --figure
}
NO_VERB = {"gains", "predictions", "table", "verdicts"}  # for notebooks; `fathom report` writes tables to files
DEFAULTS_DIFFER = {("audit", "study")}  # absent with --all


def flat(function: object) -> dict[str, object]:
    """Parameter -> default of a function, its records (`Machine`, `RunOptions`, ...) opened up.

    A field that a verb does not offer (`parse=False`) counts as offered: it keeps its default.
    """
    found: dict[str, object] = {}
    for name, parameter in inspect.signature(function).parameters.items():  # type: ignore[arg-type]
        if dataclasses.is_dataclass(parameter.default):
            found |= {f.name: f.default for f in dataclasses.fields(parameter.default)}
        else:
            found[name] = parameter.default
    return found


@pytest.mark.parametrize("name", sorted(ONLY_COMMAND))
def test_the_command_has_the_names_and_defaults_of_the_function(name: str) -> None:
    function, verb = flat(getattr(fathom, name)), flat(cli.app[name].default_command)
    assert set(verb) - set(function) == ONLY_COMMAND[name] - set(function)
    assert set(function) <= set(verb)
    for parameter, default in function.items():
        if (name, parameter) not in DEFAULTS_DIFFER:
            assert verb[parameter] == default, parameter


def test_every_function_has_a_verb() -> None:
    functions = {name for name in fathom.__all__ if name in api.__all__ and inspect.isfunction(getattr(fathom, name))}
    assert functions == set(ONLY_COMMAND) | NO_VERB


@pytest.mark.parametrize("name", sorted(set(ONLY_COMMAND) | NO_VERB))
def test_parameters_are_explicit_typed_and_documented(name: str) -> None:
    function = getattr(fathom, name)
    doc = inspect.getdoc(function) or ""
    for parameter in inspect.signature(function).parameters.values():
        assert parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        assert parameter.annotation is not parameter.empty
        assert f"    {parameter.name}: " in doc, parameter.name


def test_options_of_the_command_take_their_help_from_the_records() -> None:
    machine = typing.get_args(inspect.signature(cli.app["run"].default_command).parameters["machine"].annotation)
    assert issubclass(machine[0], Machine)
    assert machine[1] == Parameter(name="*")


# ------------------------------------------------------------------------------------------------------ what it gives


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("api") / "out"
    assert fathom.run(study(), out, workers=0, quiet=True).finished
    return out


def test_nothing_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fathom.run(study(), folder, workers=0, quiet=True)
    fathom.status(folder)
    fathom.report(folder)
    fathom.audit(folder)
    fathom.compare(folder)
    fathom.recheck(folder, sample=1, quiet=True)
    assert capsys.readouterr() == ("", "")


def test_progress_goes_to_standard_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fathom.run(study(), folder, workers=0)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("toy: 2 runs: ")


def test_answers_are_records_with_json_and_a_table(folder: Path, tmp_path: Path) -> None:
    status = fathom.status(folder)
    assert (status.complete, len(status.runs), status.failures) == (2, 2, [])
    frozen = fathom.freeze(folder, tmp_path / "x.json")
    assert frozen.to_json()["hash"] == frozen.hash
    assert fathom.audit("kim-2021").failed
    audit = fathom.audit(folder)
    compared = fathom.compare(folder)
    assert compared.to_json()["study"] == "toy"
    checked = fathom.recheck(folder, sample=1, quiet=True)
    made = fathom.plan(study(), probe=False, options=fathom.PlanOptions(effect=0.02))
    assert made.proof["effect"] == 0.02
    outcome = fathom.run(study(), folder, workers=0, quiet=True)
    for answer in (status, audit, compared, checked, made, outcome):
        html = answer._repr_html_()
        assert html.startswith("<table>")
        assert html.endswith("</table>")


def test_tables_for_notebooks_are_escaped() -> None:
    answer = api.Audit("<script>", ())
    assert "<script>" not in answer._repr_html_()
    assert "&lt;script&gt;" in answer._repr_html_()


def test_a_run_takes_the_folder_of_its_study_and_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = RunOptions(hparams="published")
    outcome = fathom.run(study(("random",)), only=["seed=0"], workers=0, options=options, quiet=True)
    assert outcome.out == "runs/toy"
    assert load_study(study(("random",)), "published").runs[0].key in {p.name for p in Path("runs/toy/runs").iterdir()}


def test_plugins_of_the_machine_are_registered(tmp_path: Path) -> None:
    from fathom.registry import registry

    own = tmp_path / "own.py"
    own.write_text(
        'from fathom import score\n\n@score("x")\n'
        'def x(view):\n    """Probability of class 0."""\n    return view.log_probs[:, 0, 0]\n'
    )
    try:
        made = fathom.plan(study(("own/x",)), probe=False, machine=Machine(plugins=(own,)))
        assert made.experiments == 1
    finally:
        registry._files.clear()
        registry.index.cache_clear()
