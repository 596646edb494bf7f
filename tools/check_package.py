"""Build the sdist, build the wheel from it, install the wheel into an empty environment, and start the command there.

    python tools/check_package.py [FOLDER]      # the two files are left in FOLDER (build/dist)

A file that the package needs and that the wheel lacks shows here, and in no test that runs inside the checkout.
Versions are those of requirements.lock. Packages come from uv's cache, so a machine that has run `make test` fetches
nothing.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HATCH = [sys.executable, "-m", "hatchling", "build"]
UV = [shutil.which("uv")] if shutil.which("uv") else [sys.executable, "-m", "uv"]


def build(folder: Path) -> Path:
    """Build sdist and wheel into a folder, and return the path of the wheel."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subprocess.run([*HATCH, "-t", "sdist", "-d", str(folder)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (sdist,) = folder.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(sdist) as archive:
            archive.extractall(scratch, filter="data")
        (source,) = Path(scratch).iterdir()
        command = [*HATCH, "-t", "wheel", "-d", str(folder)]
        subprocess.run(command, cwd=source, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, environment: Path) -> Path:
    """Make an empty environment, install the wheel with its pinned dependencies, and return the folder of its commands.

    Raises:
        CalledProcessError: A dependency is neither in uv's cache nor reachable.
    """
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
    tools = environment / ("Scripts" if os.name == "nt" else "bin")
    pins = ["--constraint", str(ROOT / "requirements.lock")]
    command = [*UV, "pip", "install", "--quiet", "--python", str(tools / "python"), str(wheel), *pins]
    if subprocess.run([*command, "--offline"], capture_output=True).returncode:
        subprocess.run(command, check=True)
    return tools


def check(tools: Path, folder: Path) -> None:
    """Start the command in a folder outside the checkout.

    Raises:
        SystemExit: It is not the installed package that starts, or its list lacks built-in members.
    """
    settings = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    place = [str(tools / "python"), "-c", "import fathom; print(fathom.__file__)"]
    found = subprocess.run(place, cwd=folder, env=settings, check=True, capture_output=True, text=True).stdout
    if not Path(found.strip()).is_relative_to(tools.parent):
        raise SystemExit(f"expected the installed package; {found.strip()} was imported")
    command = [str(tools / "fathom"), "list"]
    listed = subprocess.run(command, cwd=folder, env=settings, check=True, capture_output=True, text=True).stdout
    missing = {"quickstart", "digits", "low", "standard", "badge"} - set(listed.split())
    if missing:
        raise SystemExit(f"`fathom list` of the installed package lacks {', '.join(sorted(missing))}")


def main() -> None:
    """Build, install and start."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "dist"
    wheel = build(folder)
    # Beside the wheel, not in the system's temporary folder: uv links files from its cache within one file system.
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch, tempfile.TemporaryDirectory() as elsewhere:
        check(install(wheel, Path(scratch) / "environment"), Path(elsewhere))
    print(f"{wheel.name}: built from its sdist, installed into an empty environment, `fathom list` works there")


if __name__ == "__main__":
    main()
