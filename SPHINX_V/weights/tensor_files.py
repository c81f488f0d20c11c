"""One weight file on disk, read tensor by tensor: PyTorch archives and safetensors behind one small interface."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import torch
from torch import Tensor

from SPHINX_V.errors import CheckpointError
from SPHINX_V.weights.byte_ranges import copy_stored, mapped_places, safetensors_places

# In PyTorch's refusal of a pickle: the name of what is no tensor.
_FOREIGN = re.compile(r"GLOBAL (\S+)")

# safetensors' own names of the types that weights come in.
SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class TensorInfo:
    """Shape and type of a stored tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        return torch.Size(self.shape).numel()

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize


class TensorFile:
    """The named tensors of one file; only the names, shapes and types are read when it is opened.

    `.safetensors` or anything that `torch.save` wrote: a mapping of names to tensors, or such a mapping under the key
    "model" or "state_dict". Nothing but tensors is ever unpickled. Raises CheckpointError that names the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if not path.is_file():
                raise CheckpointError(f"{path}: there is no such file.")
            path.open("rb").close()  # what the system refuses is told apart from what is damaged
        except OSError as error:
            raise unreadable(path, error) from None
        self._view = _open_safetensors(path) if path.suffix == ".safetensors" else _open_torch(path)
        self._lock = RLock()
        self._places: dict[str, int] | None = None
        self.tensors: dict[str, TensorInfo] = dict(self._view.infos())

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def read(self, name: str) -> Tensor:
        """The tensor on the CPU. It may be a view of the file as a whole: copy it, do not keep or change it."""
        info = self.tensors[name]
        if self._place(name) is None:
            return self._view.read(name)
        # Pages of a mapped file would count as memory of this process for as long as it is mapped.
        tensor = torch.empty(info.shape, dtype=info.dtype, device="cpu")
        self.copy_into(name, tensor)
        return tensor

    def copy_into(self, name: str, target: Tensor, dimension: int = 0, first: int = 0, lead: int = 0) -> None:
        """Fills `target` with what it holds of a tensor, from `first` on along `dimension`, converting its type.

        `lead` singleton dimensions in front of the stored tensor count for nothing. Several threads may do so at once.
        """
        shape = self.tensors[name].shape[lead:]
        place = self._place(name)
        if place is None:
            copy_narrowed(target, self._view.read(name).reshape(shape), dimension, first)
            return
        try:
            copy_stored(self.path, place, shape, self.tensors[name].dtype, target, dimension, first)
        except OSError as error:
            raise unreadable(self.path, error) from None

    def _place(self, name: str) -> int | None:
        """Where the tensor's bytes begin in the file; None where that is not known."""
        with self._lock:
            if self._places is None:
                try:
                    self._places = self._view.places()
                except OSError as error:
                    raise unreadable(self.path, error) from None
            return self._places.get(name)


class _TorchView:
    def __init__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        self._path = path
        self._tensors = tensors

    def places(self) -> dict[str, int]:
        return mapped_places(self._path, self._tensors)

    def infos(self) -> Iterator[tuple[str, TensorInfo]]:
        for name, tensor in self._tensors.items():
            yield name, TensorInfo(tuple(tensor.shape), tensor.dtype)

    def read(self, name: str) -> Tensor:
        return self._tensors[name]


class _SafetensorsView:
    def __init__(self, path: Path, file: Any) -> None:
        self._path = path
        self._file = file

    def places(self) -> dict[str, int]:
        return safetensors_places(self._path)

    def infos(self) -> Iterator[tuple[str, TensorInfo]]:
        for name in self._file.keys():  # noqa: SIM118 - the handle is no mapping
            part = self._file.get_slice(name)
            code = part.get_dtype()
            if code not in SAFETENSORS_DTYPES:
                raise CheckpointError(f"{self._path}: tensor {name} has the type {code}, which no weight has.")
            yield name, TensorInfo(tuple(part.get_shape()), SAFETENSORS_DTYPES[code])

    def read(self, name: str) -> Tensor:
        return self._file.get_tensor(name)


def _open_safetensors(path: Path) -> _SafetensorsView:
    from safetensors import safe_open

    try:
        return _SafetensorsView(path, safe_open(path, framework="pt", device="cpu"))
    except Exception as error:
        raise CheckpointError(
            f"{path}: truncated or no safetensors file ({_first_line(error)}); copy it again."
        ) from None


def _open_torch(path: Path) -> _TorchView:
    return _TorchView(path, _tensors_only(path, _load_torch(path)))


def _load_torch(path: Path) -> Any:
    """What torch.load or, for a TorchScript archive such as OpenAI's CLIP, torch.jit.load makes of the file."""
    with path.open("rb") as file:
        starts_as_zip = file.read(2) == b"PK"
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                is_script = any(name.endswith("/constants.pkl") for name in archive.namelist())
            if is_script:
                return torch.jit.load(path, map_location="cpu").state_dict()
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not starts_as_zip:
            # The format before PyTorch 1.6 cannot be mapped.
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path}: not readable as weights ({_why_not(error)}); copy it again.") from None
    raise CheckpointError(
        f"{path}: truncated at {path.stat().st_size} bytes, the archive's end is missing; copy it again."
    )


def _why_not(error: Exception) -> str:
    """The first line of PyTorch's message, but for the one that advises to turn weights_only off: that runs code."""
    if "weights_only" not in str(error):
        return _first_line(error)
    found = _FOREIGN.search(str(error))
    return f"it holds {found.group(1) if found else 'damaged data or an object'}, which is no tensor and is never built"


def _tensors_only(path: Path, loaded: Any) -> dict[str, Tensor]:
    """The names and tensors of a loaded file; anything else in their place is an error."""
    for key in ("model", "state_dict"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path}: holds a {type(loaded).__name__}, not a mapping of names to tensors.")
    tensors = {}
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: {name!r} is a {type(value).__name__}, not a tensor.")
        if value.layout != torch.strided or value.is_quantized:
            raise CheckpointError(f"{path}: tensor {name} is sparse or quantised; save it as a plain tensor.")
        tensors[name] = value.detach()
    return tensors


def copy_narrowed(target: Tensor, tensor: Tensor, dimension: int, start: int) -> None:
    """Copies into `target` as much of `tensor` as it holds, from `start` on along `dimension`; a scalar as it is."""
    target.copy_(tensor.narrow(dimension, start, target.shape[dimension]) if tensor.ndim else tensor)


def unreadable(path: str | os.PathLike[str], error: OSError) -> CheckpointError:
    """The error to raise where the system does not let a file or folder be read."""
    return CheckpointError(
        f"{os.fspath(path)}: cannot be read ({error.strerror or error}); give this process the right to read it."
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises CheckpointError where the file is missing, no JSON or no object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError as error:
        raise CheckpointError(f"{path}: no JSON ({_first_line(error)}).") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: holds a {type(values).__name__}, not an object.")
    return values


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
