"""CUDA graphs of training steps: forward, backward and update, recorded once per shape of mini-batch and replayed.

A small step is bound by the launches of its few hundred kernels; a replay is one launch. Every recording is checked: it
is made with other data than the mini-batch it is then tried on, and kept only if it changes weights, buffers, momenta
and averages as the plain step does from the same state. If recording fails or differs, plain steps are used, and
`summary` gives the reason.
"""

from collections import Counter
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fathom.learn.training.step import TrainingStep

MIN_REPEATS = 2  # mini-batches of a shape before it is recorded: recording costs more than one plain step
MIN_LEFT = 300  # steps of the training left, this one included, for which a recording is worth its time and memory
MAX_SHAPES = 4  # shapes that are recorded; each holds the memory of its activations
DIFFERENCE = 0.05  # share of a change by which a recorded step may differ if the device's sums have no fixed order

Body = Callable[[], Tensor]
Recorder = Callable[[Body], Body]  # runs a body any number of times, and returns its replay


class GraphedStep:
    """Training step that is replayed where possible (see `TrainingStep`).

    Args:
        step: The plain step, with its learning rate in a tensor.
        extra: Further tensors that a step changes in place (`fit.Objective.buffers`).
        record: Recorder; `CudaRecorder` except in tests.
        exact: True if a recorded step must give the same bits (deterministic mode).
        left: Steps of the training that are left; the training sets it at the beginning of every epoch.
    """

    def __init__(
        self, step: TrainingStep, extra: list[Tensor], record: Recorder, *, exact: bool, left: int = 10**9
    ) -> None:
        if step.lr is None:
            raise ValueError("a recorded step needs its learning rate in a tensor")
        self.step, self.extra, self.record, self.exact, self.left = step, extra, record, exact, left
        self.repeats: Counter[tuple[object, ...]] = Counter()
        self.recordings: dict[tuple[object, ...], tuple[tuple[Tensor, ...], Body]] = {}
        self.reason = "fp16 scales gradients by a factor that the host reads" if step.scaler is not None else ""

    @property
    def summary(self) -> str:
        """`captured`, or `eager: ` and the reason."""
        if self.reason:
            return f"eager: {self.reason}"
        if self.recordings:
            return "captured"
        short = any(count >= MIN_REPEATS for count in self.repeats.values())
        return f"eager: fewer than {MIN_LEFT} steps were left" if short else "eager: no shape of mini-batch came twice"

    def __call__(self, batch: tuple[Tensor, ...], lr: float) -> Float[Tensor, "w"]:
        """Do one update; returns its row (see `TrainingStep`)."""
        self.left -= 1
        shape = tuple((t.shape, t.dtype, t.stride()) for t in batch)
        if shape in self.recordings:
            return self._replay(shape, batch, lr)
        self.repeats[shape] += 1
        worth_it = self.left + 1 >= MIN_LEFT and len(self.recordings) < MAX_SHAPES
        if self.reason or self.repeats[shape] < MIN_REPEATS or not worth_it:
            return self.step(batch, lr)
        return self._first(shape, batch, lr)

    def _replay(self, shape: tuple[object, ...], batch: tuple[Tensor, ...], lr: float) -> Tensor:
        inputs, replay = self.recordings[shape]
        for held, given in zip(inputs, batch, strict=True):
            held.copy_(given)
        self.step.set_lr(lr)
        return replay()

    def _first(self, shape: tuple[object, ...], batch: tuple[Tensor, ...], lr: float) -> Tensor:
        """Record a shape, and keep the recording only if it does on this mini-batch what the plain step does."""
        before = self._copy()
        # Recorded with the samples in reverse order: a recording that had baked in its data would fail the check below.
        inputs = tuple(torch.empty_like(t).copy_(t.flip(0) if t.ndim else t) for t in batch)
        try:
            recording = self.record(lambda: self.step.body(*inputs))
        except RuntimeError as error:
            self._put(before)
            return self._give_up(f"recording failed ({str(error).splitlines()[0]})", batch, lr)
        self._put(before)
        row = self.step(batch, lr)
        expected = self._copy()
        self._put(before)
        self.recordings[shape] = inputs, recording
        replayed = self._replay(shape, batch, lr)
        # Weights now have the replay's result; if it differs, the plain step's is put back. Either way the mini-batch
        # has changed them exactly once.
        parts = self._differing(before, expected, row, replayed)
        if parts:
            self._put(expected)
            self._give_up(f"a recorded step gave other {' and '.join(parts)} than the plain one")
            return row
        return replayed

    def _give_up(self, reason: str, batch: tuple[Tensor, ...] = (), lr: float = 0.0) -> Tensor:
        self.reason = reason
        self.recordings.clear()  # also those that passed: after one failure no recording is trusted
        return self.step(batch, lr) if batch else torch.empty(0)

    def _parts(self) -> dict[str, list[Tensor]]:
        return self.step.tensors() | {"statistics": self.extra}

    def _copy(self) -> dict[str, list[Tensor]]:
        return {part: [t.clone() for t in tensors] for part, tensors in self._parts().items()}

    @torch.no_grad()
    def _put(self, copy: dict[str, list[Tensor]]) -> None:
        for part, tensors in self._parts().items():
            for tensor, kept in zip(tensors, copy[part], strict=True):
                tensor.copy_(kept)

    def _differing(
        self, before: dict[str, list[Tensor]], expected: dict[str, list[Tensor]], row: Tensor, replayed: Tensor
    ) -> list[str]:
        """Parts that a recorded step changed differently; none if the plain step itself was not finite."""
        parts = {part: (before[part], expected[part], now) for part, now in self._parts().items()}
        parts["loss"] = ([torch.zeros_like(row[:1])], [row[:1]], [replayed[:1]])
        return [part for part, (a, b, c) in parts.items() if not self._same(a, b, c)]

    def _same(self, before: list[Tensor], expected: list[Tensor], got: list[Tensor]) -> bool:
        """True if tensors were changed alike.

        Integers are compared to the bit: counters change by one, which in a common norm would hide a fault elsewhere.
        """
        bits = {i for i, t in enumerate(got) if self.exact or not t.is_floating_point()}
        if not all(torch.equal(expected[i].nan_to_num(), got[i].nan_to_num()) for i in bits):
            return False
        rest = [i for i in range(len(got)) if i not in bits]
        change = _norm([expected[i].double() - before[i].double() for i in rest])
        error = _norm([got[i].double() - expected[i].double() for i in rest])
        return not change.isfinite() or bool(error <= DIFFERENCE * change)


def _norm(tensors: list[Tensor]) -> Tensor:
    return torch.stack([t.norm() for t in tensors]).norm() if tensors else torch.zeros(())


class CudaRecorder:
    """Records on a CUDA device. All recordings share one memory pool, since none needs what another left there.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pool = torch.cuda.graph_pool_handle()
        with torch.cuda.device(device):  # one for all recordings, since only the stream that freed memory reuses it
            self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(self, body: Body) -> Body:
        """Warm up on a separate stream, where libraries choose kernels and allocate workspaces, then record.

        Raises:
            RuntimeError: The body cannot be recorded, or does not fit into memory.
        """
        with torch.cuda.device(self.device):
            main, aside = torch.cuda.current_stream(), self.stream
            aside.wait_stream(main)
            with torch.cuda.stream(aside):
                for _ in range(3):  # as torch's documentation of CUDA graphs advises; `_first` undoes their updates
                    body()
            main.wait_stream(aside)
            graph, failure = torch.cuda.CUDAGraph(), None
            try:
                # Thread-local: the thread that reads images ahead may allocate and copy meanwhile.
                with torch.cuda.graph(graph, pool=self.pool, stream=aside, capture_error_mode="thread_local"):
                    try:
                        row = body()
                    except RuntimeError as error:
                        failure = error  # the reason; ending a capture that failed raises an error of its own
                        raise
            except RuntimeError:
                self._leave_capture()
                if failure is not None:
                    raise failure from None
                raise
            finally:
                torch.cuda.set_stream(main)  # some versions of torch stay on the other stream when recording fails

        def replay() -> Tensor:
            graph.replay()
            return row.clone()  # the next replay writes over it

        return replay

    def _leave_capture(self) -> None:
        """Tell the allocator that a capture that failed is over, and release the memory of its pool.

        In torch 2.11 `capture_end` raises before it does so where the capture was invalidated. The allocator then
        believes in a capture for good: it returns no block that another stream has used, and frees no cached memory
        before it reports that memory ran out.
        """
        device = torch.cuda.current_device()
        try:
            torch._C._cuda_endAllocateToPool(device, self.pool)
        except RuntimeError:
            return  # `capture_end` has done it
        torch._C._cuda_releasePool(device, self.pool)
