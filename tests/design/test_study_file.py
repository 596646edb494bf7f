"""Study files: what they mean, and how their mistakes are told."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.faults import fault

from fathom.core.records import FathomError, RunSpec, Study
from fathom.design import study_file
from fathom.design.study_file import designs, load_study
from fathom.registry import registry
from fathom.registry.registry import Entry

MALFORMED_STUDY = fault("input", "malformed study file", "one error with all mistakes and the nearest name")

AXES = {"datasets": ["digits"], "regimes": ["low"], "paradigms": ["standard"], "queries": ["random", "bald"]}


@pytest.fixture
def members(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small registry of known members, so that these tests do not depend on which methods are built in."""
    known: dict[str, dict[str, dict[str, Any]]] = {
        "dataset": {"digits": {}, "digits-lt": {"rho": 10.0}, "folder": {"path": ""}},
        "regime": {"low": {"rounds": 10, "query_size": 0}},
        "paradigm": {"standard": {"recipe": "study", "lr": (0.1, 0.01)}},
        "query": {"random": {}, "entropy": {}, "bald": {"draws": 50}, "my_al/margin": {}},
    }
    entries = {
        kind: {n: Entry(kind, n, "m", Path("m.py"), 1, "f", "", {}, p) for n, p in found.items()}
        for kind, found in known.items()
    }
    monkeypatch.setattr(registry, "index", cache(lambda: entries))  # refreshed as the real one is


def write(folder: Path, text: str = "", **values: Any) -> Path:
    """A study file of the axes above, changed by `values`, and `text` after it."""
    keys: dict[str, Any] = {"name": "mine", **AXES, "seeds": 2} | values
    lines = [f"{k} = {v if isinstance(v, int) else repr(v)}" for k, v in keys.items() if v is not None]
    path = folder / "study.toml"
    path.write_text("\n".join(lines).replace("'", '"') + "\n" + text)
    return path


@pytest.mark.usefixtures("members")
def test_all_methods_of_a_seed_come_before_the_next_seed(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, datasets=["digits", "digits-lt"]))
    assert [(r.dataset, r.seed, r.query) for r in study.runs] == [
        (d, s, q) for d in ("digits", "digits-lt") for s in (0, 1) for q in ("random", "bald")
    ]
    assert (study.name, study.baseline, study.full_data) == ("mine", "random", 1)
    assert Study.from_json(study.to_json()) == study


@pytest.mark.usefixtures("members")
def test_overrides_reach_every_call_of_their_name_and_yield_to_what_it_says(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "[overrides.low]\nrounds = 8\nquery_size = 25\n[overrides.standard]\nlr = [0.1, 0.5]",
        regimes=["low", "low(rounds=3)"],
    )
    study = load_study(path)
    assert {r.regime for r in study.runs} == {"low(query_size=25, rounds=8)", "low(query_size=25, rounds=3)"}
    assert {r.paradigm for r in study.runs} == {"standard(lr=0.1|0.5)"}


@pytest.mark.usefixtures("members")
def test_spellings_are_canonical_and_duplicates_removed(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, regimes=["low( query_size=25,rounds=3 )", "low(rounds=3, query_size=25)"]))
    assert {r.regime for r in study.runs} == {"low(query_size=25, rounds=3)"}
    assert len(study.runs) == len(set(study.runs)) == 4


@pytest.mark.usefixtures("members")
def test_run_entries_take_missing_axes_from_the_top(tmp_path: Path) -> None:
    path = write(tmp_path, '[[run]]\nseeds = [7]\ndatasets = ["digits-lt"]\nqueries = ["my_al/margin"]')
    study = load_study(path)
    assert RunSpec("digits-lt", "low", "standard", "my_al/margin", 7) == study.runs[-1]
    assert len(study.runs) == 5


@pytest.mark.usefixtures("members")
def test_datasets_have_names_that_decide_nothing(tmp_path: Path) -> None:
    def study(entry: str, more: str = "") -> Study:
        return load_study(write(tmp_path, f"[[run]]\ndatasets = [{entry}]\n{more}", datasets=None))

    plain = study("\"folder(path='a b')\", 'digits'")
    named = study("{data = \"folder(path='a b')\", name = 'Skin lesions'}, 'digits'")
    assert named.runs == plain.runs
    assert named.names == {"folder(path='a b')": "Skin lesions"}
    again = study("{data = 'digits-lt', name = 'Tail'}", "[overrides.digits-lt]\nrho = 5.0")
    assert {run.dataset for run in again.runs} == set(again.names)
    assert list(again.names.values()) == ["Tail"]
    with pytest.raises(FathomError, match="digits has two names, 'A' and 'B'; expected one"):
        study("{data = 'digits', name = 'A'}, {data = 'digits', name = 'B'}")
    with pytest.raises(FathomError, match="several datasets have the name 'A'"):
        study("{data = 'digits', name = 'A'}, {data = 'digits-lt', name = 'A'}")


@pytest.mark.usefixtures("members")
def test_without_a_cross_product_only_the_run_entries_count(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, '[[run]]\ndatasets = ["digits"]', datasets=None))
    assert len(study.runs) == 4


@pytest.mark.usefixtures("members")
def test_a_relative_path_stays_as_it_is_written(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace('"digits"', "'folder(path=\"../a b/c\")'"))
    assert {r.dataset for r in load_study(path).runs} == {"folder(path=../a b/c)"}


@MALFORMED_STUDY
@pytest.mark.usefixtures("members")
def test_all_mistakes_are_told_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "[overrides.lwo]\nrounds = 8\n[overrides.standard]\nlearning = 1",
        queries=["random", "bold"],
        datasets=["digits(rho=2)"],
        baseline="randm",
        seeds=[0, 0],
    )
    with pytest.raises(FathomError) as error:
        load_study(path)
    text = str(error.value)
    assert str(path) in text
    assert "queries[1]: unknown query 'bold'. Did you mean 'bald'?" in text
    assert "datasets[0]: dataset 'digits' has no parameter 'rho'" in text
    assert "baseline: unknown query 'randm'. Did you mean 'random'?" in text
    assert "seeds: expected a number of seeds or a list of distinct seeds; got [0, 0]" in text
    assert "overrides.lwo: nothing in this study has that name. Did you mean 'low'?" in text
    assert "overrides.standard: paradigm 'standard' has no parameter 'learning'" in text
    assert len(text.splitlines()) == 7


@MALFORMED_STUDY
@pytest.mark.usefixtures("members")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("querys = []", "querys: unknown key. Did you mean 'queries'?"),
        ("[[run]]\nquerys = []", "run[0].querys: unknown key. Did you mean 'queries'?"),
        ("full_data = -1", "full_data: input should be greater than or equal to 0; got -1"),
        ("[overrides.low]\nrounds = {a = 1}", "overrides.low.rounds: expected a number, true, false, a string"),
        (
            '[[run]]\ndatasets = [{data = "digits"}]',
            'run[0].datasets[0]: expected "DATASET" or {data = "DATASET", name =',
        ),
        ('[[run]]\ndatasets = [{data = "digits", name = " "}]', "run[0].datasets[0]: expected"),
        ("[[run]]\ndatasets = [3]", "run[0].datasets[0]: expected"),
        ("baseline = 3", "baseline: input should be a valid string; got 3"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(FathomError) as error:
        load_study(write(tmp_path, text))
    assert expected in str(error.value)
    assert len(str(error.value).splitlines()) == 2


@MALFORMED_STUDY
@pytest.mark.usefixtures("members")
@pytest.mark.parametrize("seeds", ["0", "-1", "[]", "[-1]", "[1.5]", '"three"', "true"])
def test_seeds_are_a_number_or_distinct_numbers(tmp_path: Path, seeds: str) -> None:
    path = write(tmp_path, seeds=None)
    path.write_text(f"seeds = {seeds}\n" + path.read_text())
    with pytest.raises(FathomError, match="seeds"):
        load_study(path)


@pytest.mark.usefixtures("members")
def test_missing_axes_are_told(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=r"datasets, queries: missing, and there is no \[\[run\]\]"):
        load_study(write(tmp_path, datasets=None, queries=None))
    with pytest.raises(FathomError, match=r"run\[0\]: datasets: given neither here nor at the top level"):
        load_study(write(tmp_path, "[[run]]\nseeds = 1", datasets=None))
    with pytest.raises(FathomError, match="name: missing"):
        load_study(write(tmp_path, name=None))


@MALFORMED_STUDY
def test_broken_toml_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text('name = "a"\nseeds = = 3\n')
    with pytest.raises(FathomError, match=r"line 2"):
        load_study(path)


def test_an_unknown_study_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="Did you mean 'quickstart'"):
        load_study("quikstart")
    with pytest.raises(FathomError, match="no study file"):
        load_study(tmp_path / "absent.toml")


def test_built_in_studies_load() -> None:
    found = designs()
    assert {"quickstart", "cifar10-standard"} <= set(found)
    for name, title in found.items():
        study = load_study(name)
        assert title == study.title
        assert study.runs
        assert study.baseline in {r.query for r in study.runs}


def test_a_study_in_a_sub_folder_carries_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "paper"
    folder.mkdir()
    (folder / "main.toml").write_text((study_file.DESIGNS / "quickstart.toml").read_text())
    monkeypatch.setattr(study_file, "DESIGNS", tmp_path)
    assert list(designs()) == ["paper/main"]
    assert load_study("paper/main").name == "quickstart"


def test_a_study_is_given_back() -> None:
    study = Study("a", (RunSpec("d", "r", "p", "q", 0),))
    assert load_study(study) is study
