"""Several steps of decoding at a time, without waiting for the device in between; on GPUs a step is a captured graph.

A graph has fixed shapes and addresses: it is made for a number of rows and of keys, both rounded up, and reads tokens
and positions from tensors of its own. Rows beyond the running ones compute something that nobody looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from SPHINX_V.generation.cache import RowCache, Span, own_places_mask
from SPHINX_V.generation.program import Program
from SPHINX_V.generation.sampling import Sampler

_KEYS = 256  # keys of a graph are a multiple of this


@dataclass(frozen=True)
class Drawn:
    """What `count` steps drew for n rows: tokens and greatest logits [count][n] on the host, and each step's logits
    [n, pieces] where they were asked for. A greatest logit that is not finite means that a row has no probabilities."""

    tokens: list[list[int]]
    greatest: list[list[float]]
    logits: tuple[Tensor, ...] = ()


class StaticStep:
    """One step for `rows` rows over `keys` keys, from and to fixed memory: `tokens` and `positions` [rows] int64 in,
    `logits` [rows, vocab] out. `run` reads and writes nothing else but the cache, at each row's own position."""

    def __init__(self, program: Program, cache: RowCache, rows: int, keys: int, device: torch.device) -> None:
        self._program, self._cache = program, cache
        self.rows, self.keys = rows, keys
        self.tokens = torch.zeros(rows, dtype=torch.int64, device=device)
        self.positions = torch.zeros(rows, dtype=torch.int64, device=device)
        self.logits: Tensor | None = None
        self.replay: Callable[[], None] = self.run

    def put(self, tokens: Tensor, lengths: Sequence[int]) -> None:
        """Takes the newest tokens of the first rows, which hold `lengths` positions. The others begin anew."""
        positions = torch.tensor([*lengths, *[0] * (self.rows - len(lengths))])
        self.positions.copy_(positions.pin_memory() if self.positions.is_cuda else positions, non_blocking=True)
        self.tokens[: len(lengths)] = tokens

    def run(self) -> None:
        """The step, launch by launch."""
        mask = own_places_mask(self.positions, self.keys, self._cache.dtype)
        span = Span(0, self.rows, None, self.keys, self.positions, mask, places=self._cache.places(self.positions))
        self.logits = self._program.logits(self._program(self._program.embed(self.tokens), self._cache, span))

    def capture(self, pool: Any) -> None:
        """From here on `replay` is one launch. Needs a GPU, and tokens and positions that are put already: the step is
        run twice for it, which changes nothing that `replay` will not write again."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # What other threads ask of the GPU meanwhile, such as memory for another model, is not part of the graph.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            self.run()
        self.replay = graph.replay


class Decoder:
    """Draws tokens for rows 0 … n-1 of a cache. `static`: by steps of fixed shapes, which are captured where the device
    is a GPU; else by steps of just the rows and keys there are."""

    def __init__(self, program: Program, cache: RowCache, device: torch.device, static: bool) -> None:
        self._program, self._cache, self._device, self._static = program, cache, device, static
        self._steps: dict[tuple[int, int], StaticStep] = {}
        self._pool = torch.cuda.graph_pool_handle() if static and device.type == "cuda" else None

    def logits(self, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """The logits [n, vocab] after the next token of each row, which holds `lengths` positions before it; valid
        until the next call."""
        if not self._static:
            span = self._cache.step_span(lengths)
            return self._program.logits(self._program(self._program.embed(tokens), self._cache, span))
        step = self._step(len(lengths), max(lengths) + 1)
        step.put(tokens, lengths)
        if self._pool is not None and step.logits is None:
            step.capture(self._pool)
        step.replay()
        assert step.logits is not None
        return step.logits[: len(lengths)]

    def draw(
        self,
        tokens: Sequence[int],
        lengths: Sequence[int],
        count: int,
        pieces: int,
        sampler: Sampler,
        seen: Tensor | None = None,
        keep_logits: bool = False,
    ) -> Drawn:
        """The next `count` tokens of each row, which holds `lengths` positions and whose newest ones are `tokens`; ids
        below `pieces`: some vocabularies are padded to a round size, and the ids beyond the tokenizer's have no text.

        `seen` [n, pieces] bool, the tokens that a penalty is for, is brought up to date.
        """
        newest = torch.tensor(tokens, device=self._device)
        uniform = sampler.uniform(count)
        drawn, kept = [], []
        for number in range(count):
            logits = self.logits(newest, [length + number for length in lengths])[:, :pieces]
            newest, greatest = _draw(logits, sampler, seen, uniform[number])
            drawn.append(torch.stack([newest.double(), greatest.double()]))
            if keep_logits:
                kept.append(logits.clone() if self._static else logits)
        return _on_host(drawn, kept)

    def _step(self, rows: int, keys: int) -> StaticStep:
        rows = min(self._cache.rows, 1 << (rows - 1).bit_length())
        keys = min(self._cache.length, -(-keys // _KEYS) * _KEYS)
        if (rows, keys) not in self._steps:
            self._steps[rows, keys] = StaticStep(self._program, self._cache, rows, keys, self._device)
        return self._steps[rows, keys]


def draw_first(logits: Tensor, sampler: Sampler, seen: Tensor | None) -> Drawn:
    """The first token of each row from the logits [n, pieces] after its prompt; `seen` as of `Decoder.draw`."""
    token, greatest = _draw(logits, sampler, seen, sampler.uniform(1)[0])
    return _on_host([torch.stack([token.double(), greatest.double()])], [logits])


def _draw(logits: Tensor, sampler: Sampler, seen: Tensor | None, uniform: Tensor) -> tuple[Tensor, Tensor]:
    token, greatest = sampler(logits, seen, uniform)
    if seen is not None:
        seen.scatter_(1, token.unsqueeze(1), True)
    return token, greatest


def _on_host(drawn: Sequence[Tensor], logits: Sequence[Tensor]) -> Drawn:
    """The one place where the host waits for the device: stop strings and streams need the ids."""
    ids, greatest = torch.stack(tuple(drawn), dim=1).tolist()
    return Drawn([[int(token) for token in step] for step in ids], greatest, tuple(logits))
