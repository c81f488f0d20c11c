"""Our own folder: safetensors under our names, `config.json` and `tokenizer.model`; enough to run a model."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from SPHINX_V.config import SphinxVConfig, parse_config
from SPHINX_V.errors import CheckpointError, ConfigError, UsageError
from SPHINX_V.weights.entries import UNUSED_PREFIX, Entry, as_entries
from SPHINX_V.weights.publish import new_folder
from SPHINX_V.weights.tensor_files import SAFETENSORS_DTYPES, TensorFile, TensorInfo, read_json

FORMAT = "sphinx_v"
VERSION = 1
CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.model"
INDEX_FILE = "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000
_DTYPE_CODES = {dtype: code for code, dtype in SAFETENSORS_DTYPES.items()}


def is_folder(path: Path) -> bool:
    """True where `config.json` says that the folder is ours."""
    file = path / CONFIG_FILE
    return file.is_file() and read_json(file).get("format") == FORMAT


def read_folder_config(path: Path) -> SphinxVConfig:
    """The configuration of one of our folders. Raises ConfigError for a later version or a wrong size."""
    file = path / CONFIG_FILE
    values = read_json(file)
    if values.get("version") != VERSION:
        raise ConfigError(f"{file}: version is {values.get('version')!r}; this program reads {VERSION}, so update it.")
    if not isinstance(values.get("model"), dict):
        raise ConfigError(f"{file}: has no sizes under the key 'model'.")
    return parse_config(values["model"], str(file))


class FolderFiles:
    """The tensors of one of our folders under our names; nothing is read before `read`.

    Raises CheckpointError where a file is missing, truncated or does not hold what the index says.
    """

    def __init__(self, path: Path) -> None:
        self.files = [TensorFile(file) for file in _weight_files(path)]
        self.tensors: dict[str, TensorInfo] = {}
        self.unused: dict[str, TensorInfo] = {}
        self.unknown: dict[str, TensorInfo] = {}
        self._file_of: dict[str, TensorFile] = {}
        for file in self.files:
            for stored, info in file.tensors.items():
                self._place(file, stored, info)
        _check_index(path, self._file_of)

    def _place(self, file: TensorFile, stored: str, info: TensorInfo) -> None:
        if stored in self._file_of:
            raise CheckpointError(f"{file.path}: tensor {stored} is also in {self._file_of[stored].path.name}.")
        self._file_of[stored] = file
        if stored.startswith(UNUSED_PREFIX):
            self.unused[stored.removeprefix(UNUSED_PREFIX)] = info
            return
        if not info.dtype.is_floating_point:
            raise CheckpointError(f"{file.path}: tensor {stored} is {info.dtype}; weights must be of a floating type.")
        self.tensors[stored] = info

    def _stored(self, name: str) -> str:
        return name if name in self.tensors else UNUSED_PREFIX + name

    def read(self, name: str) -> Tensor:
        """The tensor. It may be a view of a mapped file: copy it, do not keep or change it."""
        stored = self._stored(name)
        return self._file_of[stored].read(stored)

    def copy_part(self, name: str, target: Tensor, dimension: int = 0, start: int = 0) -> None:
        """Fills `target` with the tensor from `start` on along `dimension`."""
        stored = self._stored(name)
        self._file_of[stored].copy_into(stored, target, dimension, start)

    def where(self, name: str) -> str:
        """For messages: file and name there."""
        stored = self._stored(name)
        return f"{self._file_of[stored].path}: tensor {stored}"

    def stored_name(self, name: str) -> str:
        """Our names are those of the files."""
        return name

    def say_shape(self, name: str, shape: tuple[int, ...]) -> str:
        """For messages: shapes are stored as they are."""
        return str(list(shape))

    def differing(self, limit: int | None = None) -> Iterable[str]:
        """Nothing is stored twice here."""
        return ()

    def uneven(self) -> Iterable[str]:
        """As `differing`."""
        return ()


def _weight_files(path: Path) -> list[Path]:
    index = path / INDEX_FILE
    if index.is_file():
        table = read_json(index).get("weight_map")
        if not isinstance(table, dict) or not all(isinstance(file, str) for file in table.values()):
            raise CheckpointError(f"{index}: has no table of files under the key 'weight_map'.")
        files = [path / file for file in sorted(set(table.values()))]
    else:
        files = sorted(path.glob("model*.safetensors"))
        if len(files) > 1 or any("-of-" in file.name and not file.stem.endswith("-of-00001") for file in files):
            raise CheckpointError(
                f"{path}: holds a part of several weight files, but no {INDEX_FILE}; copy all of them."
            )
    if not files:
        raise CheckpointError(f"{path}: holds no model*.safetensors; copy the weights too.")
    return files


def _check_index(path: Path, file_of: Mapping[str, TensorFile]) -> None:
    index = path / INDEX_FILE
    if not index.is_file():
        return
    for name, file in read_json(index)["weight_map"].items():
        if name not in file_of or file_of[name].path.name != file:
            raise CheckpointError(f"{path / file}: lacks tensor {name}, which {INDEX_FILE} says it has.")


def save_folder(
    path: str | os.PathLike[str],
    state: Mapping[str, Tensor] | Iterable[Entry],
    config: SphinxVConfig,
    tokenizer_bytes: bytes,
    *,
    shard_bytes: int = SHARD_BYTES,
    shards: int | None = None,
    overwrite: bool = False,
) -> None:
    """Writes one of our folders: a state dict under our names, or entries, of which one at a time is in memory.

    Files take up to `shard_bytes` each, or there are exactly `shards` of them. Raises UsageError where `path` is taken.
    """
    entries = as_entries(state)
    groups = _by_number(entries, shards) if shards is not None else _by_size(entries, shard_bytes)
    total = len(groups)
    _check_types(entries)
    with new_folder(Path(path), overwrite) as folder:
        weight_map = {}
        for number, group in enumerate(groups, 1):
            file = f"model-{number:05d}-of-{total:05d}.safetensors"
            write_safetensors(folder / file, group)
            weight_map.update({entry.name: file for entry in group})
        if total > 1:
            size = sum(entry.info.nbytes for entry in entries)
            write_json(folder / INDEX_FILE, {"metadata": {"total_size": size}, "weight_map": weight_map})
        values = {"format": FORMAT, "version": VERSION, "model": config.model_dump(mode="json")}
        write_json(folder / CONFIG_FILE, values)
        (folder / TOKENIZER_FILE).write_bytes(tokenizer_bytes)


def _check_types(entries: Iterable[Entry]) -> None:
    for entry in entries:
        if entry.info.dtype not in _DTYPE_CODES:
            raise CheckpointError(
                f"tensor {entry.name} is {str(entry.info.dtype).removeprefix('torch.')}, which safetensors cannot hold;"
                " convert to the released form, or remove it from the source."
            )


def write_json(path: Path, values: Mapping[str, object]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _by_size(entries: list[Entry], shard_bytes: int) -> list[list[Entry]]:
    groups: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        if groups[-1] and size + entry.info.nbytes > shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append(entry)
        size += entry.info.nbytes
    return groups


def _by_number(entries: list[Entry], shards: int) -> list[list[Entry]]:
    """Exactly `shards` groups of about equal size, each with at least one tensor."""
    if not 1 <= shards <= max(len(entries), 1):
        raise UsageError(f"shards is {shards}; give 1 to {len(entries)}, the number of tensors.")
    total = sum(entry.info.nbytes for entry in entries)
    groups: list[list[Entry]] = [[]]
    size = 0
    for number, entry in enumerate(entries):
        left = len(entries) - number
        full = size * shards >= total * len(groups)
        if groups[-1] and len(groups) < shards and (full or left == shards - len(groups)):
            groups.append([])
        groups[-1].append(entry)
        size += entry.info.nbytes
    return groups


def write_safetensors(path: Path, entries: list[Entry]) -> None:
    """Writes a safetensors file with one tensor at a time in memory, where the library takes a whole dict.

    The format: the length of the header as 8 bytes, little-endian; the header, JSON padded to a multiple of 8; data.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for entry in entries:
        end = offset + entry.info.nbytes
        code = _DTYPE_CODES[entry.info.dtype]
        header[entry.name] = {"dtype": code, "shape": list(entry.info.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for entry in entries:
            tensor = entry.read().detach().cpu()
            if TensorInfo(tuple(tensor.shape), tensor.dtype) != entry.info:
                raise CheckpointError(
                    f"{path}: tensor {entry.name} was announced as {list(entry.info.shape)} {entry.info.dtype},"
                    f" but is {list(tensor.shape)} {tensor.dtype}."
                )
            file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
