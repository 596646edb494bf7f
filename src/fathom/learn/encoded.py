"""Features of an encoder of ours: what SimCLR learned, or an encoder that was kept, with the images' normalization."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from fathom.learn.augment import FAMILIES, Augmentation
from fathom.learn.network import build_network
from fathom.learn.predict import autocast, chunk_size
from fathom.learn.task import Images, State, Unlabeled
from fathom.records import FathomError
from fathom.streams import Stream

_INPUT = "input."  # names of tensors that are no weights: statistics and family of the images


def with_input(encoder: State, unlabeled: Unlabeled) -> dict[str, Tensor]:
    """An encoder's weights together with what its input needs."""
    family = torch.tensor(sorted(FAMILIES).index(unlabeled.augment))
    statistics = {"mean": torch.tensor(unlabeled.mean), "std": torch.tensor(unlabeled.std), "family": family}
    return dict(encoder) | {_INPUT + name: tensor for name, tensor in statistics.items()}


def encode(images: Images, state: State | None, network: str) -> Iterator[Float[Tensor, "b d"]]:
    """Features of all images in order, in chunks.

    Args:
        images: The images.
        state: What `with_input` gave.
        network: Name of the encoder's network (`network.build_network`).

    Raises:
        FathomError: There is no state, or it does not fit the network.
    """
    if not state or f"{_INPUT}family" not in state:
        raise FathomError("an encoder's features need the encoder that was prepared; run the study from its start")
    family = sorted(FAMILIES)[int(state[f"{_INPUT}family"])]
    mean, std = (_triple(state[_INPUT + name]) for name in ("mean", "std"))
    transform = Augmentation(family, "standard", mean, std, images.device)
    size = transform.output_size(images.size)
    encoder = build_network(network, size, 2, 0.0, Stream(0, ("restore",)), images.device).encoder.eval()
    try:
        encoder.load_state_dict({name: t for name, t in state.items() if not name.startswith(_INPUT)})
    except RuntimeError as error:
        raise FathomError(f"the prepared encoder does not fit the network {network}: {error}") from error
    everything = torch.arange(len(images), device=images.device)
    for ids in torch.split(everything, chunk_size(images.device, size)):
        with torch.no_grad(), autocast(images.device):
            features: Tensor = encoder(transform.test(images.take(ids)))
        yield features.float()


def _triple(values: Tensor) -> tuple[float, float, float]:
    r, g, b = (round(v, 6) for v in values.tolist())
    return r, g, b
