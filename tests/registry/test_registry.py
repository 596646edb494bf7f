"""Spec strings round-trip and are safe; members are found by reading source; errors name the nearest name."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.faults import fault

from fathom.core.records import FathomError
from fathom.registry import registry
from fathom.registry.spec_string import SpecString, parse

BAD_PLUGIN = fault(
    "methods", "plug-in with a taken name, a wrong signature or an error", "refused before training, with file and line"
)

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none(),
    st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1),
)


@given(st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]*", fullmatch=True), SCALARS, max_size=4))
@settings(derandomize=True, max_examples=200, deadline=None)
def test_call_strings_round_trip(arguments: dict[str, object]) -> None:
    call = SpecString.make("name", arguments)  # type: ignore[arg-type]
    assert parse(str(call)) == call
    assert str(parse(str(call))) == str(call)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("low", "low"),
        (" low( ) ", "low"),
        ("low(rounds=3,query_size=50)", "low(query_size=50, rounds=3)"),
        ("standard(lr=5e-3)", "standard(lr=0.005)"),
        ("cifar10-lt(rho=20.0)", "cifar10-lt(rho=20)"),
        ("standard(lr=0.1|0.01)", "standard(lr=0.1|0.01)"),
        ("folder(path=/a b/c.d)", "folder(path=/a b/c.d)"),
        ('folder(path="a,(b)=c|d")', 'folder(path="a,(b)=c|d")'),
        ("my_al/margin(x=true)", "my_al/margin(x=true)"),
        ('x(a="1")', 'x(a="1")'),
    ],
)
def test_one_spelling(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical


@fault("input", "malformed spec string", "refused with what was expected")
@pytest.mark.parametrize(
    "text",
    ["", "Low!", "low(", "low)", "low(5)", "low(a=1,a=2)", "low(a=)", "a/b/c", "os.system('x')", "__import__(x=1)"],
)
def test_what_is_no_call_string_is_refused(text: str) -> None:
    with pytest.raises(FathomError):
        parse(text)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("query", "entropie", "Did you mean 'entropy'"),
        ("query", "bald(drawz=3)", "Did you mean 'draws'"),
        ("query", "bald(draws=many)", "expects int"),
        ("regime", "lo", "Did you mean 'low'"),
        ("dataset", "cifar-10", "Did you mean 'cifar10'"),
        ("paradigm", "standard(epochs=1.5)", "expects int"),
        ("paradigm", "standard(lr=0.1|none)", "expects float, .* got 0.1|none"),
        ("dataset", "digits-lt(rho=none)", "expects float, as its default 10; got none"),
        ("dataset", "folder(path=one, test_fraction=none)", "test_fraction expects float, as its default 0.25"),
    ],
)
def test_errors_name_the_nearest(kind: str, text: str, message: str) -> None:
    with pytest.raises(FathomError, match=message):
        registry.find(kind, text)


@pytest.mark.parametrize("text", ["low(start=none)", "low(start=20, val_size=none)"])
def test_none_is_a_value_where_it_is_the_default(text: str) -> None:
    assert "none" not in str(registry.find("regime", text)[1])


def test_index_needs_no_torch() -> None:
    code = (
        "import sys; from fathom.registry.registry import index; assert index()['query']; print('torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"


PLUGIN = '''
from fathom import score

@score("upside-down")
def upside_down(view, *, strength=2.0):
    """Query what the classifier is surest of."""
    return strength * view.log_probs.exp().mean(1).amax(1)
'''


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "my_al.py"
    path.write_text(PLUGIN)
    return path


def test_a_file_is_a_plugin(plugin: Path) -> None:
    try:
        assert registry.add_file(plugin) == "my_al"
        entry, call = registry.find("query", "my_al/upside-down(strength=3)")
        assert entry.summary == "Query what the classifier is surest of."
        assert entry.parameters["strength"] == 2.0
        assert call.arguments == (("strength", 3),)
        assert entry.load().__name__ == "upside_down"
    finally:
        registry._files.clear()
        registry.index.cache_clear()


@BAD_PLUGIN
@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("query.py", PLUGIN, "taken already"),
        ("my-al.py", PLUGIN, "rename"),
        ("empty.py", "x = 1", "registers nothing"),
        ("broken.py", "def f(:", "cannot read"),
        ("shout.py", PLUGIN.replace("upside-down", "UPSIDE"), "kebab-case"),
        ("notes.txt", PLUGIN, "not a Python file"),
        ("latin.py", "# caf\xe9\n" + PLUGIN, "cannot read .*latin.py as Python source.*UTF-8.*encoding"),
        ("null.py", PLUGIN + "\0", "cannot read .*null.py as Python source"),
        ("call.py", PLUGIN.replace("2.0", "float(2)"), r"call.py:5: the default of strength must be a plain value"),
        ("list.py", PLUGIN.replace("2.0", "[2.0]"), r"list.py:5: the default of strength must be a plain value"),
    ],
)
def test_bad_plugins_are_refused_before_anything_runs(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="latin-1")
    try:
        with pytest.raises(FathomError, match=message):
            registry.add_file(path)
    finally:
        registry._files.clear()
        registry.index.cache_clear()


def test_an_edited_plugin_and_another_of_its_name_are_loaded_anew(plugin: Path, tmp_path: Path) -> None:
    try:
        registry.add_file(plugin)
        entry = registry.find("query", "my_al/upside-down")[0]
        assert entry.load() is entry.load()
        plugin.write_text(PLUGIN.replace("strength=2.0", "strength=3.0, more=1.0"))
        assert entry.load().__kwdefaults__ == {"strength": 2.0}, "a call runs what it has read"
        registry.add_file(plugin)
        assert entry.load().__kwdefaults__ == {"strength": 3.0, "more": 1.0}
        registry._files.clear()
        other = tmp_path / "elsewhere/my_al.py"
        other.parent.mkdir()
        other.write_text(PLUGIN.replace("upside", "inside"))
        registry.add_file(other)
        assert registry.find("query", "my_al/inside-down")[0].load().__name__ == "inside_down"
    finally:
        registry._files.clear()
        registry.index.cache_clear()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_source_is_read_as_python_reads_it(tmp_path: Path, encoding: str) -> None:
    cookie = "# coding: latin-1\n" if encoding == "latin-1" else ""
    (tmp_path / "odd.py").write_bytes((cookie + PLUGIN.replace("surest", "s\xfbrest")).encode(encoding))
    try:
        registry.add_file(tmp_path / "odd.py")
        assert "s\xfbrest" in registry.find("query", "odd/upside-down")[0].doc
    finally:
        registry._files.clear()
        registry.index.cache_clear()


@BAD_PLUGIN
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", r"boom\.py, line 9\): ZeroDivisionError"),
        ("import json; json.loads('{')", r"boom\.py, line 9\): JSONDecodeError"),
        ("import no_such_package", r"boom\.py, line 9\): ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise SystemExit(0)", r"boom\.py, line 9\): SystemExit"),
        ("del upside_down", "has no attribute 'upside_down'"),
    ],
)
def test_a_plugin_that_raises_when_imported_is_a_mistake_with_file_and_line(
    tmp_path: Path, code: str, message: str
) -> None:
    path = tmp_path / "boom.py"
    path.write_text(f"{PLUGIN}\n{code}\n")
    try:
        registry.add_file(path)
        with pytest.raises(FathomError, match=f"query 'boom/upside-down' cannot be imported .*{message}"):
            registry.find("query", "boom/upside-down")[0].load()
    finally:
        registry._files.clear()
        registry.index.cache_clear()


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("bald(draws=50)", "bald"), ("bald(draws=20, beta=1)", "bald(draws=20)"), ("bald(beta=1.0)", "bald")],
)
def test_what_says_nothing_new_is_left_out(text: str, canonical: str) -> None:
    assert str(registry.find("query", text)[1]) == canonical


def test_none_is_a_word_where_words_are_expected() -> None:
    from fathom.learn import build_paradigm

    entry, call = registry.find("paradigm", "standard(imbalance=none)")
    assert dict(call.arguments) == {"imbalance": "none"}
    assert registry.find("paradigm", str(call)) == (entry, call)
    assert build_paradigm("standard(imbalance=none)") == build_paradigm(str(call))
