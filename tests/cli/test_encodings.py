"""Terminals and pipes that are not UTF-8: no command stops on a letter that the output cannot hold."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.test_cli import toml
from tests.faults import fault, number
from tests.results.synthetic import Plan, build

from fathom import cli
from fathom.core.progress import SafeConsole, progress_bar
from fathom.registry import registry

LETTERS = "Grün · 猫 é"
ENCODINGS = ("ascii", "cp1252", "latin-1", "cp437", "utf-16", "koi8-r")
CALLS = (
    ["status", "study"], ["status", "study", "--json"], ["report", "study"], ["audit", "study"],
    ["audit", "study", "--json"], ["compare", "study"], ["list"], ["list", "--json"], ["show", "mine.toml"],
    ["show", "mine.toml", "--json"], ["show", "badge"], ["--help"], ["run", "--help"], ["run", "猫.toml"],
    ["run", "\udcff"], ["audit", "literature"], ["status", "猫"], ["show", "é"],
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("letters")
    store = build(
        made / "study",
        Plan(
            datasets=("digits",),
            queries=("random", "entropy"),
            seeds=1,
            rounds=2,
            title=LETTERS,
            classes=(LETTERS, "b"),
        ),
    )
    store.fail("x", {"what": LETTERS, "message": LETTERS, "error": "E"}, {})
    toml(made / "mine.toml", title=LETTERS, description=LETTERS)
    return made


def spoken(words: list[str], encoding: str) -> tuple[int, bytes, bytes]:
    """`fathom WORDS` in this process, its output encoded as a terminal or a pipe would."""
    pairs = [io.BytesIO(), io.BytesIO()]
    out, err = (io.TextIOWrapper(pair, encoding=encoding, write_through=True) for pair in pairs)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["fathom", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
    found = tuple(pair.getvalue() for pair in pairs)
    return int(left.value.code or 0), found[0], found[1]


@fault("input", "output that is not UTF-8", "no command stops", cases=len(CALLS) * number(2, len(ENCODINGS)))
@pytest.mark.parametrize("encoding", ENCODINGS[: number(2, len(ENCODINGS))])
def test_every_verb_speaks_any_encoding(encoding: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for words in CALLS:
        status, out, err = spoken(words, encoding)
        assert status in (0, 1, 2), (words, err)
        assert bool(err) == (status == 2), (words, err)
        if "--json" in words:
            said = json.dumps(json.loads(out.decode(encoding)), ensure_ascii=False)
            assert LETTERS in said or "mine.toml" not in words


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_progress_bar_speaks_any_encoding(encoding: str) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace", write_through=True)
    console = SafeConsole(file=file, force_terminal=True, width=100)
    with progress_bar(LETTERS, console=console, in_progress=lambda: LETTERS) as show:
        assert show
        show(1, 2)
        show(2, 2)
    assert b"\\u732b" in file.buffer.getvalue()  # type: ignore[attr-defined]


@fault("input", "PYTHONIOENCODING=ascii and LC_ALL=C", "no command stops", cases=2)
def test_a_real_process_speaks_ascii(folder: Path) -> None:
    for settings in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        done = subprocess.run(
            [sys.executable, "-m", "fathom.cli", "show", "mine.toml"],
            cwd=folder,
            env=os.environ | settings,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        assert b"Gr\\xfcn" in done.stdout


PRINTING = '''
from fathom import score
print("loaded")

@score("loud")
def loud(view):
    """Prints."""
    print("scoring")
    return view.log_probs.mean(1).max(1).values
'''


@fault("input", "a plug-in that prints", "--json stays JSON", cases=1)
def test_a_plug_in_that_prints_does_not_break_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loud.py").write_text(PRINTING)
    monkeypatch.chdir(tmp_path)
    try:
        status, out, err = spoken(["check-query", "loud.py", "--json"], "utf-8")
    finally:
        registry._files.clear()
        registry.index.cache_clear()
    assert status == 0, err
    assert json.loads(out) == {"loud/loud": []}
    assert b"scoring" in err
