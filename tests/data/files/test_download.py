"""Downloads from a server on this machine that answers well, badly or not to the end."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.data.datasets.test_miotcd import official
from tests.faults import fault

from fathom.core.records import FathomError
from fathom.data import load
from fathom.data.dataset import DataRoot
from fathom.data.datasets import miotcd
from fathom.data.files import download as module
from fathom.data.files.download import RemoteFile, download, unchanged
from fathom.data.files.official import fetch

INTERRUPTED_DOWNLOAD = fault("data", "interrupted download", "resumed; a part never counts as whole")
WRONG_ANSWER = fault("data", "wrong or no answer of a server", "refused with what to do")

DATA = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """What it serves, how it misbehaves, and what it was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.etag, self.ranges = DATA, '"v1"', True
        self.stop_after = []  # for each of the next answers: bytes after which the connection breaks
        self.lie, self.status, self.length, self.encoding = 0, 0, True, ""
        self.asked = []

    def handle_error(self, request, client_address):
        pass


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if server.status:
            self.send_response(server.status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data, start = server.data, 0
        if wanted and server.ranges and self.headers.get("If-Range") == server.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start + server.lie}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if server.encoding:
            self.send_header("Content-Encoding", server.encoding)
        self.send_header("ETag", server.etag)
        if server.length:
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        if server.stop_after:
            body = body[: server.stop_after.pop(0)]
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def remote(server):
    return RemoteFile(f"http://127.0.0.1:{server.server_port}/file.bin")


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_download_is_whole_and_recorded(tmp_path, remote, caplog):
    target = download(remote, tmp_path / "a/file.bin", quiet=True)
    assert target.read_bytes() == DATA
    record = json.loads((tmp_path / "a/file.bin.json").read_text())
    assert (record["size"], record["sha256"]) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert record["official_checksum"] is False
    assert "no official checksum" in caplog.text
    assert names(tmp_path / "a") == ["file.bin", "file.bin.json"]
    assert unchanged(target)
    target.write_bytes(DATA[:-1])
    assert not unchanged(target)


def test_what_is_there_is_not_asked_for_again(tmp_path, remote, server):
    (tmp_path / "file.bin").write_bytes(b"mine")
    assert download(remote, tmp_path / "file.bin", quiet=True).read_bytes() == b"mine"
    assert server.asked == []
    assert unchanged(tmp_path / "file.bin")


@INTERRUPTED_DOWNLOAD
def test_broken_connections_are_gone_on_with(tmp_path, remote, server):
    server.stop_after = [100_000, 0, 300_000]
    assert download(remote, tmp_path / "file.bin", quiet=True).read_bytes() == DATA
    assert server.asked == [None, "bytes=100000-", "bytes=100000-", "bytes=400000-"]


@INTERRUPTED_DOWNLOAD
def test_an_interrupted_download_is_not_taken_for_whole_and_resumes_later(tmp_path, remote, server, monkeypatch):
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    server.stop_after = [500_000]
    target = tmp_path / "file.bin"
    with pytest.raises(FathomError, match=r"stopped at 500,000 bytes.*command again to resume"):
        download(remote, target, quiet=True)
    assert names(tmp_path) == ["file.bin.part", "file.bin.part.json"]
    assert download(remote, target, quiet=True).read_bytes() == DATA
    assert server.asked == [None, "bytes=500000-"]


@INTERRUPTED_DOWNLOAD
def test_a_keyboard_interrupt_leaves_a_part_that_is_resumed(tmp_path, remote, server, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            download(remote, tmp_path / "file.bin", quiet=True)
    assert not (tmp_path / "file.bin").exists()
    assert download(remote, tmp_path / "file.bin", quiet=True).read_bytes() == DATA
    assert server.asked == [None, f"bytes={len(DATA)}-"]  # all of it was there: the server says 416


@INTERRUPTED_DOWNLOAD
@pytest.mark.parametrize("how", ["other version", "no ranges", "other part", "shorter now"])
def test_a_part_of_another_version_is_begun_again(tmp_path, remote, server, monkeypatch, how):
    server.stop_after = [500_000]
    with monkeypatch.context() as patch:
        patch.setattr(module, "ATTEMPTS", 1)
        with pytest.raises(FathomError):
            download(remote, tmp_path / "file.bin", quiet=True)
    if how == "other version":
        server.data, server.etag = DATA[::-1], '"v2"'
    elif how == "no ranges":
        server.ranges = False
    elif how == "shorter now":
        server.data = DATA[:200_000]
    else:
        server.lie = 1
    assert download(remote, tmp_path / "file.bin", quiet=True).read_bytes() == server.data


@WRONG_ANSWER
@pytest.mark.parametrize(("kind", "value"), [("sha256", "0" * 64), ("md5", "0" * 32)])
def test_a_wrong_checksum_is_thrown_away(tmp_path, remote, kind, value):
    with pytest.raises(FathomError, match="the official file has 0000"):
        download(RemoteFile(remote.url, **{kind: value}), tmp_path / "file.bin", quiet=True)
    assert names(tmp_path) == []


def test_right_checksums_are_taken(tmp_path, remote):
    known = RemoteFile(remote.url, len(DATA), hashlib.sha256(DATA).hexdigest(), hashlib.md5(DATA).hexdigest())
    download(known, tmp_path / "file.bin", quiet=True)
    assert json.loads((tmp_path / "file.bin.json").read_text())["official_checksum"] is True


@WRONG_ANSWER
def test_another_size_than_the_official_one_is_refused_before_it_comes(tmp_path, remote):
    with pytest.raises(FathomError, match="1,024,000 bytes; the official file has 5"):
        download(RemoteFile(remote.url, 5), tmp_path / "file.bin", quiet=True)
    assert names(tmp_path) == []


@fault("data", "full disk or closed folder of a cache", "told before the work, with the way out")
def test_a_full_disk_is_refused_before_it_comes(tmp_path, remote, monkeypatch):
    monkeypatch.setattr(module, "MARGIN", 2**60)
    with pytest.raises(FathomError, match="Free some space"):
        download(remote, tmp_path / "file.bin", quiet=True)
    assert names(tmp_path) == []


@WRONG_ANSWER
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"status": 404}, "404"),
        ({"status": 403}, "403"),
        ({"status": 503}, "stopped at 0 bytes"),
        ({"length": False}, "does not state its size"),
        ({"encoding": "gzip"}, "gzip"),
    ],
)
def test_answers_that_are_no_file(tmp_path, remote, server, what, message):
    for key, value in what.items():
        setattr(server, key, value)
    with pytest.raises(FathomError, match=message):
        download(remote, tmp_path / "file.bin", quiet=True)
    assert not (tmp_path / "file.bin").exists()
    assert len(server.asked) == (module.ATTEMPTS if what == {"status": 503} else 1)


@WRONG_ANSWER
def test_nobody_answers(tmp_path):
    with pytest.raises(FathomError, match="Nothing incomplete is used"):
        download(RemoteFile("http://127.0.0.1:9/file.bin"), tmp_path / "file.bin", quiet=True)


def test_fetch_asks_for_leave_and_passes_messages_on(tmp_path, remote, server):
    get = lambda path: download(remote, path / "x/file.bin", quiet=True)  # noqa: E731
    with pytest.raises(FathomError, match="--download"):
        fetch("x", DataRoot(tmp_path, tmp_path / "cache", quiet=True), "x", get)
    assert server.asked == []
    allowed = DataRoot(tmp_path, tmp_path / "cache", download=True, quiet=True)
    server.status = 404
    with pytest.raises(FathomError, match=r"404.*manually"):
        fetch("x", allowed, "x", get)
    server.status = 0
    fetch("x", allowed, "x", get)
    assert (tmp_path / "x/file.bin").read_bytes() == DATA


def test_a_roll_out_dataset_is_downloaded_and_then_used(tmp_path, server, monkeypatch):
    server.data = official(tmp_path / "there", tar=True).read_bytes()
    server.stop_after = [20_000]
    monkeypatch.setattr(miotcd, "ADDRESS", f"http://127.0.0.1:{server.server_port}/x.tar")
    here = DataRoot(tmp_path / "here", tmp_path / "cache", download=True, quiet=True)
    loaded = load("mio-tcd(absent=skip, size=16)", here)
    assert len(loaded.labels) + len(loaded.test_labels) == 66
    assert names(tmp_path / "here") == ["MIO-TCD-Classification.tar", "MIO-TCD-Classification.tar.json"]
    assert server.asked == [None, "bytes=20000-"]
