"""The handwritten digits of scikit-learn: 8 x 8 pixels, without download, for experiments of seconds."""

from dataclasses import replace

import numpy as np
import torch

from fathom.data.dataset import DataRoot, Dataset
from fathom.data.files.official import revision
from fathom.data.images import TensorImages, channel_statistics
from fathom.data.splits import fixed_test_split
from fathom.registry.registry import dataset

TEST_FRACTION = 0.2
VAL_SPLIT = 250  # the validation labels of the low regime; leaves about 1,190 images for the pool
SOURCE = (
    "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998; "
    "test part, as distributed with scikit-learn; CC BY 4.0"
)


@dataset("digits")
def digits(root: DataRoot) -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels in 10 balanced classes; needs no files.

    A stratified fifth is the fixed test split.

    Source: Alpaydin and Kaynak 1998. Split and sizes are ours: the study has no dataset that trains in a second.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.round(bunch.images * (255 / 16)).astype(np.uint8)  # 0 to 16 in the source
    labels = bunch.target.astype(np.int64)
    pixels = torch.from_numpy(np.repeat(grey[:, None], 3, axis=1))
    test = torch.from_numpy(fixed_test_split(labels, TEST_FRACTION))
    images, test_images = TensorImages(pixels[~test]), TensorImages(pixels[test])
    mean, std = channel_statistics(images)
    return Dataset(
        name="digits",
        images=images,
        labels=labels[~test.numpy()],
        test_images=test_images,
        test_labels=labels[test.numpy()],
        class_names=tuple(str(name) for name in bunch.target_names),
        metric="accuracy",
        balanced=True,
        val_split=VAL_SPLIT,
        stratify=False,
        mean=mean,
        std=std,
        augment="digits",
        source=SOURCE,
        revision=revision(images, test_images, labels[~test.numpy()], labels[test.numpy()]),
    )


@dataset("digits-lt")
def digits_lt(root: DataRoot, *, rho: float = 10.0) -> Dataset:
    """`digits` with a long-tailed train part: class 0 is `rho` times as frequent as class 9.

    Validation and test stay balanced.

    Source: ours, after CIFAR-10-LT of Lüth et al. 2023.
    """
    return replace(digits(root), name="digits-lt", balanced=False, long_tail=float(rho))
