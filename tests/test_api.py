"""What notebooks call, also from a script without a main guard and whatever was imported before."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

SCRIPT = """
import sys
{first}
import fathom
from tests.studies import study
toy = study(("random",), full_data=0)
print(fathom.plan(toy, probe=False).experiments)
outcome = fathom.run(toy, sys.argv[1], workers={workers})
table = fathom.table(sys.argv[1])
print(outcome.finished, len(table), list(table["budget"]))
"""


def call(out: Path, first: str, workers: int) -> list[str]:
    script = out.parent / "script.py"
    script.write_text(SCRIPT.format(first=first, workers=workers))
    command = [sys.executable, str(script), str(out)]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_run_plan_and_table_although_the_room_was_imported_first(tmp_path: Path) -> None:
    assert call(tmp_path / "out", "import fathom.protocol.loop", workers=1) == ["1", "True 3 [20, 30, 40]"]


def test_import_is_light() -> None:
    code = "import sys, fathom; sys.exit(bool({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_public_name_is_there() -> None:
    import fathom

    assert all(callable(getattr(fathom, name)) for name in fathom.__all__)
