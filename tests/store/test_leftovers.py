"""What dead processes leave behind is removed and counted; everything else stays."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.faults import fault

from fathom import cli
from fathom.data.cache import cache_file
from fathom.report import report as report_module
from fathom.store import atomic_files
from fathom.store.store import Store

HOST = socket.gethostname()
WRITERS = {
    "store": "from fathom.store import atomic_files\natomic_files.write(Path(sys.argv[1]) / 'x.json', b'x' * 100)",
    "cache": "from fathom.data.cache import cache_file\nwith cache_file.renamed(Path(sys.argv[1]) / 'x.pixels') as f:\n"
    "    f.write(b'x' * 100)\n    f.flush()\n    os.kill(os.getpid(), signal.SIGKILL)",
    "report": "from fathom.report import report\nPath.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
    "report._write(Path(sys.argv[1]) / 'figures' / 'x.svg', b'x' * 100)",
}


def killed(kind: str, folder: Path) -> None:
    """Kill a process in the middle of writing a file."""
    code = f"import os, signal, sys\nfrom pathlib import Path\n{WRITERS[kind]}"
    environment = {**os.environ, "FATHOM_CRASH_AT": "after-fsync:1"}
    assert subprocess.run([sys.executable, "-c", code, str(folder)], env=environment).returncode == -9


def gc(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        cli.app(["gc", *map(str, words)])
    return int(left.value.code or 0), capsys.readouterr().out


@fault("store", "kill -9 while a file of store, cache or report is written", "gc frees it, and nothing else", cases=3)
def test_what_a_killed_process_leaves_is_freed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = {"store": tmp_path / "runs/a", "cache": tmp_path / "cache", "report": tmp_path / "runs/a/report"}
    for kind, folder in places.items():
        (folder / "figures").mkdir(parents=True)
        killed(kind, folder)
    left = sorted(tmp_path.rglob(".tmp-*"))
    assert [path.stat().st_size for path in left] == [100] * 3
    (tmp_path / "runs/a/mine.tmp").write_text("mine")
    words = (tmp_path / "runs", "--cache", tmp_path / "cache", "--json")
    dry = json.loads(gc(capsys, *words, "--dry-run")[1])
    assert sorted(tmp_path.rglob(".tmp-*")) == left
    assert {Path(row["path"]) for row in dry["files"]} == set(left)
    status, said = gc(capsys, *words)
    assert status == 0
    assert (json.loads(said)["bytes"], dry["bytes"], dry["dry_run"]) == (300, 300, True)
    assert all(row["removed"] for row in json.loads(said)["files"])
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"mine.tmp"}
    assert "freed 0 bytes in 0 temporary files of dead processes" in gc(capsys, *words[:-1])[1]


@fault("store", "files beside those of dead processes", "gc and every run leave them", cases=9)
def test_everything_else_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, cache = tmp_path / "runs", tmp_path / "cache"
    cache.mkdir()
    dead = f".tmp-{HOST}-999999999-abc"
    stay = [
        f".tmp-{HOST}-{os.getpid()}-abc",
        f".tmp-{HOST}-abc",
        ".tmp-elsewhere-999999999-abc",
        f"{dead}.txt",
        dead[1:],
    ]
    folder.mkdir()
    for name in stay:
        (folder / name).write_text("mine")
    (folder / f"{dead}0").mkdir()
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / dead).touch()
    (folder / "link").symlink_to(tmp_path / "away")
    (folder / f"{dead}1").symlink_to(tmp_path / "away" / dead)
    old = folder / ".tmp-elsewhere-12-old"
    old.touch()
    os.utime(old, (time.time() - 8 * 86400,) * 2)
    before = {path for path in tmp_path.rglob("*") if path != old}
    Store(folder).clean()
    status, said = gc(capsys, folder, "--cache", cache)
    assert set(tmp_path.rglob("*")) == before
    assert status == 0
    old.touch()
    os.utime(old, (time.time() - 8 * 86400,) * 2)
    assert "freed 0 bytes" in gc(capsys, folder, "--cache", cache, "--days", "9")[1]
    status, said = gc(capsys, folder, "--cache", cache)
    assert f"removed {old} (0 bytes, of elsewhere, 8 days old)" in said
    assert set(tmp_path.rglob("*")) == before


def test_all_writers_name_their_files_alike(tmp_path: Path) -> None:
    """Else some would not be known to be of a dead process."""
    with cache_file.renamed(tmp_path / "x") as file:
        assert Path(file.name).name.startswith(f".tmp-{HOST}-{os.getpid()}-")
    assert report_module.atomic_files is atomic_files
