"""Images per second of training: our loop, a reference-style loop, and an expert's plain PyTorch loop.

    python bench/train.py                                    # small network, CPU, about two minutes
    python bench/train.py --device cuda --network resnet18   # the study's mini-batches
    python bench/train.py --data FOLDER                      # CIFAR-10 from FOLDER/cifar-10-batches-py
    python bench/train.py --only st fixmatch --json result.json

Recipes: st (standard training), simclr (pre-training), fine-tune (Self-SL), fixmatch. Same network, images, mini-batch,
loss and precision for all:

ours       `fit`'s loop: checks for what is not finite included, CUDA graphs where there is CUDA
reference  Pillow transforms image by image in a DataLoader, a Python step with `loss.item()`, default memory format
expert     tensors in memory, our batched augmentation and objective, channels last, fused SGD; no check of anything

They take turns of one short epoch each, in an order that is shuffled anew every turn, so that nobody always follows
the same neighbor; medians over turns, and the quartiles of ours / expert, after a turn for warming up. On a CPU the
clock is that of the process, so that others on the machine count less (with workers, what those do would not count:
the default is 0).
"peak" is the share of what a large matrix product reaches in the same run, with three forward passes' operations for a
trained image.
"""

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import datasets

from augment import MEAN, STD
from fathom.core.streams import Stream, Streams
from fathom.learn.augment.families import Augmentation
from fathom.learn.network import Network, build_network
from fathom.learn.objectives.fixmatch import FixMatch, PseudoLabels
from fathom.learn.objectives.simclr import PROJECTION, Pretraining, SimCLR
from fathom.learn.objectives.supervised import Supervised
from fathom.learn.predict import autocast
from fathom.learn.task import Task, Unlabeled
from fathom.learn.training.fit import OPTIMIZERS, Objective, Optimization, TrainingRun
from fathom.learn.training.step import parameter_groups
from reference import MU, SIDE, STRENGTH, reference

RECIPES = ("st", "simclr", "fine-tune", "fixmatch")
STUDY = {"st": 1024, "simclr": 512, "fine-tune": 64, "fixmatch": 64}  # images, labeled images, of a mini-batch
SMALL = {"st": 64, "simclr": 64, "fine-tune": 64, "fixmatch": 8}
CLASSES = 10
Epoch = Callable[[int], None]


@dataclass
class Row:
    """Measurements of one recipe. Rates: images (views) through the network per second."""

    recipe: str
    batch: int
    views: int
    turns: int
    ours: float
    reference: float
    expert: float
    ratio_reference: float
    ratio_expert: float
    quartiles: list[float]  # of ours / expert over the turns
    peak: float


class Held:
    """Images in memory, on the device."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.size, self.device = x, (x.shape[2], x.shape[3]), x.device

    def __len__(self) -> int:
        return len(self.x)

    def take(self, ids: Tensor) -> Tensor:
        return self.x[ids]


def pictures(folder: Path | None, count: int) -> tuple[Tensor, Tensor]:
    """uint8 [n, 3, 32, 32] and labels; random pixels without a folder."""
    if folder is None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
        return x, torch.randint(CLASSES, (count,), generator=generator)
    found = datasets.CIFAR10(str(folder), train=True, download=False)
    return torch.from_numpy(found.data[:count]).permute(0, 3, 1, 2).contiguous(), torch.tensor(found.targets[:count])


# ------------------------------------------------------------------------------------------------- ours and expert's


def prepare(recipe: str, options: argparse.Namespace, images: Held, labels: Tensor) -> tuple[Network, Objective]:
    """A fresh network and what is minimized: `options.steps` mini-batches an epoch."""
    hidden, outputs = (0, CLASSES) if recipe in ("st", "fixmatch") else (-1, CLASSES)
    outputs = PROJECTION if recipe == "simclr" else outputs
    network = build_network(options.network, images.size, outputs, 0.0, Stream(0, ("init",)), images.device, hidden)
    batch, streams = options.batches[recipe], Streams(0)
    if recipe == "simclr":
        some = Held(images.x[: batch * options.steps])
        how = Pretraining(1, batch, 1.0, 1e-4, 0, "lars", 0.5, 0.5, False)
        return network, SimCLR(Unlabeled(some, MEAN, STD, "cifar"), network, how, streams("pretrain"))
    transform = partial(Augmentation, "cifar", mean=MEAN, std=STD, device=images.device)
    none = Held(images.x[:0])
    task = Task(images, labels, none, labels[:0], images, CLASSES, "accuracy", True, MEAN, STD, "cifar")
    sizes = [batch] * options.steps
    if recipe == "fixmatch":
        views = (transform("standard"), transform("standard"), transform("randaugment-mc"))
        return network, FixMatch(task, network, views, sizes, PseudoLabels(mu=MU), "none", streams)
    return network, Supervised(task, network, transform(STRENGTH[recipe]), sizes, "none", streams)


def optimization(recipe: str) -> Optimization:
    return Optimization(0.01, 5e-4, epochs=10**6, optimizer="lars" if recipe == "simclr" else "sgd", keep="last")


def ours(recipe: str, network: Network, objective: Objective) -> Epoch:
    course = TrainingRun(network, objective, optimization(recipe), None)
    return course.run


def expert(recipe: str, network: Network, objective: Objective) -> Epoch:
    how = optimization(recipe)
    optimizer = OPTIMIZERS[how.optimizer](parameter_groups(network, how.weight_decay), how)

    def epoch(number: int) -> None:
        network.train()
        for batch in objective.batches(number):
            optimizer.zero_grad(set_to_none=True)
            objective.loss(*batch).backward()
            optimizer.step()

    return epoch


# --------------------------------------------------------------------------------------------------------- measuring


def seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    start = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def matrix_peak(device: torch.device) -> float:
    """Operations a second of a large matrix product, in the precision that is trained in."""
    n = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(n, n, device=device) for _ in range(2))
    with autocast(device):
        best = min(seconds(lambda: a @ b, device) for _ in range(8))
    return 2 * n**3 / best


def forward_operations(network: nn.Module, device: torch.device) -> float:
    """Operations of one image's forward pass."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network.eval()(torch.zeros(8, 3, SIDE, SIDE, device=device))
    return counter.get_total_flops() / 8


def measure(recipe: str, options: argparse.Namespace, x: Tensor, labels: Tensor) -> Row:
    device = torch.device(options.device)
    images, marks = Held(x.to(device)), labels.to(device)
    contenders: dict[str, Epoch] = {"ours": ours(recipe, *prepare(recipe, options, images, marks))}
    network, _ = prepare(recipe, options, images, marks)
    contenders["reference"] = reference(
        recipe, network, x, labels, device, batch=options.batches[recipe], steps=options.steps, workers=options.workers
    )
    contenders["expert"] = expert(recipe, *prepare(recipe, options, images, marks))
    views = options.batches[recipe] * {"simclr": 2, "fixmatch": 1 + 2 * MU}.get(recipe, 1)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    names, start, turn, shuffled = list(contenders), time.perf_counter(), 0, random.Random(0)
    while turn < 4 or time.perf_counter() - start < options.seconds:
        for name in shuffled.sample(names, len(names)):
            spent = seconds(partial(contenders[name], turn), device)
            if turn:  # the first turn warms up
                rates[name].append(views * options.steps / spent)
        turn += 1
    median = {name: statistics.median(each) for name, each in rates.items()}
    ratios = {n: [a / b for a, b in zip(rates["ours"], rates[n], strict=True)] for n in names[1:]}
    pairs = {n: statistics.median(each) for n, each in ratios.items()}
    quarters = statistics.quantiles(ratios["expert"], n=4)
    peak = 3 * forward_operations(network, device) * median["ours"] / matrix_peak(device)
    batch = options.batches[recipe]
    return Row(
        recipe, batch, views, turn - 1, median["ours"], median["reference"], median["expert"], pairs["reference"],
        pairs["expert"], [quarters[0], quarters[2]], peak,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--network", choices=("cnn", "resnet18"), help="cnn on a CPU, else resnet18")
    parser.add_argument("--batch", type=int, help="for all recipes, instead of the study's (on a CPU: small ones)")
    parser.add_argument("--steps", type=int, default=4, help="of a turn")
    parser.add_argument("--seconds", type=float, default=25.0, help="for each recipe, at least four turns")
    parser.add_argument("--workers", type=int, help="of the reference's loader: all cores but on a CPU 0")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, help="how many are there")
    parser.add_argument("--data", type=Path, help="folder with cifar-10-batches-py; random pixels without it")
    parser.add_argument("--only", nargs="+", default=RECIPES, choices=RECIPES)
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cpu = options.device == "cpu"
    options.network = options.network or ("cnn" if cpu else "resnet18")
    options.workers = (0 if cpu else os.cpu_count() or 1) if options.workers is None else options.workers
    study = SMALL if cpu else STUDY
    options.batches = {recipe: options.batch or study[recipe] for recipe in RECIPES}
    needed = options.steps * max(options.batches.values()) * MU
    x, labels = pictures(options.data, options.images or max(5000, needed))
    device = "cpu" if cpu else torch.cuda.get_device_name(options.device)
    facts = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {options.threads} threads",
        "device": device, "torch": torch.__version__, "network": options.network, "workers": str(options.workers),
        "images": f"{len(x)} {'of CIFAR-10' if options.data else 'of random pixels'}",
    }  # fmt: skip
    print("# " + "; ".join(f"{name}: {value}" for name, value in facts.items()))
    print(f"{'recipe':<11}{'batch':>6}{'views':>7}{'turns':>6}{'ours/s':>10}{'reference/s':>13}{'expert/s':>10}"
          f"{'ours/ref.':>11}{'ours/exp.':>11}{'quartiles':>15}{'peak':>7}")  # fmt: skip
    rows = []
    for recipe in options.only:
        row = measure(recipe, options, x, labels)
        rows.append(row)
        spread = f"{row.quartiles[0]:.3f}-{row.quartiles[1]:.3f}"
        print(f"{row.recipe:<11}{row.batch:>6}{row.views:>7}{row.turns:>6}{row.ours:>10.0f}{row.reference:>13.0f}"
              f"{row.expert:>10.0f}{row.ratio_reference:>11.2f}{row.ratio_expert:>11.3f}{spread:>15}"
              f"{row.peak:>7.1%}")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps({"facts": facts, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
