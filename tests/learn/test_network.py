"""Networks: stems, weights from a stream, consistent masks."""

import math

import pytest
import torch
from tests.faults import fault
from torch import nn
from torchvision.models import resnet18

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.learn.network import Network, SquarePool, build_network, initialize

CPU = torch.device("cpu")


def network(name: str = "cnn", side: int = 8, dropout: float = 0.0, seed: int = 0, classes: int = 10) -> Network:
    return build_network(name, (side, side), classes, dropout, Stream(seed, ("init",)), CPU)


@pytest.mark.parametrize(
    ("name", "side", "dim"),
    [("auto", 8, 128), ("auto", 28, 128), ("cnn", 64, 128), ("auto", 32, 512), ("auto", 96, 512)],
)
def test_features_are_the_input_of_the_last_linear_layer(name: str, side: int, dim: int):
    net = network(name, side, classes=7).eval()
    x = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, logits = net.encode(x), net(x)
    assert features.shape == (3, dim)
    torch.testing.assert_close(logits, features @ net.head.weight.T + net.head.bias)


def test_resnet_has_the_published_stems():
    small, large = network("resnet18", 32), network("resnet18", 96)
    assert (small.encoder.conv1.kernel_size, small.encoder.conv1.stride) == ((3, 3), (1, 1))
    assert isinstance(small.encoder.maxpool, torch.nn.Identity)
    assert (large.encoder.conv1.kernel_size, large.encoder.conv1.stride) == ((7, 7), (2, 2))
    count = sum(p.numel() for p in large.parameters())
    assert count == sum(p.numel() for p in resnet18(num_classes=10).parameters())


def test_weights_are_drawn_from_the_stream_and_from_nothing_else():
    before = torch.get_rng_state()
    first, again, other = network(seed=1), network(seed=1), network(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    for name, a in first.state_dict().items():
        assert torch.equal(a, again.state_dict()[name]), name
        assert a.ndim < 2 or not torch.equal(a, other.state_dict()[name]), name


def test_weights_have_torchvisions_distribution():
    ours = network("resnet18", 96, seed=3).state_dict()
    torch.manual_seed(0)
    for name, theirs in resnet18(num_classes=10).state_dict().items():
        mine = ours[name.replace("fc.", "head.") if name.startswith("fc.") else f"encoder.{name}"].double()
        if theirs.ndim < 2 and not name.startswith("fc"):
            assert torch.equal(mine, theirs.double()), name
        elif theirs.numel() > 2000:
            error = 5 * theirs.double().std() / math.sqrt(theirs.numel())
            assert abs(mine.mean() - theirs.double().mean()) < 2 * error, name
            assert float(mine.std()) == pytest.approx(float(theirs.double().std()), rel=0.08), name
    assert ours["head.weight"].abs().max() <= 1 / math.sqrt(512)


def test_a_layer_without_initializer_is_not_left_to_chance():
    with pytest.raises(TypeError, match="no initializer for Bilinear"):
        initialize(torch.nn.Sequential(torch.nn.Bilinear(2, 2, 2)), torch.Generator())


def test_masks_are_shared_and_the_head_is_repeated_over_them():
    net = network(dropout=0.5).eval()
    masks = net.masks(50, Stream(5, ("draws",)))
    assert masks.shape == (50, 128)
    assert set(masks.unique().tolist()) == {0.0, 2.0}
    assert abs((masks > 0).float().mean() - 0.5) < 0.03
    assert torch.equal(masks, net.masks(50, Stream(5, ("draws",))))
    assert not torch.equal(masks, net.masks(50, Stream(6, ("draws",))))
    features = torch.randn(9, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        got = net.log_probs(features, masks)
        for k in range(50):
            torch.testing.assert_close(got[:, k], net.head(features * masks[k]).log_softmax(1), atol=1e-5, rtol=1e-5)


def test_without_masks_one_plain_softmax():
    net = network(dropout=0.5).eval()
    features = torch.randn(9, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        got = net.log_probs(features)
        assert got.shape == (9, 1, 10)
        torch.testing.assert_close(got[:, 0], net.head(features).log_softmax(1))


@pytest.mark.parametrize("masked", [True, False])
def test_a_head_of_two_layers_is_repeated_over_the_masks_too(masked: bool):
    """Masks act on the embeddings, before the hidden layer: equal to the head applied mask by mask."""
    net = build_network("cnn", (8, 8), 7, 0.5, Stream(0, ("init",)), CPU, hidden=24)
    x = torch.randn(40, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for _ in range(5):
            net.hidden(x * 3 + 1)  # running statistics that are not the initial ones
        net.eval()
        masks = net.masks(11, Stream(5, ("draws",))) if masked else torch.ones(1, 128)
        got = net.log_probs(x, masks if masked else None)
        assert got.shape == (40, len(masks), 7)
        for k, mask in enumerate(masks):
            torch.testing.assert_close(got[:, k], net.head(net.hidden(x * mask)).log_softmax(1), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(net.features(x), torch.relu(net.hidden[1](net.hidden[0](x))))


def test_hidden_layers_are_as_wide_as_asked():
    assert build_network("cnn", (8, 8), 7, 0.0, Stream(0), CPU, hidden=24).head.in_features == 24
    assert build_network("cnn", (8, 8), 7, 0.0, Stream(0), CPU, hidden=-1).head.in_features == 128
    assert not build_network("cnn", (8, 8), 7, 0.0, Stream(0), CPU).two_layers


def test_training_dropout_has_a_mask_for_each_image_and_its_own_generator():
    net = network(dropout=0.5).eval()  # in evaluation mode only the dropout can differ
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).expand(64, -1, -1, -1)
    before = torch.get_rng_state()
    masks = [net.keep_mask(64, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    with torch.no_grad():
        first, again, other = (net(x, keep) for keep in masks)
        plain = net(x)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first.unique(dim=0)) > 60
    assert (first.mean(0) - plain[0]).abs().max() < 5 * (first.std(0) / 8).max()  # scaled so that the mean stays
    assert network().keep_mask(64, torch.Generator()) is None


@pytest.mark.parametrize(
    ("name", "side", "dropout", "message"),
    [
        ("vgg", 32, 0.0, "expected auto, resnet18 or cnn"),
        ("cnn", 3, 0.0, "at least 4x4"),
        ("cnn", 8, 1.0, r"probability in \[0, 1\), got 1"),
    ],
)
def test_mistakes_are_explained(name: str, side: int, dropout: float, message: str):
    with pytest.raises(FathomError, match=message):
        network(name, side, dropout)


@fault("gpu", "the pooling of `cnn` has no fixed order on CUDA", "it has a fixed order")
def test_the_small_network_pools_in_a_fixed_order(monkeypatch: pytest.MonkeyPatch) -> None:
    pooled = []
    monkeypatch.setattr(nn.functional, "adaptive_avg_pool2d", lambda x, side: pooled.append(x.shape[2:]))
    for side in (8, 28, 32, 64):
        network("cnn", side)(torch.zeros(2, 3, side, side))
    assert pooled == []
    monkeypatch.undo()
    x = torch.randn(2, 5, 3, 7, dtype=torch.float64, requires_grad=True)
    pool = SquarePool(3)
    torch.testing.assert_close(pool.in_order(x), nn.functional.adaptive_avg_pool2d(x, 3))
    assert torch.autograd.gradcheck(pool.in_order, x)
