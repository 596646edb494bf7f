import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.make import pixels

from fathom.data.dataset import Images
from fathom.data.images import MappedImages, Subset, TensorImages, channel_statistics, chunks, pixels_sha256

META = torch.device("meta")  # a device without memory: shows where a tensor would be


def mapped(tmp_path, n=10):
    values = pixels(n)
    (tmp_path / "pixels").write_bytes(values.numpy().tobytes())
    return MappedImages(np.memmap(tmp_path / "pixels", np.uint8, "r", shape=tuple(values.shape))), values


def test_every_kind_is_images(tmp_path):
    tensor = TensorImages(pixels(10))
    for images in (tensor, mapped(tmp_path)[0], Subset(tensor, torch.arange(10))):
        assert isinstance(images, Images)
        assert (len(images), images.size, images.device) == (10, (4, 4), torch.device("cpu"))


@settings(derandomize=True, max_examples=30)
@given(st.lists(st.integers(0, 9), max_size=20))
def test_take_gives_the_images_in_the_order_asked_for(ids):
    values = pixels(10)
    assert torch.equal(TensorImages(values).take(torch.tensor(ids, dtype=torch.int64)), values[ids])


def test_a_map_gives_what_the_tensor_gives(tmp_path):
    images, values = mapped(tmp_path)
    ids = torch.tensor([7, 0, 7, 3])
    assert torch.equal(images.take(ids), values[ids])
    images.take(ids).zero_()  # a batch is the caller's own
    assert torch.equal(images.take(ids), values[ids])
    assert pixels_sha256(images) == pixels_sha256(TensorImages(values))


@settings(derandomize=True, max_examples=30)
@given(st.data())
def test_nested_subsets_collapse_to_one_index(data):
    values = pixels(10)
    outer = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=12))
    inner = data.draw(st.lists(st.integers(0, len(outer) - 1), min_size=1, max_size=12))
    images = TensorImages(values)
    nested = Subset(Subset(images, torch.tensor(outer)), torch.tensor(inner))
    assert nested.images is images
    assert torch.equal(nested.take(torch.arange(len(nested))), values[outer][inner])


@pytest.mark.parametrize("ids", [[-1], [10], [0, 3, 99]])
def test_ids_outside_are_refused(tmp_path, ids):
    wrong = torch.tensor(ids)
    for images in (TensorImages(pixels(10)), mapped(tmp_path)[0], Subset(TensorImages(pixels(12)), torch.arange(10))):
        with pytest.raises(IndexError, match="expected 0 to 9"):
            images.take(wrong)
    with pytest.raises(IndexError, match="expected 0 to 9"):
        Subset(TensorImages(pixels(10)), wrong)


def test_what_fits_is_moved(tmp_path):
    moved = TensorImages(pixels(10)).to(META)
    assert moved.pixels.device == moved.device == META
    subset = Subset(TensorImages(pixels(10)), torch.arange(3)).to(META)
    assert isinstance(subset, Subset)
    assert subset.ids.device == META
    assert mapped(tmp_path)[0].to(torch.device("cpu")).pixels.shape == (10, 3, 4, 4)
    assert isinstance(mapped(tmp_path)[0].to(META), TensorImages)


def test_what_does_not_fit_is_copied_batch_by_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("fathom.data.images.fits", lambda nbytes, device: nbytes < 10 * 48)
    for images in (TensorImages(pixels(10)), mapped(tmp_path)[0]):
        streamed = images.to(META)
        assert type(streamed) is type(images)
        assert streamed.device == META
        assert streamed.take(torch.tensor([1, 2])).device == META
        part = Subset(images, torch.tensor([4, 5])).to(META)  # the part fits where the whole does not
        assert isinstance(part, TensorImages)
        assert part.pixels.device == META


def test_chunks_cover_everything_once(monkeypatch):
    monkeypatch.setattr("fathom.data.images.CHUNK", 3 * 48)
    assert [c.tolist() for c in chunks(TensorImages(pixels(7)))] == [[0, 1, 2], [3, 4, 5], [6]]


def test_statistics_are_those_of_numpy(monkeypatch):
    monkeypatch.setattr("fathom.data.images.CHUNK", 3 * 48)
    values = pixels(11)
    values[:, 2] = 9  # a channel without variation
    mean, std = channel_statistics(TensorImages(values))
    scaled = values.numpy() / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(std[:2], scaled.std((0, 2, 3))[:2], atol=1e-6)
    assert std[2] == 1


def test_digest_tells_images_and_order_apart():
    values = pixels(5)
    digests = {pixels_sha256(TensorImages(v)) for v in (values, values.flip(0), values[:4])}
    assert len(digests) == 3
    assert pixels_sha256(Subset(TensorImages(values), torch.arange(4))) == pixels_sha256(TensorImages(values[:4]))
