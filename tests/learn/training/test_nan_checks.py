"""What is not finite is found, named with its step, and stops the training."""

import math
import pickle

import pytest
import torch
from tests.faults import fault
from tests.learn.loops import Labeled, network
from torch import nn

from fathom.core.records import NonFiniteError
from fathom.learn.network import Network
from fathom.learn.training.fit import Optimization, fit

NOT_FINITE = fault(
    "methods",
    "loss, gradient, weight or buffer that is not finite",
    "named with tensor, step and epoch before any query",
)


class Spoiled(nn.Module):
    """Lets values through, and multiplies their gradient by `factor`."""

    factor = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.requires_grad:
            factor = self.factor
            x.register_hook(lambda gradient: gradient * factor)
        return x


def train(net: Network, spoil=None, epochs: int = 3, validate=None, **how: object):
    objective = Labeled(net, spoil, batch=12)
    return fit(net, objective, Optimization(0.01, 0.0, epochs=epochs, **how), validate)


@NOT_FINITE
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_named_with_step_and_epoch(value: float):
    def spoil(epoch: int, step: int, loss: torch.Tensor) -> torch.Tensor:
        return loss * (value if (epoch, step) == (1, 2) else 1.0)

    with pytest.raises(NonFiniteError, match=rf"the loss was {value} in step 2 of epoch 1") as caught:
        train(network(), spoil)
    assert (caught.value.epoch, caught.value.step, caught.value.tensor) == (1, 2, "the loss")
    again = pickle.loads(pickle.dumps(caught.value))  # as it comes back from a worker process
    assert (str(again), again.epoch, again.step) == (str(caught.value), 1, 2)


@NOT_FINITE
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_named_though_the_loss_of_its_step_is(value: float):
    """Going backward, the head has its gradient already; the encoder's last layer is the first to be spoiled."""
    net = network()
    gate = Spoiled()
    net.encoder.append(gate)

    def spoil(epoch: int, step: int, loss: torch.Tensor) -> torch.Tensor:
        gate.factor = value if (epoch, step) == (1, 2) else 1.0
        return loss

    def ahead(epoch: int, step: int, loss: torch.Tensor) -> torch.Tensor:
        return spoil(epoch, step + 1, loss)  # the hook is set in the forward pass, before `spoil` of its step is called

    with pytest.raises(
        NonFiniteError, match=r"the gradient of encoder\.\d+\.bias was .* in step 2 of epoch 1"
    ) as caught:
        train(net, ahead)
    assert "and then" in str(caught.value)
    assert (caught.value.epoch, caught.value.step) == (1, 2)


@NOT_FINITE
@pytest.mark.parametrize("name", ["encoder.1.running_var", "encoder.5.running_mean"])
def test_a_poisoned_buffer_is_named_though_the_loss_is_finite(name: str):
    """As fp16 did to the published runs: BatchNorm's buffers take a NaN while the training loss looks healthy."""
    net, predicted = network(), []

    def spoil(epoch: int, step: int, loss: torch.Tensor) -> torch.Tensor:
        if (epoch, step) == (1, 3):
            net.get_buffer(name).data[0] = math.nan
        return loss

    def validate(shown: nn.Module):
        predicted.append(1)
        return torch.tensor(0.5), torch.tensor(1.0)

    with pytest.raises(NonFiniteError, match=rf"{name} was nan in step 3 of epoch 1\.") as caught:
        train(net, spoil, validate=validate)
    assert caught.value.tensor == name
    assert len(predicted) == 2  # the third epoch was never begun


@NOT_FINITE
def test_a_weight_that_the_last_update_spoils_is_found():
    net = network()

    def spoil(epoch: int, step: int, loss: torch.Tensor) -> torch.Tensor:
        if (epoch, step) == (1, 3):
            net.encoder[0].weight.data[0, 0, 0, 0] = math.inf
        return loss.detach().requires_grad_() if epoch == 1 else loss

    with pytest.raises(NonFiniteError, match=r"not finite after epoch 1, .*: encoder\.0\.weight") as caught:
        train(net, spoil)
    assert (caught.value.step, caught.value.tensor) == (None, "encoder.0.weight")


def test_a_training_that_diverges_by_itself_is_stopped():
    with pytest.raises(NonFiniteError, match=r"in step \d of epoch \d"):
        train(network(), lambda epoch, step, loss: loss * 1e30, epochs=8)


# ------------------------------------------------------------------------------------------------------------- fp16


def test_with_fp16_steps_whose_gradients_overflow_are_skipped_and_counted():
    net = network()
    before, unchanged = {name: p.detach().clone() for name, p in net.named_parameters()}, []

    def spoil(epoch: int, step: int, loss: torch.Tensor) -> torch.Tensor:
        return loss * (1e36 if epoch == 0 else 1.0)  # times the scale: more than float32 holds

    def validate(shown: nn.Module):
        unchanged.append(all(torch.equal(p, before[name]) for name, p in net.named_parameters()))
        return torch.tensor(0.5), torch.tensor(1.0)

    _, history = train(net, spoil, precision="fp16", validate=validate)
    assert [row["skipped"] for row in history] == [1.0, 0.0, 0.0]
    assert unchanged == [True, False, False]
    assert all(p.isfinite().all() for p in net.parameters())


def test_with_fp16_gradients_that_overflow_at_any_scale_stop_the_training():
    net, gate = network(), Spoiled()
    net.encoder.append(gate)
    gate.factor = math.inf
    with pytest.raises(NonFiniteError, match="overflow fp16 at every scale") as caught:
        train(net, epochs=60, precision="fp16")
    assert caught.value.epoch == 4  # 17 halvings of 65,536, four an epoch


def test_with_fp16_a_poisoned_buffer_is_found_though_its_steps_are_skipped():
    net = network()

    def spoil(epoch: int, step: int, loss: torch.Tensor) -> torch.Tensor:
        net.get_buffer("encoder.1.running_var").data[0] = math.inf
        return loss * 1e36

    with pytest.raises(NonFiniteError, match=r"encoder\.1\.running_var was inf in step 0 of epoch 0"):
        train(net, spoil, precision="fp16")
