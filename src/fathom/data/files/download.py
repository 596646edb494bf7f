"""Downloads that are whole or not there: resumed, measured, hashed, and only then given their name.

`NAME.part` is what has come so far, `NAME.part.json` of which version of the file it is a part, and `NAME.json` beside
a whole file says from where it came, its size and SHA-256. Where the source publishes no checksum, that record is the
only one: it tells later whether the file is still what was downloaded, not whether it is the official one.
"""

import contextlib
import hashlib
import http.client
import json
import logging
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from fathom.core.records import FathomError
from fathom.store import atomic_files

ATTEMPTS = 5  # connections that may break before the user is asked to run the command again
MARGIN = 2**28  # bytes of the disk that a download leaves free
TIMEOUT = 60.0  # seconds without a byte

_CHUNK = 2**20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """An official file.

    Args:
        url: Its address.
        size: Bytes, where the source states them; else 0.
        sha256, md5: Checksums, where the source publishes them; else empty.
    """

    url: str
    size: int = 0
    sha256: str = ""
    md5: str = ""


class _BrokenError(Exception):
    """The connection ended before the file; what has come is kept."""


def announce(name: str, license: str, *, quiet: bool) -> None:
    """Say under which terms a dataset is about to be downloaded."""
    notice = f"Dataset {name} is downloaded under its own terms: {license}"
    _log.info(notice)
    if not quiet:
        Console(stderr=True).print(notice, highlight=False, markup=False)


def download(remote: RemoteFile, target: Path, *, quiet: bool = False) -> Path:
    """Fetch a file, going on where an earlier attempt was stopped; a whole file is kept as it is.

    Args:
        remote: What, and what is known of it.
        target: Where to; it exists only when it is whole and its checksums are right.
        quiet: No progress bar.

    Raises:
        FathomError: The disk is too small, the source refuses, the connection keeps breaking, or the file is not the
            expected one.
    """
    if target.is_file():
        return target
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            seen = _receive(remote, part, quiet)
            break
        except (_BrokenError, urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise FathomError(
                    f"{remote.url} cannot be downloaded: {error}. Put {target.name} there by hand"
                ) from error
            held = part.stat().st_size if part.is_file() else 0
            _log.warning("download of %s stopped at %s bytes (%s)", remote.url, f"{held:,}", error)
            if attempt == ATTEMPTS:
                raise FathomError(
                    f"the download of {remote.url} stopped at {held:,} bytes: {error}. Nothing incomplete is used; run "
                    f"the same command again, and it goes on from there, or put {target.name} there by hand"
                ) from error
    _finish(remote, part, target, seen)
    return target


def unchanged(path: Path) -> bool:
    """Whether a file has still the size that was recorded when it was downloaded (true where nothing was)."""
    record = _json(path.with_name(f"{path.name}.json"))
    return not isinstance(record.get("size"), int) or record["size"] == path.stat().st_size


# ------------------------------------------------------------------------------------------------------- helpers


def _receive(remote: RemoteFile, part: Path, quiet: bool) -> dict[str, Any]:
    """Append what is missing to the part, or begin again where it is a part of another version; gives its facts."""
    known = _json(part.with_name(f"{part.name}.json"))
    held = part.stat().st_size if part.is_file() and known.get("url") == remote.url else 0
    mark = known.get("etag") or known.get("modified") or ""
    headers = {"Accept-Encoding": "identity", "User-Agent": "fathom-al"}
    if held and mark and not str(mark).startswith("W/"):
        headers |= {"Range": f"bytes={held}-", "If-Range": str(mark)}
    else:
        held = 0
    request = urllib.request.Request(remote.url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not held:
            raise
        total = _total(error.headers.get("Content-Range"))
        error.close()
        if total == held == known.get("size"):
            return known  # all of it had come; only the name was not given yet
        _discard(part)
        raise _BrokenError("the file at the source has changed; beginning again") from None
    with response:
        held, facts = _agree(remote, response, part, held, known)
        _check_space(part, facts["size"] - held, remote)
        atomic_files.write(part.with_name(f"{part.name}.json"), json.dumps(facts).encode(), replace=True)
        _append(response, part, held, facts["size"], quiet)
    return facts


def _agree(
    remote: RemoteFile, response: Any, part: Path, held: int, known: Mapping[str, Any]
) -> tuple[int, dict[str, Any]]:
    """(bytes that stay, facts of the file) from an answer's headers."""
    headers = response.headers
    if headers.get("Content-Encoding", "identity") != "identity":
        raise FathomError(
            f"{remote.url} came as {headers['Content-Encoding']}, which was not asked for; get it by hand"
        )
    length = headers.get("Content-Length", "")
    if response.status == 206:
        size = _total(headers.get("Content-Range"))
        start = str(headers.get("Content-Range", "")).removeprefix("bytes ").split("-")[0]
        if not held or start != str(held) or size != known.get("size"):
            _discard(part)
            raise _BrokenError("the source sent another part than was asked for; beginning again")
    else:
        held, size = 0, int(length) if length.isdigit() else 0
    if remote.size and size and size != remote.size:
        raise FathomError(f"{remote.url} has {size:,} bytes; the official file has {remote.size:,}. Get it by hand")
    if not (size := size or remote.size):
        raise FathomError(
            f"{remote.url} does not say how long it is, so nobody could tell whether it came whole; get it by hand"
        )
    etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
    return held, {"url": remote.url, "size": size, "etag": etag, "modified": modified}


def _append(response: Any, part: Path, held: int, size: int, quiet: bool) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    progress = Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True, disable=quiet
    )  # fmt: skip
    with part.open("ab") as file, progress:
        file.truncate(held)
        task = progress.add_task(part.stem, total=size, completed=held)
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            held += len(chunk)
            progress.update(task, completed=held)
            if held > size:
                break
        file.flush()
        os.fsync(file.fileno())
    if held > size:
        _discard(part)
        raise _BrokenError(f"more than the {size:,} bytes that the source said")
    if held < size:
        raise _BrokenError(f"{held:,} of {size:,} bytes came")


def _finish(remote: RemoteFile, part: Path, target: Path, facts: Mapping[str, Any]) -> None:
    """Check the whole file, and give it its name."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with part.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
    size = part.stat().st_size
    for what, wanted, got in (
        ("size", facts["size"], size),
        ("SHA-256", remote.sha256, sha256.hexdigest()),
        ("MD5", remote.md5, md5.hexdigest()),
    ):
        if wanted and wanted != got:
            _discard(part)
            raise FathomError(
                f"{remote.url} came with {what} {got}; the official file has {wanted}. It was thrown away; run the "
                f"same command again, or put {target.name} there by hand"
            )
    if not (remote.sha256 or remote.md5):
        _log.warning("no official checksum of %s is known; its SHA-256 %s was recorded", remote.url, sha256.hexdigest())
    record = {**facts, "sha256": sha256.hexdigest(), "official_checksum": bool(remote.sha256 or remote.md5)}
    record["downloaded"] = datetime.now(UTC).isoformat(timespec="seconds")
    atomic_files.write(
        target.with_name(f"{target.name}.json"), (json.dumps(record, indent=1) + "\n").encode(), replace=True
    )
    part.replace(target)
    part.with_name(f"{part.name}.json").unlink(missing_ok=True)


def _check_space(part: Path, missing: int, remote: RemoteFile) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < missing + MARGIN:
        raise FathomError(
            f"{remote.url} needs {missing / 2**30:.2f} GiB more in {part.parent}, where {free / 2**30:.2f} GiB are "
            f"free (and {MARGIN / 2**30:.2f} stay free). Make room, or name another folder with --data or FATHOM_DATA"
        )


def _discard(part: Path) -> None:
    for path in (part, part.with_name(f"{part.name}.json")):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _total(content_range: str | None) -> int:
    """The whole size in `bytes 5-9/10` or `bytes */10`; 0 where it is not said."""
    total = str(content_range or "").rpartition("/")[2]
    return int(total) if total.isdigit() else 0


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
