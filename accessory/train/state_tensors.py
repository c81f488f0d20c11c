"""The tensors of a state on disk: torch's distributed checkpoint, with a JSON index in place of its pickled one."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import checkpoint
from torch.distributed.checkpoint import (
    DefaultLoadPlanner,
    DefaultSavePlanner,
    FileSystemReader,
    FileSystemWriter,
    Metadata,
    SavePlan,
    SavePlanner,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from accessory.train.peers import RankFailure
from SPHINX_V.weights.local_part import local_tensor
from SPHINX_V.weights.tensor_files import TensorInfo

INDEX = "index.json"


class Staging:
    """Copies of tensors in host memory, so that training may go on changing what is being saved.

    The memory is kept and used again, pinned where tensors lie on a GPU: allocating it takes longer than the copy.
    """

    def __init__(self) -> None:
        self._copies: dict[str, Tensor] = {}

    @torch.no_grad()
    def copy(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What this process holds of each tensor, as a plain CPU tensor; valid until the next call."""
        copies = {}
        devices = set()
        for name, tensor in tensors.items():
            local = local_tensor(tensor)
            kept = self._copies.get(name)
            if kept is None or kept.shape != local.shape or kept.dtype != local.dtype:
                kept = torch.empty(local.shape, dtype=local.dtype, pin_memory=local.is_cuda)
            copies[name] = kept.copy_(local, non_blocking=True)
            if local.is_cuda:
                devices.add(local.device)
        for device in devices:
            torch.cuda.synchronize(device)
        self._copies = copies
        return dict(copies)


def write_tensors(
    folder: Path, tensors: Mapping[str, Tensor], data: Mapping[str, Tensor], group: distributed.ProcessGroup | None
) -> None:
    """Writes `__R_0.distcp` of every rank R and the index, synced to the disk; all processes call it.

    `tensors` say names, whole shapes and placements, `data` the values that this process holds. What several processes
    hold alike is written by one of them. Raises RankFailure on all processes where one cannot write.
    """
    try:
        checkpoint.save(
            dict(tensors),
            # No copying ahead on a stream: the data is staged, and the thread that saves has no GPU of its own.
            storage_writer=_Writer(folder, per_thread_copy_ahead=0, overwrite=False),
            planner=_SavePlanner(data),
            process_group=group,
            no_dist=_alone(group),
        )
    except checkpoint.CheckpointException as error:
        raise RankFailure(_say(error)) from error


def files_of_rank(folder: Path, rank: int) -> list[Path]:
    """What `write_tensors` has written on process `rank`; the first has the index, too."""
    index = [folder / INDEX] if rank == 0 else []
    return [*sorted(folder.glob(f"__{rank}_*.distcp")), *index]


def stored_tensors(folder: Path) -> dict[str, TensorInfo]:
    """Names, whole shapes and types of a state's tensors."""
    table = json.loads((folder / INDEX).read_bytes())
    return {name: TensorInfo(tuple(entry["shape"]), _dtype(entry["dtype"])) for name, entry in table.items()}


def read_tensors(folder: Path, tensors: Mapping[str, Tensor], group: distributed.ProcessGroup | None) -> None:
    """Fills the tensors in place, each process with the part that it holds; all processes call it.

    Names, shapes and types must be those of `stored_tensors`, placements need not be those of saving. Raises
    RankFailure on all processes where one cannot read.
    """
    try:
        checkpoint.load(
            dict(tensors),
            storage_reader=_Reader(folder),
            planner=DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False),
            process_group=group,
            no_dist=_alone(group),
        )
    except checkpoint.CheckpointException as error:
        raise RankFailure(_say(error)) from error


def _alone(group: distributed.ProcessGroup | None) -> bool:
    """Is there only this process? Then torch would say so at each call, as if that were odd."""
    if group is None:
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
    return group is None


class _SavePlanner(DefaultSavePlanner):
    """Plans by the tensors of training, writes their copies."""

    def __init__(self, data: Mapping[str, Tensor]) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        self._data = data

    def lookup_object(self, index: MetadataIndex) -> Tensor:
        return self._data[index.fqn]


@dataclass(frozen=True)
class _Place:
    """Where the bytes of one chunk lie; the names are those by which the reader of torch asks."""

    relative_path: str
    offset: int
    length: int
    transform_descriptors: None = None


class _Writer(FileSystemWriter):
    """Writes the index as JSON: a pickle could run whatever code a changed file holds."""

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        try:
            return super().write_data(plan, planner)
        except RuntimeError as error:
            # A full disk makes torch.save stumble over its own file's end, and only that reaches the other processes.
            cause = _system_error(error)
            if cause is None:
                raise
            raise OSError(cause.errno, cause.strerror) from error

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        places = {result.index: result.storage_data for written in results for result in written}
        table = {}
        for name, tensor in metadata.state_dict_metadata.items():
            assert isinstance(tensor, TensorStorageMetadata)
            chunks = []
            for chunk in tensor.chunks:
                place = places[MetadataIndex(name, chunk.offsets)]
                where = [place.relative_path, place.offset, place.length]
                chunks.append({"offsets": list(chunk.offsets), "sizes": list(chunk.sizes), "place": where})
            dtype = str(tensor.properties.dtype).removeprefix("torch.")
            table[name] = {"shape": list(tensor.size), "dtype": dtype, "chunks": chunks}
        (Path(self.path) / INDEX).write_text(json.dumps(table), encoding="utf-8")


class _Reader(FileSystemReader):
    """Reads the index that `_Writer` writes; tensors come from torch.load with weights_only=True."""

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        table = json.loads((Path(self.path) / INDEX).read_bytes())
        tensors: dict[str, Any] = {}
        places = {}
        for name, entry in table.items():
            chunks = []
            for chunk in entry["chunks"]:
                offsets = torch.Size(chunk["offsets"])
                chunks.append(ChunkStorageMetadata(offsets, torch.Size(chunk["sizes"])))
                places[MetadataIndex(name, offsets)] = _Place(*chunk["place"])
            properties = TensorProperties(dtype=_dtype(entry["dtype"]))
            tensors[name] = TensorStorageMetadata(properties, torch.Size(entry["shape"]), chunks)
        return Metadata(tensors, storage_data=places)


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def _say(error: checkpoint.CheckpointException) -> str:
    """The causes, by rank; torch's own text is a page of tracebacks."""
    causes = []
    for rank, (cause, _) in error.failures.items():
        lines = str(cause).strip().splitlines() or [""]
        kind = "" if isinstance(cause, OSError) else f"{type(cause).__name__}: "
        causes.append(f"rank {rank}: {kind}{lines[0]}")
    return "; ".join(causes)


def _system_error(error: BaseException | None) -> OSError | None:
    """What the system said before `error`."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error
