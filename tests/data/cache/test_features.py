"""Features kept by content: whole or resumed to the same bytes, whatever happens on the way."""

import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.faults import fault
from torch import Tensor

from fathom.core.records import FathomError, NonFiniteError
from fathom.data.cache import cache_file, feature_file
from fathom.data.cache.features import FeatureImages, features_key, kept_features, standardized
from fathom.data.images import Subset

FULL_DISK = fault("data", "full disk or closed folder of a cache", "told before the work, with the way out")
DAMAGED_CACHE = fault("data", "damaged cache", "noticed and made again, with a warning")

KEY = "0" * 32


def table(n: int = 23, d: int = 5, seed: int = 0) -> Tensor:
    values = np.random.default_rng(seed).normal(size=(n, d)) * np.arange(1, d + 1) + 7
    return torch.from_numpy(values).half()


def chunked(values: Tensor, step: int = 4) -> Callable[[int], Iterator[Tensor]]:
    return lambda start: iter(torch.split(values[start:], step))


def keep(folder: Path, values: Tensor, **options: object) -> FeatureImages:
    return kept_features(KEY, len(values), chunked(values), folder, **options)  # type: ignore[arg-type]


def never(start: int) -> Iterator[Tensor]:
    raise AssertionError("the features were there already")


# ------------------------------------------------------------------------------------------------------- the view


@settings(derandomize=True, max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 22), max_size=40), st.booleans())
def test_take_gives_the_rows_asked_for(ids: list[int], mapped: bool) -> None:
    values = table()
    features = FeatureImages(values, mapped=mapped)
    taken = features.take(torch.tensor(ids, dtype=torch.int64))
    assert taken.dtype == torch.float32
    assert torch.equal(taken, values.float()[ids])


def test_a_negative_or_too_large_id_is_refused() -> None:
    for wrong in (-1, 23):
        with pytest.raises(IndexError, match="expected 0 to 22"):
            FeatureImages(table()).take(torch.tensor([wrong]))


def test_features_behave_as_images_do_in_a_subset() -> None:
    features = FeatureImages(table())
    subset = Subset(Subset(features, torch.arange(10, 20)), torch.tensor([3, 1]))
    assert (len(subset), subset.size) == (2, (1, 5))
    assert torch.equal(subset.take(torch.tensor([0, 1, 1])), table().float()[[13, 11, 11]])


def test_moving_keeps_values_digest_and_standardization() -> None:
    train, _ = standardized(FeatureImages(table(), sha256="a"), FeatureImages(table(seed=1)))
    moved = train.to(torch.device("cpu"))
    assert torch.equal(moved.take(torch.arange(23)), train.take(torch.arange(23)))
    assert moved.sha256 == "a"


@pytest.mark.parametrize("room", [0, 10**9])
def test_a_subset_of_features_moves_as_features_do(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a device, here one without values, whole or read as they are used; never as if they were pixels."""
    monkeypatch.setattr("fathom.data.cache.features.fits", lambda nbytes, device: nbytes <= room)
    monkeypatch.setattr("fathom.data.images.fits", lambda nbytes, device: True)
    train, _ = standardized(FeatureImages(table()), FeatureImages(table()))
    moved = Subset(train, torch.tensor([4, 2])).to(torch.device("meta"))
    assert isinstance(moved, Subset)
    assert isinstance(moved.images, FeatureImages)
    assert moved.images.values.device.type == moved.ids.device.type == ("meta" if room else "cpu")
    taken = moved.take(torch.tensor([0, 1, 1]))
    assert (taken.shape, taken.dtype, taken.device.type) == ((3, 5), torch.float32, "meta")
    back = Subset(train, torch.tensor([4, 2])).to(torch.device("cpu"))
    assert torch.equal(back.take(torch.tensor([1])), train.take(torch.tensor([2])))


def test_statistics_are_numpy_s() -> None:
    values = table(n=1000)
    features = FeatureImages(values)
    exact = values.double().numpy()
    np.testing.assert_allclose(features.mean.numpy(), exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(features.std.numpy(), exact.std(0), rtol=1e-12)


def test_both_parts_are_standardized_by_the_train_images_alone() -> None:
    train, test = table(200), table(100, seed=1) * 3
    a, b = standardized(FeatureImages(train), FeatureImages(test))
    x = a.take(torch.arange(200)).double()
    torch.testing.assert_close(x.mean(0), torch.zeros(5, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(5, dtype=torch.float64), atol=1e-5, rtol=0)
    exact = (test.double() - train.double().mean(0)) / train.double().std(0, correction=0)
    torch.testing.assert_close(b.take(torch.arange(100)).double(), exact, atol=1e-4, rtol=1e-4)


def test_a_dimension_that_never_varies_becomes_zero() -> None:
    values = table()
    values[:, 2] = 3.0
    train, _ = standardized(FeatureImages(values), FeatureImages(values))
    x = train.take(torch.arange(23))
    assert bool(x.isfinite().all())
    assert not x[:, 2].any()


def test_parts_of_two_backbones_are_refused() -> None:
    with pytest.raises(FathomError, match="5 dimensions for training and 4 for testing"):
        standardized(FeatureImages(table()), FeatureImages(table(d=4)))


# -------------------------------------------------------------------------------------------------------- the file


def test_features_are_made_once(tmp_path: Path) -> None:
    told: list[int] = []
    made = keep(tmp_path, table(), tell=told.append)
    again = kept_features(KEY, 23, never, tmp_path)
    assert told == [4, 8, 12, 16, 20, 23]
    for features in (made, again):
        assert torch.equal(features.values, table())
        assert torch.equal(features.take(torch.arange(23)), table().float())
        assert features.sha256 == made.sha256
    assert torch.equal(again.mean, FeatureImages(table()).mean)
    assert torch.equal(again.std, FeatureImages(table()).std)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{KEY}.features", f"{KEY}.lock"]


def test_float32_stays_float32(tmp_path: Path) -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(9, 3))).float() * 1e6
    assert torch.equal(keep(tmp_path, values).take(torch.arange(9)), values)


def test_a_large_file_stays_on_the_disk(tmp_path: Path) -> None:
    features = keep(tmp_path, table(), memory_limit=10)
    assert features.mapped
    ids = torch.tensor([22, 0, 7, 7])
    assert torch.equal(features.take(ids), table().float()[ids])
    assert features.to(torch.device("cpu")).mapped


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_work_that_broke_off_goes_on_to_the_same_bytes(tmp_path: Path, error: type[BaseException]) -> None:
    keep(tmp_path / "whole", table())

    def breaks(start: int) -> Iterator[Tensor]:
        yield from torch.split(table()[:12], 4)
        raise error

    starts: list[int] = []

    def goes_on(start: int) -> Iterator[Tensor]:
        starts.append(start)
        return chunked(table())(start)

    with pytest.raises(error):
        kept_features(KEY, 23, breaks, tmp_path / "broken")
    assert not (tmp_path / "broken" / f"{KEY}.features").exists()
    kept_features(KEY, 23, goes_on, tmp_path / "broken")
    assert starts == [12]
    whole, resumed = ((tmp_path / name / f"{KEY}.features").read_bytes() for name in ("whole", "broken"))
    assert whole == resumed


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from fathom.data.cache import feature_file
from fathom.data.cache.features import kept_features
feature_file._SECONDS = 0.0
def make(start):
    for i, chunk in enumerate(torch.split(torch.load(sys.argv[2])[start:], 4)):
        if i == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield chunk
kept_features("0" * 32, 23, make, Path(sys.argv[1]))
"""


def test_a_killed_process_loses_nothing_that_was_marked(tmp_path: Path) -> None:
    torch.save(table(), tmp_path / "values.pt")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), str(tmp_path / "values.pt")]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    starts: list[int] = []
    kept_features(KEY, 23, lambda start: starts.append(start) or chunked(table())(start), tmp_path / "killed")
    keep(tmp_path / "whole", table())
    assert starts == [12]
    assert (tmp_path / "killed" / f"{KEY}.features").read_bytes() == (
        tmp_path / "whole" / f"{KEY}.features"
    ).read_bytes()


@DAMAGED_CACHE
@pytest.mark.parametrize("at", [0, 50, feature_file.HEADER + 3])
def test_a_damaged_part_is_begun_anew(tmp_path: Path, at: int) -> None:
    def breaks(start: int) -> Iterator[Tensor]:
        yield table()[:8]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept_features(KEY, 23, breaks, tmp_path)
    _flip(tmp_path / f"{KEY}.part", at)
    starts: list[int] = []
    kept = kept_features(KEY, 23, lambda start: starts.append(start) or chunked(table())(start), tmp_path)
    assert starts == [0]
    assert torch.equal(kept.values, table())


def test_a_part_that_was_whole_gets_its_name_without_any_work(tmp_path: Path) -> None:
    keep(tmp_path, table())
    (tmp_path / f"{KEY}.features").rename(tmp_path / f"{KEY}.part")
    assert torch.equal(kept_features(KEY, 23, never, tmp_path).values, table())


@DAMAGED_CACHE
@pytest.mark.parametrize("where", ["header", "features", "statistics", "length"])
def test_a_damaged_file_is_made_again_with_a_warning(
    tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    keep(tmp_path, table())
    path = tmp_path / f"{KEY}.features"
    if where == "length":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        _flip(path, {"header": 0, "features": feature_file.HEADER + 9, "statistics": path.stat().st_size - 3}[where])
    with caplog.at_level(logging.WARNING):
        kept = keep(tmp_path, table())
    assert "is damaged; it is made again" in caplog.text
    assert torch.equal(kept.values, table())
    assert torch.equal(kept.mean, FeatureImages(table()).mean)


def test_features_that_are_not_finite_are_refused_by_image(tmp_path: Path) -> None:
    values = table()
    values[9, 1] = torch.inf
    with pytest.raises(NonFiniteError, match=r"image 9 .*float16.*dtype=float32"):
        keep(tmp_path, values)


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([table()[:20]], "features of 20 images; expected 23"),
        ([table(), table()], "features of 46 images; expected 23"),
        ([], "features of 0 images; expected 23"),
        ([table()[:20], table(d=4)[20:]], r"\[3, 4\] of float16; expected \[b, 5\] of float16"),
        ([table()[:20], table()[20:].float()], r"of float32; expected \[b, 5\] of float16"),
        ([table()[:, 0]], "expected"),
        ([table().long()], "expected .* float16 or float32"),
    ],
)
def test_chunks_that_do_not_fit_are_refused(tmp_path: Path, chunks: list[Tensor], message: str) -> None:
    with pytest.raises(FathomError, match=message):
        kept_features(KEY, 23, lambda start: iter(chunks), tmp_path)
    assert not (tmp_path / f"{KEY}.features").exists()


@FULL_DISK
def test_a_full_disk_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_file.shutil, "disk_usage", lambda path: type("U", (), {"free": 100})())
    with pytest.raises(FathomError, match=r"features of 23 images need .*FATHOM_CACHE"):
        keep(tmp_path, table())


@FULL_DISK
def test_a_cache_that_cannot_be_written_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FathomError, match="FATHOM_CACHE"):
        keep(tmp_path / "file", table())


def test_the_key_stands_for_images_backbone_and_facts() -> None:
    keys = {
        features_key(*given)
        for given in (
            ("a", "b", {"sha256": "1"}),
            ("c", "b", {"sha256": "1"}),
            ("a", "c", {"sha256": "1"}),
            ("a", "b", {"sha256": "2"}),
        )
    }
    assert len(keys) == 4
    assert features_key("a", "b", {"x": 1, "y": 2}) == features_key("a", "b", {"y": 2, "x": 1})


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)
