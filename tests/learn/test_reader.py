"""Reading images: kept on the device where they are few, else read ahead in a thread."""

import threading
import time

import pytest
import torch
from tests.faults import fault
from tests.learn.loops import CPU
from tests.learn.tasks import Pixels

from fathom.learn import reader
from fathom.learn.reader import Reader, make_reader


def images(count: int, worst=lambda count: None, side: int = 8) -> Pixels:
    generator = torch.Generator().manual_seed(0)
    return Pixels(torch.randint(0, 256, (count, 3, side, side), generator=generator).to(torch.uint8), worst)


def threaded(source: Pixels) -> Reader:
    """A reader as it works on an accelerator."""
    made = Reader(source)
    made.threaded = True
    return made


def test_images_that_are_too_many_to_keep_are_read_as_they_are_used(monkeypatch: pytest.MonkeyPatch):
    reads = []
    x = images(10, reads.append)
    monkeypatch.setattr(reader, "KEEP_BYTES", 10 * 3 * 64 - 1)
    read = make_reader(x)
    assert reads == []
    assert torch.equal(read(torch.tensor([3, 1])), x.x[[3, 1]])
    assert reads == [2]


@fault("gpu", "MIO-TCD's 5,500 validation images (0.7 % over 1 GiB)", "are kept on a GPU with memory for them")
def test_what_is_kept_on_a_gpu_is_a_share_of_its_free_memory(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (asked.append(device), (60 * 2**30, 80 * 2**30))[1])
    cuda = torch.device("cuda", 1)
    assert 5500 * 3 * 256 * 256 > 2**30
    assert 5500 * 3 * 256 * 256 <= reader.keep_bytes(cuda) == 15 * 2**30
    assert asked[0] == cuda, "the memory of the card that trains"
    assert reader.keep_bytes(CPU) == 2**30


@fault("gpu", "images are decoded in the training loop", "they are decoded in a thread while the device works")
def test_images_are_read_while_others_are_worked_on():
    source, threads = images(40), set()
    started = [threading.Event() for _ in range(4)]

    def take(ids: torch.Tensor) -> torch.Tensor:
        threads.add(threading.current_thread())
        started[int(ids[0]) // 10].set()
        return source.x[ids]

    source.take = take
    pieces = threaded(source).pieces(torch.arange(40).split(10))
    for number, piece in enumerate(pieces):
        assert torch.equal(piece, source.x[10 * number : 10 * number + 10])
        if number < 3:
            assert started[number + 1].wait(10), "the next piece is read before it is asked for"
    assert threading.current_thread() not in threads


def test_no_more_is_read_ahead_than_said():
    reads = []
    pieces = threaded(images(100, reads.append)).pieces(torch.arange(100).split(10))
    next(pieces)
    time.sleep(0.1)
    assert len(reads) <= 1 + reader.AHEAD
    pieces.close()
    time.sleep(0.05)
    assert len(reads) <= 1 + reader.AHEAD, "nothing is read once nobody wants it"


def test_an_error_of_the_thread_reaches_the_one_who_asked():
    def worst(count: int) -> None:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        next(threaded(images(4, worst)).pieces([torch.arange(2)]))


def test_memory_that_runs_out_is_survived_with_a_thread_too():
    from fathom.learn.predict import in_chunks

    def work(x: torch.Tensor) -> torch.Tensor:
        if len(x) > 3:
            raise torch.OutOfMemoryError("of the device")
        return x

    source = images(23)
    assert torch.equal(torch.cat(list(in_chunks(threaded(source), 23, 16, work))), source.x)


def test_images_are_copied_to_a_gpu_in_pieces(monkeypatch: pytest.MonkeyPatch):
    """The device's name is all that makes a reader do so; here the copy stays on the CPU."""
    source, sizes = images(10, side=8), []

    class Elsewhere(Pixels):
        @property
        def device(self) -> torch.device:
            return torch.device("meta")

        def take(self, ids: torch.Tensor) -> torch.Tensor:
            sizes.append(len(ids))
            return self.x[ids]

    monkeypatch.setattr(reader, "PIECE_BYTES", 4 * 3 * 64)
    kept = make_reader(Elsewhere(source.x)).kept
    assert sizes == [4, 4, 2]
    assert torch.equal(kept, source.x)
