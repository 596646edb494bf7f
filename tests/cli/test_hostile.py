"""Hostile words on the command line: every verb, every option, values that no path, name or number can be."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.test_cli import call, toml
from tests.faults import fault, number
from tests.results.synthetic import Plan, build

import fathom.cli
from fathom.core.records import FathomError
from fathom.core.text import UNSAFE
from fathom.engine.local import LocalEngine
from fathom.registry import registry

VERBS = (
    "audit", "check-data", "check-query", "compare", "doctor", "export", "freeze", "list", "plan", "pretrain",
    "recheck", "report", "run", "show", "status",
)  # fmt: skip
# What else a verb needs, so that the hostile value is what it stumbles over.
WORDS = {
    "check-data": {"DATASET": "digits"}, "check-query": {"QUERY": "random"}, "compare": {"FOLDER": "done"},
    "export": {"FOLDER": "done", "--to": "made.parquet"}, "freeze": {"STUDY": "tiny.toml"}, "list": {}, "doctor": {},
    "plan": {"STUDY": "tiny.toml", "--no-probe": ""}, "pretrain": {"DATASET": "digits"},
    "audit": {"STUDY": "lueth-2023"},
    "recheck": {"FOLDER": "done"}, "report": {"FOLDER": "done"}, "show": {"NAME": "tiny.toml"},
    "status": {"FOLDER": "done"},
    "run": {"STUDY": "tiny.toml", "--out": "made", "--workers": "0", "--no-report": ""},
}  # fmt: skip
VALUES = (
    "", " ", ".", "-", "--", "\0", "a\0b", "\udcff", "caf\udce9.toml", "\x1b]0;title\x07", "\r", "\u202egnp",
    "a" * 300, "a" * 5000, "b" * 5000 + ".toml", "a/" * 3000, "~nobody-of-that-name/x", "~nobody-of-that-name.toml",
    "circle", "circle/x", "circle.toml", "bom.toml", "deep.toml", "latin.toml", "long.toml", "many.toml", "cross.toml",
    "huge.toml", "folder.toml", "nul.csv", "file", "file/x", "pipe", "pipe.toml", "pipe/x", "/proc/self/nothing",
    "nan", "inf", "-inf", "1e999", "-1", "0", "1.5", "9" * 30, "9" * 5000, str(2**63), str(2**64), "0x10", "1_000",
    "\u0663", "%s%n", "{}", "[bold]x[/bold]", "[/]", "table(path=nul.csv)", "table(path=pipe)",
    "table(path=file)", 'folder(path="a\\q")', 'folder(path="a\\u0000")', 'folder(path="\\ud800")',
    f"folder(path={'a' * 5000})", "folder(path=circle)", "folder(path=~nobody-of-that-name)",
    f"low(start={'9' * 5000})", "frozen(weights=circle)", "standard(lr=1e999)", "self-sl(lr=1e-999)",
    "bald(draws=1000000000000)", "digits(" + "(" * 900, "digits" + "(a=" * 500, "seed=\udcff", "seed=" + "9" * 5000,
    "dataset=" + "(" * 500, "query=\x1b", "x=y", "=", "broken.py", "null.py", "deep.py", "my plug-in.py", "ray:\udcff",
    "cuda:99999999999999999999", "cuda:-1", "meta", "cpu:7",
)  # fmt: skip


def options(verb: str) -> list[str]:
    """Names of all options and arguments of a verb that take a value."""
    found = fathom.cli.app[verb].assemble_argument_collection()
    return [a.names[0] for a in found if a.parse and a.names[0] != "*" and a.hint is not bool]


CASES = [(verb, option) for verb in VERBS for option in options(verb)]


class ReachedWorkError(FathomError):
    """The value was accepted; nothing is trained in these tests."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of hostile files."""
    made = tmp_path_factory.mktemp("hostile")
    toml(made / "tiny.toml")
    build(made / "done", Plan(datasets=("digits",), queries=("random", "entropy"), seeds=1, rounds=2))
    text = (made / "tiny.toml").read_text()
    (made / "bom.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (made / "latin.toml").write_bytes(text.encode() + b'title = "caf\xe9"\n')
    (made / "deep.toml").write_text(text + f"title = {'[' * 9000}{']' * 9000}\n")
    (made / "long.toml").write_text(text + f"rounds = {'9' * 5000}\n")
    toml(made / "many.toml", seeds=1_000_000_000)
    toml(made / "cross.toml", datasets=["digits"] * 9000, queries=["random"] * 9000)
    toml(made / "huge.toml", seeds=[2**64])
    (made / "folder.toml").mkdir()
    (made / "nul.csv").write_text(f"path,label\na\0b.png,x\n{'c' * 5000}.png,y\n\ud7ff.png,z\n")
    (made / "file").write_text("text")
    (made / "broken.py").write_text("import (")
    (made / "null.py").write_bytes(b"x = '\0'")
    (made / "deep.py").write_text(f"x = {'(' * 5000}{')' * 5000}")
    (made / "my plug-in.py").write_text("")
    for name in ("pipe", "pipe.toml"):
        os.mkfifo(made / name)  # reading it would never end
    for name in ("circle", "circle.toml"):
        (made / name).symlink_to(name)
    return made


@pytest.fixture(autouse=True)
def prepared(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def reached(*_: object, **__: object) -> None:
        raise ReachedWorkError("nothing is trained here")

    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))  # matplotlib writes a list of fonts when it is first imported
    monkeypatch.delenv("FATHOM_DATA", raising=False)
    monkeypatch.setattr(LocalEngine, "worker_pool", reached)
    monkeypatch.setattr("fathom.engine.pretrain.pretrain_encoder", reached)
    monkeypatch.setattr("fathom.engine.ray.RayEngine.__init__", reached)
    monkeypatch.setattr("fathom.machine.doctor.probe", lambda: {"torch": "2.11", "torchvision": "0.26"})
    yield
    registry._files.clear()
    registry.index.cache_clear()


def tree(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if ".locks" not in path.parts and not path.name.startswith(".tmp-")}


@fault(
    "input", "hostile words for every verb and option", "one error, nothing on disk", cases=len(CASES) * number(1, 90)
)
@pytest.mark.parametrize("verb", VERBS)
def test_a_hostile_word_is_refused_with_one_error(verb: str, folder: Path) -> None:
    draw = random.Random(verb)
    for option in options(verb):
        for value in draw.sample(VALUES, min(number(1, 999), len(VALUES))):
            check(verb, option, value, folder)


def check(verb: str, option: str, value: str, folder: Path) -> None:
    """Call a verb with one hostile value."""
    words = [verb]
    for name, given in {**WORDS[verb], option: value}.items():
        words += [given] if name.isupper() else [name, given] if given or name == option else [name]
    before = tree(folder)
    said = call(*words)
    what = f"{verb} {option} {value[:60]!r}: {said.err[-2000:]!r}"
    assert said.status in (0, 1, 2), what
    assert "Traceback" not in said.err + said.out, what
    assert not UNSAFE.search(said.err + said.out), what
    if said.status == 2:
        assert said.err.count("error:") + said.err.count(" Error ") == 1, what
        if "nothing is trained here" not in said.err:
            assert tree(folder) == before, what
