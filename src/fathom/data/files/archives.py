"""Official archives, read without unpacking: their members are listed and checked, and nothing is extracted.

So no name in an archive can write anywhere, a truncated archive is noticed by its missing end, and the images are not
stored twice. A hostile archive (names that lead out of it, links, devices, bombs) is refused all the same: it is not
the official one.
"""

import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from fathom.core.records import FathomError
from fathom.data.files.decode import UnreadableError
from fathom.data.files.listing import nfc

_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
_LOCAL = struct.Struct("<4s5H3I2H")  # a zip's header before each member
_END = struct.Struct("<4s4H2IH")  # a zip's end
_ENTRY = 512  # bytes per member of a zip's table of contents, with a long name
_HEADERS = 2**20  # bytes of a tar's extended header
_BLOCK = 512  # bytes of a tar's header and of its padding


@dataclass(frozen=True)
class Limits:
    """Limits far above any official archive, which a decompression bomb exceeds.

    Args:
        members: Files.
        total: Bytes of all members, unpacked.
        member: Bytes of one member, unpacked.
        ratio: Unpacked over packed bytes of the whole and of any member of 1 MiB or more (JPEGs: about 1).
    """

    members: int = 2_000_000
    total: int = 128 * 2**30
    member: int = 256 * 2**20
    ratio: int = 200


LIMITS = Limits()


@dataclass(frozen=True)
class Member:
    """A file in an archive, which `decode` accepts like a path."""

    archive: "Archive"
    index: int

    def read_bytes(self) -> bytes:
        """Its content, unpacked.

        Raises:
            UnreadableError: The archive is damaged here.
        """
        return self.archive.read(self.index)

    def __str__(self) -> str:
        return f"{self.archive.path.name}: {self.archive.names[self.index]}"


@dataclass(frozen=True, eq=False)
class Archive:
    """The files of a zip or tar in stored order, as arrays of numbers, so that millions fit in memory.

    Args:
        path: The archive.
        names: POSIX paths in it.
        offsets: Where each member begins in the archive (a zip: its local header; a tar: its content), int64.
        packed, sizes: Bytes of each member in the archive and unpacked, int64.
        crcs: CRC-32 of each member of a zip, uint32; None for a tar, which has none.
        deflated: 1 for compressed members of a zip.
    """

    path: Path
    names: list[str]
    offsets: np.ndarray[Any, np.dtype[np.int64]]
    packed: np.ndarray[Any, np.dtype[np.int64]]
    sizes: np.ndarray[Any, np.dtype[np.int64]]
    crcs: np.ndarray[Any, np.dtype[np.int64]] | None = None
    deflated: np.ndarray[Any, np.dtype[np.int64]] | None = None

    def read(self, index: int) -> bytes:
        """The content of a member, unpacked.

        Raises:
            UnreadableError: The archive is damaged here.
        """
        offset, packed, size = int(self.offsets[index]), int(self.packed[index]), int(self.sizes[index])
        with self.path.open("rb") as file:
            file.seek(offset)
            if self.crcs is not None:
                header = file.read(_LOCAL.size)
                if len(header) < _LOCAL.size or header[:4] != b"PK\3\4":
                    raise UnreadableError("the zip is damaged: no header where its table of contents points")
                name, extra = _LOCAL.unpack(header)[-2:]
                file.seek(name + extra, 1)
            data = file.read(packed)
        if self.deflated is not None and self.deflated[index]:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
            except zlib.error as error:
                raise UnreadableError(f"the zip is damaged: {error}") from error
        if len(data) != size or (self.crcs is not None and zlib.crc32(data) != int(self.crcs[index])):
            raise UnreadableError("the archive is damaged: size or checksum differs")
        return data


def open_archive(path: Path, limits: Limits = LIMITS) -> Archive:
    """List a zip or an uncompressed tar, and refuse members that no official archive has.

    Args:
        path: The file; `.zip`, else a tar.
        limits: Caps on count, size and compression.

    Raises:
        FathomError: It is damaged, incomplete, of another kind, or hostile; with the first such member and the reason.
    """
    listed = _zip(path, limits) if path.suffix.lower() == ".zip" else _tar(path)
    names: list[str] = []
    numbers: list[tuple[int, int, int, int, int]] = []
    total = 0
    try:
        for name, wrong, row in listed:
            if wrong := wrong or _wrong_name(name):
                raise _refused(path, f"member {name[:200]!r} {wrong}")
            if name.endswith("/"):
                continue
            _, packed, size, _, _ = row
            total += size
            _check_caps(path, name, packed, size, len(names) + 1, total, limits)
            names.append(name)
            numbers.append(row)
    except (OSError, EOFError, ValueError, struct.error, zipfile.BadZipFile, tarfile.TarError) as error:
        raise FathomError(
            f"{path} is damaged or incomplete: {error}. Delete it and allow the download with --download, or put the "
            "official file there"
        ) from error
    if total > limits.ratio * max(1, path.stat().st_size):
        raise _refused(path, f"unpacks to {total:,} bytes, more than {limits.ratio} times its size")
    folded = {nfc(name).casefold() for name in names}
    if len(folded) != len(names):
        raise _refused(path, f"{len(names) - len(folded)} members have the name of another member")
    columns = np.array(numbers, np.int64).reshape(-1, 5).T
    zipped = path.suffix.lower() == ".zip"
    crcs, deflated = (columns[3], columns[4]) if zipped else (None, None)
    return Archive(path, names, columns[0], columns[1], columns[2], crcs, deflated)


# ------------------------------------------------------------------------------------------------------- helpers

_Row = tuple[str, str, tuple[int, int, int, int, int]]  # name, what is wrong, (offset, packed, size, crc, deflated)


def _zip(path: Path, limits: Limits) -> Iterator[_Row]:
    if (table := _table_size(path)) > _ENTRY * limits.members:  # it is read into memory, whatever it holds
        raise _refused(path, f"its table of contents has {table:,} bytes; at most {_ENTRY * limits.members:,} are read")
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            kind, wrong = info.external_attr >> 28, ""  # Unix file type, where one is given
            if kind == 0o12:
                wrong = "is a symbolic link"
            elif kind not in (0, 0o4, 0o10):
                wrong = "is neither a file nor a folder"
            elif info.flag_bits & 1:
                wrong = "is encrypted"
            elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                wrong = f"is compressed by an unusual method ({info.compress_type})"
            elif info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
                wrong = "is stored uncompressed, but its two sizes differ"
            deflated = int(info.compress_type == zipfile.ZIP_DEFLATED)
            row = (info.header_offset, info.compress_size, info.file_size, info.CRC, deflated)
            # orig_filename is the stored name; `filename` is cut at a null byte and has its backslashes replaced
            yield info.orig_filename, wrong, row


def _table_size(path: Path) -> int:
    """Bytes of a zip's table of contents, as its end says; 0 if it has no end, which `zipfile` tells."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 2**16 - 2**10))
        tail = file.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) - at < _END.size:
            return 0
        stated = int(_END.unpack_from(tail, at)[5])
        if stated == 0xFFFFFFFF and (large := tail.rfind(b"PK\6\6", 0, at)) >= 0:  # the end of a zip64 before it
            stated = int.from_bytes(tail[large + 40 : large + 48], "little")
        return stated


class _HeaderReader:
    """A file that gives no more than a header at a time: a tar's long names are read into memory at any size."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADERS:
            raise tarfile.ReadError(f"a header states {size:,} bytes; at most {_HEADERS:,} are read")
        return self.file.read(size)


def _tar(path: Path) -> Iterator[_Row]:
    with path.open("rb") as plain:
        reader: Any = _HeaderReader(plain)
        yield from _tar_rows(path, reader)


def _tar_rows(path: Path, reader: Any) -> Iterator[_Row]:
    with tarfile.open(fileobj=reader, mode="r:") as archive:
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps all members: a gigabyte for half a million
            wrong = ""
            if info.issym() or info.islnk():
                wrong = f"is a link to {info.linkname[:200]!r}"
            elif info.issparse() or not (info.isreg() or info.isdir()):
                wrong = "is neither a plain file nor a folder"
            name = info.name + "/" if info.isdir() else info.name
            yield name, wrong, (info.offset_data, info.size, info.size, 0, 0)
        end = archive.offset
    with path.open("rb") as file:
        file.seek(end)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise EOFError("the tar has no end mark, so its last part is missing")


def _wrong_name(name: str) -> str:
    """The reason why a member's name is refused; empty if it is fine."""
    if not name.strip("/") or any(ord(c) < 32 or ord(c) == 127 for c in name):
        return "has an empty name or control characters in it"
    if "\\" in name or ":" in name:
        return "has a Windows path for a name"
    if name.startswith("/"):
        return "has an absolute path for a name"
    parts = PurePosixPath(name).parts
    if ".." in parts:
        return "leads out of the archive's folder"
    if any(p != p.rstrip(" .") or p.split(".")[0].lower() in _RESERVED for p in parts):
        return "has a name that Windows reserves"
    return "has too long a name" if len(name.encode(errors="surrogateescape")) > 1_000 else ""


def _check_caps(path: Path, name: str, packed: int, size: int, count: int, total: int, limits: Limits) -> None:
    if size < 0 or packed < 0 or size > limits.member:
        raise _refused(path, f"member {name[:200]!r} unpacks to {size:,} bytes; at most {limits.member:,} are read")
    if size >= 2**20 and size > limits.ratio * max(1, packed):
        raise _refused(path, f"member {name[:200]!r} unpacks to more than {limits.ratio} times its size")
    if packed > size + size // 64 + 1024:  # neither storing nor deflating makes a file so much larger
        raise _refused(path, f"member {name[:200]!r} has {packed:,} bytes for {size:,} unpacked ones")
    if count > limits.members:
        raise _refused(path, f"it has more than {limits.members:,} members")
    if total > limits.total:
        raise _refused(path, f"its members unpack to more than {limits.total:,} bytes")


def _refused(path: Path, why: str) -> FathomError:
    return FathomError(
        f"{path} is refused, and nothing of it was read: {why}. Download the archive from its official address"
    )
