"""Encoders from files: found by hash, checked, read without running anybody's program."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.faults import fault

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.learn.features.encoders import check_encoder, encoder_folder, import_state, load_encoder, pack_encoder
from fathom.learn.network import build_network

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Shelves:
    path: Path
    cache: Path
    download: bool = False


def encoder(name: str = "cnn", side: int = 8, seed: int = 0) -> dict[str, torch.Tensor]:
    network = build_network(name, (side, side), 10, 0.0, Stream(seed, ("init",)), CPU)
    return {key: t.contiguous() for key, t in network.encoder.state_dict().items()}


def keep(library: Shelves, state: dict[str, torch.Tensor]) -> str:
    name, data = pack_encoder(state)
    encoder_folder(library).mkdir(parents=True, exist_ok=True)
    (encoder_folder(library) / f"{name}.safetensors").write_bytes(data)
    return name


@pytest.fixture
def library(tmp_path: Path) -> Shelves:
    return Shelves(tmp_path, tmp_path / "cache")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("digits", [12, 20, 64])
def test_what_is_kept_is_found_by_the_beginning_of_its_hash(library: Shelves, digits: int):
    state = encoder()
    name = keep(library, state)
    keep(library, encoder(seed=1))
    assert same(load_encoder(library, name[:digits]), state)


def test_the_same_weights_have_one_name():
    state = encoder()
    backwards = dict(reversed(state.items()))
    assert pack_encoder(state) == pack_encoder(backwards)
    assert pack_encoder(state)[0] != pack_encoder(encoder(seed=1))[0]


def test_an_absent_encoder_is_named_with_those_that_are_there(library: Shelves):
    with pytest.raises(FathomError, match=r"no encoder 0123456789ab in .*it is empty.*fathom pretrain"):
        load_encoder(library, "0123456789ab")
    name = keep(library, encoder())
    with pytest.raises(FathomError, match=f"known: {name[:12]}"):
        load_encoder(library, "0" * 64)


@pytest.mark.parametrize("name", ["", "abc", "0123456789AB", "../../../../etc/passwd", "g" * 12, "0" * 65])
def test_what_is_no_hash_is_refused(library: Shelves, name: str):
    with pytest.raises(FathomError, match="12 or more hexadecimal digits"):
        load_encoder(library, name)


def test_a_changed_file_is_refused(library: Shelves):
    name = keep(library, encoder())
    path = encoder_folder(library) / f"{name}.safetensors"
    path.write_bytes(pack_encoder(encoder(seed=1))[1])
    with pytest.raises(FathomError, match="damaged or was modified: its SHA-256 is"):
        load_encoder(library, name[:12])


def test_an_ambiguous_name_is_refused(library: Shelves):
    encoder_folder(library).mkdir(parents=True)
    for tail in "ab":
        (encoder_folder(library) / f"{'0' * 63}{tail}.safetensors").write_bytes(b"")
    with pytest.raises(FathomError, match=r"2 encoders in .* begin with 000000000000"):
        load_encoder(library, "0" * 12)


# ------------------------------------------------------------------------------------------------- does it fit?


@pytest.mark.parametrize(("network", "side"), [("cnn", 8), ("cnn", 32)])
def test_an_encoder_that_fits_is_given_back_in_full(network: str, side: int):
    state = encoder(network, side)
    partial = {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}
    assert len(partial) < len(state)
    assert same(check_encoder(partial, network, (side, side)), state)


def test_what_does_not_fit_is_said_by_name():
    state = encoder()
    with pytest.raises(FathomError, match=r"missing: 0\.weight.*Import weights of the same architecture"):
        check_encoder({k: t for k, t in state.items() if k != "0.weight"}, "cnn", (8, 8))
    with pytest.raises(FathomError, match=r"unexpected: extra"):
        check_encoder(state | {"extra": torch.zeros(1)}, "cnn", (8, 8))
    with pytest.raises(FathomError, match=r"conv1.weight is \(64, 3, 3, 3\), expected \(64, 3, 7, 7\)"):
        check_encoder(encoder("resnet18", 32), "resnet18", (224, 224))
    with pytest.raises(FathomError, match=r"not finite: 0\.weight"):
        check_encoder(state | {"0.weight": torch.full_like(state["0.weight"], float("nan"))}, "cnn", (8, 8))


# ------------------------------------------------------------------------------------------------------ imports


@pytest.mark.parametrize("prefix", ["", "encoder.", "module.", "backbone.", "model.encoder.", "net.", "module.model."])
@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_usual_files_are_read(tmp_path: Path, prefix: str, ending: str):
    state = encoder("resnet18", 32)
    named = {prefix + key: t for key, t in state.items()}
    heads = {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    named |= {prefix + key: t for key, t in heads.items()}
    path = tmp_path / f"weights{ending}"
    save_file(named, path) if ending == ".safetensors" else torch.save(named, path)
    assert same(check_encoder(import_state(path), "resnet18", (32, 32)), state)


def test_a_lightning_checkpoint_is_looked_into(tmp_path: Path):
    state = encoder()
    held = {f"encoder.{key}": t for key, t in state.items()}
    held |= {"projection.model.0.weight": torch.zeros(3, 3), "non_linear_evaluator.weight": torch.zeros(2)}
    torch.save({"epoch": 3, "state_dict": held, "optimizer_states": [{"lr": 0.1}]}, tmp_path / "last.ckpt")
    assert same(import_state(tmp_path / "last.ckpt"), state)


def test_of_two_encoders_the_trained_one_is_taken(tmp_path: Path):
    """MoCo keeps a trained encoder and its moving average."""
    state, average = encoder("resnet18", 32), encoder("resnet18", 32, seed=1)
    held = {f"module.encoder_q.{key}": t for key, t in state.items()} | {"module.encoder_q.fc.0.weight": torch.zeros(2)}
    held |= {f"module.encoder_k.{key}": t for key, t in average.items()} | {"module.queue": torch.zeros(2, 2)}
    torch.save({"state_dict": held}, tmp_path / "moco.pth.tar")
    assert same(import_state(tmp_path / "moco.pth.tar"), state)


@fault("input", "pickle with a program", "not executed")
def test_a_program_in_a_pickle_is_not_run(tmp_path: Path):
    class Program:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    for name in ("plain.pkl", "zipped.pt"):
        path = tmp_path / name
        if name.endswith("pt"):
            torch.save({"state_dict": Program()}, path)
        else:
            path.write_bytes(pickle.dumps({"state_dict": Program()}))
        with pytest.raises(FathomError, match=r"was not opened.*safetensors.torch.save_file"):
            import_state(path)
    assert not (tmp_path / "ran").exists()


@fault("input", "damaged or foreign weights", "refused by name")
def test_broken_and_empty_files_are_refused(tmp_path: Path):
    with pytest.raises(FathomError, match=r"cannot read the encoder .*absent.pt"):
        import_state(tmp_path / "absent.pt")
    (tmp_path / "half.safetensors").write_bytes(pack_encoder(encoder())[1][:1000])
    with pytest.raises(FathomError, match="not a complete safetensors file"):
        import_state(tmp_path / "half.safetensors")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(FathomError, match="has no weights of an encoder; found: nothing"):
        import_state(tmp_path / "empty.pt")
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "head.pt")
    with pytest.raises(FathomError, match=r"has no weights of an encoder; found: fc\.weight"):
        import_state(tmp_path / "head.pt")
    torch.save({"module.a": torch.zeros(1), "a": torch.zeros(1)}, tmp_path / "twice.pt")
    with pytest.raises(FathomError, match="two weights named a"):
        import_state(tmp_path / "twice.pt")


def test_half_precision_weights_are_widened(library: Shelves):
    state = encoder()
    halved = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    full = check_encoder(load_encoder(library, keep(library, halved)), "cnn", (8, 8))
    assert full["0.weight"].dtype == torch.float32
    network = build_network("cnn", (8, 8), 10, 0.0, Stream(0, ("init",)), CPU)
    network.encoder.load_state_dict(full)
    x = torch.zeros(2, 3, 8, 8)
    assert torch.isfinite(network.eval()(x)).all()
