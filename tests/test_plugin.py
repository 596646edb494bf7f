"""The example package, installed as a visitor would and found through its entry point."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the example installed: its wheel, unpacked where Python looks."""
    pytest.importorskip("hatchling", reason="the example's wheel is built with hatchling")
    folder = tmp_path_factory.mktemp("plugin")
    source, wheels, target = folder / "source", folder / "wheels", folder / "target"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    build = f"from hatchling.build import build_wheel; build_wheel({str(wheels)!r})"
    wheels.mkdir()
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)  # all that an installer does with a wheel of pure Python
    return {**os.environ, "PYTHONPATH": str(target), "OMP_NUM_THREADS": "1"}


def run(code: str, environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_listed_without_being_imported(installed: dict[str, str], tmp_path: Path) -> None:
    code = """if True:
        import sys
        from fathom.registry.registry import index
        entry = index()["query"]["my_al/density-margin"]
        print(entry.summary, entry.parameters, "torch" in sys.modules, sep="|")
    """
    summary, parameters, torch_loaded = run(code, installed, tmp_path).strip().split("|")
    assert summary.startswith("Query samples that the model is torn about")
    assert "'beta': 1.0" in parameters
    assert torch_loaded == "False"


def test_it_keeps_the_contract_and_weighs_by_density(installed: dict[str, str], tmp_path: Path) -> None:
    code = """if True:
        import torch
        from fathom.query.method import build_query
        from fathom.query.view import PoolView
        from fathom.core.streams import Stream
        from fathom.testing import check_query

        check_query("my_al/density-margin(beta=2.0)")
        log_probs = torch.full((4, 1, 2), 0.5).log()
        features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.9, 0.0], [-1.0, 0.0]])
        view = PoolView(log_probs, features, torch.zeros(0, 0), torch.zeros(0, dtype=torch.long))
        picked = build_query("my_al/density-margin").select([view], 4, Stream(0))
        print(picked.positions.tolist()[-1], bool((picked.scores.diff() <= 0).all()))
    """
    assert run(code, installed, tmp_path).split() == ["3", "True"]


def test_its_own_tests_pass(installed: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, env=installed, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_without_it_the_name_is_unknown(tmp_path: Path) -> None:
    code = "from fathom.registry.registry import find; find('query', 'my_al/density-margin')"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "unknown query 'my_al/density-margin'" in done.stderr
