"""The wheel holds the whole package, nothing else, and works without the checkout."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

import fathom

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """Built offline by the build backend itself."""
    pytest.importorskip("hatchling", reason="the wheel is built with hatchling")
    folder = tmp_path_factory.mktemp("dist")
    build = f"from hatchling.build import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def read(wheel: zipfile.ZipFile, name: str) -> str:
    (found,) = (n for n in wheel.namelist() if n.endswith(f".dist-info/{name}"))
    return wheel.read(found).decode()


def test_it_holds_every_file_of_the_package_and_no_other(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = {p.relative_to(SOURCE).as_posix() for p in SOURCE.rglob("*") if p.is_file()}
    assert held == {name for name in files if "__pycache__" not in name and ".egg-info" not in name}
    assert {"fathom/py.typed", "fathom/design/designs/quickstart.toml"} <= held
    assert any(name.startswith("fathom/report/templates/") for name in held)


def test_its_metadata(wheel: zipfile.ZipFile) -> None:
    metadata = Parser().parsestr(read(wheel, "METADATA"))
    assert (metadata["Name"], metadata["Version"]) == ("fathom-al", fathom.__version__)
    required = metadata.get_all("Requires-Dist") or []
    assert any(line.startswith("torch>=") for line in required)
    assert not [line for line in required if "pytest" in line or "ruff" in line]
    assert "fathom = fathom.cli:command" in read(wheel, "entry_points.txt")
    rooms = {"datasets": "data.datasets", "regimes": "data.regimes", "paradigms": "learn.paradigms", "query": "query"}
    assert all(f"{name} = fathom.{room}" in read(wheel, "entry_points.txt") for name, room in rooms.items())
    assert "Apache License" in read(wheel, "licenses/LICENSE")


def test_it_works_without_the_checkout(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    target = tmp_path / "target"
    wheel.extractall(target)  # all that an installer does with a wheel of pure Python
    environment = {**os.environ, "PYTHONPATH": str(target), "NO_COLOR": "1"}
    code = "import fathom, sys; from fathom.cli import main; print(fathom.__file__, file=sys.stderr); main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "list", "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stderr.strip()) == target / "fathom/__init__.py"
    names = {row["name"] for row in json.loads(done.stdout)}
    assert {"quickstart", "digits", "low", "standard", "badge"} <= names
