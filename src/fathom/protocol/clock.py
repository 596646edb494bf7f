"""Wall-clock seconds of the steps of a round."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class Clock:
    """Seconds per step; time inside a nested step counts for that step alone. Writing the round is not counted.

    Args:
        device: Where the work is done; a GPU is waited for at the end of each step.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _since: float = 0.0

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Count the time inside for a step."""
        self.switch()
        self._open.append(step)
        try:
            yield
        finally:
            if self.device.type == "cuda":  # kernels run on after their launch; without this the next step would pay
                torch.cuda.synchronize(self.device)
            self.switch()
            self._open.pop()

    def each(self, step: str, items: Iterable[Any]) -> Iterator[Any]:
        """Yield the items, and count the time to get each for `step`."""
        source = iter(items)
        while True:
            with self(step):
                item = next(source, None)
            if item is None:
                return
            yield item

    def switch(self) -> None:
        """Book the time since the last switch to the innermost open step."""
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    def read(self) -> dict[str, float]:
        """Seconds of each step, and `total` since the round began."""
        steps = {"train": 0.0, "test": 0.0, "predict": 0.0, "query": 0.0} | self.seconds
        return {**steps, "total": time.perf_counter() - self.began}
