import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from tests.data.make import save
from tests.faults import fault

from fathom.core.records import FathomError
from fathom.data.cache import pixels
from fathom.data.cache.pixels import content_hashes, decode_files
from fathom.data.files.decode import decode
from fathom.data.images import MappedImages, TensorImages, pixels_sha256

SIZE = (8, 10)


@pytest.fixture
def files(tmp_path):
    return [save(tmp_path / f"{i}.png", seed=i) for i in range(6)]


@pytest.fixture
def decoded(monkeypatch):
    """The paths that were decoded, as they are."""
    seen = []

    def counted(path, *arguments):
        seen.append(path)
        return decode(path, *arguments)

    monkeypatch.setattr(pixels, "decode", counted)
    return seen


def run(files, tmp_path, **options):
    return decode_files(files, SIZE, tmp_path / "cache", quiet=True, **options)


def cache_file(tmp_path):
    (file,) = (tmp_path / "cache").glob("*.pixels")
    return file


def test_files_are_decoded_in_order_and_once(files, tmp_path, decoded):
    images = run(files, tmp_path)
    assert isinstance(images, TensorImages)
    for i, path in enumerate(files):
        assert np.array_equal(images.pixels[i].numpy(), decode(path, SIZE))
    assert sorted(decoded) == sorted(files)
    assert torch.equal(run(files, tmp_path).pixels, images.pixels)
    assert len(decoded) == len(files)


def test_digest_is_that_of_the_pixels(files, tmp_path):
    images = run(files, tmp_path)
    assert images.sha256 == pixels_sha256(TensorImages(images.pixels))


def test_content_decides_and_not_the_path(files, tmp_path, decoded):
    run(files, tmp_path)
    moved = [path.rename(path.with_name(f"moved-{path.name}")) for path in files]
    run(moved, tmp_path)
    assert len(decoded) == len(files)
    for options in ({"fit": "crop"}, {}):
        run(moved if options else moved[::-1], tmp_path, **options)  # another rule, another order
    assert len(decoded) == 3 * len(files)


def test_changed_file_is_noticed(files, tmp_path):
    before = run(files, tmp_path).pixels
    save(files[2], seed=99)
    os.utime(files[2], (1e9, 1e9))  # even to a time long ago
    after = run(files, tmp_path).pixels
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, False, True, True, True]


def test_unchanged_old_files_are_not_read_again(files, tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "RACY", -1)  # as if all had been written long ago
    first = content_hashes(files, tmp_path, quiet=True)
    assert len(json.loads((tmp_path / "content-hashes.json").read_text())) == 6
    read = []
    hashed = pixels._sha256_file
    monkeypatch.setattr(pixels, "_sha256_file", lambda path: read.append(path) or hashed(path))
    assert content_hashes(files, tmp_path, quiet=True) == first
    assert not read
    before = files[3].stat()
    data = bytearray(files[3].read_bytes())
    data[-20] ^= 1
    files[3].write_bytes(data)
    os.utime(files[3], ns=(before.st_atime_ns, before.st_mtime_ns))  # the same size, the old time put back
    assert content_hashes(files, tmp_path, quiet=True)[3] != first[3]
    assert read == [files[3]]


def test_a_file_changed_a_moment_ago_is_not_remembered(files, tmp_path):
    os.utime(files[0])
    content_hashes(files, tmp_path, quiet=True)
    index = tmp_path / "content-hashes.json"
    assert not index.exists() or str(files[0]) not in json.loads(index.read_text())


def flip_byte(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


DAMAGES = {
    "byte": flip_byte,
    "short": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "empty": lambda file: file.write_bytes(b""),
    "header": lambda file: file.write_bytes(b"x" * 4096 + file.read_bytes()[4096:]),
    "null": lambda file: file.write_bytes(b"null".ljust(4096) + file.read_bytes()[4096:]),
}


@fault("data", "damaged cache", "noticed and made again, with a warning")
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cache_is_decoded_again(files, tmp_path, decoded, caplog, damage):
    before = run(files, tmp_path).pixels
    damage(cache_file(tmp_path))
    assert torch.equal(run(files, tmp_path).pixels, before)
    assert len(decoded) == 2 * len(files)
    assert "damaged" in caplog.text


def test_a_large_set_stays_in_a_map(files, tmp_path):
    images = run(files, tmp_path, memory_limit=100)
    assert isinstance(images, MappedImages)
    assert torch.equal(images.take(torch.arange(6)), run(files, tmp_path).pixels)


def test_all_unreadable_files_are_named_and_nothing_is_left(files, tmp_path):
    bad = [tmp_path / f"bad{i}.jpg" for i in range(12)]
    for path in bad:
        path.write_text("no picture")
    with pytest.raises(FathomError) as caught:
        run([*files, *bad], tmp_path)
    message = str(caught.value)
    assert "12 of 18 files" in message
    assert "and 2 more" in message
    assert message.count("not an image") == 10
    assert "check-data" in message
    assert not [p for p in (tmp_path / "cache").iterdir() if p.suffix in (".pixels", ".part")]


def test_an_interrupted_writer_leaves_no_file(files, tmp_path, monkeypatch):
    def interrupted(path, *arguments):
        if path == files[4]:
            raise KeyboardInterrupt
        return decode(path, *arguments)

    monkeypatch.setattr(pixels, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(files, tmp_path)
    assert not list((tmp_path / "cache").glob("*.p*"))


KILLED = """
import os, signal, sys
from pathlib import Path
from fathom.data.cache import pixels
real = pixels.decode
def dies(path, *arguments):
    if Path(path).name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(path, *arguments)
pixels.decode = dies
folder = Path(sys.argv[1])
pixels.decode_files([folder / f"{i}.png" for i in range(6)], (8, 10), folder / "cache", quiet=True)
"""


@fault("data", "kill -9 while a cache is written", "no half file counts, the next call makes it", cases=2)
def test_a_killed_writer_leaves_no_half_file(files, tmp_path):
    whole = decode_files(files, SIZE, tmp_path / "whole", quiet=True)
    for name in ("0.png", "4.png"):
        command = [sys.executable, "-c", KILLED, str(tmp_path), name]
        assert subprocess.run(command).returncode == -signal.SIGKILL
        assert not list((tmp_path / "cache").glob("*.pixels"))
    assert torch.equal(run(files, tmp_path).pixels, whole.pixels)


def test_two_at_once_decode_once(files, tmp_path, decoded):
    results = []
    threads = [threading.Thread(target=lambda: results.append(run(files, tmp_path).pixels)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decoded) == len(files)
    assert all(torch.equal(r, results[0]) for r in results)
    assert len(results) == 4


@fault("data", "full disk or closed folder of a cache", "told before the work, with the way out")
def test_a_full_disk_and_a_closed_folder_are_said_plainly(files, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(FathomError, match="FATHOM_CACHE"):
        decode_files(files, SIZE, tmp_path / "file", quiet=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(FathomError, match="GiB are free"):
        run(files, tmp_path)


@pytest.mark.parametrize("arguments", [{"fit": "stretch"}, {"size": (0, 4)}])
def test_wrong_options_are_refused(files, tmp_path, arguments):
    with pytest.raises(FathomError, match="expected"):
        decode_files(files, arguments.pop("size", SIZE), tmp_path, quiet=True, **arguments)
