"""The rule for which spec strings count as one dataset when results are counted."""

import posixpath

from fathom.registry.spec_string import SpecString, parse_stored


def dataset_identity(dataset: str) -> str:
    """Name of the dataset that a spec string stands for in counts and in means over datasets.

    A statistic over datasets takes datasets as its units: each counts once in a mean, in n, and in the smallest p that
    an exact test can reach. What makes a dataset is its source: the registered name and, for images that are read from
    disk (`folder`, `table`), their `path`, however it is written (`scans`, `./scans/`). All other parameters choose a
    part or a form of the same images: a subset
    (`train_size`), another split, image size or `rho` of a long tail. Such variants are one dataset, because they share
    images and mostly the test set; counted apart they would make the evidence look stronger than it is.

    `cifar10-lt` and `cifar10` have different names and stay two datasets, as in the published study, whose means are
    over five datasets: their class distributions differ, and that is the property that pitfall P1 asks to vary. They
    share images all the same, so they are not fully independent and an interval over both is somewhat too narrow.

    Args:
        dataset: Spec string of a dataset; it need not be registered here.

    Returns:
        `cifar10-lt` for `cifar10-lt(rho=20)`, `folder(path=scans)` for `folder(path=scans, size=64)`. Text that is no
        spec string is returned as it is.
    """
    spec = parse_stored(dataset)
    paths = ((key, posixpath.normpath(str(value))) for key, value in spec.arguments if key == "path")
    return str(SpecString(spec.name, tuple(paths)))
