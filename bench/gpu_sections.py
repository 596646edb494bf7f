"""The sections of `bench/gpu.py`, one per process: what is measured is written to a file as it becomes known."""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from augment import MEAN, STD
from fathom.core.streams import Stream, Streams
from fathom.learn.augment.families import Augmentation
from fathom.learn.network import Network, build_network
from fathom.learn.objectives.fixmatch import FixMatch, PseudoLabels
from fathom.learn.objectives.simclr import PROJECTION, Pretraining, SimCLR
from fathom.learn.objectives.supervised import Supervised
from fathom.learn.task import Task, Unlabeled
from fathom.learn.training.cuda_graphs import GraphedStep
from fathom.learn.training.fit import OPTIMIZERS, Objective, Optimization, TrainingRun
from fathom.learn.training.step import parameter_groups
from fathom.machine.environment import find_device, set_mode
from fathom.query.method import build_query
from fathom.query.view import PoolView
from fathom.registry.registry import index

REPO = Path(__file__).resolve().parents[1]
# Images (FixMatch: labeled images) of a mini-batch and steps of an epoch, at 32 pixels and of large images.
BATCH = {"st": (1024, 512), "fine-tune": (64, 64), "simclr": (512, 256), "fixmatch": (64, 64)}
STEPS = {"st": (11, 4), "fine-tune": (86, 40), "simclr": (12, 4), "fixmatch": (16, 5)}
VIEWS = {"st": 1, "fine-tune": 1, "simclr": 2, "fixmatch": 15}
SIDE, LARGE_SIDE = 32, 300  # of the images; ISIC-2019's are cropped to 224 pixels


class Held:
    """Images on the device."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.size, self.device = x, (x.shape[2], x.shape[3]), x.device

    def __len__(self) -> int:
        return len(self.x)

    def take(self, ids: Tensor) -> Tensor:
        return self.x[ids]


class Section:
    """One call: options, and the numbers so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.device, self.small, self.data = find_device(options.device), options.small, options.data
        self.cuda, self.path, self.found = self.device.type == "cuda", options.result, dict[str, Any]()

    def tell(self, **numbers: Any) -> None:
        """Add to the result; what was told before a time-out is kept."""
        self.found |= numbers
        print(numbers, flush=True)
        self.path.write_text(json.dumps(self.found))

    def seconds(self, work: Callable[[int], object], times: int = 3, warm: int = 2) -> float:
        """Median seconds of a piece of work; before it counts it is done some times."""
        spent = []
        for number in range(warm + times if not self.small else 2):
            self.wait()
            start = time.perf_counter()
            work(number)
            self.wait()
            spent.append(time.perf_counter() - start)
        return statistics.median(spent[warm:] if not self.small else spent[1:])

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def run(self, *words: str, folder: Path | None = None) -> str:
        """Output of a Python module; what it says when it fails is the error."""
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=folder)
        print(done.stdout[-8000:], done.stderr[-4000:], flush=True)
        if done.returncode:
            lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["nothing said"]
            raise RuntimeError(f"{words[0]} ended with {done.returncode}: {lines[-1][:300]}")
        return done.stdout


# --------------------------------------------------------------------------------------------------------- machine


def machine(section: Section) -> None:
    """Name, versions, bandwidth of memory, rate of a large matrix product."""
    commit = subprocess.run(["git", "-C", str(REPO), "rev-parse", "--short=8", "HEAD"], capture_output=True, text=True)
    name = torch.cuda.get_device_name(section.device) if section.cuda else f"CPU, {os.cpu_count()} cores"
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    section.tell(device=name, torch=torch.__version__, commit=commit.stdout.strip() or "unknown", date=date)
    size = 2**31 if section.cuda else 2**24
    here, there = (torch.zeros(size, dtype=torch.uint8, device=section.device) for _ in range(2))
    section.tell(copy_tb_per_s=2 * size / section.seconds(lambda _: there.copy_(here), 10) / 1e12)
    side = 8192 if section.cuda else 256
    kind = torch.bfloat16 if section.cuda else torch.float32
    a, b = (torch.randn(side, side, device=section.device, dtype=kind) for _ in range(2))
    section.tell(tflop_per_s=2 * side**3 / section.seconds(lambda _: a @ b, 10) / 1e12)
    if section.cuda:
        section.tell(gib=torch.cuda.get_device_properties(section.device).total_memory / 2**30,
                     cudnn=torch.backends.cudnn.version())  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- steps


def prepared(section: Section, recipe: str, large: bool) -> tuple[Network, Objective, str, int, int]:
    """A fresh network, its objective, the optimizer's name, views per step, steps per epoch; at the study's sizes."""
    batch, steps = BATCH[recipe][large], STEPS[recipe][large]
    side, family = (LARGE_SIDE, "isic") if large else (SIDE, "cifar")
    name = "resnet18"
    if section.small:
        batch, steps, side, name = 4, 2, 40 if large else 16, "cnn"
    count = batch * steps if recipe == "simclr" else min(10_000, 2 * batch * steps) if not large else 1024
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(
        0, 256, (count if not section.small else 16, 3, side, side), generator=generator, dtype=torch.uint8
    )
    y = torch.randint(10, (len(x),), generator=generator).to(section.device)
    images, streams = Held(x.to(section.device)), Streams(0)
    transform = partial(Augmentation, family, mean=MEAN, std=STD, device=section.device)
    size = transform("standard").output_size(images.size)
    outputs, hidden = (PROJECTION, -1) if recipe == "simclr" else (10, -1 if recipe == "fine-tune" else 0)
    network = build_network(name, size, outputs, 0.0, Stream(0, ("init",)), section.device, hidden)
    views = batch * VIEWS[recipe]
    if recipe == "simclr":
        network.head.bias.requires_grad_(False)
        how = Pretraining(1, batch, 1.0, 1e-4, 0, "lars", 0.5, 1.0 if large else 0.5, large)
        objective = SimCLR(Unlabeled(images, MEAN, STD, family), network, how, streams("pretrain"))
        return network, objective, "lars", views, objective.steps
    task = Task(images, y, Held(x[:0]), y[:0], images, 10, "accuracy", True, MEAN, STD, family)
    if recipe == "fixmatch":
        strengths = tuple(transform(s) for s in ("standard", "fixmatch-weak", "fixmatch-strong"))
        return (
            network,
            FixMatch(task, network, strengths, [batch] * steps, PseudoLabels(), "none", streams),
            "sgd",
            views,
            steps,
        )
    augmentation = transform("randaugment" if recipe == "fine-tune" else "randaugment-mc")
    return network, Supervised(task, network, augmentation, [batch] * steps, "none", streams), "sgd", views, steps


def optimization(optimizer: str, *, capture: bool, lr: float = 0.01, epochs: int = 10**6) -> Optimization:
    return Optimization(lr, 5e-4, epochs=epochs, optimizer=optimizer, keep="last", capture=capture)


def steps(section: Section, mode: str) -> None:
    """Images per second of every recipe: ours, ours without recording, and an expert's plain loop."""
    set_mode(section.device, fast=mode == "fast")
    rows = []
    for large in (False, True):
        for recipe in BATCH:
            try:
                rows.append(row(section, recipe, large))
            except (RuntimeError, ValueError) as error:  # one recipe that fails leaves the others
                section.tell(
                    **{f"error of {recipe}, {'large' if large else 'small'}": str(error).splitlines()[0][:200]}
                )
            section.tell(rows=rows)
            if section.cuda:
                torch.cuda.empty_cache()


def row(section: Section, recipe: str, large: bool) -> dict[str, Any]:
    """One recipe at one size."""
    if section.cuda:
        torch.cuda.reset_peak_memory_stats(section.device)
    network, objective, optimizer, views, count = prepared(section, recipe, large)
    run = TrainingRun(network, objective, optimization(optimizer, capture=True), None)
    ours = section.seconds(run.run)
    summary = run.step.summary if isinstance(run.step, GraphedStep) else "eager: no GPU"
    gib = torch.cuda.max_memory_reserved(section.device) / 2**30 if section.cuda else 0.0
    batch = next(objective.batches(0))
    replay = section.seconds(lambda _: [run.step(batch, 0.01) for _ in range(count)])
    augment = section.seconds(lambda number: [None for _ in objective.batches(number)])
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(batch[0][:8])
    del run, network, objective
    network, objective, optimizer, views, count = prepared(section, recipe, large)
    eager = section.seconds(TrainingRun(network, objective, optimization(optimizer, capture=False), None).run)
    plain = section.seconds(plain_loop(*prepared(section, recipe, large)[:3]))
    rate = views * count / ours
    return {
        "recipe": recipe, "large": large, "side": int(batch[0].shape[2]), "views": views, "ours": rate,
        "eager": views * count / eager, "plain": views * count / plain, "step_ms": 1e3 * ours / count,
        "replay_ms": 1e3 * replay / count, "augment_ms": 1e3 * augment / count, "summary": summary, "gib": gib,
        "flop_per_s": 3 * counter.get_total_flops() / len(batch[0][:8]) * rate,
    }  # fmt: skip


def plain_loop(network: Network, objective: Objective, optimizer: str) -> Callable[[int], None]:
    """An expert's loop: the same mini-batches and loss, fused optimizer, no check of anything."""
    updates = OPTIMIZERS[optimizer](parameter_groups(network, 5e-4), optimization(optimizer, capture=False))

    def epoch(number: int) -> None:
        network.train()
        for batch in objective.batches(number):
            updates.zero_grad(set_to_none=True)
            objective.loss(*batch).backward()
            updates.step()

    return epoch


# ------------------------------------------------------------------------------------------------- the same results


def bits(section: Section) -> None:
    """Deterministic mode: the same training twice, and once without recording, give the same bits."""
    set_mode(section.device)

    def trained(recipe: str, capture: bool) -> tuple[dict[str, Tensor], str]:
        network, objective, optimizer, _, count = prepared(section, recipe, large=False)
        epochs = 1 if section.small else -(-330 // count)  # enough steps to be recorded
        run = TrainingRun(network, objective, optimization(optimizer, capture=capture, lr=0.05, epochs=epochs), None)
        for epoch in range(epochs if section.small else 4):
            run.run(epoch)
        return {k: v.clone() for k, v in network.state_dict().items()}, getattr(run.step, "summary", "eager: no GPU")

    for recipe in BATCH:
        (first, said), (again, _), (eager, _) = (trained(recipe, capture) for capture in (True, True, False))
        same = [all(torch.equal(first[k], other[k]) for k in first) for other in (again, eager)]
        section.tell(**{recipe: {"rerun equal": same[0], "eager equal": same[1], "step": said}})


def tests(section: Section) -> None:
    """The project's tests that need a GPU."""
    files = ["tests/learn/training/test_cuda_graphs.py", "tests/query/test_contract.py"]
    words = ["-p", "no:cacheprovider", "--tb=line", "-rfE", *files, "-k", "on_cuda or on_a_device or a_device_picks"]
    try:
        section.tell(summary=section.run("pytest", *words, folder=REPO).strip().splitlines()[-1])
    except RuntimeError:
        again = subprocess.run([sys.executable, "-m", "pytest", *words], capture_output=True, text=True, cwd=REPO)
        lines = again.stdout.splitlines()
        section.tell(
            summary=(lines or [""])[-1], failed=[line[:200] for line in lines if line.startswith(("FAILED", "ERROR"))]
        )
        raise


# ---------------------------------------------------------------------------------------------------- whole commands


def study(section: Section, folder: Path, paradigms: list[str], more: str) -> list[str]:
    """Write a study of CIFAR-10 (or digits), and the words that name it with its data."""
    here = section.data is not None and (section.data / "cifar-10-batches-py").is_dir()
    dataset = "cifar10" if here and not section.small else "digits"
    section.tell(dataset=dataset)
    short = "recipe=short" if dataset == "digits" else ""
    listed = [f"{p}({', '.join(filter(None, [short, *a]))})" for p, *a in (text.split(":") for text in paradigms)]
    lines = [
        'name = "gpu"',
        f'datasets = ["{dataset}"]',
        f"paradigms = {json.dumps(listed)}",
        "seeds = 1",
        "full_data = 0",
    ]
    (folder / "gpu.toml").write_text("\n".join([*lines, more]) + "\n")
    words = [str(folder / "gpu.toml"), "--device", section.device.type]
    return words + (["--data", str(section.data)] if section.data else [])


def run(section: Section) -> None:
    """A study in the low regime with the published recipe, from its start to its report."""
    folder = section.path.parent / "study"
    folder.mkdir(exist_ok=True)
    rounds = 2 if section.small else 3
    published = "lr=0.1, weight_decay=0.005, augmentation=randaugment-mc"
    words = study(
        section, folder, [f"standard:{published}"], f'regimes = ["low(rounds={rounds})"]\nqueries = ["random", "bald"]'
    )
    start = time.perf_counter()
    section.run("fathom.cli", "run", *words, "--out", str(folder / "store"), "--workers", "1")
    section.tell(run_seconds=time.perf_counter() - start)
    records = [json.loads(path.read_text()) for path in sorted((folder / "store").glob("runs/*/round-*.json"))]
    accuracy = [value for record in records if (value := first_number(record, "accuracy")) is not None]
    train = [value for record in records if (value := first_number(record, "train")) is not None]
    section.tell(rounds=len(records), accuracies=accuracy, train_seconds=train)
    section.run("fathom.cli", "report", str(folder / "store"))
    section.tell(report=(folder / "store" / "report" / "report.html").is_file())


def plan(section: Section) -> None:
    """Rates that `fathom plan` measures."""
    words = study(
        section,
        section.path.parent,
        ["standard", "self-sl", "semi-sl"][: 1 if section.small else 3],
        'regimes = ["low"]\nqueries = ["random"]',
    )
    start = time.perf_counter()
    said = json.loads(section.run("fathom.cli", "plan", *words, "--json"))
    section.tell(plan_seconds=time.perf_counter() - start, time=said["seconds"])
    names = {re.match(r"[^,]+, ([\w-]+)", name): rates["train"] for name, rates in said["rates"].items()}
    section.tell(images_per_s={match[1]: rate for match, rate in names.items() if match})


def first_number(value: object, name: str) -> float | None:
    """The first number of a name in nested records."""
    if isinstance(value, dict) and isinstance(value.get(name), int | float):
        return float(value[name])
    parts: Iterator[object] = iter(
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    return next((found for part in parts if (found := first_number(part, name)) is not None), None)


# ----------------------------------------------------------------------------------------------------------- queries


def query(section: Section) -> None:
    """Seconds of the query methods that look at the whole pool."""
    n, d, c, q = (1000, 32, 10, 10) if section.small else (1_000_000, 512, 100, 1000)
    generator = torch.Generator(section.device).manual_seed(0)
    features = torch.randn(n, d, device=section.device, generator=generator).relu_()
    log_probs = (3 * torch.randn(n, 1, c, device=section.device, generator=generator)).log_softmax(2)
    labeled = torch.randn(min(n, 1000), d, device=section.device, generator=generator).relu_()
    view = PoolView(log_probs, features, labeled, torch.zeros(len(labeled), dtype=torch.int64, device=section.device))
    section.tell(pool=f"{n:,} x {d}, {c} classes, {q} picks")
    for name in ("entropy", "core-set", "badge", "max-herding"):
        if name not in index()["query"]:
            section.tell(**{name: "not a registered method"})
            continue
        method = build_query(name)
        parts = {"features": features if method.features else features[:, :0]}
        if not method.labeled:
            parts |= {"labeled_features": labeled[:0, :0], "labeled_labels": view.labeled_labels[:0]}
        asked = PoolView(**(vars(view) | parts))
        section.wait()
        start = time.perf_counter()
        method.select([asked], q, Stream(0)).positions.cpu()
        section.tell(**{f"{name} seconds": time.perf_counter() - start})


SECTIONS: dict[str, Callable[[Section], None]] = {
    "machine": machine,
    "steps-fast": partial(steps, mode="fast"),
    "steps-deterministic": partial(steps, mode="deterministic"),
    "bits": bits,
    "tests": tests,
    "run": run,
    "plan": plan,
    "query": query,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("result", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    SECTIONS[options.section](Section(options))


if __name__ == "__main__":
    main()
