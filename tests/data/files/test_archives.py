"""Hostile, damaged and honest archives."""

import io
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from tests.faults import fault

from fathom.core.records import FathomError
from fathom.data.files.archives import Limits, Member, open_archive
from fathom.data.files.decode import UnreadableError

CONTENT = {"a/one.jpg": b"first", "a/two.jpg": b"", "b/three.txt": bytes(range(256)) * 40}
ESCAPES = {
    "../evil.jpg": "leads out",
    "a/../../evil.jpg": "leads out",
    "/etc/evil.jpg": "absolute path",
    "a\\..\\..\\evil.jpg": "Windows path",
    "C:/evil.jpg": "Windows path",
    "a/CON": "Windows reserves",
    "a/nul.jpg": "Windows reserves",
    "a./b.jpg": "Windows reserves",
    "a/new\nline.jpg": "control characters",
}


def tar_of(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for info, data in members:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zip_of(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for info, data in members:
            archive.writestr(info, data)
    return path


def special(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def make(tmp_path, kind, members):
    return (zip_of if kind == "zip" else tar_of)(tmp_path / f"x.{kind}", members)


@pytest.mark.parametrize("kind", ["zip", "deflated", "tar"])
def test_members_are_those_that_the_standard_library_reads(tmp_path, kind):
    method = zipfile.ZIP_DEFLATED if kind == "deflated" else zipfile.ZIP_STORED
    path = tar_of(tmp_path / "x.tar", CONTENT.items()) if kind == "tar" else zip_of(
        tmp_path / "x.zip", CONTENT.items(), method)  # fmt: skip
    archive = open_archive(path)
    assert archive.names == list(CONTENT)
    assert [Member(archive, i).read_bytes() for i in range(3)] == list(CONTENT.values())
    assert str(Member(archive, 2)) == f"{path.name}: b/three.txt"
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]  # nothing is extracted


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_with_folders_and_long_names(tmp_path, form):
    long = "/".join(["folder" * 5] * 7) + "/image.jpg"
    with tarfile.open(tmp_path / "x.tar", "w", format=form) as archive:
        archive.addfile(special("top", tarfile.DIRTYPE))
        info = tarfile.TarInfo(long)
        info.size = 5
        archive.addfile(info, io.BytesIO(b"bytes"))
    archive = open_archive(tmp_path / "x.tar")
    assert archive.names == [long]
    assert archive.read(0) == b"bytes"


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(("name", "why"), ESCAPES.items())
def test_names_that_lead_elsewhere_are_refused(tmp_path, kind, name, why):
    path = make(tmp_path, kind, [("a/fine.jpg", b"1"), (name, b"2")])
    with pytest.raises(FathomError, match=why) as error:
        open_archive(path)
    assert "nothing of it was read" in str(error.value)
    assert not (tmp_path.parent / "evil.jpg").exists()


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "one.jpg"),
        (tarfile.LNKTYPE, "a/one.jpg"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_links_and_devices_are_refused(tmp_path, kind, link):
    path = tar_of(tmp_path / "x.tar", [("a/one.jpg", b"1"), (special("a/two.jpg", kind, link), b"")])
    with pytest.raises(FathomError, match="is a link to" if link else "neither a plain file nor a folder"):
        open_archive(path)


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("a/link.jpg")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    with pytest.raises(FathomError, match="symbolic link"):
        open_archive(zip_of(tmp_path / "x.zip", [(info, "/etc/passwd")]))


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(members=2), "more than 2 members"),
        (Limits(total=10_000), "more than 10,000 bytes"),
        (Limits(member=10_000), "at most 10,000"),
    ],
)
def test_caps_on_count_and_size(tmp_path, kind, limits, why):
    path = make(tmp_path, kind, CONTENT.items())
    with pytest.raises(FathomError, match=why):
        open_archive(path, limits)


def test_bombs_are_refused(tmp_path):
    bomb = zip_of(tmp_path / "x.zip", [("a.jpg", bytes(2**22))], zipfile.ZIP_DEFLATED)
    with pytest.raises(FathomError, match="more than 200 times its size"):
        open_archive(bomb)
    many = zip_of(tmp_path / "y.zip", [(f"{i}.jpg", bytes(2**19)) for i in range(4)], zipfile.ZIP_DEFLATED)
    with pytest.raises(FathomError, match="more than 200 times its size"):
        open_archive(many)


def test_a_zip_that_says_less_than_it_unpacks_to(tmp_path):
    path = zip_of(tmp_path / "x.zip", [("a.jpg", bytes(2**20))], zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\1\2")
    data[central + 24 : central + 28] = struct.pack("<I", 100)  # unpacked size in the table of contents
    path.write_bytes(data)
    archive = open_archive(path)
    with pytest.raises(UnreadableError, match="size or checksum differs"):  # 101 bytes were unpacked, not a million
        archive.read(0)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_two_members_of_one_name_are_refused(tmp_path, kind):
    path = make(tmp_path, kind, [("a/One.jpg", b"1"), ("a/one.jpg", b"2")])
    with pytest.raises(FathomError, match="name of another member"):
        open_archive(path)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_cut_anywhere_is_refused(tmp_path, kind):
    whole = make(tmp_path, kind, CONTENT.items()).read_bytes()
    cut = tmp_path / f"cut.{kind}"
    end = whole.rindex(bytes(range(256))) + 256 if kind == "tar" else len(whole)
    for length in np.unique(np.linspace(1, end - 1, 60).astype(int)).tolist():
        cut.write_bytes(whole[:length])
        with pytest.raises(FathomError, match="damaged or incomplete"):
            open_archive(cut)


@pytest.mark.parametrize("data", [b"", b"no archive", b"\x1f\x8b\x08compressed", bytes(100)])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_other_files_are_refused(tmp_path, kind, data):
    (tmp_path / f"x.{kind}").write_bytes(data)
    with pytest.raises(FathomError, match="damaged or incomplete"):
        open_archive(tmp_path / f"x.{kind}")


def test_an_encrypted_zip_is_refused(tmp_path):
    path = zip_of(tmp_path / "x.zip", [("a.jpg", b"1")])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(FathomError, match="encrypted"):
        open_archive(path)


def test_a_changed_byte_in_a_zip_is_noticed(tmp_path):
    path = zip_of(tmp_path / "x.zip", CONTENT.items())
    data = bytearray(path.read_bytes())
    data[data.index(b"first")] ^= 1
    path.write_bytes(data)
    with pytest.raises(UnreadableError, match="checksum differs"):
        open_archive(path).read(0)


@fault("data", "archives that would fill the memory", "refused with the number, before anything is unpacked", cases=5)
def test_bombs_of_every_kind_are_refused_with_their_number(tmp_path):
    limits = Limits(members=50, total=2**22, member=2**21, ratio=100)

    def refusal(path):
        with pytest.raises(FathomError) as caught:
            open_archive(path, limits)
        return str(caught.value)

    zeros = [("a.jpg", bytes(2**21))]
    assert "more than 100 times its size" in refusal(zip_of(tmp_path / "ratio.zip", zeros, zipfile.ZIP_DEFLATED))
    large = zip_of(tmp_path / "large.zip", [("a.jpg", b"x" * 100)])
    data = bytearray(large.read_bytes())
    at = data.rfind(b"PK\1\2")
    for place in (at + 20, at + 24):  # packed and unpacked size of a member of 4 GiB
        data[place : place + 4] = struct.pack("<I", 2**32 - 2)
    large.write_bytes(data)
    assert "unpacks to 4,294,967,294 bytes; at most 2,097,152 are read" in refusal(large)
    data[at + 24 : at + 28] = struct.pack("<I", 100)
    data[at + 10 : at + 12] = struct.pack("<H", zipfile.ZIP_DEFLATED)
    large.write_bytes(data)
    assert "has 4,294,967,294 bytes for 100 unpacked ones" in refusal(large)
    names = [(f"{i:03}" + "x" * 400, b"") for i in range(80)]
    assert "its table of contents has " in refusal(zip_of(tmp_path / "names.zip", names))
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 5 * 2**30
    (tmp_path / "pax.tar").write_bytes(info.tobuf() + bytes(2048))
    assert "a header states 5,368,709,120 bytes; at most 1,048,576 are read" in refusal(tmp_path / "pax.tar")
