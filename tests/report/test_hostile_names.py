"""Names and messages that a terminal, a page, a figure, LaTeX or a spreadsheet would obey: shown as text everywhere."""

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.cli.test_cli import call
from tests.faults import fault, number
from tests.results.synthetic import Plan, build

from fathom import api
from fathom.cli.console import print_json
from fathom.core.html import html_table
from fathom.core.progress import SafeConsole, progress_bar
from fathom.core.text import UNSAFE, csv_cell, printable
from fathom.report.latex import tex
from fathom.store.store import Store

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J", "\rerror: gone", "\u202egnp.exe\u2066", "nul\0byte", "<script>alert(1)</script>",
    "]]><!--", "a|b|c", "$x_1$ \\input{/etc/passwd}", "=HYPERLINK(\"http://x\")", "+1-1", "@SUM(A1)", "\\",
    "[bold red]x[/] [/]", "%s{0}", "\x85\x9b31m", "</td></table>", "'\"><img src=x>", "{{ 7*7 }}", "line\nfeed",
)  # fmt: skip
EVERYTHING = " ".join(HOSTILE)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def hostile_store(root: Path, name: str) -> Store:
    """A study in which every text that comes from outside is hostile."""
    plan = Plan(
        datasets=(f"d{name}", "digits"),
        paradigms=(f"standard(recipe=short, x={name})",),
        queries=("random", f"my_al/{name}"),
        seeds=2,
        rounds=2,
        classes=(f"{name}", "b", "c"),
        title=name,
        recipe=name,
    )
    store = build(root, plan)
    spec = store.study.runs[1]
    content = {"what": name, "message": name, "error": name, "traceback": name, "job": f"runs/{spec.key}"}
    store.fail("x", {**content, "setting": list(spec.setting), "query": spec.query, "seed": 0, "retries": 0}, {})
    store.put("environments/abe", {"torch": name, "device": "cpu", "threads": 1}, {"commit": name, "since": name})
    return store


@fault("input", "hostile names in every output", "shown as text", cases=number(1, len(HOSTILE) + 1))
@pytest.mark.parametrize("name", [EVERYTHING, *HOSTILE][: number(1, len(HOSTILE) + 1)], ids=ascii)
def test_every_output_shows_hostile_names_as_text(name: str, tmp_path: Path) -> None:
    store = hostile_store(tmp_path / "study", name)
    plain = hostile_store(tmp_path / "plain", "x")
    for words in (["report"], ["status"], ["compare"], ["audit"], ["status", "--json"], ["audit", "--json"]):
        said = call(words[0], store.root, *words[1:])
        assert said.status == 0, said.err
        assert not UNSAFE.search(said.out + said.err), words
    tags = [Tags(), Tags()]
    for parser, root in zip(tags, (store.root, plain.root), strict=True):
        if root == plain.root:
            api.report(root)
        page = (root / "report/report.html").read_text(encoding="utf-8")
        assert not UNSAFE.search(page)
        parser.feed(page)
        assert not {"script", "img"} & set(parser.tags[: parser.tags.index("footer")])
    for path in (store.root / "report").rglob("*.svg"):
        ElementTree.parse(path)
    for path in (store.root / "report").rglob("*.tex"):
        text = path.read_text(encoding="utf-8")
        assert not UNSAFE.search(text)
        assert "\\input" not in text
        assert not re.search(r"(?<!\\)\$x", text)
    rows = list(csv.reader(io.StringIO((store.root / "report/results.csv").read_text(encoding="utf-8"))))
    assert len({len(row) for row in rows}) == 1
    for cell in (cell for row in rows for cell in row):
        assert not UNSAFE.search(cell)
        assert not re.match(r"[=+@-](?![0-9.]+([eE]|$))", cell)
    shown = store.root / "report"
    assert all(re.fullmatch(r"[\w.-]+", path.name, flags=re.ASCII) for path in shown.rglob("*"))
    assert not UNSAFE.search(api.status(store.root)._repr_html_())


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_single_places(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not UNSAFE.search(html_table([[text]], [text], text))
    assert "<script>" not in html_table([[text]])
    assert not UNSAFE.search(tex(text))
    assert not str(csv_cell(text)).startswith(("=", "+", "-", "@", "\t", "\r"))
    file = io.StringIO()
    console = SafeConsole(file=file, force_terminal=True, width=300, color_system=None)
    console.print(text, markup=False)
    assert printable(text.splitlines()[0])[:5] in file.getvalue()
    with progress_bar(text, console=console) as show:
        assert show
        show(1, 2)
    assert not UNSAFE.search(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", file.getvalue()))
    print_json({text: text})
    assert not UNSAFE.search(capsys.readouterr().out)
