"""Report of complete and broken studies: safe to open, and no claim beyond what the runs show."""

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from unittest.mock import ANY

import pandas as pd
import pytest
from tests.faults import fault
from tests.results.synthetic import CLASSES, Plan, build, put_environment

from fathom.core.records import FathomError, RunSpec, Study
from fathom.report import report as report_module
from fathom.report.drawing import Drawing
from fathom.report.report import _write_all, report
from fathom.report.setting_tables import hparam_table, setting_table
from fathom.report.summary import classifier_note, summary, warnings
from fathom.report.tables import ReportTable, TableCell
from fathom.results.results import StudyResults
from fathom.store.store import Store
from fathom.store.tables import read_rounds, rounds_table

SPARSE_STUDY = fault(
    "report",
    "one seed, one method, one round, missing or failed runs",
    "written; p-values refused with the reason, no mean over an incomplete design",
)
OFFLINE_REPORT = fault("report", "report opened without network", "one file that asks for nothing")

SMALL = Plan(datasets=("digits",), queries=("random", "badge"), seeds=2, rounds=3, classes=CLASSES[:3])
FILES = re.compile(r"[\w-]+\.(csv|json|toml|parquet)|(tables|figures)/[\w-]+\.(tex|svg|pdf)")
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Text, tags and nesting of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data


def read(out: Path) -> Page:
    """The page alone, without the files beside it."""
    return made(out)[0]


def made(out: Path) -> tuple[Page, dict[str, ReportTable]]:
    """The page and the tables in it by name."""
    page = report_module.Page(StudyResults.of(out))
    return Page(page.html()), {table.name: table for table in page.tables}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("full")
    build(out, Plan(rounds=4, queries=("random", "bald", "badge"), classes=CLASSES[:4]))
    with pytest.MonkeyPatch.context() as patch:  # fonts take long; that a PDF is one is tested where it is drawn
        patch.setattr(Drawing, "pdf", lambda self: b"%PDF of " + self.name.encode())
        report(out)
    return out


def test_it_writes_what_it_says(full: Path) -> None:
    folder = full / "report"
    assert {p.name for p in folder.iterdir()} == {
        "report.html", "results.csv", "results.parquet", "picks.csv", "statistics.json",
        "statistics.csv", "study.toml", "files.json",
        "figures", "tables"}  # fmt: skip
    assert {p.suffix for p in (folder / "figures").iterdir()} == {".svg", ".pdf"}
    assert (
        len(list((folder / "figures").iterdir())) == 14
    )  # two settings of three and the penalty matrix, each in two files
    assert (folder / "figures" / "penalty.pdf").read_bytes() == b"%PDF of penalty"
    table = rounds_table(Store.open(full))
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "results.parquet"), table, check_dtype=False)
    assert len(pd.read_csv(folder / "results.csv")) == len(table) == 72
    tex = (folder / "tables" / "digits-low-standard.tex").read_text()
    assert tex.count(r"\\") == 4
    assert r"\toprule" in tex
    assert r"$\pm$" in tex


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def copied(full: Path, tmp_path: Path, undrawn: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study with its report, whose figures need no drawing."""
    monkeypatch.setattr(Drawing, "pdf", lambda self: b"%PDF of " + self.name.encode())
    return shutil.copytree(full, tmp_path / "study")


@fault("report", "files that the report did not write", "they stay; only what its own list names is removed", cases=6)
def test_a_report_removes_nothing_but_what_its_list_names(copied: Path) -> None:
    folder = copied / "report"
    old = json.loads((folder / "files.json").read_text())
    mine = {"figures/mine.svg": b"1", "tables/notes.tex": b"2", "figures/deep/x.pdf": b"3", "own.txt": b"4"}
    for name, data in mine.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    stale = {f"figures/99-{word}.svg": word.encode() for word in ("gone", "edited", "linked")}
    for name, data in stale.items():
        (folder / name).write_bytes(data)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in stale.items()}
    # A list may come from elsewhere: names outside of the report do not count.
    for name, path in (("../study.json", copied / "study.json"), ("own.txt", folder / "own.txt")):
        digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "files.json").write_text(json.dumps(old | digests))
    (folder / "figures/99-edited.svg").write_text("edited since")
    (folder / "figures/99-linked.svg").rename(copied / "elsewhere.svg")
    (folder / "figures/99-linked.svg").symlink_to(copied / "elsewhere.svg")
    report(copied)
    left = files_of(folder)
    assert mine.items() <= left.items()
    assert "figures/99-gone.svg" not in left
    assert left["figures/99-edited.svg"] == b"edited since"
    assert (copied / "elsewhere.svg").read_bytes() == b"linked"
    assert (copied / "study.json").is_file()
    assert set(json.loads(left["files.json"])) <= set(left)


@fault("report", "a report folder or file that is a link", "refused; nothing is written or removed anywhere")
@pytest.mark.parametrize("name", [".", "figures", "tables", "report.html", "files.json"])
def test_a_report_follows_no_links(copied: Path, tmp_path: Path, name: str) -> None:
    path = copied / "report" / name
    path.rename(tmp_path / "away")
    path.symlink_to(tmp_path / "away")
    before = files_of(tmp_path)
    with pytest.raises(FathomError, match=r"is a link to .*away, and a report follows no links"):
        report(copied)
    assert files_of(tmp_path) == before


@OFFLINE_REPORT
def test_it_is_one_file_that_asks_nothing_of_the_network(full: Path) -> None:
    html = (full / "report" / "report.html").read_text()
    assert len(html) < 10_000_000
    page = Page(html)
    assert not {"img", "link", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    outside = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)  # scripts: tests/report/test_explore_page.py
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\((?!#)", outside)
    for tag, attributes in page.tags:
        assert not [a for a in attributes if a.startswith("on") or a == "src"], tag
        assert (attributes.get("href") or "#").startswith("#") or FILES.fullmatch(attributes["href"] or "")
    assert [a.get("type") for tag, a in page.tags if tag == "script"] == ["application/json", None, None, None]


@OFFLINE_REPORT
def test_its_policy_allows_its_own_scripts_and_no_other(full: Path) -> None:
    html = (full / "report" / "report.html").read_text()
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    policy = re.search(r'content="(default-src .*?)"', html)
    assert policy is not None
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    assert len(hashes) == 3
    assert set(re.findall(r"'sha256-([^']+)'", unescape(policy[1]))) == set(hashes)
    assert policy[1].startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-")
    assert policy[1].count("unsafe") == 1


@fault("report", "hostile names", "escaped")
def test_names_are_escaped(full: Path) -> None:
    html = (full / "report" / "report.html").read_text()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_ids_are_distinct_links_lead_somewhere_and_tables_have_headers(full: Path) -> None:
    page = Page((full / "report" / "report.html").read_text())
    ids = [a["id"] for _, a in page.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    links = {a["href"] for t, a in page.tags if t == "a" and a.get("href")}
    assert {link for link in links if link.startswith("#")} <= {f"#{name}" for name in ids}
    files = [link for link in links if not link.startswith("#")]
    assert {"picks.csv", "study.toml", "tables/verdicts.tex", "figures/penalty.pdf"} <= set(files)
    assert all((full / "report" / link).is_file() for link in files)


def test_headings_are_in_order_and_landmarks_have_names(full: Path) -> None:
    page = Page((full / "report" / "report.html").read_text())
    levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(deeper - level <= 1 for level, deeper in pairwise(levels))
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in page.tags}
    assert all(a.get("aria-label") or a.get("aria-labelledby") for tag, a in page.tags if tag in ("section", "nav"))
    order = ["answer", "curves", "penalty", "audit", "hparams", "bought", "times", "wrong", "methods", "computed"]
    ids = [a["id"] for _, a in page.tags if a.get("id")]
    assert sorted(order, key=ids.index) == order
    assert sum(t == "table" for t, _ in page.tags) == sum(t == "caption" for t, _ in page.tags) >= 6
    assert all(a.get("scope") in ("col", "row") for t, a in page.tags if t == "th")
    assert all(a.get("aria-label") for t, a in page.tags if t == "svg")


def test_it_says_what_must_be_known(full: Path) -> None:
    text = Page((full / "report" / "report.html").read_text()).text
    assert "support no claim about the published settings" in text
    assert "short: 60 steps a training" in text
    assert "Is active learning worth it here?" in text
    assert "BADGE has the largest gain: +" in text
    assert text.count("Test set: 360 images.") >= 2 * 4  # curves, gains and both tables of each setting
    assert "None: every run of the study is complete" in text
    assert "(n = 3 seeds), 3 budgets each" in text
    assert "A processor" in text
    assert "88b3bff" in text


@pytest.mark.usefixtures("undrawn")
def test_the_same_store_gives_the_same_page(full: Path) -> None:
    # That the same table gives the same drawings is tested where they are drawn.
    first, again = (report_module.Page(StudyResults.of(full)).html() for _ in range(2))
    assert first == again


@pytest.mark.usefixtures("undrawn")
def test_numbers_in_the_page_are_those_of_the_table(tmp_path: Path) -> None:
    build(tmp_path, SMALL)
    text = re.sub(r"\s+", " ", read(tmp_path).text)
    frame = read_rounds(tmp_path)
    final = frame[(frame["query"] == "badge") & (frame["round"] == 2)].set_index("seed")["score"]
    base = frame[(frame["query"] == "random") & (frame["round"] == 2)].set_index("seed")["score"]
    assert f"{100 * final.mean():.1f} ±" in text
    assert f"{100 * (final - base).mean():+.1f} [".replace("-", "\u2212") in text


@SPARSE_STUDY
def test_a_study_without_a_single_round(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.begin(Study("empty", (RunSpec("digits", "low", "standard", "random", 0),)))
    page = Page(report(tmp_path).read_text(encoding="utf-8"))
    assert "No round is committed yet" in page.text
    assert "1 of 1 runs are not complete" in page.text
    assert pd.read_parquet(tmp_path / "report" / "results.parquet").empty


@SPARSE_STUDY
@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 1},
        {"queries": ("random",)},
        {"rounds": 1},
        {"noise": 0.0, "effect": lambda query: 0.0},
        {"classes": [f"class {c}" for c in range(50)]},
    ],
    ids=lambda c: ",".join(f"{k}" for k in c),
)
def test_the_smallest_and_oddest_studies(tmp_path: Path, change: dict[str, object]) -> None:
    says_numbers_only(tmp_path, change)


@SPARSE_STUDY
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "change",
    [
        {"queries": ("badge", "bald")},
        {"rounds": 2},
        {"noise": 0.0},
        {"queries": ("random", "my_al/margin", "bald(draws=20)"), "recipe": "study"},
    ],
    ids=str,
)
def test_studies_that_are_odd_in_words_alone(tmp_path: Path, change: dict[str, object]) -> None:
    says_numbers_only(tmp_path, change)


def says_numbers_only(out: Path, change: dict[str, object]) -> None:
    build(out, replace(SMALL, **change))  # type: ignore[arg-type]
    text = read(out).text
    assert "nan" not in text.lower().split()
    assert "inf" not in text.lower().split()
    assert "How to reproduce it" in text


@SPARSE_STUDY
@pytest.mark.usefixtures("undrawn")
def test_a_study_half_done_says_what_is_missing(tmp_path: Path) -> None:
    def stop(spec: RunSpec) -> int | None:
        return {("badge", 1): 2, ("badge", 2): 0}.get((spec.query, spec.seed))

    store = build(tmp_path, replace(SMALL, seeds=3, stop=stop))
    failed = store.study.runs[3]
    content = {"job": f"runs/{failed.key}", "what": str(failed), "kind": "run", "setting": list(failed.setting)}
    content |= {"query": failed.query, "seed": failed.seed, "error": "NonFiniteError", "message": "loss <b>NaN</b>"}
    store.fail("run-abc", content | {"traceback": ""}, {"session": "s", "finished": "2026-11-22T23:00:00+00:00"})
    page = read(tmp_path)
    assert "2 of 6 runs are not complete" in page.text
    assert "2 of 3 rounds" in page.text
    assert "not started" in page.text
    assert "1 of 3" in page.text  # complete seeds of BADGE
    assert "NonFiniteError" in page.text
    assert "loss <b>NaN</b>" in page.text
    assert "1 failed attempt without a later success" in page.text
    assert "complete seeds of badge: 1" in page.text


@fault("report", "damaged round in a report", "told, its run counts as open")
@pytest.mark.usefixtures("undrawn")
def test_a_damaged_round_is_told_and_its_run_counts_as_open(tmp_path: Path) -> None:
    store = build(tmp_path, SMALL)
    path = tmp_path / "runs" / store.study.runs[0].key / "round-02.json"
    path.write_text(path.read_text().replace('"round": 2', '"round": 1'))
    text = read(tmp_path).text
    assert "1 of 4 runs are not complete" in text
    assert "SHA-256 differs" in text
    assert "1 damaged file left out" in text


def test_a_baseline_that_was_not_run_is_told(tmp_path: Path) -> None:
    build(tmp_path, replace(SMALL, baseline="margin"))
    results = StudyResults.of(tmp_path)
    assert "The baseline Margin was not run" in summary(results)[0]
    assert "is not among the query methods" in dict(warnings(results))["No baseline"]


def test_methods_with_dropout_are_told_apart(tmp_path: Path) -> None:
    build(tmp_path / "a", replace(SMALL, queries=("random", "bald(draws=20)")))
    assert "dropout 0.5 for BALD (draws=20); no dropout for Random" in classifier_note(StudyResults.of(tmp_path / "a"))
    build(tmp_path / "b", replace(SMALL, queries=("random", "bald(draws=20)"), paradigms=("standard(dropout=all)",)))
    assert classifier_note(StudyResults.of(tmp_path / "b")) == ""


def test_a_diverged_entry_and_a_grid_of_one_are_shown(tmp_path: Path) -> None:
    store = build(tmp_path, replace(SMALL, paradigms=("standard(recipe=short)",)))
    name, (content, _) = next(iter(store.records("shared/hp-choice").items()))
    path = tmp_path / "shared" / "hp-choice" / f"{name}.json"

    def hparams() -> str:
        table = hparam_table(StudyResults.of(tmp_path), store.study.settings[0], "hparams")
        assert table is not None
        return table.caption + " ".join(cell.text for row in table.rows for cell in row)

    path.unlink()
    content["table"][2] |= {"scores": [0.5, None, 0.4], "mean": None}
    store.put(f"shared/hp-choice/{name}", content)
    assert "diverged" in hparams()
    path.unlink()
    only = {"hparams": content["chosen"], "scores": [], "mean": None}
    store.put(f"shared/hp-choice/{name}", content | {"table": [only], "seeds": []})
    assert "the grid has one entry" in hparams()


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="holds no study"):
        report(tmp_path)


LONG = "standard(augmentation=standard, batch_size=64, epoch_size=512, epochs=12, lr=0.03|0.01, network=cnn)"
TABLE = "table(path=lesions.csv, size=32)"


@pytest.mark.usefixtures("undrawn")
def test_long_spec_strings_stand_once_and_short_names_everywhere_else(tmp_path: Path) -> None:
    build(tmp_path, replace(SMALL, datasets=(TABLE, "digits"), paradigms=(LONG,)))
    page, tables = made(tmp_path)
    assert "table · low · standard" in page.text
    assert page.text.count(LONG) == 3  # below the heading of each setting, and in the study file
    assert page.text.count(TABLE) == 2
    pointed = [a["title"] for tag, a in page.tags if tag in ("td", "th") and a.get("title")]
    assert f"{TABLE} · low(query_size=25) · {LONG}" in pointed
    longest = max(len(cell.text) for table in tables.values() for row in table.rows for cell in row)
    assert longest < 60


@pytest.mark.usefixtures("undrawn")
def test_paid_labels_have_their_scores(tmp_path: Path) -> None:
    store = build(tmp_path, replace(SMALL, stop=lambda spec: 2 if (spec.query, spec.seed) == ("badge", 1) else None))
    page, tables = made(tmp_path)
    found = tables["digits-low-standard-paid"]
    assert found.columns == ["Paid", "Training set", "Random", "BADGE"]
    assert [(row[0].text, row[1].text) for row in found.rows] == [("300", "50"), ("325", "75"), ("350", "100")]
    frame = rounds_table(store)
    one = frame[(frame["query"] == "badge") & (frame["round"] == 2)]["score"].item()
    assert found.rows[2][3].text == f"{100 * one:.1f} (1)"
    assert found.rows[1][3].text.count("±") == 1
    assert "(" not in found.rows[1][3].text
    assert "Paid labels: 250 more, for validation." in page.text
    assert "350 paid labels in total" in page.text


@pytest.mark.usefixtures("undrawn")
def test_a_shared_job_that_succeeded_later_is_made_good(tmp_path: Path) -> None:
    store = build(tmp_path, SMALL)
    (done,) = store.records("shared/full-data")
    run = store.study.runs[0]
    jobs = {"full-data": f"shared/full-data/{done}", "round-0": "shared/round-0/0123", "run": f"runs/{run.key}"}
    for kind, job in jobs.items():
        content = {"job": job, "what": kind, "kind": kind, "error": "OSError", "message": "the disk was full"}
        store.fail(kind, {**content, "traceback": ""}, {"session": "s", "finished": "2026-11-22T23:00:00+00:00"})
    results = StudyResults.of(tmp_path)
    assert {f["kind"]: f["resolved"] for f in results.failures} == {"full-data": True, "round-0": False, "run": True}
    assert "1 failed attempt without a later success" in dict(warnings(results))["Failures"]
    assert Page(report_module.Page(results).html()).text.count("(completed later)") == 2


@SPARSE_STUDY
@pytest.mark.usefixtures("undrawn")
def test_a_method_that_is_missing_somewhere_is_not_ranked_by_what_it_missed(tmp_path: Path) -> None:
    gain = {"random": 0.0, "badge": 0.02, "bald": 0.05}
    plan = replace(SMALL, datasets=("digits", "digits-lt"), queries=tuple(gain), effect=gain.__getitem__)
    build(tmp_path / "whole", plan)
    assert "The largest mean is that of BALD†" in " ".join(summary(StudyResults.of(tmp_path / "whole")))
    build(tmp_path / "holed", replace(plan, stop=lambda s: 0 if (s.dataset, s.query) == ("digits", "bald") else None))
    told = " ".join(summary(StudyResults.of(tmp_path / "holed")))
    assert "The largest mean is that of BADGE" in told
    assert "Runs are missing for BALD†" in told
    page, tables = made(tmp_path / "holed")
    assert "Not compared in all 2 settings: BALD in 1." in page.text
    penalty = tables["penalty"]
    assert penalty.columns[-1] == "Settings"
    assert [row[-1].text for row in penalty.rows] == ["2 of 2", "2 of 2", "1 of 2"]
    assert penalty.rows[2][1].text.endswith("*")


@pytest.mark.usefixtures("undrawn")
def test_several_environments_are_told_at_the_head(tmp_path: Path) -> None:
    store = build(tmp_path, replace(SMALL, environment=lambda spec: "abc" if spec.seed else "def"))
    put_environment(store, "def", commit="0000000", since="2026-11-23T09:30:00+00:00")
    text = read(tmp_path).text
    assert text.count("2 environments computed this study, which differ in commit") == 1
    assert "Facts that all environments share" in text
    assert "0000000" in text


@SPARSE_STUDY
def test_a_p_that_is_refused_says_why(tmp_path: Path) -> None:
    store = build(tmp_path, replace(SMALL, seeds=5, noise=0.0))
    table = setting_table(StudyResults.of(tmp_path), store.study.settings[0], "scores")
    reason = "the gains do not vary, which shows only the resolution of the test set"
    assert table.rows[1][table.columns.index("p")] == TableCell("\u2013", ANY, title=reason)


def test_nothing_is_removed_behind_a_link(tmp_path: Path) -> None:
    folder, away = tmp_path / "report", tmp_path / "away"
    folder.mkdir()
    away.mkdir()
    (away / "mine.svg").write_bytes(b"mine")
    (folder / "figures").symlink_to(away)
    (folder / "files.json").write_text(json.dumps({"figures/mine.svg": hashlib.sha256(b"mine").hexdigest()}))
    _write_all(folder, {"report.html": b"a report without figures"})
    assert (away / "mine.svg").read_bytes() == b"mine"
