"""Identity of a member's code: what changes it, what does not, and that what is hashed is what runs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults import fault

from fathom.core.records import FathomError
from fathom.registry import registry, source
from fathom.registry.code import MemberCode, identify_code

PLUGIN = '''"""Methods of mine."""
import math
from dataclasses import dataclass

from fathom import score, paradigm
from helper import SIGN, scaled
import effects
import part.names
from part.deep import leaf
import tools

TABLE = {"a": 1.0}
OTHER = 3


def base(view):
    """Helps."""
    return view.log_probs.exp().mean(1).amax(1)


factor = 2.0


class Kind:
    factor = factor


class Sub(Kind):
    pass


@score("sure")
def sure(view, *, strength=2.0):
    """Query what the classifier is surest of."""
    text = "words"
    return SIGN * scaled(strength * TABLE["a"] * Sub.factor * base(view)) + tools.offset(1) + part.names.N


@score("other")
def other(view):
    return view.log_probs.mean((1, 2)) * OTHER
'''
HELPER = "from deeper import depth\n\nSIGN = 1.0\nUNUSED = 1\n\ndef scaled(x):\n    return depth(x)\n"
DEEPER = "def depth(x):\n    return x\n"
TOOLS = "def offset(n):\n    return 0.0 * n\n\ndef unused():\n    return 1\n"
FILES = {"mine.py": PLUGIN, "helper.py": HELPER, "deeper.py": DEEPER, "tools.py": TOOLS}
# A module that is imported for its effect alone; a package that hands names on, with a folder that has no __init__.py.
FILES |= {"effects.py": "import torch\n\ntorch.extra = 1\n", "part/__init__.py": '"""A part."""\n'}
FILES |= {"part/names.py": "from .leaf import *\n", "part/leaf.py": "N = 0.0\n", "part/deep/leaf.py": "N = 1\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    yield tmp_path
    registry._files.clear()
    registry.index.cache_clear()
    source.forget()


def code_of(folder: Path, name: str = "mine/sure") -> MemberCode:
    registry.add_file(folder / "mine.py")
    return identify_code(registry.find("query", name)[0])


def edit(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


SAME = [
    ("mine.py", '    text = "words"', '    text = "words"  # a comment'),
    ("mine.py", '"""Query what', '"""Queries what'),
    ("mine.py", '    """Helps."""\n', ""),
    ("mine.py", "strength=2.0", "strength = 2.0"),
    ("mine.py", "* OTHER", "* OTHER * -1"),
    ("mine.py", "OTHER = 3", "OTHER = 4"),
    ("mine.py", "OTHER = 3", 'OTHER = 3\n\n\n@score("new")\ndef new(view):\n    return -base(view)\n'),
    ("mine.py", "import math", "import math\nimport random\nfrom absent import nothing"),
    ("mine.py", "import SIGN, scaled", "import UNUSED, scaled, SIGN"),
    ("helper.py", "UNUSED = 1", "UNUSED = 2"),
    ("tools.py", "return 1", "return 2"),
    ("part/__init__.py", "A part", "One part"),
    ("part/deep/leaf.py", "N = 1", "N = 2"),
    ("deeper.py", "def depth", "# deep\n\n\ndef depth"),
]
OTHER = [
    ("mine.py", "SIGN * scaled", "-SIGN * scaled"),
    ("mine.py", "strength=2.0", "strength=3.0"),
    ("mine.py", '"a": 1.0', '"a": -1.0'),
    ("mine.py", "\nfactor = 2.0", "\nfactor = -2.0"),
    ("mine.py", "class Sub(Kind):", "class Sub:\n    factor = -2.0\nclass Sub2(Kind):"),
    ("mine.py", '@score("sure")', '@score("sure", draws=5)'),
    ("mine.py", "OTHER = 3", 'OTHER = 3\nTABLE["a"] = -1.0'),
    ("mine.py", "OTHER = 3", "OTHER = 3\nTABLE.update(a=-1.0)"),
    ("mine.py", "OTHER = 3", "OTHER = 3\ndef turn():\n    global SIGN\n    SIGN = -1"),
    ("mine.py", "OTHER = 3", "OTHER = 3\nimport torch\ntorch.backends.mkldnn.enabled = False"),
    ("mine.py", "OTHER = 3", "OTHER = 3\nif OTHER:\n    SIGN = -1"),
    ("mine.py", "import SIGN, scaled", "import SIGN\nfrom helper import UNUSED as scaled"),
    ("mine.py", ".amax(1)", ".amin(1)"),
    ("helper.py", "SIGN = 1.0", "SIGN = -1.0"),
    ("helper.py", "return depth(x)", "return -depth(x)"),
    ("helper.py", "UNUSED = 1", "UNUSED = 1\nprint(UNUSED)"),
    ("deeper.py", "return x", "return -x"),
    ("tools.py", "return 0.0 * n", "return 1.0 * n"),
    ("effects.py", "torch.extra = 1", "torch.extra = 2"),
    ("part/leaf.py", "N = 0.0", "N = 1.0"),
    ("mine.py", "factor = factor", "factor = -factor"),
    ("mine.py", "OTHER = 3", "OTHER = 3\nglobals()['SIGN'] = -1.0"),
    ("mine.py", "OTHER = 3", "OTHER = 3\n_ = TABLE.setdefault('a', -1.0)"),
]


@fault("identity", "a plug-in is edited where a member does not use it", "the member stays what it is")
@pytest.mark.parametrize(("file", "old", "new"), SAME)
def test_what_a_member_does_not_use_does_not_change_it(folder: Path, file: str, old: str, new: str) -> None:
    before = code_of(folder)
    edit(folder, file, old, new)
    assert code_of(folder).sha256 == before.sha256


@fault("identity", "code that a member uses is edited: a constant, a base, a helper", "another identity")
@pytest.mark.parametrize(("file", "old", "new"), OTHER)
def test_what_a_member_uses_changes_it(folder: Path, file: str, old: str, new: str) -> None:
    before = code_of(folder)
    edit(folder, file, old, new)
    after = code_of(folder)
    assert after.sha256 != before.sha256
    (said, *_) = after.changes(before.content(), {"files": before.files})
    assert file in said


@pytest.mark.parametrize("text", ["globals()['OTHER']", "eval('OTHER')", "__import__('sys').modules[__name__]"])
def test_code_that_may_use_anything_counts_whole(folder: Path, text: str) -> None:
    edit(folder, "mine.py", '"words"', text)
    before = code_of(folder)
    edit(folder, "mine.py", "OTHER = 3", "OTHER = 4")
    assert code_of(folder).sha256 != before.sha256


def test_an_installed_package_counts_by_its_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(folder, "mine.py", "import math", "import scipy.stats as math")
    edit(folder, "mine.py", '"words"', "math.norm")
    before = code_of(folder)
    assert list(before.packages) == ["scipy"]
    changed = MemberCode(before.kind, before.name, before.parts, {"scipy": "0.1"})
    assert changed.sha256 != before.sha256
    assert changed.changes(before.content(), {}) == ["scipy has changed"]


def test_built_in_members_are_known_by_their_content_too() -> None:
    margin, badge = (identify_code(registry.find("query", name)[0]) for name in ("margin", "badge"))
    assert "fathom.query.scores" in margin.parts
    assert "fathom.query.scores" not in badge.parts
    assert "fathom.learn.training.fit" in identify_code(registry.find("paradigm", "standard")[0]).parts


@fault(
    "identity", "a helper module is edited after it was read", "what was read runs; it is read anew in the next call"
)
def test_what_was_hashed_is_what_runs(folder: Path) -> None:
    before = code_of(folder)
    edit(folder, "deeper.py", "return x", "return -x")
    edit(folder, "mine.py", ".amax(1)", ".amin(1)")
    function = registry.find("query", "mine/sure")[0].load()
    assert function.__globals__["scaled"](1.0) == 1.0
    assert identify_code(registry.find("query", "mine/sure")[0]).sha256 == before.sha256
    registry.refresh()
    assert registry.find("query", "mine/sure")[0].load().__globals__["scaled"](1.0) == -1.0


def test_a_helper_that_was_imported_before_is_read_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    import helper  # type: ignore[import-not-found]

    edit(folder, "helper.py", "SIGN = 1.0", "SIGN = -1.0")
    registry.add_file(folder / "mine.py")
    assert registry.find("query", "mine/sure")[0].load().__globals__["SIGN"] == -1.0
    assert helper.SIGN == 1.0


def test_another_process_runs_what_this_one_has_read(folder: Path) -> None:
    import json

    registry.add_file(folder / "mine.py")
    sent = json.dumps(registry.export_code())
    for name in FILES:
        (folder / name).write_text("1 / 0\n")
    code = "\n".join(
        [
            "import json, sys",
            "from fathom.registry import registry",
            "from fathom.registry.code import identify_code",
            "registry.adopt_code(json.loads(sys.stdin.read()))",
            "entry = registry.find('query', 'mine/sure')[0]",
            "print(entry.load().__globals__['scaled'](2.0), identify_code(entry).sha256)",
        ]
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], input=sent, capture_output=True, text=True, cwd=folder)
    assert done.stdout.split() == ["2.0", identify_code(registry.find("query", "mine/sure")[0]).sha256], done.stderr


def test_another_fathom_is_refused(folder: Path) -> None:
    sent = registry.export_code()
    sent["fathom"] = sent["fathom"] | {"query/scores.py": "0" * 12}
    with pytest.raises(FathomError, match=r"other source of Fathom .*: query/scores.py in "):
        registry.adopt_code(sent)


@fault("identity", "a plug-in imports code that cannot be seen by reading it", "refused, with the module's name")
def test_code_that_was_not_read_is_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    (folder / "hidden.py").write_text("X = 1\n")
    edit(folder, "mine.py", "import math", "import importlib; math = importlib.import_module('hid' + 'den')")
    registry.add_file(folder / "mine.py")
    with pytest.raises(FathomError, match=r"imports hidden, which cannot be seen by reading mine\.py"):
        registry.find("query", "mine/sure")[0].load()


LOADERS = ["importlib.util.spec_from_file_location('x', 'tools.py')", "runpy.run_path('tools.py')"]


@pytest.mark.parametrize("text", LOADERS)
def test_code_that_is_loaded_by_the_name_of_its_file_is_refused(folder: Path, text: str) -> None:
    edit(folder, "mine.py", '"words"', text)
    with pytest.raises(FathomError, match=r"mine\.py loads code with .*Import it by its name"):
        code_of(folder)
    assert code_of(folder, "mine/other").parts


def test_two_helpers_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "yours.py").write_text(PLUGIN)
    (other / "helper.py").write_text(HELPER)
    registry.add_file(folder / "mine.py")
    registry.add_file(other / "yours.py")
    registry.find("query", "mine/sure")[0].load()
    with pytest.raises(FathomError, match=r"different modules 'helper': .*helper\.py and .*other.helper\.py"):
        registry.find("query", "yours/sure")[0].load()


TWICE = [
    (PLUGIN.replace('"other"', '"sure"'), "query 'mine/sure' is registered twice: .*mine.py:32 and .*mine.py:39"),
    (PLUGIN.replace("def other", "def sure"), "mine.py:33 and .*mine.py:40 both define sure"),
    (PLUGIN + "\n\ndef sure(view):\n    return 1\n", "mine.py:33 and .*mine.py:44 both define sure"),
]


@fault("identity", "two members of one name, or two definitions, in one file", "refused with both lines")
@pytest.mark.parametrize(("text", "message"), TWICE)
def test_two_of_one_name_in_one_file_are_refused(folder: Path, text: str, message: str) -> None:
    (folder / "mine.py").write_text(text)
    with pytest.raises(FathomError, match=message):
        registry.add_file(folder / "mine.py")
