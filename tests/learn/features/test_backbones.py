"""Backbones: their own resize and normalization, what is known of their weights, and what is said where these lack."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.faults import fault
from tests.learn.tasks import Pixels
from torch import nn

from fathom.core.records import FathomError
from fathom.learn.features.backbone import Backbone, find_backbone
from fathom.learn.features.backbones.mobilenet import BLOCKS, load_mobilenet

FOREIGN_WEIGHTS = fault("input", "damaged or foreign weights", "refused by name")


@dataclass
class RecordStore:
    """A library in a folder."""

    path: Path
    download: bool = False

    @property
    def cache(self) -> Path:
        return self.path / "cache"


def pictures(n: int = 3, h: int = 20, w: int = 28, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures."""
    small = np.random.default_rng(seed).integers(0, 256, (n, 3, 5, 7), dtype=np.uint8)
    return torch.nn.functional.interpolate(torch.from_numpy(small), (h, w), mode="bilinear")


def features_of(
    name: str, weights: str, size: int, images: torch.Tensor, folder: Path, order: str = ""
) -> torch.Tensor:
    return torch.cat(list(find_backbone(name, weights, size, RecordStore(folder), order).load()(Pixels(images))))


# --------------------------------------------------------------------------------------------------------- the input


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side", [9, 64])
def test_resizing_is_pillow_s_to_a_level(interpolation: str, side: int) -> None:
    x = pictures(n=1)
    backbone = Backbone(nn.Identity(), (side, side), interpolation, (0.0,) * 3, (1.0,) * 3)
    mine = backbone.normalized(x)[0] * 255
    kind = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    theirs = np.asarray(Image.fromarray(x[0].permute(1, 2, 0).numpy()).resize((side, side), kind)).astype(np.float32)
    assert (mine - torch.from_numpy(theirs.copy()).permute(2, 0, 1)).abs().max() < 1.5  # two roundings
    assert mine.min() >= -1e-3
    assert mine.max() <= 255.001


def test_normalization_is_torchvision_s() -> None:
    from torchvision.transforms.v2 import functional

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    x = pictures()
    mine = Backbone(nn.Identity(), (20, 28), "bilinear", mean, std).normalized(x)
    torch.testing.assert_close(mine, functional.normalize(x.float() / 255, mean, std), atol=1e-5, rtol=1e-5)


def test_features_come_in_order_whatever_the_chunks() -> None:
    backbone = Backbone(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), (256, 256), "bilinear", (0.0,) * 3, (1.0,) * 3
    )
    x = pictures(n=11)
    chunks = list(backbone(Pixels(x)))
    assert [len(c) for c in chunks] == [4, 4, 3]
    torch.testing.assert_close(torch.cat(chunks), x.float().mean((2, 3)) / 255, atol=2e-3, rtol=0)


def test_memory_that_runs_out_makes_chunks_smaller() -> None:
    def worst(count: int) -> None:
        if count > 2:
            raise MemoryError

    backbone = Backbone(nn.Flatten(), (20, 28), "bilinear", (0.0,) * 3, (1.0,) * 3)
    chunks = list(backbone(Pixels(pictures(n=5), worst)))
    assert max(len(c) for c in chunks) <= 2
    torch.testing.assert_close(torch.cat(chunks), pictures(n=5).flatten(1).float() / 255)

    def hopeless(count: int) -> None:
        raise MemoryError

    with pytest.raises(FathomError, match="one image does not fit"):
        list(backbone(Pixels(pictures(), hopeless)))


def test_a_network_that_does_not_pool_is_refused() -> None:
    with pytest.raises(FathomError, match="one row of features each"):
        list(Backbone(nn.Identity(), (20, 28), "bilinear", (0.0,) * 3, (1.0,) * 3)(Pixels(pictures())))


def test_pixels_are_the_image_itself(tmp_path: Path) -> None:
    x = pictures()
    assert torch.equal(features_of("pixels", "", 0, x, tmp_path), x.flatten(1).float() / 255)


# ------------------------------------------------------------------------------------------------------- MobileNetV2


def tiny_mobilenet(path: Path) -> dict[str, np.ndarray]:
    """A weight file of the right layout with random integers, narrow layers and fewer classes."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}

    def add(name: str, out: int, into: int, kernel: int) -> None:
        arrays[f"{name}.wq"] = rng.integers(0, 256, (out, into, kernel, kernel), dtype=np.uint8)
        arrays[f"{name}.wscale"] = np.float32(0.5 / (into * kernel * kernel) ** 0.5 / 64)
        arrays[f"{name}.wzp"] = np.int64(rng.integers(100, 150))
        arrays[f"{name}.bias"] = rng.normal(0.2, 0.1, out).astype(np.float32)

    add("Conv", 4, 3, 3)
    width, block = 4, 0
    for stage, (repeats, _) in enumerate(BLOCKS):
        for _ in range(repeats):
            name = "expanded_conv" + (f"_{block}" if block else "")
            wide = width if block == 0 else 2 * width
            if block:
                add(f"{name}/expand", wide, width, 1)
            add(f"{name}/depthwise", wide, 1, 3)
            width, block = 4 + stage, block + 1
            add(f"{name}/project", width, wide, 1)
    add("Conv_1", 24, width, 1)
    add("Logits/Conv2d_1c_1x1", 5, 24, 1)
    arrays["order"] = np.array([k.removesuffix(".wq") for k in arrays if k.endswith(".wq")])
    np.savez(path, **arrays)
    return arrays


def independent_mobilenet(arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The same forward pass in float64 by the definition: sums over windows, TensorFlow's SAME padding."""

    def conv(name: str, x: np.ndarray, stride: int) -> np.ndarray:
        w = (arrays[f"{name}.wq"].astype(float) - arrays[f"{name}.wzp"]) * arrays[f"{name}.wscale"]
        out, kernel, (height, width) = len(w), w.shape[2], x.shape[1:]
        rows, columns = -(-height // stride), -(-width // stride)
        pads = [max(0, (n - 1) * stride + kernel - side) for n, side in ((rows, height), (columns, width))]
        x = np.pad(x, [(0, 0), *((p // 2, p - p // 2) for p in pads)])
        y = np.empty((out, rows, columns))
        for i in range(rows):
            for j in range(columns):
                window = x[:, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
                y[:, i, j] = (w[:, 0] * window).sum((1, 2)) if w.shape[1] == 1 else np.tensordot(w, window, 3)
        return y + arrays[f"{name}.bias"][:, None, None]

    x = conv("Conv", x, 2).clip(0, 6)
    block = 0
    for repeats, first in BLOCKS:
        for i in range(repeats):
            name = "expanded_conv" + (f"_{block}" if block else "")
            stride = first if i == 0 else 1
            y = conv(f"{name}/expand", x, 1).clip(0, 6) if block else x
            y = conv(f"{name}/project", conv(f"{name}/depthwise", y, stride).clip(0, 6), 1)
            x = x + y if i else y  # all but a stage's first block have a shortcut
            block += 1
    return conv("Conv_1", x, 1).clip(0, 6).mean((1, 2))


@pytest.mark.parametrize("side", [32, 45])
def test_mobilenet_is_the_definition(tmp_path: Path, side: int) -> None:
    arrays = tiny_mobilenet(tmp_path / "w.npz")
    x = pictures(n=2, h=side, w=side)
    mine = features_of("mobilenet_v2_uint8", "w.npz", side, x, tmp_path)
    theirs = np.stack([independent_mobilenet(arrays, image) for image in x.numpy() / 128.0 - 1])
    assert theirs.std() > 1e-3
    np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-3, atol=1e-4)


def test_mobilenet_says_what_it_is(tmp_path: Path) -> None:
    tiny_mobilenet(tmp_path / "w.npz")
    facts = find_backbone("mobilenet_v2_uint8", "w.npz", 0, RecordStore(tmp_path)).facts
    assert facts["sha256"] == hashlib.sha256((tmp_path / "w.npz").read_bytes()).hexdigest()
    assert facts["input"] == "224x224"


@FOREIGN_WEIGHTS
def test_a_file_that_is_no_mobilenet_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", order=np.array(["Conv"]), x=np.zeros(3))
    with pytest.raises(FathomError, match="not a MobileNetV2 in 8 bits"):
        load_mobilenet(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(FathomError, match="not a MobileNetV2 in 8 bits"):
        load_mobilenet(tmp_path / "text.npz")


def test_the_shipped_features_are_a_projection_of_ours(real_data: Path) -> None:
    """The 64 principal components computed elsewhere are linear in the features, so they are in ours."""
    sys.path.insert(0, str(real_data))
    try:
        from unpack_data import load_cifar  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(real_data))
    n, held = 150, 30
    images = torch.from_numpy(np.asarray(load_cifar("cifar10", "train")[0][:n])).permute(0, 3, 1, 2)
    weights = str(real_data / "tier1/pretrained/mobilenet_v2_imagenet_uint8.npz")
    mine = features_of("mobilenet_v2_uint8", weights, 128, images, real_data).double().numpy()
    theirs = np.load(real_data / "tier1/embeddings/cifar10_mnv2_pca64.npz")["train"][:n].astype(float)
    # With fewer images than dimensions a projection is found only up to what the held-out images' kernel tells.
    from sklearn.linear_model import Ridge

    fitted = Ridge(alpha=1e-3).fit(mine[:-held], theirs[:-held]).predict(mine[-held:])
    error = ((fitted - theirs[-held:]) ** 2).sum() / ((theirs[-held:] - theirs.mean(0)) ** 2).sum()
    assert error < 0.3  # 0.15; 0.63 with symmetric padding, 0.48 at 96 pixels; 5e-8 once all 18,000 are fitted


# ----------------------------------------------------------------------------------------------- precomputed features


def test_precomputed_features_by_the_number_of_rows(tmp_path: Path) -> None:
    train, test = np.arange(12.0).reshape(4, 3), np.arange(6.0).reshape(2, 3)
    np.savez(tmp_path / "f.npz", train=train, test=test)
    np.save(tmp_path / "g.npy", train)
    np.save(tmp_path / "g-test.npy", test)
    for name in ("f.npz", "g.npy"):
        for rows in (train, test):
            given = features_of("features", name, 0, pictures(n=len(rows)), tmp_path, "dataset")
            np.testing.assert_array_equal(given.numpy(), rows)


def test_precomputed_features_go_on_from_the_middle(tmp_path: Path) -> None:
    from fathom.data.images import Subset, TensorImages

    train = np.arange(12.0).reshape(4, 3)
    np.savez(tmp_path / "f.npz", train=train, test=train[:2])
    rest = Subset(TensorImages(pictures(n=4)), torch.arange(2, 4))  # as many as there are test rows
    source = find_backbone("features", "f.npz", 0, RecordStore(tmp_path), "dataset")
    np.testing.assert_array_equal(torch.cat(list(source.load()(rest))).numpy(), train[2:])


def test_parts_of_equal_length_are_told_apart_by_their_pixels(tmp_path: Path) -> None:
    a, b = pictures(n=3), pictures(n=3, seed=1)
    digests = {k: hashlib.sha256(x.numpy().tobytes()).hexdigest() for k, x in (("train", a), ("test", b))}
    np.savez(tmp_path / "plain.npz", train=np.zeros((3, 2)), test=np.ones((3, 2)))
    with pytest.raises(FathomError, match="train_sha256 and test_sha256"):
        features_of("features", "plain.npz", 0, a, tmp_path, "dataset")
    known = {f"{k}_sha256": np.array(v) for k, v in digests.items()}
    np.savez(tmp_path / "f.npz", train=np.zeros((3, 2)), test=np.ones((3, 2)), **known)
    assert not features_of("features", "f.npz", 0, a, tmp_path, "dataset").any()
    assert bool(features_of("features", "f.npz", 0, b, tmp_path, "dataset").all())
    with pytest.raises(FathomError, match="expected 3"):
        features_of("features", "f.npz", 0, pictures(n=3, seed=2), tmp_path, "dataset")


@FOREIGN_WEIGHTS
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train": np.zeros((5, 2)), "test": np.zeros((2, 2))}, "5 train and 2 test rows; expected 3"),
        ({"train": np.zeros(3), "test": np.zeros((2, 2))}, r"expected numbers \[images, dimensions\]"),
        ({"train": np.array([["a"]] * 3), "test": np.zeros((2, 2))}, "expected numbers"),
        ({"features": np.zeros((3, 2))}, "lacks train and test"),
    ],
)
def test_files_of_another_layout_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(FathomError, match=message):
        features_of("features", "f.npz", 0, pictures(), tmp_path, "dataset")


@fault("input", "pickle with a program", "not executed")
def test_a_pickle_in_a_numpy_file_is_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "f-test.npy", np.zeros((2, 2)))
    with pytest.raises(FathomError, match="cannot be read as features"):
        features_of("features", "f.npy", 0, pictures(), tmp_path, "dataset")


def test_the_other_half_of_two_npy_files_is_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.zeros((3, 2)))
    with pytest.raises(FathomError, match=r"f-test\.npy"):
        features_of("features", "f.npy", 0, pictures(), tmp_path, "dataset")


# ------------------------------------------------------------------------------------------------ timm and torchvision


def test_a_local_file_of_timm_weights(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file

    model = timm.create_model("test_resnet", pretrained=False).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    found = find_backbone("test_resnet", "w.safetensors", 32, RecordStore(tmp_path))
    assert found.facts["sha256"] == hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    assert found.facts["weights"] == "w.safetensors"
    backbone = found.load()
    assert isinstance(backbone, Backbone)
    x = pictures()
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(backbone.normalized(x)), pre_logits=True)
    torch.testing.assert_close(torch.cat(list(backbone(Pixels(x)))), expected, atol=1e-5, rtol=1e-4)


def test_timm_s_own_normalization_is_used(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    found = find_backbone("test_vit", "random", 0, RecordStore(tmp_path))
    backbone = found.load()
    assert isinstance(backbone, Backbone)
    config = timm.data.resolve_model_data_config(timm.create_model("test_vit", pretrained=False))
    assert (backbone.mean, backbone.std, backbone.interpolation) == tuple(
        config[k] for k in ("mean", "std", "interpolation")
    )
    assert backbone.size == config["input_size"][1:]


def test_a_transformer_of_fixed_size_takes_another(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    assert features_of("test_vit", "random", 64, pictures(), tmp_path).shape == (3, 64)
    with pytest.raises(FathomError, match=r"cannot work on images of 7x7 pixels|Do weights and size fit"):
        features_of("test_vit", "random", 7, pictures(), tmp_path)


@pytest.mark.parametrize("name", ["test_resnet", "torchvision:squeezenet1_1", "torchvision:mobilenet_v3_small"])
def test_an_untrained_network_says_so_and_is_always_the_same(tmp_path: Path, name: str) -> None:
    if "squeezenet" in name:
        with pytest.raises(FathomError, match="does not end in a linear layer"):
            features_of(name, "random", 64, pictures(), tmp_path)
        return
    if name == "test_resnet":
        pytest.importorskip("timm")
    state = torch.get_rng_state()
    first = features_of(name, "random", 64, pictures(), tmp_path)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first, features_of(name, "random", 64, pictures(), tmp_path))
    assert "untrained" in find_backbone(name, "random", 0, RecordStore(tmp_path)).facts["weights"]


def test_torchvision_weights_of_a_local_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from torchvision.models import mobilenet_v3_small

    with torch.random.fork_rng():
        model = mobilenet_v3_small(num_classes=7).eval()  # its classes need not be ImageNet's
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    backbone = find_backbone("torchvision:mobilenet_v3_small", "w.safetensors", 64, RecordStore(tmp_path)).load()
    assert isinstance(backbone, Backbone)
    x = pictures()
    with torch.no_grad():
        logits = model(backbone.normalized(x))
        features = torch.cat(list(backbone(Pixels(x))))
        torch.testing.assert_close(model.classifier[-1](features), logits, atol=1e-4, rtol=1e-3)
    broken = {k: t for k, t in model.state_dict().items() if not k.startswith("features.0")}
    save_file(broken, tmp_path / "broken.safetensors")
    with pytest.raises(FathomError, match=r"do not fit the model: features\.0"):
        find_backbone("torchvision:mobilenet_v3_small", "broken.safetensors", 64, RecordStore(tmp_path)).load()


@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "torchvision:resnet18"])
def test_absent_weights_say_what_to_do(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not name.startswith("torchvision"):
        pytest.importorskip("timm")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FathomError, match=r"downloads are not allowed.*--download.*weights=FILE\.safetensors"):
        find_backbone(name, "", 0, RecordStore(tmp_path))


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")

    def offline(*args: object, **options: object) -> str:
        raise OSError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for name in ("resnet18.a1_in1k", "torchvision:resnet18"):
        with pytest.raises(FathomError, match=r"Name or service not known.*weights=FILE\.safetensors"):
            find_backbone(name, "", 0, RecordStore(tmp_path, download=True))


def test_fetched_weights_come_with_revision_and_license(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file

    folder = tmp_path / "snapshots" / "c0ffee"
    folder.mkdir(parents=True)
    model = timm.create_model("test_resnet", pretrained=False).eval()
    save_file(model.state_dict(), folder / "model.safetensors")
    asked: list[tuple[str, bool]] = []

    def hub(repository: str, file: str, *, revision: str | None, local_files_only: bool) -> str:
        asked.append((repository, local_files_only))
        return str(folder / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", hub)
    found = find_backbone("test_resnet", "", 0, RecordStore(tmp_path, download=True))
    assert asked == [("timm/test_resnet.r160_in1k", False)]
    assert found.facts["backbone"] == "timm test_resnet.r160_in1k"
    assert (found.facts["revision"], found.facts["license"]) == ("c0ffee", "apache-2.0")
    assert isinstance(found.load(), Backbone)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet_18", "", "unknown backbone 'resnet_18'.*Near: .*resnet18"),
        ("resnet18.no_such_tag", "", "of resnet18 it has: .*a1_in1k"),
        ("torchvision:resnet19", "", "no classifier 'resnet19'"),
        ("torchvision:resnet18.V9", "", "no weights 'V9'.*IMAGENET1K_V1"),
        ("resnet18", "w.pth", "holds numbers and nothing else"),
        ("resnet18", "missing.safetensors", "not found: expected the file"),
        ("mobilenet_v2_uint8", "", r"needs a file: frozen\(backbone=mobilenet_v2_uint8, weights=FILE\)"),
        ("features", "random", "needs a file"),
        ("features", "w.pth", r"read from \.npz or \.npy"),
    ],
)
def test_mistakes_are_told_with_what_to_do(tmp_path: Path, name: str, weights: str, message: str) -> None:
    pytest.importorskip("timm")
    (tmp_path / "w.pth").write_bytes(b"")
    with pytest.raises(FathomError, match=message):
        find_backbone(name, weights, 0, RecordStore(tmp_path))


@fault("machine", "broken torch, torchvision, driver or missing package", "the command that fixes it, no traceback")
def test_without_timm_the_other_backbones_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(FathomError, match=r"pip install 'fathom-al\[timm\]'.*torchvision:NAME"):
        find_backbone("resnet18", "", 0, RecordStore(tmp_path))


@FOREIGN_WEIGHTS
def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    (tmp_path / "w.safetensors").write_bytes(b"not safetensors")
    for name in ("test_resnet", "torchvision:resnet18"):
        with pytest.raises(FathomError, match=r"safetensors|cannot be built"):
            find_backbone(name, "w.safetensors", 32, RecordStore(tmp_path)).load()


PLUGIN = '''
import torch
import fathom
from fathom.learn.features.backbone import BackboneInfo


@fathom.backbone("brightness", models=True, weights=False, resizes=False)
def brightness(request):
    """Mean of each channel, times a factor."""
    def embed(images):
        ids = torch.arange(len(images))
        yield images.take(ids).float().mean((2, 3)) * float(request.model)
    return BackboneInfo({"backbone": request.name}, lambda: embed)
'''


def test_a_plug_in_adds_a_backbone_by_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fathom.learn.builder import build_paradigm
    from fathom.registry import registry

    monkeypatch.setattr(registry, "_files", {})
    (tmp_path / "my_features.py").write_text(PLUGIN)
    registry.add_file(tmp_path / "my_features.py")
    try:
        x = pictures()
        expected = x.float().mean((2, 3)) * 2
        assert torch.equal(features_of("my_features/brightness:2", "", 0, x, tmp_path), expected)
        with pytest.raises(FathomError, match="reads no file"):
            build_paradigm("frozen(backbone=my_features/brightness:2, weights=w.npz)")
        with pytest.raises(FathomError, match="my_features/brightness:NAME"):
            find_backbone("resnet_18", "", 0, RecordStore(tmp_path))
        facts = find_backbone("my_features/brightness:2", "", 0, RecordStore(tmp_path)).facts
        (tmp_path / "my_features.py").write_text(PLUGIN.replace("float(request.model)", "float(request.model) + 1"))
        registry.refresh()
        registry.add_file(tmp_path / "my_features.py")
        edited = find_backbone("my_features/brightness:2", "", 0, RecordStore(tmp_path)).facts
        assert {key for key in facts | edited if facts.get(key) != edited.get(key)} == {"code"}
    finally:
        registry.index.cache_clear()
