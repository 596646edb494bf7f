"""Downloads that are complete or absent: resumed, measured, hashed, and only then renamed.

`NAME.part` holds the bytes received so far, `NAME.part.json` the version of the file that they are a part of, and
`NAME.json` next to a complete file its origin, size and SHA-256. Where the source publishes no checksum, that record is
the only one: it shows later that the file has not changed since the download, not that it is the official file.
"""

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

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from fathom.core.progress import SafeConsole
from fathom.core.records import FathomError
from fathom.data.cache.cache_file import read_index
from fathom.store import atomic_files

ATTEMPTS = 5  # connections that may break before the download is given up
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
    """The connection ended before the file was complete; the bytes received are kept."""


def announce(name: str, license: str, *, quiet: bool) -> None:
    """Print the terms of a dataset that is about to be downloaded."""
    notice = f"Dataset {name} is downloaded under its own terms: {license}"
    _log.info(notice)
    if not quiet:
        SafeConsole(stderr=True).print(notice, highlight=False, markup=False)


def download(remote: RemoteFile, target: Path, *, quiet: bool = False) -> Path:
    """Download a file, resuming an earlier attempt; a complete file is left unchanged.

    Args:
        remote: The file and its known facts.
        target: Path to write; it exists only when it is complete and its checksums are right.
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
                    f"{remote.url} cannot be downloaded: {error}. Put {target.name} there manually"
                ) from error
            held = part.stat().st_size if part.is_file() else 0
            _log.warning("download of %s stopped at %s bytes (%s)", remote.url, f"{held:,}", error)
            if attempt == ATTEMPTS:
                raise FathomError(
                    f"the download of {remote.url} stopped at {held:,} bytes: {error}. Nothing incomplete is used; run "
                    f"the same command again to resume, or put {target.name} there manually"
                ) from error
    _finish(remote, part, target, seen)
    return target


def unchanged(path: Path) -> bool:
    """True if a file has the size that was recorded at its download (or if nothing was recorded)."""
    record = read_index(path.with_name(f"{path.name}.json"))
    return not isinstance(record.get("size"), int) or record["size"] == path.stat().st_size


# ------------------------------------------------------------------------------------------------------- helpers


def _receive(remote: RemoteFile, part: Path, quiet: bool) -> dict[str, Any]:
    """Append the missing bytes to the part, or restart if it is of another version; gives the facts of the file."""
    known = read_index(part.with_name(f"{part.name}.json"))
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
            return known  # complete: the process ended before the rename
        _discard(part)
        raise _BrokenError("the file at the source has changed; starting again") from None
    with response:
        held, facts = _agree(remote, response, part, held, known)
        _check_space(part, facts["size"] - held, remote)
        atomic_files.write(part.with_name(f"{part.name}.json"), json.dumps(facts).encode(), replace=True)
        _append(response, part, held, facts["size"], quiet)
    return facts


def _agree(
    remote: RemoteFile, response: Any, part: Path, held: int, known: Mapping[str, Any]
) -> tuple[int, dict[str, Any]]:
    """(bytes to keep, facts of the file) from the headers of a response."""
    headers = response.headers
    if headers.get("Content-Encoding", "identity") != "identity":
        raise FathomError(
            f"{remote.url} came as {headers['Content-Encoding']}, which was not requested; download it manually"
        )
    length = headers.get("Content-Length", "")
    if response.status == 206:
        size = _total(headers.get("Content-Range"))
        start = str(headers.get("Content-Range", "")).removeprefix("bytes ").split("-")[0]
        if not held or start != str(held) or size != known.get("size"):
            _discard(part)
            raise _BrokenError("the source sent another part than requested; starting again")
    else:
        held, size = 0, int(length) if length.isdigit() else 0
    if remote.size and size and size != remote.size:
        raise FathomError(
            f"{remote.url} has {size:,} bytes; the official file has {remote.size:,}. Download it manually"
        )
    if not (size := size or remote.size):
        raise FathomError(
            f"{remote.url} does not state its size, so a truncated download could not be noticed; download it manually"
        )
    etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
    return held, {"url": remote.url, "size": size, "etag": etag, "modified": modified}


def _append(response: Any, part: Path, held: int, size: int, quiet: bool) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    progress = Progress(
        *columns, TimeRemainingColumn(), console=SafeConsole(stderr=True), transient=True, disable=quiet
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
        raise _BrokenError(f"more than the {size:,} bytes that the source stated")
    if held < size:
        raise _BrokenError(f"{held:,} of {size:,} bytes were received")


def _finish(remote: RemoteFile, part: Path, target: Path, facts: Mapping[str, Any]) -> None:
    """Check the complete file, and rename it."""
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
                f"{remote.url} came with {what} {got}; the official file has {wanted}. It was deleted; run the "
                f"same command again, or put {target.name} there manually"
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
            f"free (and {MARGIN / 2**30:.2f} must stay free). Free some space, or name another folder with "
            "--data or FATHOM_DATA"
        )


def _discard(part: Path) -> None:
    for path in (part, part.with_name(f"{part.name}.json")):
        path.unlink(missing_ok=True)


def _total(content_range: str | None) -> int:
    """The total size in `bytes 5-9/10` or `bytes */10`; 0 if it is not stated."""
    total = str(content_range or "").rpartition("/")[2]
    return int(total) if total.isdigit() else 0
