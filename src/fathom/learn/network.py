"""Networks: an encoder that gives embeddings, and a head of one or two layers that gives logits."""

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from fathom.core.records import FathomError
from fathom.core.streams import Stream

IMAGENET_STEM = 96  # pixels of the shorter side from which ResNet-18 keeps its 7x7 stem with max-pooling
SMALL = 32  # pixels below which a ResNet-18 has nothing left to pool, so `auto` is the small network
Size = tuple[int, int]  # (height, width) of a network's input, pixels


class Network(nn.Module):
    """Encoder, dropout, head. The head is one linear layer, or two with BatchNorm and ReLU between.

    Embeddings are the encoder's output, features the input of the last linear layer. Dropout acts on the embeddings:
    with a linear head these are the features.

    Args:
        encoder: Images [b, 3, h, w] -> embeddings [b, e]; `nn.Identity` where embeddings are given.
        dim: e.
        num_classes: c.
        dropout: Probability of dropout on the embeddings, in [0, 1).
        hidden: d, width of the head's hidden layer; 0 for a linear head (d = e).

    Source: dropout between encoder and head, a head of 512 -> 512 with BatchNorm and ReLU -> c: Lüth et al., 2023
        (code).
    """

    def __init__(self, encoder: nn.Module, dim: int, num_classes: int, dropout: float = 0.0, hidden: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.hidden: nn.Module = nn.Identity()
        if hidden:
            self.hidden = nn.Sequential(nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.ReLU())
        self.head = nn.Linear(hidden or dim, num_classes)
        self.dim, self.num_classes, self.dropout = dim, num_classes, dropout
        self.precision = "auto"  # of predictions (`predict.autocast`)

    def encode(self, x: Shaped[Tensor, "b ..."]) -> Float[Tensor, "b e"]:
        """Embeddings, without dropout."""
        embeddings: Tensor = self.encoder(x)
        return embeddings

    def forward(self, x: Shaped[Tensor, "b ..."], keep: Shaped[Tensor, "b e"] | None = None) -> Float[Tensor, "b c"]:
        """Logits.

        Args:
            x: What the encoder takes.
            keep: Ordinary dropout, a mask of its own for each image (`keep_mask`); None for no dropout.
        """
        embeddings = self.encode(x)
        if keep is not None:
            embeddings = embeddings * keep / (1 - self.dropout)
        logits: Tensor = self.head(self.hidden(embeddings))
        return logits

    def keep_mask(self, count: int, generator: torch.Generator) -> Bool[Tensor, "b e"] | None:
        """Dropout mask of `count` images' embeddings, drawn on the generator's device; None without dropout."""
        if not self.dropout:
            return None
        return torch.rand((count, self.dim), generator=generator, device=generator.device) >= self.dropout

    def masks(self, draws: int, stream: Stream) -> Float[Tensor, "k e"]:
        """k consistent dropout masks, shared by all images: the same stream gives the same on every device.

        Source: Kirsch et al., 2019 (BatchBALD), Sec. 4: joint entropies need the draws to be of one function each.
        """
        uniform = torch.rand((draws, self.dim), generator=stream.torch())
        return ((uniform >= self.dropout) / (1 - self.dropout)).to(self.head.weight.device)

    def features(self, embeddings: Float[Tensor, "b e"]) -> Float[Tensor, "b d"]:
        """Input of the last linear layer, without dropout."""
        features: Tensor = self.hidden(embeddings)
        return features

    @property
    def two_layers(self) -> bool:
        """True if the head has a hidden layer."""
        return isinstance(self.hidden, nn.Sequential)

    def plain_log_probs(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b 1 c"]:
        """Log-probabilities in nats of the plain softmax."""
        logits = features @ self.head.weight.float().T + self.head.bias.float()
        return logits.unsqueeze(1).log_softmax(2)

    def log_probs(
        self, embeddings: Float[Tensor, "b e"], masks: Float[Tensor, "k e"] | None = None
    ) -> Float[Tensor, "b k c"]:
        """Log-probabilities in nats, of each mask; without masks, of the plain softmax (k = 1).

        With a linear head, a mask on the embeddings is a mask on the columns of its weight, and all draws are one
        matrix product. With a hidden layer that product would need k hidden weights at once, so draws take turns.
        """
        if masks is None:
            return self.plain_log_probs(self.features(embeddings))
        weight, bias = self.head.weight.float(), self.head.bias.float()
        if self.two_layers:
            drawn = [self.features(embeddings * mask) @ weight.T + bias for mask in masks]
            return torch.stack(drawn, 1).log_softmax(2)
        stacked = (masks.unsqueeze(1) * weight).flatten(0, 1)
        return (embeddings @ stacked.T).view(len(embeddings), len(masks), -1).add_(bias).log_softmax(2)


class SquarePool(nn.Module):
    """Average pooling to a square, in a fixed order on every device.

    torch's own has a backward pass without a fixed order on CUDA. Square images need no pooling here at all.

    Args:
        side: Pixels of the result.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c s s"]:
        """The means of side x side rectangles of each channel."""
        if x.shape[2:] == (self.side, self.side):
            return x
        if x.device.type == "cpu":
            return nn.functional.adaptive_avg_pool2d(x, self.side)
        return self.in_order(x)

    def in_order(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c s s"]:
        """Means over rows, then columns: their gradients are copies and no sums."""
        for axis in (2, 3):
            size = x.shape[axis]
            edges = [(i * size // self.side, -(-(i + 1) * size // self.side)) for i in range(self.side)]
            x = torch.cat([x.narrow(axis, a, b - a).mean(axis, keepdim=True) for a, b in edges], axis)
        return x


def build_network(
    name: str, size: Size, num_classes: int, dropout: float, stream: Stream, device: torch.device, hidden: int = 0
) -> Network:
    """Build a network with initial weights from `stream`, the same on every device. No other generator is used.

    Args:
        name: `resnet18`, `cnn`, or `auto`: resnet18 from 32 pixels, else cnn.
        size: (height, width) of its input, pixels.
        num_classes: c.
        dropout: Probability of dropout before the head, in [0, 1).
        stream: The stream `init`.
        device: Device of the network.
        hidden: Width of the head's hidden layer; 0 for a linear head, -1 for the width of the embeddings.

    Raises:
        FathomError: Unknown name, or images too small.
    """
    builders: dict[str, Callable[[int], tuple[nn.Module, int]]] = {"resnet18": _resnet18, "cnn": _cnn}
    if name not in ("auto", *builders):
        raise FathomError(f"unknown network {name!r}; expected auto, {' or '.join(builders)}")
    if not 0 <= dropout < 1:
        raise FathomError(f"dropout is a probability in [0, 1), got {dropout}")
    if min(size) < 4:
        raise FathomError(f"images of {size[0]}x{size[1]} pixels are too small for a network; at least 4x4 are needed")
    if name == "auto":
        name = "resnet18" if min(size) >= SMALL else "cnn"
    with torch.device("meta"):  # built without weights, so that no initializer draws from the global generator
        encoder, dim = builders[name](min(size))
        network = Network(encoder, dim, num_classes, dropout, dim if hidden < 0 else hidden)
    network = network.to_empty(device="cpu")
    initialize(network, stream.torch())
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def load_weights(module: nn.Module, state: Mapping[str, Tensor], problem: str) -> None:
    """Load weights into a module.

    Raises:
        FathomError: They do not fit; the message begins with `problem`.
    """
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        raise FathomError(f"{problem}: {error}") from error


def cpu_state(module: nn.Module) -> dict[str, Tensor]:
    """Copies of a module's weights and buffers on the CPU."""
    state = module.state_dict().items()
    return {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in state}


@torch.no_grad()
def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Set initial weights as torchvision's ResNet does, from an explicit generator.

    Convolutions: He et al., 2015, normal, fan out. Normalization: 1 and 0. Linear layers: uniform in
    ±1/sqrt(fan in), weight and bias.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            for parameter in (module.weight, module.bias):
                parameter.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif next(module.parameters(recurse=False), None) is not None:
            raise TypeError(f"no initializer for {type(module).__name__}")


def _resnet18(side: int) -> tuple[nn.Module, int]:
    """He et al., 2016; for small images with a 3x3 stem of stride 1 and no max-pooling, as for CIFAR."""
    from torchvision.models import resnet18

    encoder = resnet18(weights=None)
    if side < IMAGENET_STEM:
        encoder.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        encoder.maxpool = nn.Identity()
    encoder.fc = nn.Identity()
    return encoder, 512


def _cnn(side: int) -> tuple[nn.Module, int]:
    """Our network for images too small for a ResNet-18: 3x3 convolutions, pooled to 4 pixels or less, 128 features.

    Two convolutions at 8 pixels, three at 28 and 32, four at 64: widths 32, 64, 128, 128.
    """
    widths = (32, 64, 128)
    layers: list[nn.Module] = []
    channels = 3
    for i in range(max(2, math.ceil(math.log2(side / 4)))):
        width = widths[min(i, 2)]
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
        if side > 4:
            layers.append(nn.MaxPool2d(2))
            side //= 2
    layers += [SquarePool(side), nn.Flatten(), nn.Linear(channels * side * side, 128), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers), 128
