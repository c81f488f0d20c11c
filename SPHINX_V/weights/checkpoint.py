"""Any checkpoint on disk behind one interface: its kind, configuration, tokenizer and tensors under our names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from SPHINX_V.config import SphinxVConfig
from SPHINX_V.errors import CheckpointError
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.weights import folder, released, released_config
from SPHINX_V.weights.entries import UNUSED_PREFIX, Entry
from SPHINX_V.weights.tensor_files import TensorFile, TensorInfo, read_json, unreadable

Kind = Literal["folder", "released", "meta_llama"]


class Source(Protocol):
    """What the readers of the kinds have in common; names are ours, or released ones for `unused` and `unknown`."""

    files: list[TensorFile]
    tensors: dict[str, TensorInfo]
    unused: dict[str, TensorInfo]
    unknown: dict[str, TensorInfo]

    def read(self, name: str) -> Tensor: ...

    def copy_part(self, name: str, target: Tensor, dimension: int = 0, start: int = 0) -> None: ...

    def where(self, name: str) -> str: ...

    def stored_name(self, name: str) -> str: ...

    def say_shape(self, name: str, shape: tuple[int, ...]) -> str: ...

    def differing(self, limit: int | None = None) -> Iterable[str]: ...

    def uneven(self) -> Iterable[str]: ...


@dataclass(frozen=True)
class Comparison:
    """How a checkpoint's tensors agree with a model's; all names are ours."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]  # names whose shapes differ


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint; tensors are read one by one when asked for.

    `unused` are released names that the model has no use for, `unknown` those that nobody knows.
    """

    path: Path
    kind: Kind
    config: SphinxVConfig
    tokenizer_bytes: bytes | None
    source: Source

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Our names and our shapes."""
        return {name: info.shape for name, info in self.source.tensors.items()}

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        return {name: info.dtype for name, info in self.source.tensors.items()}

    @property
    def dtype(self) -> torch.dtype:
        """The type that most of the weights have."""
        counts: Counter[torch.dtype] = Counter()
        for info in self.source.tensors.values():
            counts[info.dtype] += info.numel
        return counts.most_common(1)[0][0] if counts else torch.float32

    @property
    def unused(self) -> tuple[str, ...]:
        return tuple(self.source.unused)

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(self.source.unknown)

    def read(self, name: str) -> Tensor:
        """The whole tensor in our shape, on the CPU. It may be a view of a mapped file: copy it, do not keep it."""
        return self.source.read(name)

    def entries(self, *, with_unused: bool = True) -> Iterator[Entry]:
        """All tensors as a stream for a writer; unused and unknown ones as `unused.<released name>`."""
        yield from (_entry(self.source, name, name, info) for name, info in self.source.tensors.items())
        if with_unused:
            for name, info in {**self.source.unused, **self.source.unknown}.items():
                yield _entry(self.source, UNUSED_PREFIX + name, name, info)

    def compare(self, shapes: Mapping[str, tuple[int, ...]]) -> Comparison:
        """Against the shapes of a model's state."""
        ours = self.shapes()
        return Comparison(
            missing=tuple(name for name in shapes if name not in ours),
            unexpected=tuple(name for name in ours if name not in shapes),
            mismatched=tuple(name for name in ours if name in shapes and ours[name] != shapes[name]),
        )

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> Comparison:
        """As `compare`; raises CheckpointError for tensors of other shapes and for tensors that the model has not."""
        found = self.compare(shapes)
        if found.mismatched:
            name = found.mismatched[0]
            stored, asked = (self.source.say_shape(name, shape) for shape in (self.shapes()[name], shapes[name]))
            raise CheckpointError(
                f"{self.source.where(name)} has the shape {stored}, but the configuration asks for {asked}"
                f" ({len(found.mismatched)} such tensors); take the configuration that belongs to these weights."
            )
        if found.unexpected:
            raise CheckpointError(
                f"{self.source.where(found.unexpected[0])} has no place in the model that the configuration describes"
                f" ({len(found.unexpected)} such tensors: {few(found.unexpected)}); do sizes and file belong together?"
            )
        return found

    def check_replicas(self, limit: int | None = None) -> None:
        """Raises CheckpointError where shards differ in a tensor that all hold, of those of at most `limit` bytes."""
        for name in self.source.differing(limit):
            raise CheckpointError(
                f"{self.source.where(name)} has other values than in the other shards; they are not of one training."
                " Find the right files, or say replicas first to take those of the first shard."
            )

    def check_unused(self) -> None:
        """Raises CheckpointError where a copy would not hold all of a tensor without use: shards differ in it."""
        for name in self.source.uneven():
            raise CheckpointError(
                f"{self.source.where(name)} has no use, but is not the same in all shards, and a copy holds one of it."
                " Say replicas first to keep the first that is found."
            )


def _entry(source: Source, written: str, name: str, info: TensorInfo) -> Entry:
    return Entry(written, info, lambda: source.read(name), lambda *where: source.copy_part(name, *where))


def few(found: Iterable[str], most: int = 4) -> str:
    """The first few names, and how many more."""
    listed = list(found)
    rest = f", … ({len(listed) - most} more)" if len(listed) > most else ""
    return ", ".join(listed[:most]) + rest


def model_shapes(config: SphinxVConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's whole state; nothing is allocated."""
    with torch.device("meta"):
        model = SphinxV(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def open_checkpoint(path: str | os.PathLike[str], config: SphinxVConfig | None = None) -> Checkpoint:
    """Opens one of our folders, a released folder or a folder of Meta's LLaMA; `config` takes the place of the file's.

    Meta's LLaMA alone knows nothing of vision: without `config` the full encoders are meant.
    Raises CheckpointError where files are missing, damaged, not to be read or disagree, ConfigError where the sizes are
    wrong.
    """
    root = Path(path)
    try:
        return _open(root, config)
    except OSError as error:
        raise unreadable(error.filename or root, error) from None


def _open(root: Path, config: SphinxVConfig | None) -> Checkpoint:
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise CheckpointError(f"{root}: {problem}; give a folder with a checkpoint in it.")
    kind = _kind(root)
    tokenizer = _tokenizer(root, kind)
    source: Source
    if kind == "folder":
        source = folder.FolderFiles(root)
        return Checkpoint(root, kind, config or folder.read_folder_config(root), tokenizer, source)
    files = released.released_files(root) if kind == "released" else released.meta_files(root)
    source = released.ReleasedShards(files)
    return Checkpoint(root, kind, config or _released_config(root, source), tokenizer, source)


def _kind(root: Path) -> Kind:
    kinds: dict[Kind, bool] = {
        "folder": folder.is_folder(root),
        "released": bool(released.released_files(root)),
        "meta_llama": bool(released.meta_files(root)),
    }
    found = [kind for kind, here in kinds.items() if here]
    if len(found) == 1:
        return found[0]
    if found:
        raise CheckpointError(f"{root}: holds checkpoints of the kinds {' and '.join(found)}; keep one of them.")
    raise CheckpointError(
        f"{root}: holds no checkpoint. Looked for config.json with format {folder.FORMAT!r} and model*.safetensors,"
        " consolidated.XX-of-YY.model.pth, and Meta's consolidated.XX.pth."
    )


def _released_config(root: Path, source: Source) -> SphinxVConfig:
    """Released folders have config.json, Meta's params.json; LLaMA2-Accessory keeps Meta's name at times."""
    candidates = [root / name for name in ("config.json", "params.json")]
    file = next((file for file in candidates if file.is_file()), None)
    if file is None:
        raise CheckpointError(
            f"{root}: has neither config.json nor params.json; copy the one that lies by the weights."
        )
    embedding = source.tensors.get("llm.tok_embeddings.weight")
    height = embedding.shape[0] if embedding is not None and embedding.shape else None
    return released_config.from_released(read_json(file), file, height)


def _tokenizer(root: Path, kind: Kind) -> bytes | None:
    """Meta's downloads keep the tokenizer one folder up."""
    places = [root, root.parent] if kind == "meta_llama" else [root]
    for place in places:
        if (place / folder.TOKENIZER_FILE).is_file():
            return (place / folder.TOKENIZER_FILE).read_bytes()
    return None
