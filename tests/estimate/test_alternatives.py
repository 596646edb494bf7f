"""A plan of many hours names faster variants, each with an estimate of its own."""

from pathlib import Path

import pytest
from tests.faults import fault
from tests.studies import study

from fathom.core.machine import Machine
from fathom.estimate.plan import estimate_plan
from fathom.estimate.profile import write_profile
from fathom.estimate.throughput import Throughput


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    speed = Throughput(train=100.0, prepare=100.0, predict=500.0, embed=500.0, weights=12)
    write_profile(tmp_path / "slow.toml", "slow", {(name, 8): speed for name in ("standard", "frozen")})
    return tmp_path / "slow.toml"


@fault("engine", "a study that would take days here", "the plan names faster variants with their own estimates")
def test_a_long_plan_names_faster_variants(slow: Path) -> None:
    machine = Machine(device="cpu")
    long = estimate_plan(study(paradigm="standard", regime="low"), profile=slow, machine=machine)
    assert long.seconds > 24 * 3600
    times = {words.partition(" ")[0]: seconds for words, seconds in long.faster}
    assert set(times) == {"recipe=short", "paradigm"}
    for name, paradigm in (
        ("recipe=short", "standard(recipe=short)"),
        ("paradigm", "frozen(backbone=torchvision:resnet18, weights=random)"),
    ):
        own = estimate_plan(study(paradigm=paradigm, regime="low"), profile=slow, machine=machine)
        assert times[name] == pytest.approx(own.seconds)
        assert times[name] < long.seconds / 2
    assert sum(label == "  or instead" for label, _ in long.lines()) == 2
    short = estimate_plan(study(paradigm="standard(recipe=short)"), profile=slow, machine=machine)
    assert short.seconds < 3 * 3600
    assert not short.faster
