"""Rates of an accelerator: many steps, after some to warm up, recorded if those of the run are."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.faults import fault

from fathom.core.machine import Machine
from fathom.core.records import Setting
from fathom.engine.engine import data_root
from fathom.estimate import throughput
from fathom.estimate.throughput import EpochClock, measure_recorded, measure_speeds, speed_name
from fathom.learn.training import fit
from fathom.protocol.context import WorkerContext
from fathom.store.store import Store

TOTAL = {"standard(recipe=short)": "st", "self-sl(recipe=short)": "self", "semi-sl(recipe=short)": "semi"}


@pytest.fixture
def context(tmp_path: Path) -> WorkerContext:
    return WorkerContext(Store(tmp_path), data_root(Machine(data=tmp_path)), torch.device("cpu"))


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"EPOCH": 128, "PREDICTED": 128, "SECONDS": 0.05}.items():
        monkeypatch.setattr(throughput, name, value)


@fault("gpu", "plan times one eager step with everything that a first step does", "it times steps after the first ones")
@pytest.mark.parametrize("paradigm", list(TOTAL))
def test_what_only_the_first_epochs_take_does_not_count(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch, paradigm: str
) -> None:
    """And the copy has about as many steps as the run, which decide whether steps are recorded."""
    setting, plain, steps, now = Setting("digits", "low", paradigm), fit.TrainingRun.run, [], [0.0]

    def clock() -> float:
        now[0] += 1e-6
        return now[0]

    def slow_at_first(run: fit.TrainingRun, epoch: int) -> None:
        now[0] += 100.0 if epoch < throughput.WARM_EPOCHS else 0.1
        if not epoch:
            steps.append(run.objective.steps * run.how.epochs)
        plain(run, epoch)

    usual = measure_speeds(context, [setting])[speed_name(setting)]
    monkeypatch.setattr(fit.TrainingRun, "run", slow_at_first)
    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=clock))
    rates = measure_recorded(context, setting, usual)
    assert rates.train == pytest.approx(1280, rel=0.07), "an epoch of 128 images (120 with FixMatch) takes 0.1 s"
    assert rates.predict > 0
    if paradigm.startswith("self"):
        assert rates.prepare == pytest.approx(1280, rel=0.07), "of 64 images in two views"
    whole = context.paradigm(paradigm)
    task = context.split_at(setting, 0).task(context.split_at(setting, 0).open()[1])
    wanted = whole.training_images(len(task.labels))
    assert any(wanted * 0.9 <= count * 128 for count in steps), "no fewer steps than the run's"


def test_a_clock_ends_a_training_when_it_has_measured_enough() -> None:
    clock = EpochClock(torch.device("cpu"), seconds=0.0)
    for number in range(throughput.WARM_EPOCHS + 1):
        clock.tell(number + 1, 100, {})
    with pytest.raises(throughput.ProbeEnded):
        clock.tell(throughput.WARM_EPOCHS + 2, 100, {})
    assert clock.epoch_seconds >= 0


def test_an_accelerator_is_measured_by_many_steps(context: WorkerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    setting, asked = Setting("digits", "low", "standard(recipe=short)"), []
    monkeypatch.setattr(throughput, "measure_recorded", lambda context, setting, small: asked.append(setting) or small)
    measure_speeds(context, [setting])
    assert asked == [], "on a CPU a step takes what it takes"
    rates = throughput.Throughput(1.0, 1.0, 1.0, 1.0, 1)
    monkeypatch.setattr(context, "device", torch.device("meta"))
    monkeypatch.setattr(throughput, "_measure", lambda context, setting, images: rates)
    measure_speeds(context, [setting])
    assert asked == [setting]
