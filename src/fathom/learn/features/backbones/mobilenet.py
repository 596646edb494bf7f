"""MobileNetV2 with 8-bit weights: imports a quantized TensorFlow model from NumPy arrays.

The file (`.npz`, no pickle) contains `order`, the names of its 53 convolutions, and for each of them `.wq` (uint8,
output channels first), `.wscale`, `.wzp` and `.bias` with batch norm folded in: a weight is (wq - wzp) * wscale.
Arithmetic is done in floating point.

Source: Sandler et al., 2018 (MobileNetV2), Table 2; Jacob et al., 2018 (quantization), Eq. 1; TensorFlow's SAME
    padding, which at stride 2 is one pixel less at the top and left than at the bottom and right.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fathom.core.records import FathomError
from fathom.learn.features.backbone import Backbone, BackboneInfo, BackboneRequest
from fathom.learn.features.weights import file_facts, input_facts
from fathom.registry.registry import backbone

MEAN = STD = (128 / 255,) * 3  # RGB / 128 - 1, as statistics in [0, 1]
Weights = tuple[Tensor, Tensor]  # (weight, bias) of a convolution
BLOCKS = ((1, 1), (2, 2), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1))  # (repeats, stride of the first), Table 2


@backbone("mobilenet_v2_uint8")
def mobilenet(request: BackboneRequest) -> BackboneInfo:
    """Use MobileNetV2 with 8-bit weights of ImageNet, read from an `.npz` file.

    Raises:
        FathomError: The file is absent, or the input is smaller than 32 pixels.
    """
    path, side = request.file(), request.size or 224
    if side < 32:
        raise FathomError(f"backbone {request.name} needs an input of 32 pixels or more; got size={side}")
    size = (side, side)
    facts = {"backbone": request.name, **file_facts(path), **input_facts(size, "bilinear"), "license": "apache-2.0"}
    return BackboneInfo(facts, lambda: Backbone(load_mobilenet(path), size, "bilinear", MEAN, STD))


class QuantizedMobileNetV2(nn.Module):
    """MobileNetV2 up to its global average pool: normalized images -> features.

    Args:
        weights: (weight, bias) of each convolution, by the file's names.
    """

    def __init__(self, weights: dict[str, Weights]) -> None:
        super().__init__()
        strides = [stride if i == 0 else 1 for repeats, stride in BLOCKS for i in range(repeats)]
        names = ["expanded_conv" + (f"_{i}" if i else "") for i in range(len(strides))]
        self.blocks = nn.ModuleList(
            _Block(weights.get(f"{name}/expand"), weights[f"{name}/depthwise"], weights[f"{name}/project"], stride)
            for name, stride in zip(names, strides, strict=True)
        )
        self.first = _Convolution(*weights["Conv"], stride=2)
        self.last = _Convolution(*weights["Conv_1"])

    def forward(self, x: Float[Tensor, "b 3 y z"]) -> Float[Tensor, "b d"]:
        """Features: the average over positions of the last activations (all are ReLU6, done in place)."""
        x = self.first(x).clamp_(0, 6)
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.last(x).clamp_(0, 6).mean((2, 3))
        return features


class _Convolution(nn.Module):
    """A convolution with TensorFlow's SAME padding; depthwise where a filter has one input channel.

    With it the published CIFAR-10 embedding is a linear map of the features (relative error 5e-8 at 128 pixels); with
    PyTorch's symmetric padding at stride 2 it is not.
    """

    def __init__(self, weight: Tensor, bias: Tensor, stride: int = 1) -> None:
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias)
        self.stride, self.kernel = stride, weight.shape[2]
        self.groups = weight.shape[0] if weight.shape[1] == 1 else 1

    def forward(self, x: Tensor) -> Tensor:
        pad = 0
        if self.kernel > 1:
            if self.stride == 1:
                pad = self.kernel // 2
            else:
                (top, bottom), (left, right) = (self._same(side) for side in x.shape[2:])
                x = functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(x, self.weight, self.bias, self.stride, pad, groups=self.groups)

    def _same(self, side: int) -> tuple[int, int]:
        """Padding before and after, so that the output has ceil(side / stride) pixels; the odd pixel comes after."""
        total = max(0, (-(-side // self.stride) - 1) * self.stride + self.kernel - side)
        return total // 2, total - total // 2


class _Block(nn.Module):
    """Inverted residual: expand (not in the first block), filter per channel, project; add the input if it fits."""

    def __init__(self, expand: Weights | None, depthwise: Weights, project: Weights, stride: int) -> None:
        super().__init__()
        self.expand = _Convolution(*expand) if expand is not None else None
        self.depthwise, self.project = _Convolution(*depthwise, stride=stride), _Convolution(*project)
        entering = (expand or depthwise)[0].shape[1 if expand else 0]
        self.adds = stride == 1 and entering == project[0].shape[0]

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x).clamp_(0, 6)
        y = self.project(self.depthwise(y).clamp_(0, 6))
        out: Tensor = x + y if self.adds else y
        return out


def load_mobilenet(path: Path) -> QuantizedMobileNetV2:
    """Load the network of a weight file, in evaluation mode.

    Raises:
        FathomError: The file is not of this layout.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            weights = {str(name): _dequantized(arrays, str(name)) for name in arrays["order"]}
        return QuantizedMobileNetV2(weights).eval()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FathomError(
            f"{path} is not a MobileNetV2 in 8 bits ({type(error).__name__}: {error}). Expected an .npz with `order` "
            f"and, for each of its 53 convolutions, .wq, .wscale, .wzp and .bias (see the documentation of {__name__})"
        ) from error


def _dequantized(arrays: "np.lib.npyio.NpzFile", name: str) -> Weights:
    integers = arrays[f"{name}.wq"].astype(np.float32)
    if integers.ndim != 4:
        raise ValueError(f"{name}.wq has the shape {integers.shape}")
    weight = (integers - np.float32(arrays[f"{name}.wzp"])) * np.float32(arrays[f"{name}.wscale"])
    return torch.from_numpy(weight), torch.from_numpy(arrays[f"{name}.bias"].astype(np.float32))
