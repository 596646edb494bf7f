"""Training as it is usually written: Pillow transforms image by image, a DataLoader, a Python step for each mini-batch.

What `train.py` measures our loop against, after the style of Lightning modules and of the code published with the
study. Loss, network and precision are ours, so that only the way of training differs.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from augment import MEAN, STD, pillow
from fathom.learn.network import Network
from fathom.learn.objectives.fixmatch import unlabeled_loss
from fathom.learn.objectives.simclr import nt_xent
from fathom.learn.predict import autocast
from fathom.learn.training.step import parameter_groups

MU, SIDE = 7, 32
STRENGTH = {"st": "randaugment-mc", "fine-tune": "randaugment"}


class Photographs(Dataset):
    """Some transforms of each image, and its label."""

    def __init__(self, x: Tensor, labels: Tensor, views: list[Callable[[Image.Image], Tensor]]) -> None:
        self.pixels, self.labels, self.views = x.permute(0, 2, 3, 1).numpy(), labels.tolist(), views

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[list[Tensor], int]:
        image = Image.fromarray(self.pixels[i])
        return [view(image) for view in self.views], self.labels[i]


def simclr_view() -> Callable[[Image.Image], Tensor]:
    jitter = transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(SIDE),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([jitter], 0.8),
            transforms.RandomGrayscale(0.2),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


class PlainLars(torch.optim.SGD):
    """LARS a parameter at a time, asking the device for each norm, as it is often written."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            decay, group["weight_decay"] = group["weight_decay"], 0.0
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.grad.add_(p, alpha=decay)
                size, slope = p.norm(), p.grad.norm()
                if p.ndim > 1 and size > 0 and slope > 0:
                    p.grad.mul_(0.001 * size / slope)
            group["decay"] = decay
        super().step()
        for group in self.param_groups:
            group["weight_decay"] = group.pop("decay")


def reference(
    recipe: str,
    network: Network,
    x: Tensor,
    labels: Tensor,
    device: torch.device,
    *,
    batch: int,
    steps: int,
    workers: int,
) -> Callable[[int], None]:
    """An epoch of `steps` mini-batches of a recipe (`train.RECIPES`) with the usual parts."""
    network = network.to(memory_format=torch.contiguous_format)
    groups = parameter_groups(network, 5e-4)
    kind = PlainLars if recipe == "simclr" else torch.optim.SGD
    optimizer = kind(groups, lr=0.01, momentum=0.9, nesterov=recipe != "simclr")

    def loader(views: list[Callable[[Image.Image], Tensor]], size: int) -> Iterator[tuple[list[Tensor], Tensor]]:
        data = Photographs(x, labels, views)
        every = DataLoader(
            data, size, shuffle=True, drop_last=True, num_workers=workers, pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
        )  # fmt: skip
        while True:
            yield from every

    weak, strong = pillow("standard", SIDE), pillow("randaugment-mc", SIDE)
    chosen = {"simclr": [simclr_view()] * 2, "fixmatch": [weak]}.get(recipe) or [pillow(STRENGTH[recipe], SIDE)]
    labeled = loader(chosen, batch)
    unlabeled = loader([weak, strong], MU * batch) if recipe == "fixmatch" else None

    def loss() -> Tensor:
        views, y = next(labeled)
        if unlabeled is not None:
            views = views + next(unlabeled)[0]
        inputs, y = torch.cat(views).to(device, non_blocking=True), y.to(device, non_blocking=True)
        with autocast(device):
            logits = network(inputs)
        logits = logits.float()
        if recipe == "simclr":
            return nt_xent(logits, 0.5)
        if unlabeled is None:
            return cross_entropy(logits, y)
        own, easy, hard = logits.split((batch, MU * batch, MU * batch))
        return cross_entropy(own, y) + unlabeled_loss(easy.detach().softmax(1), hard, 0.95)[0]

    def epoch(number: int) -> None:
        network.train()
        for _ in range(steps):
            optimizer.zero_grad()
            value = loss()
            value.backward()
            optimizer.step()
            value.item()  # logged

    return epoch
