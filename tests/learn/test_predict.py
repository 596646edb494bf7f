"""Prediction: one pass, chunks that fit, memory that runs out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.faults import fault
from tests.learn.loops import CPU
from tests.learn.tasks import Pixels

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.learn import predict as module
from fathom.learn.augment.families import Augmentation
from fathom.learn.network import Network, build_network
from fathom.learn.predict import autocast, chunk_size, head_rows, is_out_of_memory, predict
from fathom.learn.reader import Reader

OUT_OF_MEMORY = fault("machine", "out of memory in prediction", "smaller chunks, the same result")

AUGMENTATION = Augmentation("digits", "standard", (0.3,) * 3, (0.3,) * 3, CPU)


def network(classes: int = 10, hidden: int = 0, dropout: float = 0.5) -> Network:
    return build_network("cnn", (8, 8), classes, dropout, Stream(0, ("init",)), CPU, hidden)


def images(count: int, worst=lambda count: None) -> Pixels:
    generator = torch.Generator().manual_seed(0)
    return Pixels(torch.randint(0, 256, (count, 3, 8, 8), generator=generator).to(torch.uint8), worst)


def chunks(net: Network, x: Pixels, draws: int, chunk: int):
    masks = net.masks(draws, Stream(0, ("draws",))) if draws else None
    return list(predict(net, Reader(x), len(x), AUGMENTATION, masks, chunk))


class Encoded:
    """Counts the images that go through the encoder."""

    def __init__(self, net: Network) -> None:
        self.counts: list[int] = []
        net.encoder.register_forward_pre_hook(lambda _, given: self.counts.append(len(given[0])))


@pytest.mark.parametrize("hidden", [0, 64])
def test_each_image_is_encoded_once_whatever_the_draws(hidden: int):
    net = network(hidden=hidden)
    encoded = Encoded(net)
    got = chunks(net, images(100), 30, 40)
    assert encoded.counts == [40, 40, 20]
    assert [p.log_probs.shape for p in got] == [(40, 30, 10), (40, 30, 10), (20, 30, 10)]
    assert got[0].features.shape == (40, hidden or 128)
    assert got[0].embeddings.shape == (40, 128)


@pytest.mark.parametrize("hidden", [0, 512])
@pytest.mark.parametrize(("draws", "classes"), [(50, 100), (100, 100), (100, 10), (0, 100)])
def test_a_chunk_holds_no_more_draws_than_are_meant_to_be_held(
    hidden: int, draws: int, classes: int, monkeypatch: pytest.MonkeyPatch
):
    """So a pool of millions streams; no tensor on the way is larger than the chunk's log-probabilities."""
    monkeypatch.setattr(module, "HEAD", {"cpu": 2**20})
    net = network(classes, hidden)
    largest = Largest()
    with largest:
        got = chunks(net, images(300), draws, 512)
    held = [p.log_probs.numel() for p in got]
    assert max(held) <= 2**20
    assert sum(len(p.features) for p in got) == 300
    assert len(got) == -(-300 // min(512, 2**20 // (max(1, draws) * classes)))
    stacked = 0 if hidden else draws * classes * 128  # the head's repeated weight
    encoder = 300 * 32 * 8 * 8  # what the first convolution gives
    assert largest.numbers <= max(2**20, stacked, encoder)


class Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """The most numbers that any operation gave."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple) else (out,):
            if torch.is_tensor(t) and not t._is_view():
                self.numbers = max(self.numbers, t.numel())
        return out


def test_one_image_is_always_predicted_however_many_draws():
    assert head_rows(network(100), 10**9, CPU) == 1


@settings(derandomize=True, max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 6), st.sampled_from([0, 16]))
def test_chunks_change_nothing_but_rounding(count: int, chunk: int, draws: int, hidden: int):
    net = network(hidden=hidden)
    whole, parts = chunks(net, images(count), draws, 1000), chunks(net, images(count), draws, chunk)
    assert len(whole) == 1
    assert [len(p.features) for p in parts[:-1]] == [chunk] * (len(parts) - 1)
    for field in ("log_probs", "features", "embeddings"):
        joined = torch.cat([getattr(p, field) for p in parts])
        torch.testing.assert_close(joined, getattr(whole[0], field), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("hidden", [0, 16])
def test_predictions_are_those_of_the_network(hidden: int):
    net = network(hidden=hidden)
    x = images(30)
    (got,) = chunks(net, x, 0, 100)
    net.eval()
    with torch.no_grad():
        logits = net(AUGMENTATION.test(x.x))
    torch.testing.assert_close(got.log_probs[:, 0], logits.log_softmax(1))
    torch.testing.assert_close((got.features @ net.head.weight.T + net.head.bias).detach(), logits)


@OUT_OF_MEMORY
def test_memory_that_runs_out_halves_the_chunk_for_good():
    sizes = []

    def scarce(count: int) -> None:
        sizes.append(count)
        if count > 20:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    net = network()
    got = chunks(net, images(50, scarce), 3, 64)
    assert sizes == [50, 25, 12, 12, 12, 12, 2]
    expected = chunks(net, images(50), 3, 64)
    torch.testing.assert_close(
        torch.cat([p.log_probs for p in got]), torch.cat([p.log_probs for p in expected]), rtol=1e-5, atol=1e-5
    )


@OUT_OF_MEMORY
@pytest.mark.parametrize(
    "words",
    ["CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "CUDNN_STATUS_ALLOC_FAILED", "out of memory"],
)
def test_libraries_that_run_out_of_memory_are_understood(words: str):
    assert is_out_of_memory(RuntimeError(f"CUDA error: {words}"))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


@OUT_OF_MEMORY
def test_memory_for_not_even_one_image_is_explained_and_other_errors_are_not():
    def fail(error: Exception):
        def worst(count: int) -> None:
            raise error

        return worst

    with pytest.raises(FathomError, match="one image does not fit into memory"):
        chunks(network(), images(5, fail(MemoryError())), 0, 4)
    with pytest.raises(RuntimeError, match=r"^corrupt file$"):
        chunks(network(), images(5, fail(RuntimeError("corrupt file"))), 0, 4)


def test_chunks_are_smaller_for_larger_images_and_never_empty():
    cuda = torch.device("cuda")
    assert chunk_size(CPU, (32, 32)) == 256
    assert chunk_size(cuda, (32, 32)) == 4096
    assert chunk_size(cuda, (224, 224)) == 334
    assert chunk_size(CPU, (2000, 2000)) == 1


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_precisions_are_what_they_say(precision: str, dtype: torch.dtype):
    a = torch.ones(4, 4)
    with autocast(CPU, precision):
        assert (a @ a).dtype == dtype
    with autocast(CPU):
        assert (a @ a).dtype == torch.float32  # bfloat16 is slower on a CPU
