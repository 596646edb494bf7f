"""Recorded steps: like plain ones, or not used. A recorder on the CPU stands in for CUDA's where there is none."""

from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from tests.faults import fault
from tests.learn.loops import CPU, Labeled, Remembering, network

from fathom.learn.training import cuda_graphs
from fathom.learn.training import fit as loop
from fathom.learn.training.cuda_graphs import CudaRecorder, GraphedStep
from fathom.learn.training.fit import OPTIMIZERS, Optimization, TrainingRun, fit
from fathom.learn.training.step import TrainingStep, parameter_groups
from fathom.machine.environment import set_mode


@pytest.fixture(autouse=True)
def short_trainings_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainings of these tests have a dozen steps."""
    monkeypatch.setattr(cuda_graphs, "MIN_LEFT", 1)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
Recorder = Callable[[Callable[[], torch.Tensor]], Callable[[], torch.Tensor]]


def faithful(body: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    """As CUDA records: the body runs some times first, and a replay does what it did, on what its inputs hold then."""
    for _ in range(3):
        body()
    return body


def stale(body: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    """A replay that changes nothing and gives the old numbers."""
    row = body()
    return lambda: row.clone()


def impossible(body: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    body()
    raise RuntimeError("operation not permitted when stream is capturing\nmore")


def make(
    recorder: Recorder | None, *, exact: bool = True, optimizer: str = "sgd", ema: float = 0.9, last: str = "keep"
):
    """A training in mini-batches of 20, 20 and 8, three steps an epoch; with its state."""
    net = network()
    objective = Labeled(net, batch=20, last=last)
    how = Optimization(0.1, 0.01, epochs=4, optimizer=optimizer)
    average = network().requires_grad_(False)
    optimizing = OPTIMIZERS[optimizer](parameter_groups(net, 0.01), how)
    step = TrainingStep(net, objective.loss, optimizing, average=average, decay=ema, tensor_lr=True)
    run = step if recorder is None else GraphedStep(step, [], recorder, exact=exact)
    net.train()
    rows = [run(batch, 0.1 / (1 + epoch)) for epoch in range(4) for batch in objective.batches(epoch)]
    return run, torch.stack(rows), [t for tensors in step.tensors().values() for t in tensors]


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_replayed_steps_are_the_plain_ones(optimizer: str):
    """To the bit, odd last mini-batches and changing rates included: what recording tried out is undone."""
    captured, rows, state = make(faithful, optimizer=optimizer)
    _, plain_rows, plain = make(None, optimizer=optimizer)
    assert captured.summary == "captured"
    assert len(captured.recordings) == 2  # of 20 and of 8 images
    assert torch.equal(rows, plain_rows)
    assert all(torch.equal(a, b) for a, b in zip(state, plain, strict=True))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    ("recorder", "reason"),
    [
        (stale, "eager: a recorded step gave other "),
        (impossible, "eager: recording failed (operation not permitted when stream is capturing)"),
    ],
)
def test_where_a_recording_is_wrong_training_goes_on_plainly_and_says_so(recorder: Recorder, reason: str, exact: bool):
    captured, rows, state = make(recorder, exact=exact)
    _, plain_rows, plain = make(None)
    assert captured.summary.startswith(reason)
    assert not captured.recordings
    assert torch.equal(rows, plain_rows)
    assert all(torch.equal(a, b) for a, b in zip(state, plain, strict=True))


@pytest.mark.parametrize("part", ["weights", "buffers", "momenta", "averages", "statistics"])
@pytest.mark.parametrize("exact", [True, False])
def test_a_recording_that_forgets_one_part_is_found(part: str, exact: bool):
    net = network()
    objective = Remembering(net)
    optimizer = OPTIMIZERS["sgd"](parameter_groups(net, 0.01), Optimization(0.1, 0.01, epochs=1))
    step = TrainingStep(
        net, objective.loss, optimizer, average=network().requires_grad_(False), decay=0.5, tensor_lr=True
    )
    extra = list(objective.buffers().values())

    def forgetful(body):
        def replay():
            tensors = (step.tensors() | {"statistics": extra})[part]
            kept = [t.clone() for t in tensors]
            row = body()
            with torch.no_grad():
                for t, old in zip(tensors, kept, strict=True):
                    t.copy_(old)
            return row

        return replay

    captured = GraphedStep(step, extra, forgetful, exact=exact)
    for batch in objective.batches(0):
        captured(batch, 0.1)
    assert captured.summary == f"eager: a recorded step gave other {part} than the plain one"


@pytest.mark.parametrize("exact", [True, False])
def test_a_counter_that_stands_still_is_found_beside_statistics_that_move_far(exact: bool):
    net = network()
    objective = Remembering(net)
    optimizer = OPTIMIZERS["sgd"](parameter_groups(net, 0.01), Optimization(0.1, 0.01, epochs=1))
    step = TrainingStep(net, lambda *batch: 1e3 * objective.loss(batch[0] * 1e3, batch[1]), optimizer, tensor_lr=True)
    counters = [b for b in net.buffers() if not b.is_floating_point()]

    def forgetful(body):
        def replay():
            row = body()
            for counter in counters:
                counter.sub_(1)
            return row

        return replay

    captured = GraphedStep(step, list(objective.buffers().values()), forgetful, exact=exact)
    for batch in objective.batches(0):
        captured(batch, 0.01)
    assert captured.summary == "eager: a recorded step gave other buffers than the plain one"
    assert [int(counter) for counter in counters] == [3] * len(counters)


def test_what_differs_by_rounding_is_used_unless_the_bits_must_be_the_same():
    def rounding(body):
        def replay():
            row = body()
            row[0] *= 1 + 1e-5
            return row

        return replay

    assert make(rounding, exact=False)[0].summary == "captured"
    assert make(rounding, exact=True)[0].summary == "eager: a recorded step gave other loss than the plain one"


def test_a_shape_that_comes_once_is_not_recorded():
    net = network()
    objective = Labeled(net, batch=48)
    optimizer = OPTIMIZERS["sgd"](parameter_groups(net, 0.0), Optimization(0.1, 0.0, epochs=1))
    captured = GraphedStep(TrainingStep(net, objective.loss, optimizer, tensor_lr=True), [], impossible, exact=True)
    for batch in objective.batches(0):
        captured(batch, 0.1)
    assert captured.summary == "eager: no shape of mini-batch came twice"


def test_a_rate_that_is_a_plain_number_cannot_be_recorded():
    net = network()
    optimizer = OPTIMIZERS["sgd"](parameter_groups(net, 0.0), Optimization(0.1, 0.0, epochs=1))
    with pytest.raises(ValueError, match="learning rate in a tensor"):
        GraphedStep(TrainingStep(net, Labeled(net).loss, optimizer), [], faithful, exact=True)


def test_with_fp16_nothing_is_recorded():
    net = network()
    optimizer = OPTIMIZERS["sgd"](parameter_groups(net, 0.0), Optimization(0.1, 0.0, epochs=1))
    step = TrainingStep(net, Labeled(net).loss, optimizer, fp16=True, tensor_lr=True)
    captured = GraphedStep(step, [], impossible, exact=True)
    for batch in Labeled(net).batches(0):
        assert captured(batch, 0.1).isfinite().all()
    assert captured.summary.startswith("eager: fp16")


@fault("gpu", "40 steps are left", "nothing is recorded: the recording would take longer than it saves")
def test_a_shape_is_recorded_only_if_300_steps_are_left(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cuda_graphs, "MIN_LEFT", 300)
    net = network()
    optimizer = OPTIMIZERS["sgd"](parameter_groups(net, 0.0), Optimization(0.1, 0.0, epochs=1))
    step = TrainingStep(net, Labeled(net).loss, optimizer, tensor_lr=True)
    batch = next(Labeled(net).batches(0))
    for left, summary in ((300, "eager: fewer than 300 steps were left"), (301, "captured")):
        captured = GraphedStep(step, [], faithful, exact=True, left=left)
        for _ in range(3):
            captured(batch, 0.1)
        assert captured.summary == summary


def test_a_training_counts_the_steps_that_are_left(monkeypatch: pytest.MonkeyPatch):
    """Also one that is resumed: at the beginning of its last epoch three steps are left."""
    net = network()
    run = TrainingRun(net, Labeled(net), Optimization(0.1, 0.0, epochs=5), None)
    run.plain = TrainingStep(run.network, run.objective.loss, run.optimizer, tensor_lr=True)
    monkeypatch.setattr(cuda_graphs, "MIN_LEFT", 10**9)
    run.step = GraphedStep(run.plain, [], impossible, exact=True)
    run.run(4)
    assert run.step.left == 0


class FakeCapture:
    """torch's capture as it is in torch 2.11: if it was invalidated, its end raises and tells the allocator nothing."""

    def __init__(self, patch: pytest.MonkeyPatch, *, invalid: bool) -> None:
        self.told: list[str] = []
        self.invalid, self.modes = invalid, []
        stream = SimpleNamespace(wait_stream=lambda other: None)
        fakes = {
            "graph_pool_handle": lambda: (0, 1), "Stream": lambda: stream, "current_stream": lambda: stream,
            "stream": lambda stream: nullcontext(), "device": lambda device: nullcontext(),
            "set_stream": lambda stream: None,
            "CUDAGraph": lambda: SimpleNamespace(replay=lambda: None), "graph": self.graph, "current_device": lambda: 1,
        }  # fmt: skip
        for name, fake in fakes.items():
            patch.setattr(torch.cuda, name, fake)
        patch.setattr(torch._C, "_cuda_endAllocateToPool", self.end)
        patch.setattr(
            torch._C, "_cuda_releasePool", lambda device, pool: self.told.append(f"release {device}"), raising=False
        )

    @contextmanager
    def graph(self, graph: object, *, pool: object, stream: object, capture_error_mode: str):
        self.modes.append(capture_error_mode)
        try:
            yield
        finally:
            if self.invalid:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
            self.told.append("ended by torch")

    def end(self, device: int, pool: object) -> None:
        if "ended by torch" in self.told:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.told.append(f"end {device}")


@fault("gpu", "a recording fails and the allocator is not told", "the allocator leaves the capture", cases=2)
@pytest.mark.parametrize("invalid", [True, False])
def test_after_a_failed_recording_the_allocator_leaves_the_capture(monkeypatch: pytest.MonkeyPatch, invalid: bool):
    capture, calls = FakeCapture(monkeypatch, invalid=invalid), []

    def body() -> torch.Tensor:
        calls.append(1)
        if len(calls) > 3:  # after warming up
            raise RuntimeError("operation not permitted when stream is capturing")
        return torch.zeros(1)

    with pytest.raises(RuntimeError, match=r"^operation not permitted when stream is capturing$"):
        CudaRecorder(torch.device("cuda", 1))(body)
    assert capture.told == (["end 1", "release 1"] if invalid else ["ended by torch"])


def test_a_recording_that_succeeds_is_left_alone_and_lets_other_threads_work(monkeypatch: pytest.MonkeyPatch):
    capture = FakeCapture(monkeypatch, invalid=False)
    assert CudaRecorder(torch.device("cuda", 1))(lambda: torch.ones(1))().item() == 1
    assert (capture.told, capture.modes) == (["ended by torch"], ["thread_local"])


def test_on_a_cpu_nothing_is_recorded():
    net, notes = network(), {}
    fit(net, Labeled(net), Optimization(0.1, 0.0, epochs=1), notes=notes)
    assert notes == {}
    assert next(net.parameters()).device == CPU


# ---------------------------------------------------------------------------------------------------- on the device


def trained(capture: bool, **how: object):
    net = network().cuda()
    notes: dict[str, str] = {}
    optimization = Optimization(0.05, 0.01, epochs=4, warmup=1, capture=capture, **how)
    _, history = fit(net, Remembering(net), optimization, notes=notes)
    return net, history, notes


@needs_cuda
@pytest.mark.parametrize("how", [{}, {"ema": 0.9}, {"optimizer": "lars"}, {"schedule": "step"}, {"precision": "fp32"}])
def test_on_cuda_steps_are_recorded_and_train_as_plain_ones(how: dict[str, object]):
    net, history, notes = trained(True, **how)
    plain, plain_history, plain_notes = trained(False, **how)
    assert notes == {"step": "captured"}
    assert plain_notes == {}
    assert [row["loss"] for row in history] == pytest.approx([row["loss"] for row in plain_history], rel=2e-2)
    for (name, a), b in zip(net.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=5e-2, atol=5e-3, msg=name)


@needs_cuda
def test_on_cuda_deterministic_reruns_give_the_same_bits():
    set_mode(torch.device("cuda"))
    try:
        (first, history, _), (again, history_again, _), (plain, _, _) = trained(True), trained(True), trained(False)
    finally:
        torch.use_deterministic_algorithms(False)
    assert history == history_again
    for (name, a), b, c in zip(
        first.state_dict().items(), again.state_dict().values(), plain.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
        assert torch.equal(a, c), name


@needs_cuda
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_on_cuda_the_host_never_waits_within_an_epoch(monkeypatch: pytest.MonkeyPatch):
    """After the first epoch, in which shapes are recorded."""
    net = network().cuda()
    close = loop.close_epoch
    debug = torch.cuda.set_sync_debug_mode

    def closing(*given):
        debug("default")
        return close(*given)

    class Watched(Remembering):
        def batches(self, epoch: int):
            for i, batch in enumerate(super().batches(epoch)):
                debug("error" if epoch > 1 and i else "default")  # an epoch's order comes from the host
                yield batch

    monkeypatch.setattr(loop, "close_epoch", closing)
    try:
        fit(net, Watched(net), Optimization(0.05, 0.01, epochs=4))
    finally:
        debug("default")


@needs_cuda
def test_on_cuda_what_cannot_be_recorded_is_told():
    class PoolQuery(Labeled):
        def loss(self, *batch: torch.Tensor) -> torch.Tensor:
            loss = super().loss(*batch)
            return loss * (1.0 if float(loss.detach()) < 100 else 0.5)

    net, notes = network().cuda(), {}
    fit(net, PoolQuery(net), Optimization(0.05, 0.01, epochs=3), notes=notes)
    assert notes["step"].startswith("eager: recording failed")
    assert isinstance(CudaRecorder(torch.device("cuda")), CudaRecorder)
