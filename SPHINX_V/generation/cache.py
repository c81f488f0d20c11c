"""The static key-value cache: one tensor for all layers and rows, allocated once, written in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from SPHINX_V.errors import UsageError
from SPHINX_V.generation.attention import Attention
from SPHINX_V.model.sphinx_v import SphinxV

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@dataclass(frozen=True)
class Span:
    """Where new tokens go and what they may look at; made once for all layers.

    `positions` [N] int64 of N = rows · S tokens. Rows `first` … `first + rows - 1` of the cache take part. Those of
    one row go to `start` … `start + S - 1`; without `start` each row has one token, which goes to `places`. Keys before
    `end` are looked at, as far as `mask` [rows, 1, S, end] (added to the scores) lets them; without one all are, and
    if `causal` those up to a token's own place. With `parts` the tokens are those of several spans, one after another,
    each of which looks at its own rows.
    """

    first: int
    rows: int
    start: int | None
    end: int
    positions: Tensor
    mask: Tensor | None = None
    causal: bool = False
    places: Tensor | None = None
    parts: tuple[Span, ...] = ()


def joint_span(parts: Sequence[Span]) -> Span:
    """Spans of neighbouring rows as one."""
    if len(parts) == 1:
        return parts[0]
    positions, end = torch.cat([part.positions for part in parts]), max(part.end for part in parts)
    return Span(parts[0].first, sum(part.rows for part in parts), None, end, positions, parts=tuple(parts))


def prompt_span(row: int, start: int, length: int, device: torch.device, dtype: torch.dtype) -> Span:
    """`length` tokens of one row from position `start` on, causal, after what the row holds already."""
    positions = torch.arange(start, start + length, device=device)
    if start == 0 or length == 1:
        return Span(row, 1, start, start + length, positions, causal=length > 1)
    allowed = torch.arange(start + length, device=device) <= positions.unsqueeze(1)
    return Span(row, 1, start, start + length, positions, _as_addend(allowed, dtype)[None, None])


def own_places_mask(positions: Tensor, end: int, dtype: torch.dtype) -> Tensor:
    """What lets each row look at keys up to its own position [rows, 1, 1, end]."""
    allowed = torch.arange(end, device=positions.device) <= positions.unsqueeze(1)
    return _as_addend(allowed, dtype)[:, None, None]


def _as_addend(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, float("-inf"))


def _key_weight(model: SphinxV) -> object:
    """The weight of the first layer's keys, by which one sees how the model is laid out; None where it is quantised."""
    return getattr(model.llm.get_submodule("layers.0.attention.wk"), "weight", None)


def model_group(model: SphinxV) -> ProcessGroup | None:
    """The processes that share the language model with this one (tensor parallelism); None where it has all of it."""
    mesh = getattr(_key_weight(model), "device_mesh", None)
    return None if mesh is None else mesh.get_group()


def fewest(model: SphinxV, count: int) -> int:
    """The least `count` of all processes that share the model."""
    group = model_group(model)
    if group is None:
        return count
    from torch import distributed

    least = torch.tensor(count, device=model.start_img.device)
    distributed.all_reduce(least, distributed.ReduceOp.MIN, group=group)
    return int(least)


def local_kv_heads(model: SphinxV) -> int:
    """Key-value heads that this process computes: under tensor parallelism a share of the model's."""
    config, mesh = model.config.llm, getattr(_key_weight(model), "device_mesh", None)
    return config.kv_heads if mesh is None else config.kv_heads // mesh.size()


def row_bytes(model: SphinxV, length: int, dtype: torch.dtype) -> int:
    """Memory of one row of `length` positions."""
    llm = model.config.llm
    return 2 * llm.n_layers * local_kv_heads(model) * length * llm.head_dim * dtype.itemsize


class RowCache:
    """Room for `rows` conversations of `length` positions each.

    The cache owns its memory, `bytes` of it, until it is dropped. Keys and values of a head lie together, position by
    position: [layers, 2, rows, kv_heads, length, head_dim]. What stands beyond a row's own length is never looked at.
    """

    def __init__(self, model: SphinxV, rows: int, length: int, dtype: torch.dtype, device: torch.device) -> None:
        llm = model.config.llm
        self.rows, self.length, self.kv_heads = rows, length, local_kv_heads(model)
        shape = (llm.n_layers, 2, rows, self.kv_heads, length, llm.head_dim)
        try:
            # Zeros, not empty: a masked position still enters attention with weight 0, and 0 · NaN is NaN.
            self._all = torch.zeros(shape, dtype=dtype, device=device)
        except (torch.OutOfMemoryError, RuntimeError):  # the second is what CPUs raise
            size = rows * row_bytes(model, length, dtype)
            raise UsageError(
                f"the key-value cache of {rows} rows × {length} positions takes {size / 2**20:.0f} MiB, more than is"
                " free; set fewer rows (max_rows) or a shorter context (max_len) in EngineOptions."
            ) from None
        pairs, heads = torch.arange(2).view(2, 1), torch.arange(self.kv_heads)
        owners = torch.arange(rows).view(-1, 1, 1)
        starts = ((pairs * rows + owners) * self.kv_heads + heads) * length  # [rows, 2, kv_heads]
        self._starts = starts.to(device)
        self._attention = Attention(dtype, device)

    @property
    def dtype(self) -> torch.dtype:
        return self._all.dtype

    @property
    def bytes(self) -> int:
        """Memory of all rows."""
        return self._all.nbytes

    def step_span(self, lengths: Sequence[int]) -> Span:
        """One new token for each of the rows 0 … n-1, of which row i holds `lengths[i]` positions."""
        end = max(lengths) + 1
        positions = torch.tensor(lengths, device=self._all.device)
        if len(lengths) == 1:
            return Span(0, 1, lengths[0], end, positions)
        mask = own_places_mask(positions, end, self.dtype) if min(lengths) + 1 < end else None
        return Span(0, len(lengths), None, end, positions, mask, places=self.places(positions))

    def places(self, positions: Tensor) -> Tensor:
        """Where keys and values [n, 2 · kv_heads] of one position of each of the rows 0 … n-1 lie in a layer, counted
        in vectors of a head."""
        return (self._starts[: positions.shape[0]] + positions.view(-1, 1, 1)).flatten()

    def attend(self, layer: int, queries: Tensor, new: Tensor, span: Span) -> Tensor:
        """Stores keys and values `new` [N, 2 · kv_heads, head_dim] and lets queries [N, heads, head_dim] look at them
        and at what is before: → [N, heads · head_dim]."""
        if span.parts:
            lengths = [part.positions.shape[0] for part in span.parts]
            each = zip(queries.split(lengths), new.split(lengths), span.parts)
            return torch.cat([self.attend(layer, asked, given, part) for asked, given, part in each])
        place = self._all[layer, :, span.first : span.first + span.rows]
        if span.start is not None:
            place[:, 0, :, span.start : span.end] = new.unflatten(1, (2, self.kv_heads)).permute(1, 2, 0, 3)
        else:
            assert span.places is not None
            self._all[layer].view(-1, new.shape[-1]).index_copy_(0, span.places, new.reshape(-1, new.shape[-1]))
        seen = place[..., : span.end, :]
        asked = queries.unflatten(0, (span.rows, -1)).transpose(1, 2)
        mixed = self._attention(asked, seen[0], seen[1], span.mask, span.causal)
        return mixed.transpose(1, 2).flatten(0, 1).flatten(1)

    def copy_out(self, row: int, start: int, end: int) -> Tensor:
        """A copy of a row's positions: [layers, 2, kv_heads, end - start, head_dim]."""
        return self._all[:, :, row, :, start:end].clone()

    def copy_in(self, row: int, start: int, end: int, kept: Tensor) -> None:
        """Puts the first ones of what `copy_out` gave into a row's positions."""
        self._all[:, :, row, :, start:end] = kept[..., : end - start, :]

    def clear(self, row: int) -> None:
        """Zeros a row."""
        self._all[:, :, row] = 0

    def move(self, source: int, target: int, length: int) -> None:
        """Row `target` becomes row `source`, of which `length` positions count."""
        self._all[:, :, target, :, :length] = self._all[:, :, source, :, :length]
