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
from SPHINX_V.weights.tensor_files import TensorFile, TensorInfo

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
    stray = next((path for index, path in found.items() if index >= total), None)
    if stray is not None:
        raise CheckpointError(
            f"{folder}: holds {stray.name}, but of {total} shards the last has the number {max(total - 1, 0):02d};"
            " remove it or rename it."
        )
    missing = [index for index in range(total) if index not in found]
    if missing:
        numbers = ", ".join(f"{index:02d}" for index in missing[:8])
        raise CheckpointError(
            f"{folder}: of {total} shards {len(missing)} are missing: number {numbers}; copy them too."
        )
    return [found[index] for index in range(total)]


@dataclass(frozen=True)
class _Stored:
    """Where one tensor lies: its name in the files, singleton dimensions in front, split dimension as stored.

    `file` is the first that has it; only tensors without use may be absent from others.
    """

    name: str
    file: TensorFile
    lead: int = 0
    split: int | None = None


class ReleasedShards:
    """The tensors of all shards under our names and in our shapes; nothing is read before `read`.

    Raises CheckpointError where the shards disagree in names, shapes or types of tensors that the model uses. Of the
    others, unused and unknown ones, the first that is found counts.
    """

    def __init__(self, files: list[Path]) -> None:
        self.files = [TensorFile(path) for path in files]
        self.tensors: dict[str, TensorInfo] = {}
        self.unused: dict[str, TensorInfo] = {}
        self.unknown: dict[str, TensorInfo] = {}
        self._stored: dict[str, _Stored] = {}
        self._doubled: list[str] = []
        first: dict[str, TensorFile] = {}
        for file in self.files:
            first.update({name: file for name in file if name not in first})
        for name, file in first.items():
            mapped = names.to_ours(name)
            if mapped is None:
                self._place_without_use(name, file)
            else:
                self._place(name, mapped)

    def _place(self, name: str, mapped: names.Mapped) -> None:
        """Files one stored tensor under our name."""
        lacking = next((file for file in self.files if name not in file), None)
        if lacking is not None:
            having = next(file for file in self.files if name in file)
            raise CheckpointError(
                f"{lacking.path}: lacks tensor {name}, which {having.path.name} has; copy the shards of one set."
            )
        if mapped.name in self._stored:
            other = self._stored[mapped.name].name
            raise CheckpointError(f"{self.files[0].path}: {name} and {other} are the same tensor; remove one of them.")
        split = names.split_dimension(mapped.name) if len(self.files) > 1 else None
        stored = self._stored[mapped.name] = _Stored(name, self.files[0], mapped.lead, split)
        self.tensors[mapped.name] = self._info(stored)

    def _place_without_use(self, name: str, file: TensorFile) -> None:
        """Files a tensor that the model has no use for, whatever it is, so that it never keeps a model from loading."""
        bare = names.PREFIX + name.removeprefix(names.PREFIX)
        if bare in self._stored:
            self._doubled.append(bare)
            return
        table = self.unused if names.is_unused(name) else self.unknown
        self._stored[bare] = _Stored(name, file)
        table[bare] = file.tensors[name]

    def _info(self, stored: _Stored) -> TensorInfo:
        info = stored.file.tensors[stored.name]
        where = f"{stored.file.path}: tensor {stored.name}"
        for other in self.files[1:]:
            if other.tensors[stored.name] != info:
                theirs = other.tensors[stored.name]
                raise CheckpointError(
                    f"{where} is {_say(info)}, but {_say(theirs)} in {other.path.name}; they are no set."
                )
        if not info.dtype.is_floating_point:
            raise CheckpointError(f"{where} is {_say(info)}; weights must be of a floating type.")
        least = stored.lead + (0 if stored.split is None else stored.split + 1)
        if info.shape[: stored.lead] != (1,) * stored.lead or len(info.shape) < least:
            form = ", ".join(["1"] * stored.lead + ["n"] * (least - stored.lead) + ["…"])
            raise CheckpointError(
                f"{where} has the shape {list(info.shape)}, but one of the form [{form}] is expected;"
                " does the file come from another model?"
            )
        shape = list(info.shape[stored.lead :])
        if stored.split is not None:
            shape[stored.split] *= len(self.files)
        return TensorInfo(tuple(shape), info.dtype)

    def read(self, name: str) -> Tensor:
        """The whole tensor in our shape. It may be a view of a mapped file: copy it, do not keep or change it."""
        stored = self._stored[name]
        if stored.split is None:
            tensor = stored.file.read(stored.name)
            return tensor.reshape(tensor.shape[stored.lead :])
        return torch.cat([file.read(stored.name) for file in self.files], dim=stored.split)

    def copy_part(self, name: str, target: Tensor, dimension: int = 0, start: int = 0) -> None:
        """Fills `target` with the tensor from `start` on along `dimension`, shard by shard: nothing is put together."""
        stored = self._stored[name]
        if stored.split is None:
            stored.file.copy_into(stored.name, target, dimension, start, lead=stored.lead)
            return
        end, here = start + target.shape[dimension], 0
        for file in self.files:
            length = file.tensors[stored.name].shape[stored.split]
            first, last = max(start, here), min(end, here + length)
            if stored.split != dimension:
                file.copy_into(stored.name, target.narrow(stored.split, here, length), dimension, start)
            elif first < last:
                part = target.narrow(dimension, first - start, last - first)
                file.copy_into(stored.name, part, dimension, first - here)
            here += length

    def where(self, name: str) -> str:
        """For messages: file and name there."""
        return f"{self._stored[name].file.path}: tensor {self._stored[name].name}"

    def stored_name(self, name: str) -> str:
        """The name of our parameter in the files, whether they have it or not."""
        if name in self._stored:
            return self._stored[name].name
        released = names.to_released(name).name
        prefixed = any(stored.name.startswith(names.PREFIX) for stored in self._stored.values())
        return released if prefixed else released.removeprefix(names.PREFIX)

    def say_shape(self, name: str, shape: tuple[int, ...]) -> str:
        """For messages: how a tensor that we have in `shape` lies in the files."""
        stored, count = self._stored[name], len(self.files)
        parts = ["1"] * stored.lead + [str(size) for size in shape]
        if stored.split is None or stored.split >= len(shape):
            return f"[{', '.join(parts)}]"
        size, place = shape[stored.split], stored.lead + stored.split
        parts[place] = f"{size}/{count}" if size % count else str(size // count)
        return f"[{', '.join(parts)}] in each of {count} shards, {list(shape)} together"

    def differing(self, limit: int | None = None) -> Iterator[str]:
        """Our names of unsplit tensors that are not the same, bit by bit, in all shards; of at most `limit` bytes.

        They should be: every process of the training held one copy. Differing ones show shards of two trainings.
        """
        for name, info in self.tensors.items():
            stored = self._stored[name]
            if stored.split is not None or (limit is not None and info.nbytes > limit):
                continue
            first = self.files[0].read(stored.name)
            if not all(same_bits(first, other.read(stored.name)) for other in self.files[1:]):
                yield name

    def uneven(self) -> Iterator[str]:
        """Names of unused and unknown tensors of which `read` gives a part only: the shards hold more than one form."""
        yield from self._doubled
        for name in [*self.unused, *self.unknown]:
            stored = self._stored[name]
            one, others = stored.file.read(stored.name), [file for file in self.files if file is not stored.file]
            if not all(stored.name in other and same_bits(one, other.read(stored.name)) for other in others):
                yield name


def same_bits(one: Tensor, two: Tensor) -> bool:
    """Equal bit by bit, so that NaN equals itself and -0 differs from 0."""
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    return torch.equal(one.contiguous().flatten().view(torch.uint8), two.contiguous().flatten().view(torch.uint8))


def _say(info: TensorInfo) -> str:
    return f"{list(info.shape)} {str(info.dtype).removeprefix('torch.')}"
