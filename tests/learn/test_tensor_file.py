"""What is restored is what was saved: tensors through every door to the disk, in any layout and type."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.faults import fault, number
from torch import Tensor

from fathom.core.records import FathomError
from fathom.data.cache.features import kept_features
from fathom.data.dataset import DataRoot
from fathom.learn.features.encoders import encoder_folder, load_encoder, pack_encoder
from fathom.learn.tensor_file import from_bytes, to_bytes
from fathom.protocol.checkpoint import FileCheckpointer
from fathom.protocol.preparation import stored_weights
from fathom.store.store import Store

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.float16,
    torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.float8_e4m3fn,
]  # fmt: skip
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda t: t,
    "transposed": lambda t: t.transpose(0, -1) if t.dim() else t,
    "strided": lambda t: t[::2] if t.dim() else t,
    "expanded": lambda t: t.unsqueeze(0).expand(3, *t.shape),
    "a view into a larger storage": lambda t: torch.cat([t.reshape(-1), t.reshape(-1)])[t.numel() :].view(t.shape),
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t,
    "lazily conjugate": lambda t: t.conj() if t.is_complex() else t,
    "lazily negative": lambda t: t.conj().imag if t.is_complex() else t,
    "a parameter": lambda t: torch.nn.Parameter(t) if t.is_floating_point() else t,
}


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    dtype = draw(st.sampled_from(DTYPES))
    kind = torch.complex64 if dtype == torch.complex64 else torch.float32
    made = (3 * torch.randn(shape, generator=generator, dtype=kind)).to(dtype)
    return LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](made)


def through_the_store(state: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    store = Store(folder)
    store.put("shared/round-0/x", {"tensors": store.put_arrays("shared/round-0/x", to_bytes(state))})
    found = stored_weights(store, "shared/round-0/x", lambda: pytest.fail("damaged"))[1]
    for path in folder.rglob("*.*"):
        path.unlink()
    return dict(found)


def through_a_checkpoint(state: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    FileCheckpointer(Store(folder), "job", "").save(lambda: state, force=True)
    found = FileCheckpointer(Store(folder), "job", "").load()
    assert found is not None
    return found


def through_the_cache(state: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    library = DataRoot(folder, folder, quiet=True)
    name, data = pack_encoder(state)
    encoder_folder(library).mkdir(exist_ok=True)
    (encoder_folder(library) / f"{name}.safetensors").write_bytes(data)
    return load_encoder(library, name)


@fault("methods", "tensors of any layout and type are stored", "come back equal, or a refusal", cases=number(60, 1000))
@pytest.mark.parametrize("door", [through_the_store, through_a_checkpoint, through_the_cache])
def test_every_tensor_comes_back(door: Callable[..., dict[str, Tensor]], tmp_path: Path) -> None:
    @settings(max_examples=number(60, 1000), deadline=None, database=None)
    @given(st.dictionaries(st.text("abc.curve", min_size=1, max_size=6), tensors(), min_size=1, max_size=3))
    def check(state: dict[str, Tensor]) -> None:
        state = {**state, "curve": torch.ones(2), "twice": next(iter(state.values()))}
        found = door(state, tmp_path)
        assert found.keys() == state.keys()
        for name, tensor in state.items():
            kept, back = tensor.detach().resolve_conj().resolve_neg(), found[name]
            assert (back.dtype, back.shape) == (kept.dtype, kept.shape), name
            wide = torch.complex128 if kept.is_complex() else torch.float64  # torch cannot compare every type
            assert torch.equal(back.to(wide), kept.to(wide)), name

    check()


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_features_of_any_layout_come_back(layout: str, tmp_path: Path) -> None:
    made = torch.randn(8, 6).to(torch.float16)
    features = LAYOUTS[layout](made) if layout not in ("expanded", "a parameter") else made[:1].expand(8, 6)
    for _ in range(2):  # made, then read from the cache
        kept = kept_features("k", len(features), lambda first: iter([features[first:]]), tmp_path)
        assert torch.equal(kept.values, features)


@fault("methods", "a tensor that a file cannot hold", "one error that names it", cases=6)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(2, dtype=torch.complex128), "complex128"),
        (torch.eye(2).to_sparse(), "'w' is torch.float32 torch.sparse_coo"),
        (torch.zeros(2, device="meta"), "on meta"),
        ([1.0, 2.0], "'w' is list"),
        (torch.zeros(2).numpy(), "'w' is ndarray"),
        (None, "'w' is NoneType"),
    ],
)
def test_what_cannot_be_stored_is_refused(bad: object, message: str) -> None:
    with pytest.raises(FathomError, match=message):
        to_bytes({"w": bad})


@pytest.mark.parametrize("name", ["__metadata__", "\ud800", "a\nb", 3])
def test_names_that_a_file_cannot_hold_are_refused(name: object) -> None:
    with pytest.raises(FathomError, match="named"):
        to_bytes({name: torch.zeros(1)})


def test_nan_and_the_sign_of_zero_are_kept() -> None:
    given = torch.tensor([float("nan"), -0.0, 0.0, float("-inf")])
    found = from_bytes(to_bytes({"w": given}))["w"]
    assert torch.equal(found.view(torch.int32), given.view(torch.int32))
