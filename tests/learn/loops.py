"""Small objectives, and a checkpointer in memory, for the tests of the loop."""

from collections.abc import Callable, Iterator

import torch
from torch.nn.functional import cross_entropy

from fathom.core.streams import Stream
from fathom.learn.network import Network, build_network
from fathom.learn.task import Checkpointer
from fathom.learn.training.batching import batch_sizes, batches, epoch_plan
from fathom.learn.training.fit import Objective

CPU = torch.device("cpu")


def network(name: str = "cnn", side: int = 8, dropout: float = 0.0, hidden: int = 0) -> Network:
    return build_network(name, (side, side), 10, dropout, Stream(0, ("init",)), CPU, hidden)


def data(count: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, 8, 8, generator=generator)
    return x, torch.randint(10, (count,), generator=generator)


class Labeled(Objective):
    """Cross-entropy on 48 images in mini-batches of 16 (or `batch`), in an order of each epoch.

    Args:
        net: What is trained.
        spoil: (epoch, step, loss) -> loss, to make things go wrong.
    """

    def __init__(
        self,
        net: Network,
        spoil: Callable[[int, int, torch.Tensor], torch.Tensor] | None = None,
        batch: int = 16,
        last: str = "merge",
    ) -> None:
        self.net, self.spoil = net, spoil
        self.x, self.y = (t.to(net.head.weight.device) for t in data())
        self.sizes = batch_sizes(48, batch, last)
        self.steps, self.at = len(self.sizes), (-1, -1)

    def batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, ...]]:
        order = epoch_plan(48, 48, Stream(0, ("order", epoch)).torch())
        for step, ids in enumerate(batches(order.to(self.x.device), self.sizes)):
            self.at = epoch, step
            yield self.x[ids].contiguous(memory_format=torch.channels_last), self.y[ids]

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        x, y = batch
        loss = cross_entropy(self.net(x), y)
        return loss if self.spoil is None else self.spoil(*self.at, loss)


class Remembering(Labeled):
    """Its loss depends on a running mean of its losses, so that forgetting the mean changes the training."""

    def __init__(self, net: Network) -> None:
        super().__init__(net)
        self.mean = torch.ones(1, device=self.x.device)

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        loss = super().loss(*batch)
        self.mean.mul_(0.8).add_(loss.detach(), alpha=0.2)
        return loss / self.mean[0].clone()

    def buffers(self) -> dict[str, torch.Tensor]:
        return {"mean": self.mean}

    def numbers(self) -> dict[str, torch.Tensor]:
        return {"mean_loss": self.mean[0]}


class Killed(Exception):
    """As if the process had been killed."""


class Memory(Checkpointer):
    """Keeps the state of each epoch; dies after some epoch.

    Args:
        dies: Epochs done when it dies; 0 for never.
    """

    def __init__(self, dies: int = 0) -> None:
        self.dies, self.kept, self.told = dies, None, []

    def load(self) -> dict[str, torch.Tensor] | None:
        return self.kept

    def save(self, state: Callable[[], dict[str, torch.Tensor]], *, force: bool = False) -> None:
        self.kept = {name: t.clone() for name, t in state().items()}
        if len(self.told) == self.dies:
            self.dies = 0
            raise Killed

    def tell(self, done, of, numbers, embed=None) -> None:
        self.told.append((done, of, dict(numbers)))
