"""The augmentation families: a dataset names one (`Dataset.augment`), and what depends on it is looked up here.

The transforms themselves are in `learn.augment.families`, SimCLR's published settings in `learn.objectives.simclr`.
Both have one entry per family of this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class AugmentationFamily:
    """A family of augmentations.

    Args:
        images: The images it is made for.
        large: Large images: Semi-SL warms up its learning rate, and training crops are resized.
        mirrors: A mirrored image is of the same class. A mirrored digit is another sign or none, so nothing flips it
            or cuts it to a corner.
    """

    images: str
    large: bool
    mirrors: bool


AUGMENTATIONS: Mapping[str, AugmentationFamily] = {
    "cifar": AugmentationFamily("small natural images", large=False, mirrors=True),
    "digits": AugmentationFamily("digits and letters", large=False, mirrors=False),
    "isic": AugmentationFamily("photographs without an upright direction", large=True, mirrors=True),
    "imagenet": AugmentationFamily("photographs", large=True, mirrors=True),
}
