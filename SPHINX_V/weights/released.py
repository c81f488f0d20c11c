"""Reading released shards `consolidated.*.pth` of any number, and Meta's: each tensor put together when asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from SPHINX_V.errors import CheckpointError
from SPHINX_V.weights import names
from SPHINX_V.weights.tensor_files import TensorFile, TensorInfo, copy_narrowed

_RELEASED = re.compile(r"consolidated\.(\d+)-of-(\d+)\.model\.pth")
_META = re.compile(r"consolidated\.(\d+)\.pth")


def released_files(folder: Path) -> list[Path]:
    """The shards `consolidated.{i}-of-{n}.model.pth` in order; empty where there are none.

    Raises CheckpointError where one of n is missing or shards of several n lie side by side.
    """
    found = {path: match for path in _listing(folder) if (match := _RELEASED.fullmatch(path.name))}
    totals = sorted({int(match.group(2)) for match in found.values()})
    if len(totals) > 1:
        raise CheckpointError(f"{folder}: holds shards of {' and of '.join(map(str, totals))}; keep one set of them.")
    return _in_order(folder, {int(match.group(1)): path for path, match in found.items()}, totals[0] if totals else 0)


def meta_files(folder: Path) -> list[Path]:
    """Meta's shards `consolidated.{i}.pth` in order; empty where there are none. Raises CheckpointError for a gap."""
    found = {int(match.group(1)): path for path in _listing(folder) if (match := _META.fullmatch(path.name))}
    return _in_order(folder, found, max(found, default=-1) + 1)


def _listing(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _in_order(folder: Path, found: dict[int, Path], total: int) -> list[Path]:
    missing = [index for index in range(total) if index not in found]
    if missing:
        numbers = ", ".join(f"{index:02d}" for index in missing[:8])
        raise CheckpointError(
            f"{folder}: of {total} shards {len(missing)} are missing: number {numbers}; copy them too."
        )
    return [found[index] for index in range(total)]


@dataclass(frozen=True)
class _Stored:
    """Where one tensor lies: its name in the files, singleton dimensions in front, split dimension as stored."""

    name: str
    lead: int
    split: int | None


class ReleasedShards:
    """The tensors of all shards under our names and in our shapes; nothing is read before `read`.

    Raises CheckpointError where the shards disagree in names, shapes or types.
    """

    def __init__(self, files: list[Path]) -> None:
        self.files = [TensorFile(path) for path in files]
        self.tensors: dict[str, TensorInfo] = {}
        self.unused: dict[str, TensorInfo] = {}
        self.unknown: dict[str, TensorInfo] = {}
        self._stored: dict[str, _Stored] = {}
        self._check_same_names()
        for name in self.files[0]:
            self._place(name)

    def _check_same_names(self) -> None:
        first = self.files[0]
        for other in self.files[1:]:
            for one, two in ((first, other), (other, first)):
                lacking = next((name for name in one if name not in two), None)
                if lacking is not None:
                    raise CheckpointError(f"{two.path}: lacks tensor {lacking}, which {one.path.name} has.")

    def _place(self, name: str) -> None:
        """Files one stored tensor under our name, as unused or as unknown."""
        mapped = names.to_ours(name)
        if mapped is None:
            bare = names.PREFIX + name.removeprefix(names.PREFIX)
            table = self.unused if names.is_unused(name) else self.unknown
            ours, stored = bare, _Stored(name, 0, None)
        else:
            table, ours = self.tensors, mapped.name
            split = names.split_dimension(ours) if len(self.files) > 1 else None
            stored = _Stored(name, mapped.lead, split)
        if ours in self._stored:
            raise CheckpointError(f"{self.files[0].path}: {name} and {self._stored[ours].name} are the same tensor.")
        self._stored[ours] = stored
        table[ours] = self._info(stored, weight=mapped is not None)

    def _info(self, stored: _Stored, weight: bool) -> TensorInfo:
        info = self.files[0].tensors[stored.name]
        where = f"{self.files[0].path}: tensor {stored.name}"
        for other in self.files[1:]:
            if other.tensors[stored.name] != info:
                theirs = other.tensors[stored.name]
                raise CheckpointError(
                    f"{where} is {_say(info)}, but {_say(theirs)} in {other.path.name}; they are no set."
                )
        if weight and not info.dtype.is_floating_point:
            raise CheckpointError(f"{where} is {_say(info)}; weights must be of a floating type.")
        if info.shape[: stored.lead] != (1,) * stored.lead or (stored.split or 0) >= max(len(info.shape), 1):
            raise CheckpointError(
                f"{where} has the shape {list(info.shape)}, which is none that a {stored.name} can have."
            )
        shape = list(info.shape[stored.lead :])
        if stored.split is not None:
            shape[stored.split] *= len(self.files)
        return TensorInfo(tuple(shape), info.dtype)

    def read(self, name: str) -> Tensor:
        """The whole tensor in our shape. It may be a view of a mapped file: copy it, do not keep or change it."""
        stored = self._stored[name]
        if stored.split is None:
            tensor = self.files[0].read(stored.name)
            return tensor.reshape(tensor.shape[stored.lead :])
        return torch.cat([file.read(stored.name) for file in self.files], dim=stored.split)

    def copy_part(self, name: str, target: Tensor, dimension: int = 0, start: int = 0) -> None:
        """Fills `target` with the tensor from `start` on along `dimension`, shard by shard: nothing is put together."""
        stored = self._stored[name]
        if stored.split is None or (stored.split != dimension and target.shape != self.tensors[name].shape):
            copy_narrowed(target, self.read(name), dimension, start)
            return
        end, here = start + target.shape[stored.split], 0
        for file in self.files:
            length = file.tensors[stored.name].shape[stored.split]
            first, last = max(start, here), min(end, here + length)
            if first < last:
                part = file.read(stored.name).narrow(stored.split, first - here, last - first)
                target.narrow(stored.split, first - start, last - first).copy_(part)
            here += length

    def where(self, name: str) -> str:
        """For messages: file and name there."""
        return f"{self.files[0].path}: tensor {self._stored[name].name}"

    def differing(self, limit: int | None = None) -> Iterator[str]:
        """Our names of unsplit tensors that are not the same, bit by bit, in all shards; of at most `limit` bytes.

        They should be: every process of the training held one copy. Differing ones show shards of two trainings.
        """
        for name, info in {**self.tensors, **self.unused, **self.unknown}.items():
            stored = self._stored[name]
            if stored.split is not None or (limit is not None and info.nbytes > limit):
                continue
            first = self.files[0].read(stored.name)
            if not all(same_bits(first, other.read(stored.name)) for other in self.files[1:]):
                yield name


def same_bits(one: Tensor, two: Tensor) -> bool:
    """Equal bit by bit, so that NaN equals itself and -0 differs from 0."""
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    return torch.equal(one.contiguous().flatten().view(torch.uint8), two.contiguous().flatten().view(torch.uint8))


def _say(info: TensorInfo) -> str:
    return f"{list(info.shape)} {str(info.dtype).removeprefix('torch.')}"
