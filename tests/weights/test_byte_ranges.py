"""Parts of stored tensors come from their bytes in the file, the same bits as torch's own reading and narrowing."""

from __future__ import annotations

import itertools
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from SPHINX_V.errors import CheckpointError
from SPHINX_V.weights import byte_ranges
from SPHINX_V.weights.byte_ranges import mapped_places, safetensors_places
from SPHINX_V.weights.released import same_bits
from SPHINX_V.weights.tensor_files import TensorFile

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/maps")


def some_tensors() -> dict[str, Tensor]:
    """Of several types, ranks and sizes; two of them share memory."""
    generator = torch.Generator().manual_seed(5)
    made = {
        f"{kind}_{dtype}": torch.randn(shape, generator=generator).to(dtype)
        for kind, shape in (("scalar", ()), ("vector", (1001,)), ("matrix", (37, 29)), ("cube", (1, 5, 4)))
        for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn)
    }
    return {**made, "empty": torch.zeros(0, 3), "integers": torch.arange(300).reshape(3, 100)}


def write(path: Path, tensors: dict[str, Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"model": tensors} if path.stem == "nested" else tensors, path)
    return path


FILES = ("weights.safetensors", "weights.pth", "nested.pth")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("stage", [1, 64, 1 << 20], ids=lambda size: f"stage of {size}")
def test_every_part_has_the_bits_of_torchs_narrowing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, stage: int
) -> None:
    """A stage of one byte reads row by row, one of 64 in blocks that do not come out even."""
    monkeypatch.setattr(byte_ranges, "STAGE_BYTES", stage)
    tensors = some_tensors()
    file = TensorFile(write(tmp_path / name, tensors))
    for key, tensor in tensors.items():
        for dtype in {tensor.dtype, torch.float32}:
            whole = torch.full(tensor.shape, 7, dtype=dtype)
            file.copy_into(key, whole)
            assert same_bits(whole, tensor.to(dtype)), key
        for dimension in range(tensor.ndim):
            size = tensor.shape[dimension]
            for first, last in itertools.combinations(sorted({0, min(1, size), size // 2, size}), 2):
                part = tensor.narrow(dimension, first, last - first)
                target = torch.zeros(part.shape, dtype=tensor.dtype)
                file.copy_into(key, target, dimension, first)
                assert same_bits(target, part), (key, dimension, first, last)


@pytest.mark.parametrize("name", FILES)
def test_a_target_that_is_a_part_of_another_tensor_is_filled_and_nothing_beside_it(tmp_path: Path, name: str) -> None:
    tensor = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    file = TensorFile(write(tmp_path / name, {"x": tensor}))
    sheet = torch.zeros(10, 20)
    file.copy_into("x", sheet[2:8, 5:13])
    expected = torch.zeros(10, 20)
    expected[2:8, 5:13] = tensor
    assert torch.equal(sheet, expected)


def test_singleton_dimensions_in_front_count_for_nothing(tmp_path: Path) -> None:
    tensor = torch.randn(1, 1, 4, 3, generator=torch.Generator().manual_seed(1))
    file = TensorFile(write(tmp_path / "weights.pth", {"x": tensor}))
    target = torch.zeros(4, 2)
    file.copy_into("x", target, 1, 1, lead=2)
    assert torch.equal(target, tensor[0, 0, :, 1:])


@on_linux
@pytest.mark.parametrize("name", FILES[1:])
def test_the_places_of_an_archive_are_where_its_bytes_are(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, {key: tensor for key, tensor in some_tensors().items() if tensor.numel()})
    loaded = torch.load(path, weights_only=True, mmap=True)
    loaded = loaded.get("model", loaded)
    places = mapped_places(path, loaded)
    assert places.keys() == loaded.keys()
    data = path.read_bytes()
    for key, place in places.items():
        bits = loaded[key].contiguous().view(-1).view(torch.uint8)
        assert data[place : place + len(bits)] == bytes(bits.tolist()), key


def test_the_places_of_safetensors_are_where_its_bytes_are(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.safetensors", {"x": torch.arange(5.0), "y": torch.arange(3)})
    data = path.read_bytes()
    places = safetensors_places(path)
    assert places.keys() == {"x", "y"}
    assert data[places["x"] : places["x"] + 20] == torch.arange(5.0).numpy().tobytes()
    assert data[places["y"] : places["y"] + 24] == torch.arange(3).numpy().tobytes()


def test_tensors_in_memory_have_no_place(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.pth", {"x": torch.arange(5.0)})
    assert mapped_places(path, {"x": torch.arange(5.0)}) == {}
    assert mapped_places(path, {}) == {}


def test_a_file_that_was_replaced_has_no_places(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.pth", {"x": torch.arange(5000.0)})
    loaded = torch.load(path, weights_only=True, mmap=True)
    path.unlink()
    write(path, {"x": -torch.arange(5000.0)})
    assert mapped_places(path, loaded) == {}


def test_tensors_that_lie_otherwise_are_read_all_the_same(tmp_path: Path) -> None:
    """Transposed, a window of another, and the form of files before PyTorch 1.6, which is not mapped."""
    base = torch.randn(30, 20, generator=torch.Generator().manual_seed(2))
    tensors = {"turned": base.T, "window": base[3:9, 4:7], "rows": base[5:8], "base": base}
    torch.save(tensors, tmp_path / "new.pth")
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("new.pth", "old.pth"):
        file = TensorFile(tmp_path / name)
        for key, tensor in tensors.items():
            target = torch.zeros(tensor.shape)
            file.copy_into(key, target)
            assert torch.equal(target, tensor), (name, key)
            part = torch.zeros(tensor.shape[0], 2)
            file.copy_into(key, part, 1, 1)
            assert torch.equal(part, tensor[:, 1:3]), (name, key)


def test_an_archive_with_bytes_in_the_other_order_is_read_right(tmp_path: Path) -> None:
    tensor = torch.arange(1, 2001, dtype=torch.float32)
    torch.save({"x": tensor}, tmp_path / "native.pth")
    other = {"little": "big", "big": "little"}[sys.byteorder]
    with zipfile.ZipFile(tmp_path / "native.pth") as source, zipfile.ZipFile(tmp_path / "x.pth", "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename.endswith("byteorder"):
                data = other.encode()
            elif entry.filename.endswith("data/0"):
                data = tensor.numpy().byteswap().tobytes()
            target.writestr(entry.filename, data)
    file = TensorFile(tmp_path / "x.pth")
    found = torch.zeros(2000)
    file.copy_into("x", found)
    assert torch.equal(found, tensor)


@on_linux
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["as it is", "converted"])
def test_a_file_that_is_cut_while_it_is_read_is_named(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    path = write(tmp_path / name, {"x": torch.ones(100_000)})
    file = TensorFile(path)
    file.copy_into("x", torch.zeros(100_000))  # now its places are known
    with path.open("r+b") as opened:
        opened.truncate(100_000)
    with pytest.raises(CheckpointError, match=rf"{path}: ended while it was read, \d+ bytes early; copy it again\."):
        file.copy_into("x", torch.zeros(100_000, dtype=dtype))


@on_linux
def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.pth", {"x": torch.ones(10)})
    file = TensorFile(path)
    file.copy_into("x", torch.zeros(10))
    path.unlink()
    with pytest.raises(CheckpointError, match=r"weights\.pth: cannot be read \(No such file"):
        file.copy_into("x", torch.zeros(10))
