"""Mutation scores with their intervals."""

from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Any

Z = 1.959964  # two-sided 95 %


def wilson(killed: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, in [0, 1]. Source: Wilson, 1927."""
    if not n:
        return 0.0, 1.0
    share, z2 = killed / n, Z * Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return middle - half, middle + half


def table(records: Iterable[Mapping[str, Any]], sizes: Mapping[str, int]) -> str:
    """One line per package, and all packages weighted by how many mutants they have.

    A mutant counts as killed if a test failed, if the tests could not be collected, or if they ran out of time.

    Args:
        records: The tested mutants.
        sizes: Mutants of each package, tested or not.
    """
    rows, share, variance, everything = [], 0.0, 0.0, sum(sizes.values())
    by_package = {package: [r for r in records if r["package"] == package] for package in sizes}
    for package, found in by_package.items():
        n, killed = len(found), sum(r["outcome"] in ("killed", "timeout") for r in found)
        if not n:
            continue
        low, high = wilson(killed, n)
        rows.append(f"{package:<22} {killed:>4} of {n:<4} {killed / n:6.1%}  ({low:.1%} to {high:.1%})"
                    f"  of {sizes[package]} mutants")  # fmt: skip
        weight, p = sizes[package] / everything, (killed + 1) / (n + 2)
        share += weight * killed / n
        variance += weight**2 * p * (1 - p) / n
    half = Z * sqrt(variance)
    rows.append(f"{'all, by size':<22} {'':>12} {share:6.1%}  ({share - half:.1%} to {min(share + half, 1):.1%})")
    return "\n".join(rows)


def survivors(records: Iterable[Mapping[str, Any]]) -> str:
    """The survivors: place, change, and what is known about each."""
    return "\n".join(
        f"{r['file']}:{r['line']}  {r['before']!r} -> {r['after']!r}  [{r['outcome']}, {r['tests']} tests]"
        for r in sorted(records, key=lambda r: (r["file"], r["line"]))
        if r["outcome"] in ("survived", "no test")
    )
