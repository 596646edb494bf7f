"""Every verb as a user types it: what it prints, its exit status, and one clear message for each mistake."""

import contextlib
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from tests.faults import fault, number
from tests.studies import PARADIGM, REGIME

import fathom
from fathom import cli
from fathom.cli import console
from fathom.design.study_file import designs, load_study
from fathom.registry import registry
from fathom.store.store import Store

MALFORMED_STUDY = fault("input", "malformed study file", "one error with all mistakes and the nearest name")

KINDS = {
    "datasets": "dataset",
    "regimes": "regime",
    "paradigms": "paradigm",
    "backbones": "backbone",
    "queries": "query",
}

PLUGIN = '''
import torch
from fathom import score

@score("wobble")
def wobble(view):
    """Query the samples that wobble."""
    return view.log_probs.mean(1).exp().max(1).values

@score("nan")
def nan(view):
    """Gives no number."""
    return torch.full((len(view),), float("nan"))
'''


LATE = '''
from fathom import selection
from fathom.query.random import random

@selection("late", predictions=False)
def late(view, size, stream):
    """Fails at its second query."""
    if stream.path[1] > 0:
        raise ValueError("too late")
    return random(view, size, stream)
'''


class Said(NamedTuple):
    """Output of one call of the command."""

    status: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.out.strip().splitlines()[-1]


def call(*words: object) -> Said:
    """`fathom WORDS` in this process, on a terminal 200 wide without colors."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setenv("COLUMNS", "200")
        patch.setattr(console.out, "_width", 200)
        patch.setattr(console.err, "_width", 200)
        patch.setattr(sys, "argv", ["fathom", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
    code = left.value.code
    return Said(code if isinstance(code, int) else int(code is not None), out.getvalue(), err.getvalue())


def parsed(*words: object) -> Any:
    """The JSON that a call prints; it must print nothing else."""
    said = call(*words, "--json")
    assert said.status == 0, said.err
    assert not said.err
    return json.loads(said.out)


def toml(path: Path, **changes: object) -> Path:
    """A study of seconds as a file."""
    values = {
        "name": "tiny",
        "datasets": ["digits"],
        "regimes": [REGIME],
        "paradigms": [PARADIGM],
        "queries": ["random", "entropy"],
        "seeds": 1,
        "full_data": 1,
    }
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in (values | changes).items()))
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty working directory, no settings of the environment, and no plug-in of another test."""
    monkeypatch.chdir(tmp_path)
    for name in ("FATHOM_DATA", "FATHOM_CACHE"):
        monkeypatch.delenv(name, raising=False)
    yield
    registry._files.clear()
    registry.index.cache_clear()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    """A working directory in which `fathom run tiny.toml` has run, and what it said."""
    folder = tmp_path_factory.mktemp("work")
    toml(folder / "tiny.toml")
    with contextlib.chdir(folder):
        said = call("run", "tiny.toml", "--workers", 0)
    return folder, said


@pytest.fixture
def finished(first: tuple[Path, Said]) -> Path:
    return first[0] / "runs/tiny"


# ------------------------------------------------------------------------------------------------------- look up


def test_list_names_everything() -> None:
    rows = parsed("list")
    names = {(row["kind"], row["name"]) for row in rows}
    assert {("study", name) for name in designs()} <= names
    assert names == {("study", n) for n in designs()} | {(k, n) for k in KINDS.values() for n in registry.index()[k]}
    assert all(row["summary"] for row in rows)
    text = call("list").out
    assert all(row["name"] in text for row in rows)


@pytest.mark.parametrize("what", [*KINDS, "studies"])
def test_list_of_one_kind(what: str) -> None:
    rows = parsed("list", what)
    expected = designs() if what == "studies" else registry.index()[KINDS[what]]
    assert [row["name"] for row in rows] == list(expected)


def test_list_shows_parameters_whole() -> None:
    """They are there to be copied, so none ends in an ellipsis."""
    text = re.sub(r"\s", "", call("list", "paradigms").out)
    assert "augmentation=standard|randaugment-mc" in text
    assert "…" not in text


def test_list_holds_methods_of_a_plugin_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    found = {row["name"]: row["summary"] for row in parsed("list", "queries", "--plugin", "mine.py")}
    assert found["mine/wobble"] == "Query the samples that wobble."


def test_show_a_study() -> None:
    shown = parsed("show", "quickstart")
    assert len(shown["runs"]) == 192
    assert len({run["key"] for run in shown["runs"]}) == 192
    said = call("show", "quickstart").out
    assert "192 runs. Estimate what they need: fathom plan quickstart" in said
    assert "random, badge, entropy, bald, core-set" in said


@pytest.mark.parametrize(("name", "words"), [
    ("bald", ("query bald", "Houlsby", "draws=50")), ("digits-lt", ("dataset digits-lt", "rho=10")),
    ("standard", ("paradigm standard", "weight_decay")), ("low", ("regime low", "query_size")),
])  # fmt: skip
def test_show_a_member(name: str, words: tuple[str, ...]) -> None:
    said = call("show", name).out
    assert all(word in said for word in words), said
    (row,) = parsed("show", name)
    assert row["name"] == name
    assert row["summary"] in row["doc"].replace("\n", " ")


def test_show_a_method_of_a_plugin_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    assert "Query the samples that wobble." in call("show", "mine/wobble", "--plugin", "mine.py").out


# ---------------------------------------------------------------------------------------------------------- plan


def test_plan_counts_the_quickstart() -> None:
    """Frozen features on two datasets, 15 seeds of five methods; the other paradigms have two methods and fewer seeds.

    BALD alone needs dropout: where it is, each seed has two first classifiers."""
    plan = parsed("plan", "quickstart", "--no-probe")
    study = load_study("quickstart")
    rounds = dict(registry.find("regime", study.runs[0].regime)[1].arguments)["rounds"]
    assert isinstance(rounds, int)
    assert plan["experiments"] == 2 * 5 * 15 + 2 * (10 + 6 + 5) == 192
    assert plan["trainings"] == 192 * rounds
    assert plan["trainings_shared"] == 192 * (rounds - 1) + 2 * 2 * 15 + 10 + 6 + 5
    assert plan["trainings_search"] == 3 * (2 * 9 + 4 + 2)  # seeds x entries: frozen twice, standard, self-sl
    assert plan["trainings_full_data"] == 5
    assert (plan["pretrainings"], plan["embeddings"]) == (6, 2)
    assert plan["seconds"] is None


def test_the_quickstart_can_decide() -> None:
    """Frozen features most likely do, by the spread that was measured on digits; nothing is hopeless."""
    plan = parsed("plan", "quickstart", "--no-probe")
    headline = {
        test["paradigm"].partition("(")[0]: test for test in plan["proof"]["tests"] if test["kind"] == "headline"
    }
    assert set(headline) == {"frozen", "standard", "self-sl", "semi-sl"}
    assert {test["family"] for test in headline.values()} == {7}
    assert all("measured" in test["source"] for test in headline.values())
    assert headline["frozen"]["power"] > 0.8
    assert all(test["n"] >= 5 for test in headline.values())


def test_plan_takes_the_spread_of_a_finished_study(finished: Path, tmp_path: Path) -> None:
    said = call("plan", "quickstart", "--no-probe", "--from", finished)
    assert said.status == 2
    assert "no spread can be taken from tiny" in said.err
    assert "as given" in call("plan", "quickstart", "--no-probe", "--sd", 0.01).out


def test_plan_counts_labels(tmp_path: Path) -> None:
    path = toml(tmp_path / "tiny.toml")
    plan = parsed("plan", path, "--no-probe", "--workers", 2)
    assert (plan["labels_a_run"], plan["labels"]) == (60 + 40, 2 * (60 + 40))  # validation and last budget
    assert plan["workers"] == 2
    said = call("plan", path, "--no-probe").out
    assert "5 after sharing round 0 (6 without), 0 to search HPs, 1 on all labels" in said
    assert "100 at most by one run, 200 by all runs" in said


def test_plan_with_a_probe_gives_times(tmp_path: Path) -> None:
    path = toml(tmp_path / "tiny.toml")
    plan = parsed("plan", path, "--workers", 0)
    assert plan["seconds"] > 0
    assert plan["workers"] == 1  # this process
    assert all(rate > 0 for rate in plan["rates"].popitem()[1].values())
    assert plan["disk_bytes"] > parsed("plan", path, "--no-probe")["disk_bytes"]  # now with the weights
    assert not (tmp_path / "runs").exists()


# ----------------------------------------------------------------------------------------------------------- run


def test_run_ends_with_the_path_of_its_report(first: tuple[Path, Said]) -> None:
    folder, said = first
    assert said.status == 0, said.err
    assert "2 of 2 runs complete, 6 of 6 trainings" in said.out
    assert said.last_line == "runs/tiny/report/report.html"
    assert "<html" in (folder / said.last_line).read_text()
    assert "tiny: 2 runs: " in said.err


def test_run_again_does_nothing_and_says_the_same(finished: Path, tmp_path: Path) -> None:
    path, out = toml(tmp_path / "tiny.toml"), shutil.copytree(finished, tmp_path / "out")
    before = {p: p.read_bytes() for p in (out / "runs").rglob("*.json")}
    again = call("run", path, "--out", out, "--workers", 0, "--no-report")
    assert again.status == 0
    assert "6 of 6 trainings" in again.last_line
    assert {p: p.read_bytes() for p in (out / "runs").rglob("*.json")} == before


def test_quiet_prints_the_path_alone(finished: Path, tmp_path: Path) -> None:
    path, out = toml(tmp_path / "tiny.toml"), shutil.copytree(finished, tmp_path / "out")
    said = call("run", path, "--out", out, "--workers", 0, "--quiet")
    assert (said.status, said.err) == (0, "")
    assert said.out == f"{out}/report/report.html\n"


def test_json_of_a_run(finished: Path, tmp_path: Path) -> None:
    path, out = toml(tmp_path / "tiny.toml"), shutil.copytree(finished, tmp_path / "out")
    ended = parsed("run", path, "--out", out, "--workers", 0, "--no-report")
    assert ended["finished"] is True
    assert ended["report"] is None
    assert (ended["runs"], ended["complete"], ended["trainings"], ended["committed"]) == (2, 2, 6, 6)


def test_a_failed_run_is_told_and_changes_the_exit_status(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    path = toml(tmp_path / "tiny.toml", queries=["random", "mine/nan"])
    out = tmp_path / "out"
    said = call("run", path, "--out", out, "--workers", 0, "--plugin", "mine.py", "--no-report")
    assert said.status == 3
    assert "failed mine/nan on digits" in said.err
    assert "1 failed; they stay visible in the report" in said.err
    status = call("status", out).out
    assert "1 of 2 runs complete" in status
    assert "failed mine/nan" in status


@fault("identity", "study edited under its results", "refused with the difference")
def test_a_changed_study_is_refused_and_an_extended_one_only_when_asked(finished: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    other = toml(tmp_path / "other.toml", queries=["random", "margin"])
    said = call("run", other, "--out", out, "--workers", 0)
    mistake(said, "holds another study", "query: entropy -> margin", "--out")
    assert "--extend" not in said.err  # it would not help
    more = toml(tmp_path / "more.toml", queries=["random", "entropy", "margin"])
    mistake(call("run", more, "--out", out, "--workers", 0), "query: (none) -> margin", "--extend")
    said = call("run", more, "--out", out, "--workers", 0, "--extend", "--no-report")
    assert said.status == 0, said.err
    assert "3 of 3 runs complete, 8 of 8 trainings" in said.out


@pytest.mark.parametrize("queries", [["mine/late"], ["random", "mine/late"]])
def test_what_is_committed_is_reported_whatever_failed(tmp_path: Path, queries: list[str]) -> None:
    """A run's first round is enough for a report."""
    (tmp_path / "mine.py").write_text(LATE)
    path = toml(tmp_path / "tiny.toml", queries=queries, full_data=0)
    said = call("run", path, "--workers", 0, "--plugin", "mine.py")
    assert said.status == 3
    assert f"{len(queries) - 1} of {len(queries)} runs complete" in said.out
    assert "failed mine/late" in said.err
    assert said.last_line == "runs/tiny/report/report.html"
    assert "mine/late" in (tmp_path / said.last_line).read_text()


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_before_training_says_what_is_safe(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = toml(tmp_path / "tiny.toml"), shutil.copytree(finished, tmp_path / "out")
    monkeypatch.setattr("fathom.engine.local.find_device", interrupt)
    said = call("run", path, "--out", out)
    assert (said.status, said.out) == (130, "")
    again = f"Run the same command again to resume:\n  fathom run {path} --out {out}\n"
    assert said.err.endswith(f"Stopped. 6 rounds are committed in {out}. {again}")
    said = call("run", path, "--out", "new", "--quiet")
    assert said.status == 130
    assert said.err.startswith("Stopped. 0 rounds are committed in new. Run the same command again to resume:\n")


@pytest.mark.parametrize("verb", ["run", "report"])
def test_ctrl_c_while_the_report_is_written_says_how_to_write_it(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    path, out = toml(tmp_path / "tiny.toml"), shutil.copytree(finished, tmp_path / "out")
    monkeypatch.setattr(importlib.import_module("fathom.report.report"), "report", interrupt)
    words = ("run", path, "--out", out, "--workers", 0) if verb == "run" else ("report", out)
    said = call(*words)
    assert said.status == 130
    assert said.err.endswith(f"Stopped. All rounds are kept in {out}. Write the report with:\n  fathom report {out}\n")
    assert ("6 of 6 trainings" in said.out) == (verb == "run")  # printed before the report is written


def test_ctrl_c_elsewhere_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fathom.data.check.check_data", interrupt)
    assert call("check-data", "digits") == (130, "", "Stopped.\n")


# ------------------------------------------------------------------------------------------------ status, report


def test_status(finished: Path) -> None:
    assert "2 of 2 runs complete" in call("status", finished).out
    shown = parsed("status", finished)
    assert [(run["query"], run["rounds"], run["of"]) for run in shown["runs"]] == [("random", 3, 3), ("entropy", 3, 3)]
    shared = {kind: count for kind, count in shown["shared"].items() if count}
    assert shared == {"hp-choice": 1, "round-0": 1, "full-data": 1}
    assert shown["in_progress"] == []
    assert shown["failures"] == []
    tasks = shown["tasks"]
    assert tasks["kinds"]["run"] == {"done": 2, "running": 0, "waiting": 0, "blocked": 0, "failed": 0}
    assert (tasks["trainings"], tasks["of"], tasks["seconds_left"]) == (6, 6, 0.0)


def test_status_of_a_study_half_done(finished: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    (out / "runs" / Store.open(out).study.runs[1].key / "round-02.json").unlink()
    shown = parsed("status", out)
    assert [run["rounds"] for run in shown["runs"]] == [3, 2]
    assert shown["tasks"]["jobs"]["waiting"] == 1
    assert shown["tasks"]["seconds_left"] > 0
    said = call("status", out).out
    assert "1 of 2 runs complete" in said
    assert "5 of 6 trainings, " in said
    assert "left with 1 worker; no worker runs now" in said
    (out / "jobs.json").unlink()  # as in a store of an older version
    assert parsed("status", out)["tasks"] is None


@fault("store", "damaged store that is only read", "warned, nothing moved")
def test_looking_at_a_damaged_store_moves_nothing(finished: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "out", ignore=shutil.ignore_patterns("report"))
    damaged = out / "runs" / Store.open(out).study.runs[1].key / "round-02.json"
    damaged.write_text("damaged")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        for verb in ("status", "status", "report"):
            said = call(verb, out)
            assert said.status == 0, said.err
            assert said.err.startswith(f"warning: {damaged}: cannot be read") == (verb == "status")
    assert "Damaged file, left out of this report" in (out / "report/report.html").read_text()
    assert damaged.read_text() == "damaged"
    assert not (out / "quarantine").exists()


def test_a_damaged_study_file_is_told_and_mended_by_the_same_run(finished: Path, tmp_path: Path) -> None:
    path, out = toml(tmp_path / "tiny.toml"), shutil.copytree(finished, tmp_path / "out")
    (out / "study.json").write_text("damaged")
    for verb in ("status", "status", "report"):
        mistake(call(verb, out), "study.json", "cannot be read", f"fathom run STUDY --out {out}")
    other = toml(tmp_path / "other.toml", queries=["random", "margin"])
    mistake(call("run", other, "--out", out), "1 of the 2 runs here are not of this study", "query: entropy -> margin")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        said = call("run", path, "--out", out, "--workers", 0, "--no-report")
    assert said.status == 0, said.err
    assert "written again, as all 2 runs here are of this study" in said.err
    assert "6 of 6 trainings" in said.out
    assert "2 of 2 runs complete" in call("status", out).out


def test_report_writes_page_tables_and_figures(finished: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "out", ignore=shutil.ignore_patterns("report"))
    page = Path(parsed("report", out)["report"])
    assert page == out / "report/report.html"
    made = {p.suffix for p in page.parent.rglob("*") if p.is_file()}
    assert {".html", ".csv", ".parquet", ".svg", ".pdf", ".tex"} <= made


# -------------------------------------------------------------------------------------------------------- checks


def test_check_data_of_the_digits() -> None:
    said = call("check-data", "digits")
    assert said.status == 0, said.out
    found = parsed("check-data", "digits")
    assert found["problems"] == [] or {p["severity"] for p in found["problems"]} == {"warning"}


@fault("data", "truncated, empty or renamed image", "every such file named, none skipped silently")
def test_check_data_finds_a_truncated_image(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for i in range(24):
        path = tmp_path / "images" / ("cat" if i % 2 else "dog") / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(path)
    whole = call("check-data", "folder(path=images)")
    assert whole.status == 0, whole.out
    broken = tmp_path / "images/cat/1.jpg"
    broken.write_bytes(broken.read_bytes()[:-300])
    said = call("check-data", "folder(path=images)")
    assert said.status == 1
    assert "cat/1.jpg" in said.out
    assert "Traceback" not in said.out + said.err
    problems = json.loads(call("check-data", "folder(path=images)", "--json").out)["problems"]
    assert any(p["severity"] == "error" and "1.jpg" in p["message"] for p in problems)


def test_check_data_of_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in [*(f"cat/{i}.png" for i in range(30)), "dog/0.png"]:
        (tmp_path / "one" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(tmp_path / "one" / name)
    said = call("check-data", "folder(path=one)")
    assert "no built-in regime fits the splits of seeds 0 to 9" in said.out
    for i, name in enumerate(("train/cat", "train/dog", "test/cat", "test/dog")):
        (tmp_path / "few" / name).mkdir(parents=True)
        shutil.copy(tmp_path / f"one/cat/{i}.png", tmp_path / "few" / name)
    held_out = call("check-data", "folder(path=few)")
    assert held_out.status == 1
    assert "expected images on both sides. Add images: each class has only one" in held_out.out
    mistake(call("check-data", "folder(path=one, size=4)"), "size is 4; expected auto or a whole number")
    mistake(call("check-data", "folder(path=one, test_fraction=none)"), "test_fraction expects float", "got none")


@fault(
    "methods", "plug-in with a taken name, a wrong signature or an error", "refused before training, with file and line"
)
def test_a_plugin_that_raises_is_a_mistake_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "boom.py").write_text(PLUGIN + "\n1 / 0\n")
    where = ("boom.py, line 15", "ZeroDivisionError")
    mistake(call("check-query", "boom.py"), *where)
    path = toml(tmp_path / "tiny.toml", queries=["random", "boom/wobble"])
    mistake(call("run", path, "--workers", 0, "--plugin", "boom.py"), *where)
    assert not list(tmp_path.rglob("round-*.json"))
    (tmp_path / "latin.py").write_bytes(("# caf\xe9\n" + PLUGIN).encode("latin-1"))
    mistake(call("list", "--plugin", "latin.py"), "cannot read", "latin.py", "UTF-8")


def test_check_query_of_a_built_in_method() -> None:
    said = call("check-query", "entropy")
    assert (said.status, said.out) == (0, "entropy: keeps the contract\n")


def test_check_query_of_a_file_says_what_is_wrong_with_which_method(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    said = call("check-query", "mine.py")
    assert said.status == 1
    assert "mine/wobble: keeps the contract" in said.out
    assert "mine/nan: " in said.out
    assert "not finite" in said.out
    found = json.loads(call("check-query", "mine.py", "--json").out)
    assert found["mine/wobble"] == []
    assert found["mine/nan"]


# ------------------------------------------------------------------------------------------------------ mistakes


def mistake(said: Said, *words: str) -> None:
    """One clear message on standard error, nothing on standard output, and an exit status for scripts."""
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", said.err).split())
    assert said.status == 2
    assert said.out == ""
    assert "Traceback" not in text
    assert len(re.findall(r"\berror\b", text.lower())) == 1, text
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"


@MALFORMED_STUDY
@pytest.mark.parametrize(("words", "expected"), [
    ("run quikstart", ("unknown study 'quikstart'", "Did you mean 'quickstart'?")),
    ("plan quikstart", ("unknown study 'quikstart'", "Did you mean 'quickstart'?")),
    ("show entropi", ("nothing is called 'entropi'", "Did you mean 'entropy'?")),
    ("run absent.toml", ("no study file absent.toml",)),
    ("show absent.toml", ("no study file absent.toml",)),
    ("frobnicate", ('Unknown command "frobnicate"', "check-data")),
    ("run quickstart --nope", ("Unknown option", "--nope")),
    ("run", ("STUDY", "requires an argument")),
    ("run quickstart --workers -1", ("--workers", ">= 0")),
    ("run quickstart --threads 0", ("--threads", ">= 1")),
    ("run quickstart --workers two", ("--workers", "two")),
    ("run quickstart --device cuda:9", ("'cuda:9' cannot be used", "Use one of: cpu")),
    ("list querys", ('"querys"', '"queries"')),
    ("list --plugin absent.py", ("absent.py", "expected a .py file")),
    ("status .", ("holds no study", "fathom run STUDY --out")),
    ("report absent", ("absent holds no study",)),
    ("check-data digitz", ("Did you mean 'digits'?",)),
    ("check-data folder(path=absent)", ("absent",)),
    ("check-data digits-lt(rho=none)", ("rho expects float", "got none")),
    ("check-query entropi", ("Did you mean 'entropy'?",)),
    ("check-query bald(drews=3)", ("drews", "draws")),
    ("run cifar10-standard", ("cifar-10-batches-py", "--data", "--download")),
    ("plan quickstart --only dataset=digit", ("Did you mean 'digits'?",)),
    ("plan quickstart --only colour=red", ("expected AXIS=VALUE", "dataset, paradigm, query, regime, seed")),
    ("plan quickstart --profile h20", ("no profile", "h200")),
    ("plan quickstart --no-probe --effect 1", ("a point is .01",)),
    ("plan quickstart --no-probe --sd 1", ("a point is .01",)),
    ("plan quickstart --no-probe --from nowhere", ("nowhere",)),
])  # fmt: skip
def test_mistakes(words: str, expected: tuple[str, ...]) -> None:
    mistake(call(*words.split()), *expected)


@MALFORMED_STUDY
@pytest.mark.parametrize(("changes", "expected"), [
    ({"querys": ["random"]}, ("querys: unknown key", "Did you mean 'queries'?")),
    ({"queries": ["random", "entropi"]}, ("queries[1]", "Did you mean 'entropy'?")),
    ({"seeds": 0}, ("seeds: expected a number of seeds",)),
    ({"regimes": ["custom(start=20, query_size=900, rounds=9, val_size=60)"]}, ("does not fit", "custom(")),
])  # fmt: skip
def test_mistakes_in_a_study_file(tmp_path: Path, changes: dict[str, object], expected: tuple[str, ...]) -> None:
    path = toml(tmp_path / "tiny.toml", **changes)
    mistake(call("run", path, "--workers", 0), *expected)
    assert not list(tmp_path.rglob("round-*.json"))


@MALFORMED_STUDY
def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text("name = \n")
    mistake(call("run", "tiny.toml"), "tiny.toml is not valid TOML", "line 1")


def test_a_folder_with_other_things_is_not_written_to(tmp_path: Path) -> None:
    path = toml(tmp_path / "tiny.toml")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").write_bytes(b"")
    mistake(call("run", path, "--out", "photos"), "photos is not empty and holds no study")
    assert [p.name for p in (tmp_path / "photos").iterdir() if p.is_file()] == ["cat.jpg"]


# ------------------------------------------------------------------------------------------------------- plug-ins

LOUD = '''"""A plug-in that prints in every way, and leaves a thread."""
import atexit, os, subprocess, threading
import fathom
print("at import")
atexit.register(lambda: print("at the end"))

@fathom.score("talks")
def talks(view):
    """Prints."""
    print("in a call")
    os.write(1, b"past Python\\n")
    subprocess.run(["echo", "in a child"])
    return view.log_probs[:, 0, 0].exp()

@fathom.score("stays")
def stays(view):
    """Leaves a thread that never ends."""
    threading.Thread(target=threading.Event().wait).start()
    return view.log_probs[:, 0, 0].exp()

@fathom.score("leaves")
def leaves(view):
    """Leaves the program."""
    raise SystemExit(0)
'''


@fault(
    "methods", "a plug-in prints, leaves a thread, calls sys.exit", "JSON alone on stdout, findings, an end", cases=1
)
@pytest.mark.parametrize(
    "words", ["check-query FILE", "run STUDY --workers 0", "run STUDY --workers 1"][: number(2, 3)]
)
def test_a_plugin_cannot_spoil_or_stop_the_output(words: str, tmp_path: Path) -> None:
    file, out = tmp_path / "loud.py", tmp_path / "out"
    file.write_text(LOUD)
    path = toml(tmp_path / "tiny.toml", queries=["random", "loud/talks", "loud/stays", "loud/leaves"])
    more = ["--plugin", str(file), "--out", str(out), "--no-report"] if "run" in words else []
    command = [{"FILE": str(file), "STUDY": str(path)}.get(word, word) for word in words.split()]
    done = subprocess.run(
        [sys.executable, "-m", "fathom.cli", *command, "--json", *more], capture_output=True, text=True, timeout=300
    )
    found = json.loads(done.stdout)
    assert all(text in done.stderr for text in ("at import", "in a call", "past Python", "in a child"))
    if "run" in words:
        assert (done.returncode, found["complete"], len(found["failures"])) == (3, 3, 1)
    else:
        assert done.returncode == 1
        assert found["loud/talks"] == []
        assert "leaves a thread running" in found["loud/stays"][0]
        assert "SystemExit(0)" in found["loud/leaves"][0]


# --------------------------------------------------------------------------------------------------------- speed


def test_version() -> None:
    assert call("--version").out.strip() == fathom.__version__


@pytest.mark.parametrize("words", ["--help", "list", "show quickstart", "status FOLDER"])
def test_looking_things_up_needs_no_torch(words: str, finished: Path) -> None:
    arguments = [str(finished) if word == "FOLDER" else word for word in words.split()]
    code = (
        "import sys; from fathom import cli\ntry: cli.main()\nfinally: print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}
    )
    assert (done.returncode, done.stderr.strip()) == (0, "False")
    assert done.stdout.strip()
