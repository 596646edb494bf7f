"""Images per second of one CPU thread: batched augmentation against Pillow and torchvision, image by image.

    python bench/augment.py [--images 2048] [--repeats 3]

Both do the same published transforms on the same random images, interleaved in one process; the best repeat counts.
"""

import argparse
import os
import platform
import random
import time
from collections.abc import Callable, Iterable

import numpy as np
import PIL
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torchvision import transforms

from fathom.learn.augment.families import Augmentation

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def pillow_randaugment(n: int, m: int, p: float, side: int) -> Callable[[Image.Image], Image.Image]:
    """RandAugment with FixMatch's pool in Pillow, as a transform of one image."""
    affine = Image.Transform.AFFINE

    def sign(v: float) -> float:
        return -v if random.random() < 0.5 else v

    pool: list[Callable[[Image.Image, int], Image.Image]] = [
        lambda i, v: ImageOps.autocontrast(i),
        lambda i, v: ImageOps.equalize(i),
        lambda i, v: i,
        lambda i, v: ImageEnhance.Brightness(i).enhance(v * 0.09 + 0.05),
        lambda i, v: ImageEnhance.Color(i).enhance(v * 0.09 + 0.05),
        lambda i, v: ImageEnhance.Contrast(i).enhance(v * 0.09 + 0.05),
        lambda i, v: ImageEnhance.Sharpness(i).enhance(v * 0.09 + 0.05),
        lambda i, v: ImageOps.posterize(i, v * 4 // 10 + 4),
        lambda i, v: ImageOps.solarize(i, 256 - v * 256 // 10),
        lambda i, v: i.rotate(sign(3 * v)),
        lambda i, v: i.transform(i.size, affine, (1, sign(0.03 * v), 0, 0, 1, 0)),
        lambda i, v: i.transform(i.size, affine, (1, 0, 0, sign(0.03 * v), 1, 0)),
        lambda i, v: i.transform(i.size, affine, (1, 0, int(sign(0.03 * v) * i.size[0]), 0, 1, 0)),
        lambda i, v: i.transform(i.size, affine, (1, 0, 0, 0, 1, int(sign(0.03 * v) * i.size[1]))),
    ]

    def augment(image: Image.Image) -> Image.Image:
        for operation in random.choices(pool, k=n):
            if random.random() < p:
                image = operation(image, random.randint(1, m - 1))
        if m == 10:
            x, y = (max(0, int(random.uniform(0, side) - side / 4)) for _ in range(2))
            ImageDraw.Draw(image).rectangle((x, y, min(side, x + side // 2), min(side, y + side // 2)), (127, 127, 127))
        return image

    return augment


def pillow(strength: str, side: int) -> Callable[[Image.Image], torch.Tensor]:
    """The published transform of one image."""
    steps = [transforms.RandomHorizontalFlip()]
    if strength == "standard":
        steps += [transforms.RandomCrop(side, padding=side // 8)]
    else:
        steps += [transforms.RandomCrop(side, padding=side // 8, padding_mode="reflect")]
        n, m, p = (1, 2, 0.5) if strength == "randaugment" else (2, 10, 1.0)
        steps += [pillow_randaugment(n, m, p, side)]
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def seconds(work: Callable[..., object], items: Iterable[object]) -> float:
    """Wall-clock of doing the work on each of the items."""
    start = time.perf_counter()
    for item in items:
        work(item)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", type=int, default=32, help="pixels")
    parser.add_argument("--batch", type=int, default=1024)
    options = parser.parse_args()
    torch.set_num_threads(1)
    x = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (options.images, 3, options.side, options.side), np.uint8)
    )
    one_by_one = [Image.fromarray(i) for i in x.permute(0, 2, 3, 1).numpy()]
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread"
    print(f"# {machine}; torch {torch.__version__}, Pillow {PIL.__version__}")
    print(f"# {options.images} images of {options.side} px, batches of {options.batch}, best of {options.repeats}")
    print(f"{'transform':<16}{'Pillow/s':>10}{'batched/s':>12}{'ratio':>8}")
    for strength in ("standard", "randaugment", "randaugment-mc"):
        batched, generator = Augmentation("cifar", strength, MEAN, STD, x.device), torch.Generator().manual_seed(0)
        transform = pillow(strength, options.side)
        slow, fast = [], []
        for _ in range(options.repeats):
            slow.append(seconds(transform, one_by_one))
            fast.append(seconds(lambda b, f=batched.train, g=generator: f(b, g), x.split(options.batch)))
        rates = options.images / min(slow), options.images / min(fast)
        print(f"{strength:<16}{rates[0]:>10.0f}{rates[1]:>12.0f}{rates[1] / rates[0]:>8.1f}")


if __name__ == "__main__":
    main()
