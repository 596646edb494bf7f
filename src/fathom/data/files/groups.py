"""Groups of images by their file names: as declared by a pattern, and as the names themselves suggest.

Frames of one video, images of one patient or of one burst are alike. Where such a group is on both sides of a split,
the test accuracy is that of images which were seen in training.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from fathom.core.records import FathomError
from fathom.data.files.listing import ListedImage, Listing, problem

INDEPENDENT = "independent"
_LONGEST, _REPEATS = 200, 4  # of a pattern: more can take forever on one name
_WORDS = "patient|pat|subject|subj|participant|person|animal|lesion|specimen|slide|case|video|vid|clip|track|sequence"
_WORDS += "|seq|scene|session|camera|cam|burst|visit|scan|study|series|plot|plate|well"
_WORD = re.compile(rf"(?<![A-Za-z])(({_WORDS})[_-]?[0-9]+)", re.IGNORECASE)
# All before the last number of a name, where a number is in it: IMG_001_2.jpg, 20230401_0017.png.
_BEFORE = "([^/]*[0-9][A-Za-z]?)[_. -]+[A-Za-z]*[0-9]+[.]"
# All up to the first number, where words follow it: 0017_left.jpg, 0003_c1s1_view.jpg, img17_jpg.rf.5ab1.jpg.
_FIRST = "([^/]*?[0-9])[_. -][^/]*[.]"
_MANY = 0.5  # share of the images that must lie in groups of several


@dataclass(frozen=True)
class GroupRule:
    """Declared groups of images that are listed by name.

    Args:
        text: Regular expression with a capturing group, searched in the path below the dataset's folder: images whose
            captured parts are equal form a group. `independent`: declared to be unrelated. Empty: nothing is declared.

    Raises:
        FathomError: It is no regular expression, captures nothing, or could take forever.
    """

    text: str = ""

    def __post_init__(self) -> None:
        """Refuse patterns that cannot be used."""
        if not self.declared:
            return
        what = f"groups is {self.text!r}; expected `independent` or a regular expression with one part in parentheses"
        try:
            captured = re.compile(self.text).groups
        except (re.error, RecursionError, OverflowError) as error:
            raise FathomError(f'{what}, for example groups="(patient[0-9]+)_"; {error}') from error
        if not captured:
            raise FathomError(f'{what}, for example groups="(patient[0-9]+)_"')
        repeats = re.findall(r"(?<!\\)(?:[*+]|\{\d*,\d*\})", re.sub(r"\[[^\]]*\]", "x", self.text))
        if (
            len(self.text) > _LONGEST
            or len(repeats) > _REPEATS
            or re.search(r"\)(?:[*+{]|\?[*+])|\\[1-9]|\(\?P=", self.text)
        ):
            raise FathomError(
                f"groups is {self.text[:60]!r}; expected at most {_LONGEST} characters and {_REPEATS} repetitions, "
                "none of a part in parentheses, because others can take forever. Or use a table with a column group"
            )

    @property
    def declared(self) -> bool:
        """True if images have a group."""
        return self.text not in ("", INDEPENDENT)

    @property
    def independent(self) -> bool:
        """True if images are declared to be unrelated."""
        return self.text == INDEPENDENT

    def apply(self, items: list[ListedImage], listing: Listing) -> list[ListedImage]:
        """Set the group of each image; names that the pattern is not in are errors of the listing."""
        if not self.declared:
            return items
        pattern = re.compile(self.text)
        found = [(item, pattern.search(item.name)) for item in items]
        if absent := [item.name for item, match in found if not match]:
            message = f"images in whose path groups={self.text!r} is not found; every image needs a group"
            listing.problems.append(problem("error", "no-group", message, absent))
        return [replace(item, group=" ".join(part or "" for part in m.groups()) if m else "") for item, m in found]


UNDECLARED = GroupRule()


@dataclass(frozen=True)
class LikelyGroups:
    """Groups that file names suggest.

    Args:
        pattern: Value of `groups` that declares them.
        groups: Number of groups of several images.
        images: Images in these.
        examples: The largest three.
    """

    pattern: str
    groups: int
    images: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.examples)
        return (
            f"file names look like {self.groups:,} tracks, patients or bursts of {self.images:,} images ({shown}), and "
            f'no groups are declared. Declare them with groups="{self.pattern}", in a table with a column group, or '
            "groups=independent if each image is unrelated to the others"
        )


def likely_groups(names: Sequence[str], labels: Sequence[object]) -> LikelyGroups | None:
    """Find groups of several images that the file names suggest; None if there are none.

    A part of the name that only repeats the class, or that is equal in all names, is no group: there must be more
    groups of several images than classes, and they must hold at least half of the images.

    Args:
        names: POSIX path of each image below the dataset's folder.
        labels: Class of each.
    """
    classes = len(set(labels))
    words = [match for name in names if (match := _WORD.search(name))]
    if words:
        word = Counter(match.group(2).lower() for match in words).most_common(1)[0][0]
        own = Counter(match.group(1) for match in words if match.group(2).lower() == word)
        if likely := _summary(own, f"(?i)({word}[_-]?[0-9]+)", len(names), classes):
            return likely
    before = Counter(match.group(1) for name in names if (match := re.search(_BEFORE, name)))
    if likely := _summary(before, _BEFORE, len(names), classes):
        return likely
    found = ((re.search(_FIRST, name), label) for name, label in zip(names, labels, strict=True))
    firsts = Counter((match.group(1), label) for match, label in found if match)
    # Within a class, as the images of each class may be numbered from 1.
    first = Counter(part for (part, _), n in firsts.items() for _ in range(n) if n > 1)
    if likely := _summary(first, _FIRST, len(names), classes):
        return likely
    folders = [str(PurePosixPath(name).parent) for name in names]
    return _summary(Counter(folders), "^(.*)/", len(names), 2 * classes)


def _summary(found: Counter[str], pattern: str, images: int, classes: int) -> LikelyGroups | None:
    several = Counter({key: n for key, n in found.items() if n > 1})
    total = sum(several.values())
    if len(several) <= classes or total < _MANY * images:
        return None
    return LikelyGroups(pattern, len(several), total, tuple(key for key, _ in several.most_common(3)))
