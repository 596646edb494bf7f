"""The training loop of all paradigms. A paradigm gives it an objective.

It updates weights, schedules the learning rate, validates every epoch, keeps the best or the last epoch, refuses NaN
and infinity, and saves its state, so that a killed training resumes to the same result. Within an epoch the host never
waits for the device: losses are collected there and fetched together at the end of the epoch.

Guarantees: on a CPU the same streams, versions, vector instructions and number of threads give the same bits, whether
the training was interrupted or not. On CUDA this holds in deterministic mode (`torch.use_deterministic_algorithms`),
where a recorded step (`cuda_graphs`) is used only if it gives the bits of the plain one. Otherwise sums have no fixed
order on CUDA: each step agrees to rounding, a relative 1e-6 (float32) or 1e-2 (bfloat16). Training amplifies this, so
that accuracies agree as those of two seeds of one recipe do.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fathom.core.records import FathomError, NonFiniteError
from fathom.learn.predict import is_out_of_memory
from fathom.learn.task import NO_CHECKPOINT, Checkpointer, Embed
from fathom.learn.training.batching import SCHEDULES
from fathom.learn.training.cuda_graphs import CudaRecorder, GraphedStep
from fathom.learn.training.lars import Lars
from fathom.learn.training.nan_checks import close_epoch
from fathom.learn.training.state import pack_tensors, unpack
from fathom.learn.training.step import TrainingStep, parameter_groups
from fathom.learn.training.validation import Validate
from fathom.learn.training.validation import validation as validation

Row = dict[str, float]
# Message of torch for a mini-batch of one sample, which BatchNorm cannot normalize.
BATCHNORM_ERROR = "Expected more than 1 value per channel when training"


class Objective:
    """Objective to minimize: the mini-batches of an epoch, and the loss of one.

    `batches` does everything random and reads images. `loss` is a pure function of tensors whose shapes never change
    (except in a last mini-batch), so that it can be recorded as a CUDA graph.

    Args:
        steps: Steps of an epoch.
    """

    steps: int

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, ...]]:
        """Tensors of each step of an epoch (from 0), on the device; random numbers come from (purpose, epoch)."""
        raise NotImplementedError

    def loss(self, *batch: Tensor) -> Float[Tensor, ""]:
        """Loss of one mini-batch. It may change the tensors of `buffers` in place, and nothing else."""
        raise NotImplementedError

    def buffers(self) -> dict[str, Tensor]:
        """Running statistics that `loss` changes in place; they are part of the saved state."""
        return {}

    def numbers(self) -> dict[str, Tensor]:
        """Scalars on the device about the epoch that has just ended, for its history row. Called once per epoch."""
        return {}


@dataclass(frozen=True)
class Optimization:
    """Optimizer, schedule and precision of a training.

    Args:
        lr: Highest learning rate.
        weight_decay: On weights of convolutions and linear layers, never on biases or normalization.
        epochs: Epochs.
        warmup: Epochs of linear warm-up.
        momentum: In [0, 1).
        schedule: `cosine` (half a cosine to 0 after the warm-up, every step) or `step` (a tenth after every quarter of
            the epochs); see `batching.SCHEDULES`.
        optimizer: `sgd` (Nesterov) or `lars`.
        ema: Decay of the exponential moving average of the weights that is validated and kept, in [0, 1); 0 for none.
        keep: `best` (first of the best validation epochs) or `last`.
        precision: `auto` (bfloat16 where the device is faster with it), `fp32`, `bf16`, `fp16` (gradients are scaled,
            and a step whose gradients overflow is skipped and counted).
        capture: True to record and replay steps on CUDA; False for comparison.
    """

    lr: float
    weight_decay: float
    epochs: int
    warmup: int = 0
    momentum: float = 0.9
    schedule: str = "cosine"
    optimizer: str = "sgd"
    ema: float = 0.0
    keep: str = "best"
    precision: str = "auto"
    capture: bool = True


def fit(
    network: nn.Module,
    objective: Objective,
    optimization: Optimization,
    validate: Validate | None = None,
    *,
    checkpointer: Checkpointer = NO_CHECKPOINT,
    embed: Callable[[nn.Module], Embed] | None = None,
    notes: dict[str, Any] | None = None,
) -> tuple[float, list[Row]]:
    """Train `network` in place and leave it in the state of its best validation epoch (the first of equals), or last.

    Args:
        network: Network to train.
        objective: Objective to minimize.
        optimization: Optimizer, schedule and precision.
        validate: Score and loss on the validation set; None keeps the last epoch.
        checkpointer: Takes the state and the numbers of every epoch.
        embed: Computes features with a network, for the checkpointer's probe.
        notes: On CUDA its entry `step` is set to `captured`, or to `eager: ` and the reason.

    Returns:
        The validation score of the epoch that was kept (NaN without validation) and one row per epoch: `epoch`, `lr`
        (of its last step), `loss` (mean over steps), `val_score`, `val_loss`, `skipped` (with fp16, the share of steps
        not taken), and the objective's numbers.

    Raises:
        NonFiniteError: A loss, gradient, weight or buffer was not finite, found at the end of the epoch and named with
            its step (`epoch`, `step`, `tensor`); or no epoch could be validated.
        FathomError: The device's memory does not suffice, or BatchNorm is given a mini-batch of one sample.
    """
    training_run = TrainingRun(network, objective, optimization, validate)
    training_run.load(checkpointer.load())
    for epoch in range(len(training_run.history), optimization.epochs):
        training_run.run(epoch)
        numbers = {k: v for k, v in training_run.history[-1].items() if k not in ("epoch", "lr")}
        checkpointer.tell(epoch + 1, optimization.epochs, numbers, embed(training_run.evaluated) if embed else None)
        if epoch + 1 < optimization.epochs:
            checkpointer.save(training_run.state)
    if notes is not None and isinstance(training_run.step, GraphedStep):
        notes["step"] = training_run.step.summary
    return training_run.finish()


@dataclass(eq=False)
class TrainingRun:
    """State of a training between epochs."""

    network: nn.Module
    objective: Objective
    how: Optimization
    validate: Validate | None
    history: list[Row] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_score: float = -math.inf

    def __post_init__(self) -> None:
        how, device = self.how, next(self.network.parameters()).device
        self.optimizer = OPTIMIZERS[how.optimizer](parameter_groups(self.network, how.weight_decay), how)
        self.factor = SCHEDULES[how.schedule](self.objective.steps * how.epochs, self.objective.steps * how.warmup)
        self.average = copy.deepcopy(self.network).requires_grad_(False) if how.ema else None
        self.plain = TrainingStep(
            self.network,
            self.objective.loss,
            self.optimizer,
            average=self.average,
            decay=how.ema,
            fp16=how.precision == "fp16",
            tensor_lr=device.type == "cuda",
        )
        self.step: TrainingStep | GraphedStep = self.plain
        if device.type == "cuda" and how.capture:
            extra, exact = list(self.objective.buffers().values()), torch.are_deterministic_algorithms_enabled()
            total = self.objective.steps * how.epochs
            self.step = GraphedStep(self.plain, extra, CudaRecorder(device), exact=exact, left=total)

    @property
    def evaluated(self) -> nn.Module:
        """Network that is validated and kept: the average if there is one."""
        return self.network if self.average is None else self.average

    def run(self, epoch: int) -> None:
        """Do one epoch: train, check, validate."""
        self.network.train()
        steps, seen = self.objective.steps, []
        if isinstance(self.step, GraphedStep):
            self.step.left = steps * (self.how.epochs - epoch)
        with _advice():
            for step, batch in enumerate(self.objective.batches(epoch), epoch * steps):
                lr = self.how.lr * self.factor(step)
                seen.append(self.step(batch, lr))
        if len(seen) != steps:
            raise RuntimeError(f"an epoch of {steps} steps gave {len(seen)} losses")
        row = close_epoch(epoch, seen, self.plain, self.objective.numbers(), self._validate)
        self.history.append({"epoch": float(epoch), "lr": lr, **row})
        # Weights can be finite while logits overflow; argmax would still give such an epoch a score.
        if self._keeps_best and math.isfinite(row["val_loss"]) and row["val_score"] > self.best_score:
            self.best_score = row["val_score"]
            # Clones, since the next epoch writes into the tensors of the state dictionary.
            self.best = {name: t.clone() for name, t in self.evaluated.state_dict().items()}

    @property
    def _keeps_best(self) -> bool:
        return self.how.keep == "best" and self.validate is not None

    def _validate(self) -> tuple[Tensor, Tensor] | None:
        return self.validate(self.evaluated) if self.validate is not None else None

    def finish(self) -> tuple[float, list[Row]]:
        """Load the weights that are kept into the network; (validation score, history)."""
        if self._keeps_best:
            if not self.best:
                raise NonFiniteError(
                    "the validation loss was not finite after any epoch, though all weights were: training has "
                    "diverged. A lower learning rate usually helps"
                )
            self.network.load_state_dict(self.best)
            return self.best_score, self.history
        if self.average is not None:
            self.network.load_state_dict(self.average.state_dict())
        return self.history[-1].get("val_score", math.nan), self.history

    def state(self) -> dict[str, Tensor]:
        """All that the next epoch depends on, on the CPU. Random streams are names, so they need not be saved."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "network": self.network.state_dict(),
            "best": self.best,
            "average": self.average.state_dict() if self.average is not None else {},
            "objective": self.objective.buffers(),
            "momentum": dict(self._momenta()),
        }
        scaler = self.plain.scaler
        words = {"history": self.history, "best_score": self.best_score, "scaler": scaler and scaler.state_dict()}
        return pack_tensors(parts, words)

    def _momenta(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.network.named_parameters():
            if (buffer := self.optimizer.state[parameter].get("momentum_buffer")) is not None:
                yield name, buffer

    @torch.no_grad()
    def load(self, state: dict[str, Tensor] | None) -> None:
        """Resume from a result of `state`.

        Raises:
            FathomError: It belongs to another training.
        """
        if state is None:
            return
        try:
            parts, words = unpack(state)
            self.network.load_state_dict(parts["network"])
            if self.average is not None:
                self.average.load_state_dict(parts["average"])
            for part, tensors in (("objective", self.objective.buffers()), ("momentum", dict(self._momenta()))):
                for name, tensor in tensors.items():  # in place: a recorded step reads these very tensors
                    tensor.copy_(parts[part][name])
            if self.plain.scaler is not None:
                self.plain.scaler.load_state_dict(words["scaler"])
            self.history, self.best_score = words["history"], words["best_score"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise FathomError(
                f"the saved state of a training does not fit this training ({error}). Delete it to start the "
                "training again"
            ) from error
        device = next(self.network.parameters()).device
        self.best = {name: t.to(device, copy=True) for name, t in parts.get("best", {}).items()}


def _sgd(groups: list[dict[str, object]], how: Optimization) -> torch.optim.Optimizer:
    # Fused: one kernel per step. With few labels steps are small, and launches are what a step costs.
    return torch.optim.SGD(groups, lr=how.lr, momentum=how.momentum, nesterov=how.momentum > 0, fused=True)


OPTIMIZERS: dict[str, Callable[[list[dict[str, object]], Optimization], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "lars": lambda groups, how: Lars(groups, how.lr, how.momentum),
}


@contextmanager
def _advice() -> Iterator[None]:
    """Turn out-of-memory errors and mini-batches of one sample into advice; batch sizes are never changed silently."""
    try:
        yield
    except ValueError as error:
        if BATCHNORM_ERROR not in str(error):
            raise
        raise FathomError(
            "a mini-batch of one sample has no deviation that BatchNorm could divide by. Give the paradigm "
            "last_batch=merge where it has that, an epoch_size of 2 or more, or another batch_size"
        ) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise FathomError(
            "one training step does not fit into the device's memory. Give the paradigm smaller mini-batches "
            "(its batch_size; before labels, its pretrain_batch); that changes the recipe, so it is part of the run's "
            "name. Or use fewer workers on one device, or a device with more memory"
        ) from error
