"""Studies served in the browser: what is shown, who may ask, and that nothing is written."""

import http.client
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.faults import fault
from tests.results.synthetic import Plan, build

from fathom.core.records import FathomError
from fathom.serve.server import StudyServer, index_page
from fathom.serve.studies import ServedStudies, store_version

TOKEN = "t" * 32


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    small = Plan(datasets=("digits",), queries=("random", "badge"), rounds=3)
    build(root / "runs" / "one", small)
    build(root / "runs" / "deep" / "two", Plan(**{**small.__dict__, "title": "<b>two</b>"}))
    (root / "runs" / "no-study").mkdir()
    (root / "runs" / "broken").mkdir()
    (root / "runs" / "broken" / "study.json").write_text("{")
    return root


@pytest.fixture(scope="module")
def server(studies: Path) -> Iterator[StudyServer]:
    with running(studies) as made:
        yield made


@contextmanager
def running(folder: Path) -> Iterator[StudyServer]:
    with StudyServer(ServedStudies(folder), token=TOKEN) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(
    server: StudyServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    given = {"Cookie": f"fathom={TOKEN}", **headers}
    connection.request(method, path, headers={name: value for name, value in given.items() if value})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_index_lists_studies_and_their_progress(server: StudyServer, studies: Path) -> None:
    status, headers, body = ask(server, "/")
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    page = body.decode()
    assert "<b>6</b> of 6" in page
    assert "&lt;b&gt;two&lt;/b&gt;" in page
    assert "is damaged" in page or "broken" in page  # a study that cannot be read is told, and hides no other
    found = {s["folder"]: s for s in json.loads(ask(server, "/studies.json")[2])}
    assert set(found) == {"runs/one", "runs/deep/two", "runs/broken"}
    assert found["runs/one"]["complete"] == found["runs/one"]["runs"] == 6
    assert found["runs/broken"]["error"]


def test_a_report_is_made_in_memory_and_nothing_is_written(server: StudyServer, studies: Path) -> None:
    before = files(studies)
    name = next(s["id"] for s in json.loads(ask(server, "/studies.json")[2]) if s["folder"] == "runs/one")
    status, headers, body = ask(server, f"/studies/{name}/report.html")
    assert status == 200
    assert b"Query methods" in body or b"Fathom" in body
    assert headers["Content-Security-Policy"] is None  # the page brings its own, with the hash of its script
    assert b"Content-Security-Policy" in body
    assert ask(server, f"/studies/{name}/results.csv")[0] == 200
    assert ask(server, f"/studies/{name}/report.html", "HEAD")[2] == b""
    assert files(studies) == before


def test_a_report_follows_its_study(tmp_path: Path) -> None:
    plan = Plan(datasets=("digits",), queries=("random", "badge"), rounds=4)
    build(tmp_path / "s", Plan(**{**plan.__dict__, "stop": lambda spec: 2}))
    served = ServedStudies(tmp_path)
    (name,) = served.find()
    first, again = served.report(name), served.report(name)
    assert first is again
    before = store_version(tmp_path / "s")
    build(tmp_path / "more", plan)
    for path in (tmp_path / "more" / "runs").glob("*/round-*3.json"):
        (tmp_path / "s" / "runs" / path.parent.name / path.name).write_bytes(path.read_bytes())
    assert store_version(tmp_path / "s") != before
    assert served.report(name) is not first


@fault("report", "fathom serve: no token, foreign host or origin", "403, and nothing of the study", cases=8)
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"Cookie": ""}),
        ("/", {"Cookie": "fathom=wrong"}),
        ("/studies.json", {"Cookie": "fathom="}),
        ("/?token=wrong", {"Cookie": ""}),
        ("/", {"Host": "evil.example"}),
        ("/", {"Host": "evil.example:80"}),
        ("/studies.json", {"Origin": "http://evil.example"}),
        ("/studies.json", {"Origin": "null"}),
    ],
)
def test_who_may_not_ask_gets_nothing(server: StudyServer, path: str, headers: dict[str, str]) -> None:
    status, _, body = ask(server, path, **headers)
    assert status == 403
    assert b"synthetic" not in body


def test_the_token_goes_from_the_address_into_a_cookie(server: StudyServer) -> None:
    assert server.address == f"http://127.0.0.1:{server.server_port}/?token={TOKEN}"
    status, headers, _ = ask(server, f"/?token={TOKEN}", Cookie="")
    assert (status, headers["Location"]) == (302, "/")
    assert re.search(r"HttpOnly; SameSite=Strict", headers["Set-Cookie"])


@pytest.mark.parametrize(
    "path",
    [
        "/studies/../../../etc/passwd",
        "/studies/x/report.html",
        "/studies/%2e%2e/study.json",
        "/study.json",
        "//x",
        "/%00",
    ],
)
def test_no_address_leads_to_a_file_on_disk(server: StudyServer, path: str) -> None:
    assert ask(server, path)[0] == 404


def test_it_cannot_be_asked_to_write(server: StudyServer) -> None:
    assert [ask(server, "/", method)[0] for method in ("POST", "PUT", "DELETE")] == [501] * 3


def test_links_are_not_followed(tmp_path: Path) -> None:
    build(tmp_path / "outside" / "study", Plan(datasets=("digits",), queries=("random",), rounds=2))
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "link").symlink_to(tmp_path / "outside")
    assert ServedStudies(tmp_path / "served").find() == {}
    assert "There is no study" in index_page(ServedStudies(tmp_path / "served"))


def test_what_cannot_be_served_is_refused(tmp_path: Path, server: StudyServer) -> None:
    with pytest.raises(FathomError, match="there is no folder"):
        ServedStudies(tmp_path / "none")
    with pytest.raises(FathomError, match="cannot listen on port"):
        StudyServer(ServedStudies(tmp_path), server.server_port)
