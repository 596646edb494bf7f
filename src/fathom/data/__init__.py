"""What is labeled, and how much: datasets, their images, splits and label regimes."""

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import fathom.data.dataset

__all__ = ["load"]


def load(text: str, root: "fathom.data.dataset.DataRoot") -> "fathom.data.dataset.Dataset":
    """Load the dataset of a call-string; its name is the canonical call-string.

    Args:
        text: For example `cifar10-lt(rho=50)`.
        root: Where datasets are found.

    Raises:
        FathomError: Unknown dataset or parameter, or files that are missing, wrong or do not fit together.
    """
    from fathom import registry
    from fathom.data.dataset import Dataset
    from fathom.records import FathomError

    entry, call = registry.find("dataset", text)
    # A whole number may stand for a fraction, as in rho=50: the builder is still given what its signature says.
    arguments = {
        key: float(value) if isinstance(entry.parameters[key], float) and isinstance(value, int) else value
        for key, value in call.arguments
    }
    made = entry.load()(root, **arguments)
    if not isinstance(made, Dataset):
        raise FathomError(f"dataset {text!r} ({entry.path}) gave {type(made).__name__}; expected a Dataset")
    declared = arguments.get("role") or entry.options.get("role", "development")
    if made.role != declared:  # who cannot load the data has to believe what is declared
        raise FathomError(
            f"dataset {text!r} ({entry.path}) is registered with the role {declared!r} and gave {made.role!r}; say "
            f'@dataset({entry.name.split("/")[-1]!r}, role="{made.role}")'
        )
    return replace(made, name=str(call))
