"""HTTP server of studies: an index that follows them while they run, and their reports.

It reads and writes nothing but answers. It listens on loopback and answers only who brings the token of its address,
under the host name that it was opened by, so that no other page in the browser can ask it (DNS rebinding).
"""

import hmac
import json
import mimetypes
import secrets
from functools import cache
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from fathom.core.durations import duration
from fathom.core.html import escape
from fathom.core.records import FathomError
from fathom.core.text import printable
from fathom.serve.studies import ServedStudies

LOOPBACK = "127.0.0.1"
HOSTS = (LOOPBACK, "localhost", "[::1]")
COOKIE = "fathom"
POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'"
TEMPLATES = Path(__file__).parent / "templates"
ASSETS = {"/index.js": "text/javascript; charset=utf-8", "/index.css": "text/css; charset=utf-8"}


class StudyServer(ThreadingHTTPServer):
    """Server of the studies under a folder.

    Args:
        studies: The studies.
        port: Port on loopback; 0 for a free one.
        token: Secret of the address; a new one by default.

    Raises:
        FathomError: The port is not free.
    """

    daemon_threads = True

    def __init__(self, studies: ServedStudies, port: int = 0, token: str | None = None) -> None:
        self.studies, self.token = studies, token or secrets.token_urlsafe(24)
        try:
            super().__init__((LOOPBACK, port), StudyHandler)
        except (OSError, OverflowError) as error:
            raise FathomError(
                f"cannot listen on port {port} of {LOOPBACK} ({error}); choose another with --port, or 0 for a free one"
            ) from None

    @property
    def address(self) -> str:
        """Address with the token, to be opened in a browser on this machine."""
        return f"http://{LOOPBACK}:{self.server_port}/?token={self.token}"


class StudyHandler(BaseHTTPRequestHandler):
    """Answers to GET and HEAD; everything else is refused."""

    server: StudyServer
    server_version = "Fathom"
    sys_version = ""
    timeout = 60  # seconds that a silent connection may hold a thread

    def do_GET(self) -> None:
        """Answer with the body."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Answer without the body."""
        self._answer(body=False)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Stay silent: the terminal shows the address, and a token does not belong into a log."""

    # ------------------------------------------------------------------------------------------------- answers

    def _answer(self, *, body: bool) -> None:
        url = urlsplit(self.path)
        if self._foreign():
            return self._send(HTTPStatus.FORBIDDEN, b"Expected a request from this machine's own page.\n", body=body)
        given = parse_qs(url.query).get("token", [""])[0]
        if given and self._is_token(given):  # kept in a cookie, so that the token leaves the address bar
            cookie = f"{COOKIE}={self.server.token}; HttpOnly; SameSite=Strict; Path=/"
            return self._send(HTTPStatus.FOUND, b"", body=body, headers={"Location": "/", "Set-Cookie": cookie})
        if not self._is_token(self._cookie()):
            text = b"Expected the address that fathom serve printed, with its token.\n"
            return self._send(HTTPStatus.FORBIDDEN, text, body=body)
        status, content, kind, policy = self._content(unquote(url.path))
        return self._send(status, content, kind, policy, body=body)

    def _content(self, path: str) -> tuple[HTTPStatus, bytes, str, str]:
        html = "text/html; charset=utf-8"
        if path == "/":
            return HTTPStatus.OK, index_page(self.server.studies).encode(), html, POLICY
        if path == "/studies.json":
            found = json.dumps(self.server.studies.summary()).encode()
            return HTTPStatus.OK, found, "application/json", POLICY
        if path in ASSETS:
            return HTTPStatus.OK, (TEMPLATES / path[1:]).read_bytes(), ASSETS[path], POLICY
        _, _, rest = path.partition("/studies/")
        name, _, file = rest.partition("/")
        report = self.server.studies.report(name) if path.startswith("/studies/") and file else None
        if report is None:
            return HTTPStatus.NOT_FOUND, b"Not found.\n", "text/plain; charset=utf-8", POLICY
        if report.error:
            text = f"<!doctype html><title>Fathom</title><p>{escape(printable(report.error))}</p>"
            return HTTPStatus.CONFLICT, text.encode(), html, POLICY
        if file not in report.files:  # a name from a list, never a path on disk
            return HTTPStatus.NOT_FOUND, b"Not found.\n", "text/plain; charset=utf-8", POLICY
        kind = mimetypes.guess_type(file)[0] or "application/octet-stream"
        if file == "report.html":
            return HTTPStatus.OK, report.files[file], html, ""  # the page has its own policy, with its script's hash
        return HTTPStatus.OK, report.files[file], kind, POLICY

    def _send(
        self, status: HTTPStatus, content: bytes, kind: str = "text/plain; charset=utf-8", policy: str = POLICY, *,
        body: bool, headers: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.send_response(status)
        always = {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": "no-store",
                  "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
                  "Cross-Origin-Resource-Policy": "same-origin", "X-Frame-Options": "DENY"}  # fmt: skip
        if policy:
            always["Content-Security-Policy"] = policy
        for name, value in (always | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    # ---------------------------------------------------------------------------------------------- who may ask

    def _foreign(self) -> bool:
        """True for a request under another host name than this machine's, or from a page of another origin."""
        port = self.server.server_port
        own = {f"{host}:{port}" for host in HOSTS}
        origin = self.headers.get("Origin")
        return self.headers.get("Host", "").lower() not in own or (
            origin is not None and origin.lower() not in {f"http://{host}" for host in own}
        )

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.server.token.encode())

    def _cookie(self) -> str:
        try:
            found = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        except CookieError:
            return ""
        return found.value if found else ""


def index_page(studies: ServedStudies) -> str:
    """HTML of the index."""
    return _template().render(folder=str(studies.root), studies=[_row(found) for found in studies.summary()])


def _row(found: dict[str, Any]) -> dict[str, Any]:
    """A summary with the words of the page."""
    left = found.get("seconds_left")
    working = f"{found['workers']} working" if found.get("workers") else ""
    return found | {"working": ", ".join(filter(None, [working, f"{duration(left)} left" if left else ""]))}


@cache
def _template() -> Template:
    loader = FileSystemLoader(TEMPLATES)
    rules = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, finalize=_printable)
    return rules.get_template("index.html.j2")


def _printable(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value
