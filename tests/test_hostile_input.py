"""The parsers of outside input under mutated valid inputs: they accept, or raise the project's own error."""

import json
import struct
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.faults import fault, number
from tests.results.synthetic import Plan, build

from fathom import api
from fathom.audit.literature import AUDITS, published
from fathom.core.inputs import read_toml, user_path
from fathom.core.records import FathomError, canonical
from fathom.core.text import UNSAFE, printable, quoted
from fathom.data.cache import cache_file, feature_file
from fathom.data.dataset import DataRoot
from fathom.data.files.scan import list_table
from fathom.data.images import TensorImages
from fathom.design.departures import departures
from fathom.design.freeze import ENDING, freeze, load_freeze
from fathom.design.study_file import MOST_RUNS, load_study
from fathom.design.subset import select
from fathom.estimate.profile import PROFILES, load_profile
from fathom.learn.features.backbone import find_backbone
from fathom.learn.features.backbones.precomputed import Precomputed
from fathom.learn.features.encoders import import_state
from fathom.machine.paths import data_folders
from fathom.registry.registry import find
from fathom.registry.registry import index as member_index
from fathom.registry.spec_string import parse
from fathom.results.export import rows
from fathom.results.results import StudyResults
from fathom.store import atomic_files
from fathom.store.store import Store

FAST, EVERY = 15, 20_000
SOME = settings(
    max_examples=number(FAST, EVERY), deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip

CHUNKS = (
    "", "\0", "\x1b[2J", "\r", "\n", "\t", "\x7f", "\x85", "\u202e", "\ud800", "\udcff", "\ufeff", "\uffff", "\\",
    "\\\\", "\\u0000", "\\ud800", '"', "'", "(", ")", "[", "]", "{", "}", "=", ",", "|", "/", "..", "~",
    "~nobody-of-that-name/", "#", "+", "-", ".", ":", ";", "$", "%s", "9" * 25, "9" * 5000, "1e999", "-1e999",
    "1e-999", "nan", "inf", "true", "none", "\u0663", "\uff11", "0x1", "1_0", "=cmd|' /C calc'!A0", "a" * 300,
    "b" * 5000, "[" * 3000, "(" * 3000, "<script>", "]]>", "\N{PILE OF POO}", "e\u0301", "2026-01-01", "''''''",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, bases: tuple[str, ...]) -> str:
    """A valid text with up to four places replaced."""
    text = draw(st.sampled_from(bases))
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.sampled_from((0, 0, 1, 2, 5, 20))))
        text = text[:begin] + draw(st.sampled_from(CHUNKS) | st.text(max_size=3)) + text[end:]
    return text


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Valid bytes with up to four places replaced, cut or repeated."""
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.sampled_from((0, 1, 4, 8, 100))))
        data = data[:begin] + draw(st.binary(max_size=9) | st.sampled_from((b"\0" * 64, b"\xff" * 8))) + data[end:]
    return data


PLAIN = st.sampled_from(
    (
        None,
        True,
        0,
        -1,
        2**63,
        10**30,
        0.5,
        1e308,
        "",
        "x",
        "\x1b[2J",
        "\u202e",
        [],
        ["x"],
        [[]],
        [1],
        {},
        {"x": 1},
        [None],
    )
)


@st.composite
def altered(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with one to three of its parts removed, added or of another type."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        here, depth = value, draw(st.integers(0, 3))
        while isinstance(here, dict | list) and here:
            key = draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
            if depth == 0 or not isinstance(here[key], dict | list):
                if draw(st.booleans()):
                    here[key] = draw(PLAIN)
                else:
                    del here[key]
                break
            here, depth = here[key], depth - 1
        else:
            if isinstance(here, dict):
                here["more"] = draw(PLAIN)
    return value


def outcome(work: Callable[[], Any]) -> Any:
    """The result of the work, or the project's own error, whose text can be shown; anything else is raised."""
    try:
        return work()
    except FathomError as error:
        found = error
    assert 0 < len(str(found)) < 20_000
    return found


def refused(work: Callable[[], Any], *words: str) -> None:
    error = outcome(work)
    assert isinstance(error, FathomError), error
    assert all(word in str(error) for word in words), str(error)


# ---------------------------------------------------------------------------------------------------- spec strings

SPECS = (
    "low", "low(query_size=50)", "custom(query_size=10, rounds=3, start=20, val_size=60)",
    "standard(lr=0.1|0.01, search=2)", "standard(augmentation=standard, epochs=2)", "bald(draws=20, subsample=10000)",
    'folder(path="my images/a", size=64)',
    "frozen(backbone=torchvision:resnet50.IMAGENET1K_V1, weights=w.safetensors)", "digits", "cifar10-lt(rho=50)",
    "my_al/margin(a=-1.5e-3)", 'table(path="a,b|c")', "random(dropout=0.5)", 'x(v="a|b"|c|none|1.0)',
)  # fmt: skip


@fault("input", "mutated spec strings", "read and spelled equal, or refused", cases=number(FAST, EVERY))
@SOME
@given(mutated(SPECS), st.sampled_from(("dataset", "regime", "paradigm", "query", "backbone")))
def test_spec_strings(text: str, kind: str) -> None:
    call = outcome(lambda: parse(text))
    if not isinstance(call, FathomError):
        assert parse(str(call)) == call
        canonical(str(call)).encode()
    outcome(lambda: find(kind, text))


@fault("input", "spec strings no table or path can hold", "refused with the place", cases=12)
@pytest.mark.parametrize(
    "text",
    [
        r'folder(path="C:\data")', 'folder(path="a\x1b[2J")', "folder(path=a\0b)", r'folder(path="\ud800")',
        "folder(path=caf\udce9)", f"low(start={'9' * 5000})", "standard(lr=1e999)", "standard(lr=-1e999)",
        f"low(start={2**64})", f"low(start={'9' * 400}.0)", "standard(lr=0.1|)", "x" * 20_000,
    ],
)  # fmt: skip
def test_values_that_cannot_be_kept_are_refused(text: str) -> None:
    refused(lambda: parse(text))


@fault("input", "mutated --only", "a part of the study, or refused", cases=number(FAST, EVERY))
@SOME
@given(
    mutated(("dataset=digits,regime=low", "seed=0+1", "query=random+bald(draws=50)", "paradigm=standard(lr=0.1|0.01)"))
)
def test_only(text: str) -> None:
    study = load_study("quickstart")
    outcome(lambda: select(study, [text]))


# ------------------------------------------------------------------------------------------------------ study files

STUDY = """name = "mine"
title = "Mine"
datasets = ["digits", "digits-lt(rho=20)"]
regimes = ["low"]
paradigms = ["standard(lr=0.1|0.01)"]
queries = ["random", "bald(draws=20)"]
seeds = 3
full_data = 1
retry = ["fp32"]
[overrides.low]
rounds = 8
[[run]]
datasets = ["digits"]
seeds = [4, 5]
"""


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "surrogateescape" if "\ud800" not in text else "surrogatepass"))
    return path


@fault("input", "mutated study files", "a study, or refused", cases=number(FAST, EVERY))
@SOME
@given(text=mutated((STUDY,)))
def test_study_files(text: str, tmp_path: Path) -> None:
    study = outcome(lambda: load_study(write(tmp_path / "x.toml", text)))
    if not isinstance(study, FathomError):
        assert len(study.runs) <= MOST_RUNS
        canonical(study.to_json()).encode()


@fault("input", "study files that would fill the memory", "refused with the number", cases=6)
@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("seeds = 1000000000", "6,000,000,000"),
        (f"seeds = [{', '.join(map(str, range(200_000)))}]\nregimes = {['low'] * 9}", "runs"),
        (f"datasets = {['digits'] * 9000}\nqueries = {['random'] * 9000}", "runs"),
        ("seeds = 18446744073709551616", "seeds"),
        ("seeds = [18446744073709551616]", "below 2^63"),
        (f"description = '{'x' * 4_100_000}'", "bytes"),
    ],
    ids=["seeds", "seed list", "cross", "2^64 seeds", "seed 2^64", "5 MB"],
)
def test_a_study_that_eats_memory_is_refused_with_the_number(change: str, word: str, tmp_path: Path) -> None:
    keys = {line.partition(" ")[0] for line in change.splitlines()}
    lines = [line for line in STUDY.splitlines() if line.partition(" ")[0] not in keys]
    file = write(tmp_path / "x.toml", change + "\n" + "\n".join(lines))
    tracemalloc.start()
    refused(lambda: load_study(file), word)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


@fault("input", "study files with a byte order mark", "read", cases=1)
def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert load_study(write(tmp_path / "x.toml", "\ufeff" + STUDY)).name == "mine"


@fault("input", "TOML nested too deeply, numbers too long, not UTF-8", "refused", cases=4)
@pytest.mark.parametrize("text", [f"a = {'[' * 5000}", f"a = {'9' * 5000}", "a = '\udcff'", f"{'a.' * 3000}b = 1"])
def test_toml_that_no_parser_reads(text: str, tmp_path: Path) -> None:
    outcome(lambda: read_toml(write(tmp_path / "x.toml", text), "the file"))
    refused(lambda: load_study(tmp_path / "x.toml"))


@fault(
    "input",
    "mutated hardware profiles and descriptions of published studies",
    "read, or refused",
    cases=2 * number(FAST, EVERY),
)
@SOME
@given(
    profile=mutated(tuple(p.read_text() for p in PROFILES.glob("*.toml"))),
    audit=mutated(((AUDITS / "lueth-2023.toml").read_text(),)),
)
def test_profiles_and_descriptions(profile: str, audit: str, tmp_path: Path) -> None:
    outcome(lambda: load_profile(write(tmp_path / "profile.toml", profile)))
    outcome(lambda: published(write(tmp_path / "audit.toml", audit)))


# --------------------------------------------------------------------------------------------------- paths and tables


@fault("input", "mutated paths", "a path, or refused", cases=number(FAST, EVERY))
@SOME
@given(mutated(("runs/mine", "~/images", "/tmp/x.toml", "a/../b", "data.csv", "")))
def test_paths(text: str) -> None:
    path = outcome(lambda: user_path(text))
    if not isinstance(path, FathomError):
        (path / "study.json").is_file()
        outcome(lambda: Store(path))


@fault("input", "mutated folders in the environment", "a folder, or refused", cases=number(FAST, EVERY))
@SOME
@given(values=st.tuples(*[mutated(("data", "~/data", "/tmp/cache")).filter(lambda text: "\0" not in text)] * 3))
def test_environment_variables(values: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(("FATHOM_DATA", "FATHOM_CACHE", "XDG_CACHE_HOME"), values, strict=True):
        if "\ud800" not in value:  # an environment holds bytes
            monkeypatch.setenv(name, value)
    outcome(data_folders)


TABLE = (
    'path,label,split,group\na.png,cat,train,p1\n"b, c.png",dog,train,p2\nsub/d.png,cat,test,p3\n../e.png,dog,test,p4\n'
)


@fault("input", "mutated tables of images", "a listing with its problems", cases=number(FAST, EVERY))
@SOME
@given(text=mutated((TABLE, TABLE.replace("\n", "\r\n"))), outside=st.booleans())
def test_tables(text: str, outside: bool, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    found = list_table(write(tmp_path / "x.csv", text), outside=outside)
    outcome(lambda: found.refuse("table"))
    assert all(str(problem) for problem in found.problems)


# ---------------------------------------------------------------------------------------------------- store and freeze


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    plan = Plan(datasets=("digits",), queries=("random", "entropy"), seeds=1, rounds=2)
    made = build(tmp_path_factory.mktemp("store"), plan)
    made.fail(
        "runs-x",
        {"what": "x", "message": "m", "error": "E", "setting": list(made.study.settings[0]), "job": "runs/x"},
        {},
    )
    return made


@fault("input", "altered store records with a sound SHA-256", "read, left out, or refused", cases=number(FAST, EVERY))
@SOME
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::fathom.store.atomic_files.DamageWarning", "ignore::RuntimeWarning")
def test_store_records(data: st.DataObject, store: Store) -> None:
    path = data.draw(st.sampled_from(sorted(store.root.rglob("*.json"))))
    before = path.read_bytes()
    content, clock = atomic_files.read_record(path)
    new = data.draw(st.tuples(altered(content), st.just(clock)) | st.tuples(st.just(content), altered(clock)))
    try:
        path.write_bytes(atomic_files.pack_record(*new))
        outcome(lambda: StudyResults.of(store.root))
        outcome(lambda: api.status(store.root))
        outcome(lambda: rows(Store.open(store.root)))
    finally:
        path.write_bytes(before)


@fault("input", "damaged bytes of a store record", "read, or left out", cases=number(FAST, EVERY))
@SOME
@given(data=st.data())
def test_bytes_of_records(data: st.DataObject, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(data.draw(damaged((store.root / "study.json").read_bytes())))
    outcome(lambda: atomic_files.try_read(file))


@fault("input", "a folder, a circle of links or a closed file instead of a record", "left out, or refused", cases=3)
def test_records_that_cannot_be_opened(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "circle.json").symlink_to("circle.json")
    assert "not a file" in atomic_files.try_read(tmp_path / "folder.json")[1]
    assert "not a file" in atomic_files.try_read(tmp_path / "circle.json")[1]

    def closed(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", closed)  # root may open everything
    refused(lambda: api.status(store.root), "Permission denied", "study.json")


@fault("input", "altered freeze files", "read, or refused", cases=number(FAST, EVERY))
@SOME
@given(data=st.data())
def test_freeze_files(data: st.DataObject, tmp_path: Path) -> None:
    study = load_study("quickstart")
    file = tmp_path / f"x{ENDING}"
    if not file.exists():
        freeze(study, file)
    content, clock = atomic_files.read_record(file)
    other = tmp_path / f"y{ENDING}"
    other.write_bytes(atomic_files.pack_record(data.draw(altered(content)), clock))
    kept = outcome(lambda: load_freeze(other))
    if not isinstance(kept, FathomError):
        outcome(lambda: departures(study, kept, ["digits"], {"query random": ["0123456789ab"]}))


# --------------------------------------------------------------------------------------- features, caches, backbones


def archive(**arrays: Any) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


FEATURES = archive(train=np.zeros((6, 3), np.float32), test=np.zeros((4, 3), np.float32))


@fault("input", "damaged feature files", "read, or refused", cases=number(FAST, EVERY))
@SOME
@given(content=damaged(FEATURES))
def test_feature_files(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    images = TensorImages(torch.zeros(6, 3, 2, 2, dtype=torch.uint8))
    outcome(lambda: list(Precomputed(tmp_path / "x.npz")(images)))


@fault("input", "damaged files of encoders", "read, or refused", cases=number(FAST, EVERY))
@SOME
@given(data=st.data())
def test_encoder_files(data: st.DataObject, tmp_path: Path) -> None:
    head = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    sound = struct.pack("<Q", len(head)) + head + bytes(8)
    (tmp_path / "x.safetensors").write_bytes(data.draw(damaged(sound)))
    outcome(lambda: import_state(tmp_path / "x.safetensors"))


@fault("input", "damaged cache files", "read, or made again", cases=number(FAST, EVERY))
@SOME
@given(data=st.data())
def test_cache_files(data: st.DataObject, tmp_path: Path) -> None:
    head = json.dumps({"rows": 2, "dim": 3, "dtype": "float32", "sha256": "0" * 64, "whole": True}).encode()
    content = data.draw(
        damaged(head.ljust(cache_file.HEADER) + bytes(24))
        | altered(json.loads(head)).map(lambda v: json.dumps(v).encode())
    )
    file = tmp_path / "x.features"
    file.write_bytes(content)
    feature_file.valid(file, 2)
    cache_file.read_index(file)


@fault("input", "mutated backbone names and files of weights", "facts, or refused", cases=number(FAST, EVERY))
@SOME
@given(
    name=mutated(
        (
            "pixels",
            "features",
            "mobilenet_v2_uint8",
            "torchvision:resnet50.IMAGENET1K_V1",
            "timm:resnet18",
            "resnet18.a1_in1k",
        )
    ),
    weights=mutated(("", "random", "w.npz", "w.safetensors")),
)
def test_backbones(name: str, weights: str, tmp_path: Path) -> None:
    outcome(lambda: find_backbone(name, weights, 0, DataRoot(tmp_path, tmp_path, quiet=True)))


@fault("input", "names that timm has retired", "refused with the new name", cases=2)
@pytest.mark.parametrize("name", ["vit_base_patch16_224_in21k", "convnext_tiny_in22ft1k"])
def test_a_deprecated_name_is_refused_with_the_new_one(name: str, tmp_path: Path) -> None:
    for weights in ("", "random"):
        refused(
            lambda w=weights: find_backbone(name, w, 0, DataRoot(tmp_path, tmp_path, quiet=True)),
            "in21k" if "vit" in name else "in22k",
        )


# ------------------------------------------------------------------------------------------------------------- text


@fault("input", "any text shown", "no control character is left", cases=number(FAST, EVERY))
@SOME
@given(st.text(st.characters()) | mutated(SPECS))
def test_visible_text_has_no_control_characters(text: str) -> None:
    assert not UNSAFE.search(printable(text))
    assert printable(printable(text)) == printable(text)
    printable(text).encode("utf-8")
    assert not UNSAFE.search(quoted(text)) or UNSAFE.search(repr(text))


def test_every_kind_of_member_has_a_fuzzed_name() -> None:
    assert set(member_index()) == {"dataset", "regime", "paradigm", "query", "backbone"}
