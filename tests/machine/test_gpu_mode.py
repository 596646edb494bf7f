"""What a process sets before it trains on a GPU; without one, torch's switches and faked calls show it."""

from collections.abc import Iterator

import pytest
import torch
from tests.faults import fault
from torch.profiler import ProfilerActivity, profile

from fathom.core.machine import Machine
from fathom.engine.local import LocalEngine
from fathom.machine import environment
from fathom.machine.environment import set_mode
from fathom.protocol.clock import Clock

CARD = torch.device("cuda", 1)


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, object]]]:
    """Calls of a machine with two GPUs; torch's switches are as before afterwards."""
    calls: list[tuple[str, object]] = []
    for name in ("synchronize", "set_device"):
        monkeypatch.setattr(torch.cuda, name, lambda device=None, name=name: calls.append((name, device)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    fill, benchmark = torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    try:
        yield calls
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = fill
        torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = benchmark, True


def fills() -> int:
    """Times that torch fills fresh memory of a step that allocates twice."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        torch.empty(1000)
        torch.empty_like(torch.ones(10, dtype=torch.float64))
    return sum(event.count for event in seen.key_averages() if event.key == "aten::fill_")


@fault("gpu", "deterministic mode fills every new tensor with NaN", "nothing is filled")
def test_deterministic_mode_fills_no_memory(cards: list[tuple[str, object]]) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    before = fills()
    set_mode(CARD)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert fills() < before


@fault("gpu", "fp32 convolutions are TF32", "fp32 is IEEE single precision in both modes", cases=2)
@pytest.mark.parametrize("fast", [True, False])
def test_fp32_is_fp32_in_convolutions_too(cards: list[tuple[str, object]], fast: bool) -> None:
    torch.backends.cudnn.allow_tf32 = True
    set_mode(CARD, fast=fast)
    assert torch.backends.cudnn.conv.fp32_precision != "tf32"
    assert torch.backends.cudnn.allow_tf32 is False, "and asking raises nothing, as it does when switches are mixed"
    assert torch.backends.cudnn.benchmark is fast


@fault("gpu", "the clock waits for card 0 whatever trains", "for the card that trains, and for none on a CPU")
def test_the_clock_waits_for_the_card_that_trains(cards: list[tuple[str, object]]) -> None:
    with Clock(CARD)("train"):
        pass
    assert cards == [("synchronize", CARD)]
    cards.clear()
    with Clock(torch.device("cpu"))("train"):
        pass
    assert cards == []


def test_the_card_that_trains_is_the_current_one(cards: list[tuple[str, object]]) -> None:
    """What names no device means the current one, which is card 0 in every process until it is set."""
    set_mode(CARD)
    assert cards == [("set_device", CARD)]
    cards.clear()
    set_mode(torch.device("cuda"))
    set_mode(torch.device("cpu"))
    assert cards == []


@fault("gpu", "the parent of workers moves every dataset to the GPU", "its datasets stay on the CPU", cases=3)
@pytest.mark.parametrize(("workers", "device"), [(None, "cpu"), (3, "cpu"), (0, "cuda:1")])
def test_datasets_of_a_parent_stay_on_the_cpu(monkeypatch: pytest.MonkeyPatch, workers: int, device: str) -> None:
    """But where the process does the work itself."""
    monkeypatch.setattr("fathom.engine.local.find_device", lambda wanted: CARD)
    engine = LocalEngine(Machine(device="cuda:1"), workers)
    assert str(engine.device) == device
    assert (engine.kind, str(engine.machine.device)) == ("cuda", "cuda:1")
    assert environment.find_device("cpu") == torch.device("cpu")
