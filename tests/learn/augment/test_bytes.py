"""Bytes that augmentation moves: on a GPU they are its time. Counted on a CPU, which does the same operations."""

from collections import Counter
from contextlib import contextmanager

import pytest
import torch
from tests.faults import fault
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from fathom.learn.augment import pixels
from fathom.learn.augment.families import STRENGTHS, Augmentation
from fathom.learn.augment.hue import shift_hue
from fathom.learn.augment.randaugment import OPERATIONS
from fathom.learn.augment.simclr_views import Views

CPU = torch.device("cpu")


class Moved(TorchDispatchMode):
    """Counts the bytes that each operation reads and writes; views move none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.calls = 0, Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given, made = ([t for t in tree_flatten(x)[0] if isinstance(t, torch.Tensor)] for x in ((args, kwargs), result))
        name = function._schema.name.split("::")[1]
        shared = {t.untyped_storage().data_ptr() for t in given} & {t.untyped_storage().data_ptr() for t in made}
        if name.endswith("_") or not shared:
            self.bytes += sum(self._size(t) for t in (*given, *made))
            self.calls[name] += 1
        return result

    @staticmethod
    def _size(t: torch.Tensor) -> int:
        sides = (n if stride else 1 for n, stride in zip(t.shape, t.stride(), strict=True))  # stride 0: repeated
        return t.element_size() * torch.Size(sides).numel()


def per_512(work, images: int) -> float:
    with Moved() as moved:
        work()
    return moved.bytes * 512 / images / 1e9


def pictures(count: int, side: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@fault("gpu", "augmentation at 224 pixels moves 26 to 113 GB per mini-batch", "it moves 42 GB at most", cases=6)
@pytest.mark.parametrize(
    ("family", "side", "strength", "most"),
    [
        ("isic", 300, "standard", 36), ("isic", 300, "randaugment", 42), ("isic", 300, "randaugment-mc", 28),
        ("imagenet", 256, "standard", 15.5), ("imagenet", 256, "randaugment", 17.5),
        ("imagenet", 256, "randaugment-mc", 22),
    ],
)  # fmt: skip
def test_bytes_of_a_mini_batch_of_512(family: str, side: int, strength: str, most: float):
    """Before: 100, 110 and 67 GB, 15, 18 and 26 GB; on a GPU 113 and 72 GB with two RandAugment operations."""
    x, augment = pictures(28, side), Augmentation(family, strength, (0.5,) * 3, (0.2,) * 3, CPU)
    assert per_512(lambda: augment.train(x, torch.Generator().manual_seed(0)), 28) < most


def test_bytes_of_the_views_of_256_images():
    """Before: 45 GB."""
    x, views = pictures(14, 300), Views("isic", 1.0, True, (0.5,) * 3, (0.2,) * 3, CPU)
    made = [torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)]
    assert per_512(lambda: views.pair(x, *made), 28) < 42


def test_bytes_of_a_shift_of_hues():
    """Before: 61 GB."""
    x = pictures(4, 300)
    shift_hue(x, torch.zeros(4, dtype=torch.int32))  # makes its tables
    assert per_512(lambda: shift_hue(x, torch.ones(4, dtype=torch.int32)), 4) < 12


@fault("gpu", "every operation of RandAugment is computed for all images", "each touches its own images alone")
def test_an_operation_touches_its_own_images_alone(monkeypatch: pytest.MonkeyPatch):
    """Also on an accelerator, which could not be asked which images these are."""
    seen: Counter[str] = Counter()
    for name in ("affine", "blend", "blend_levels", "posterize_solarize", "autocontrast", "equalize"):
        plain = getattr(pixels, name)
        monkeypatch.setattr(
            pixels, name, lambda x, *rest, name=name, plain=plain: (seen.update({name: len(x)}), plain(x, *rest))[1]
        )
    randaugment, x = STRENGTHS["randaugment-mc"], pictures(60, 16)
    draw = randaugment.draw(60, torch.Generator().manual_seed(0))
    randaugment.apply(x, draw)
    drawn = Counter(OPERATIONS[i] for i in draw.operation.flatten().tolist())
    assert seen["equalize"] == drawn["equalize"]
    assert seen["autocontrast"] == drawn["autocontrast"]
    assert seen["affine"] == sum(drawn[n] for n in ("rotate", "shear-x", "shear-y", "translate-x", "translate-y"))
    assert seen["posterize_solarize"] == drawn["posterize"] + drawn["solarize"]


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@fault("gpu", "a histogram in deterministic mode", "integers are added in any order, and the mode is as before")
def test_a_histogram_is_exempt_from_deterministic_mode(monkeypatch: pytest.MonkeyPatch):
    during, add = [], torch.Tensor.scatter_add_

    def watched(*given):
        during.append(torch.are_deterministic_algorithms_enabled())
        return add(*given)

    monkeypatch.setattr(torch.Tensor, "scatter_add_", watched)
    x = pictures(3, 8)
    with deterministic():
        counts = pixels.histogram(x)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert during == [False]
    assert counts.sum() == 3 * 3 * 64
    assert torch.equal(counts[0, 0], torch.bincount(x[0, 0].flatten().int(), minlength=256).int())


def test_an_image_is_augmented_alike_in_any_number_at_once():
    """What is drawn for mini-batches one after the other, and applied to them together, is what each gets alone."""
    x = pictures(40, 32)
    for family in ("cifar", "digits", "isic", "imagenet"):
        for strength in STRENGTHS:
            augment = Augmentation(family, strength, (0.5,) * 3, (0.2,) * 3, CPU)
            alone, together = (torch.Generator().manual_seed(1) for _ in range(2))
            want = torch.cat([augment.train(part, alone) for part in x.split(16)])
            got = augment.apply(x, [augment.draw(n, (32, 32), together) for n in (16, 16, 8)])
            torch.testing.assert_close(got, want, rtol=0, atol=0 if family != "imagenet" else 0.03)


def test_large_images_are_not_augmented_in_larger_mini_batches():
    from fathom.learn.objectives.mini_batches import BLOCK_PIXELS, _blocks

    assert [sum(block) for block in _blocks([64] * 86, BLOCK_PIXELS // 32**2)] == [4096, 1408]
    assert _blocks([512] * 3, BLOCK_PIXELS // 300**2) == [[512]] * 3
    assert _blocks([64, 64, 8], 1) == [[64], [64], [8]]


@pytest.mark.parametrize("family", ["cifar", "digits", "isic", "imagenet"])
def test_images_may_lie_in_memory_as_they_like(family: str):
    """A source may give images whose channels come last in memory."""
    x, augment = pictures(12, 32), Augmentation(family, "randaugment-mc", (0.5,) * 3, (0.2,) * 3, CPU)
    made = [
        augment.train(layout, torch.Generator().manual_seed(5))
        for layout in (
            x,
            x.contiguous(memory_format=torch.channels_last),
            x.transpose(2, 3).contiguous().transpose(2, 3),
        )
    ]
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])
