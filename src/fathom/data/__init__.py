"""Datasets, their images, splits and label regimes."""

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import fathom.data.dataset
    from fathom.registry.registry import Entry
    from fathom.registry.spec_string import SpecString, Value

__all__ = ["load", "sketch_of"]


def load(text: str, root: "fathom.data.dataset.DataRoot") -> "fathom.data.dataset.Dataset":
    """Load the dataset of a spec string; its name is the canonical spec string.

    Args:
        text: For example `cifar10-lt(rho=50)`.
        root: Where datasets are found.

    Raises:
        FathomError: Unknown dataset or parameter, or files that are missing, wrong or do not fit together.
    """
    from fathom.core.member_call import guard
    from fathom.core.records import DEVELOPMENT, FathomError
    from fathom.data.dataset import Dataset
    from fathom.data.images import guarded_images
    from fathom.registry import registry

    entry, call = registry.find("dataset", text)
    arguments, build = _arguments(entry, call), entry.load()
    with guard(str(call)):
        made = build(root, **arguments)
    if not isinstance(made, Dataset):
        raise FathomError(f"dataset {text!r} ({entry.path}) gave {type(made).__name__}; expected a Dataset")
    declared = arguments.get("role") or entry.options.get("role", DEVELOPMENT)
    if made.role != declared:  # planning and freezing read the declared role without loading the data
        raise FathomError(
            f"dataset {text!r} ({entry.path}) is registered with the role {declared!r} and gave {made.role!r}; write "
            f'@dataset({entry.name.split("/")[-1]!r}, role="{made.role}")'
        )
    images, test_images = (guarded_images(part, str(call)) for part in (made.images, made.test_images))
    return replace(made, name=str(call), images=images, test_images=test_images)


def sketch_of(text: str) -> "fathom.data.dataset.Dataset | None":
    """The sketch of a spec string: the dataset with official sizes and blank images, without its files.

    Args:
        text: For example `cifar10-lt(rho=50)`.

    Returns:
        None where the dataset has no sketch, because its sizes are known only from its files.

    Raises:
        FathomError: Unknown dataset or parameter, or sizes that do not fit.
    """
    from fathom.core.member_call import guard
    from fathom.registry import registry

    entry, call = registry.find("dataset", text)
    if not (name := entry.options.get("sketch")):
        return None
    build = replace(entry, attribute=name).load()
    with guard(str(call)):
        made: fathom.data.dataset.Dataset = build(**_arguments(entry, call))
    return replace(made, name=str(call))


def _arguments(entry: "Entry", call: "SpecString") -> "dict[str, Value]":
    """The arguments with the types of the builder's signature: a whole number may stand for a float, as in rho=50."""
    return {
        key: float(value) if isinstance(entry.parameters[key], float) and isinstance(value, int) else value
        for key, value in call.arguments
    }
