"""Stored rates: read, written, refused."""

from pathlib import Path

import pytest

from fathom.core.records import FathomError
from fathom.data import sketch_of
from fathom.estimate.profile import load_profile, write_profile
from fathom.estimate.throughput import Throughput


def test_what_was_measured_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    speed = Throughput(train=100.0, prepare=float("inf"), predict=500.0, embed=float("inf"), weights=12)
    write_profile(path, 'a "quoted" machine', {("standard", 32): speed, ("semi-sl", 32): speed})
    profile = load_profile(path)
    cifar = sketch_of("cifar10")
    assert cifar is not None
    assert profile.name == 'a "quoted" machine'
    assert profile.speed(cifar, "standard(lr=0.1)") == speed
    assert profile.speed(cifar, "frozen") is None


def test_the_size_nearest_to_the_images_counts() -> None:
    profile = load_profile("h200")
    small = sketch_of("mnist")
    assert small is not None
    rates = profile.speed(small, "standard")
    assert rates is not None
    assert (rates.train, rates.predict) == (83_000, 208_000)


@pytest.mark.parametrize(
    "text", ["", "name = 'x'", "name = 'x'\n[[rate]]\nside = 32", "[[rate", "name = 'x'\n[[rate]]\nside = 32\n"
             "paradigms = ['standard']\ntrain = -1"]
)  # fmt: skip
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(FathomError, match=r"is not a profile|is not valid TOML"):
        load_profile(path)
