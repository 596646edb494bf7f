"""Paths and files that a user names: all that can be wrong with them is a `FathomError`."""

import tomllib
from pathlib import Path
from typing import Any

from fathom.core.records import FathomError
from fathom.core.text import quoted

LARGEST_TOML = 4_000_000  # bytes; the parser needs hundreds of times as much memory, and quadratic time
NAMES_BELOW = "-" * 200  # a path must leave room for the names of our own files


def user_path(path: str | Path) -> Path:
    """The path that a user named, with `~` expanded. It need not exist.

    Raises:
        FathomError: It can be no path here: too long, a null byte, an unknown user, a circle of links, no permission.
    """
    try:
        found = Path(path).expanduser()
        (found / NAMES_BELOW).stat()
    except (FileNotFoundError, NotADirectoryError):
        return found
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a null byte, or letters the system cannot encode
        reason = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise FathomError(f"{quoted(str(path))} cannot be used as a path: {reason}. Name another one") from None
    return found


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file, UTF-8 with or without a byte order mark.

    Args:
        path: The file.
        what: Kind of the file, for messages, such as `the study file`.

    Raises:
        FathomError: It cannot be read, is too large, or is not TOML.
    """
    try:
        if (size := path.stat().st_size) > LARGEST_TOML:
            raise FathomError(
                f"{what} {path} has {size:,} bytes; expected at most {LARGEST_TOML:,}. Is it the right file?"
            )
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FathomError(f"cannot read {what} {path}: {error.strerror}") from None
    except RecursionError:
        raise FathomError(f"{path} is not valid TOML that can be read: its values are nested too deeply") from None
    except ValueError as error:  # not UTF-8, not TOML, or a number of thousands of digits
        raise FathomError(f"{path} is not valid TOML: {error}. Correct that line and try again") from None
