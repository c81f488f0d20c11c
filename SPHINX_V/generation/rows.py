"""What the engine computes: prompts into rows of the cache, then a step for all rows; nothing that is kept already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from SPHINX_V.errors import AnswerError, UsageError
from SPHINX_V.generation.cache import RowCache, fewest, joint_span, prompt_span, row_bytes
from SPHINX_V.generation.decode import Decoder
from SPHINX_V.generation.memory import memory_left
from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.generation.peers import AgreedShortage, peers_of
from SPHINX_V.generation.prefix import Kept, PrefixStore, PromptKey
from SPHINX_V.generation.prompt import PreparedPrompt
from SPHINX_V.model.sphinx_v import SphinxV

_CPU_SHARE, _GPU_SHARE = 0.5, 0.8  # of the free memory: the rest is for activations, and on a CPU for others
_LEAST_PREFIXES = 512 * 2**20
_PICTURES_AT_ONCE = 8
_FILL_AT_ONCE = 512  # positions of several prompts: with more, reading the weights again no longer counts
_WORTH_WAITING = 64  # positions: more than the words that every prompt begins with


class Rows:
    """Rows of a cache and the model over them. Owns the cache, the kept prompts and the kept pictures.

    All methods run in inference mode; the caller sees to it that one runs at a time, and under tensor parallelism that
    all processes make the same calls.
    """

    def __init__(self, model: SphinxV, options: EngineOptions) -> None:
        self._model = model
        self.device, self.dtype = model.start_img.device, model.start_img.dtype
        longest = model.config.llm.max_seq_len
        if options.max_len is not None and options.max_len > longest:
            raise UsageError(
                f"max_len is {options.max_len}; the model's context is {longest}. Give no more, or load the model with"
                f' overrides={{"llm.max_seq_len": {options.max_len}}}.'
            )
        self.length = options.max_len or longest
        kept = _planned_prefixes(model, options, self.length)
        self.count = _planned_rows(model, options, self.length, kept)
        self.cache = RowCache(model, self.count, self.length, self.dtype, self.device)
        self.peers = peers_of(model)
        self.program = self.peers.program
        self.decoder = Decoder(
            self.program,
            self.cache,
            self.device,
            # The kernels of a split layer are not all launched by this process.
            static=options.cuda_graphs and self.device.type == "cuda" and self.peers.link is None,
        )
        self.prefixes = PrefixStore(kept)
        self.pictures = Kept(options.picture_bytes // 2)
        self.picture_hits = 0
        self.picture_misses = 0

    def encode(self, prompts: Sequence[PreparedPrompt]) -> dict[str, Tensor]:
        """The pictures of prompts as tagged tokens [5 · (n + 2), D], by their hash; each is encoded once, ever, as long
        as it is kept. Those of prompts whose picture lies in the kept prefix are left out."""
        found: dict[str, Tensor] = {}
        missing: dict[str, Tensor] = {}
        for prompt in prompts:
            key, square = prompt.key, prompt.square
            if square is None or key.picture in found or key.picture in missing:
                continue
            kept = self.pictures.get(key.picture)
            if kept is None and self.prefixes.find(key)[0] <= key.image_length:
                missing[key.picture] = square
                continue
            self.picture_hits += 1
            if kept is not None:
                found[key.picture] = kept
        self.picture_misses += len(missing)
        names = list(missing)
        for at in range(0, len(names), _PICTURES_AT_ONCE):
            some = names[at : at + _PICTURES_AT_ONCE]
            blocks = self.peers.blocks(torch.stack([missing[name] for name in some])).to(self.dtype)
            for name, block in zip(some, blocks):
                found[name] = block.clone()
                self.pictures.put(name, found[name])
        return found

    def at_once(self, keys: Sequence[PromptKey]) -> int:
        """How many of the first prompts are filled at once, at least one: short ones, as long as none begins as one
        beside it does, which is computed once if it waits for that to be kept."""
        positions = 0
        for count, key in enumerate(keys):
            start, _ = self.prefixes.find(key)
            positions += len(key) - start
            again = max((key.shared(other) for other in keys[:count]), default=0) - start
            if count and (positions > _FILL_AT_ONCE or (self.prefixes.limit and again > _WORTH_WAITING)):
                return count
        return len(keys)

    def fill(
        self, row: int, prompts: Sequence[PreparedPrompt], pictures: dict[str, Tensor]
    ) -> tuple[Tensor, list[int]]:
        """Puts prompts into rows from `row` on: the logits [n, vocab] after the last token of each, and how many of its
        positions were kept."""
        starts = [self._copy_in(row + number, prompt.key) for number, prompt in enumerate(prompts)]
        x = torch.cat([self._embeddings(prompt, pictures, start) for prompt, start in zip(prompts, starts)])
        lengths = [len(prompt.key) - start for prompt, start in zip(prompts, starts)]
        spans = [
            prompt_span(row + number, start, length, self.device, self.dtype)
            for number, (start, length) in enumerate(zip(starts, lengths))
        ]
        hidden = self.program(x, self.cache, joint_span(spans))
        for number, prompt in enumerate(prompts):
            self.keep(row + number, prompt.key)
        ends = torch.tensor(lengths, device=self.device).cumsum(0) - 1
        return self.program.logits(hidden[ends]), starts

    def _copy_in(self, row: int, key: PromptKey) -> int:
        """Puts what is kept of a prompt into a row: how many positions that is."""
        start, pieces = self.prefixes.find(key)
        ends = [first for first, _ in pieces[1:]] + [start]
        for (first, states), end in zip(pieces, ends):
            self.cache.copy_in(row, first, end, states)
        return start

    def _embeddings(self, prompt: PreparedPrompt, pictures: dict[str, Tensor], start: int) -> Tensor:
        """Embeddings [N, D] of a prompt's positions from `start` on."""
        key, marks_end = prompt.key, 1 + prompt.key.image_length + prompt.key.marks_length
        text = max(0, start - (marks_end - 1))
        parts = [self.program.embed(torch.tensor(key.ids[max(1, text) :], device=self.device))]
        if prompt.slots is not None and start < marks_end:
            marks = self._model.encode_prompts(prompt.slots.to(self.device))
            parts.insert(0, self._model.prompt_block(marks)[0].to(self.dtype)[max(0, start - 1 - key.image_length) :])
        if key.picture and start <= key.image_length:
            block = pictures.get(key.picture)
            if block is None:  # what was kept for it has just made room for another prompt
                block = self.encode([prompt])[key.picture]
            parts.insert(0, block[max(0, start - 1) :])
        if start == 0:
            parts.insert(0, self.program.embed(torch.tensor(key.ids[:1], device=self.device)))
        return torch.cat(parts)

    def follow(self, row: int, start: int, ids: Sequence[int]) -> Tensor:
        """Text tokens that follow what a row holds before `start`: the logits [N, vocab] after each of them."""
        x = self.program.embed(torch.tensor(ids, device=self.device))
        return self.program.logits(
            self.program(x, self.cache, prompt_span(row, start, len(ids), self.device, self.dtype))
        )

    def step(self, tokens: Sequence[int], lengths: Sequence[int]) -> Tensor:
        """The next token of rows 0 … n-1, which hold `lengths` positions: the logits [n, vocab] after it."""
        return self.decoder.logits(torch.tensor(tokens, device=self.device), lengths)

    def keep(self, row: int, key: PromptKey) -> None:
        """Keeps what a row holds, for prompts that begin in the same way."""
        self.prefixes.keep(key, lambda start, end: self.cache.copy_out(row, start, end))

    def discard(self, row: int, key: PromptKey) -> None:
        """Takes back all of a prompt whose results are not finite. Masked positions enter attention with weight 0, and
        0 · NaN is NaN: for the prompt's own earlier positions, which others may share, and for who has the row next."""
        self.cache.clear(row)
        self.prefixes.drop(key)

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that all processes go through alike: a torch.OutOfMemoryError in it on one is raised on all of them.
        What is kept, which may differ by then, is dropped."""
        try:
            with self.peers.together():
                yield
        except AgreedShortage:
            self.forget()
            raise

    def shortage(self) -> str | None:
        """Why the results of a step are not finite, where it is that memory was short on a process."""
        short = self.peers.shortage()
        if short is not None:
            self.forget()
        return short

    def forget(self) -> None:
        """Drops kept prompts and pictures."""
        self.prefixes.clear()
        self.pictures.clear()


def _planned_prefixes(model: SphinxV, options: EngineOptions, length: int) -> int:
    """Bytes for kept prompts, the same on all processes that share the model: on a CPU room for one conversation, or a
    second question would not find its picture."""
    if options.prefix_bytes is not None:
        return options.prefix_bytes
    device, free = model.start_img.device, _free_bytes(model.start_img.device)
    if free is None:
        return _LEAST_PREFIXES
    one = row_bytes(model, length, model.start_img.dtype)
    return fewest(model, max(_LEAST_PREFIXES, free // 8 if device.type == "cuda" else min(one, free // 4)))


def _planned_rows(model: SphinxV, options: EngineOptions, length: int, prefixes: int) -> int:
    """How many rows the free memory holds, at most `max_rows`; the same on all processes that share the model."""
    device = model.start_img.device
    size = row_bytes(model, length, model.start_img.dtype)
    free = _free_bytes(device)
    # On a CPU the other half of the free memory holds what is usual.
    kept = prefixes + options.picture_bytes if device.type == "cuda" else max(0, prefixes - _LEAST_PREFIXES)
    rows = options.max_rows if free is None else min(options.max_rows, (free - kept) // size)
    rows = fewest(model, rows)
    if rows < 1:
        raise UsageError(
            f"one conversation of {length} positions takes {size / 2**20:.0f} MiB and {(free or 0) / 2**20:.0f} MiB are"
            f" free for it on {device}; set a shorter max_len, smaller prefix_bytes, or use more devices."
        )
    return rows


def _free_bytes(device: torch.device) -> int | None:
    """The share of a device's free memory that a cache may take; None where the system does not tell."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what an earlier engine gave back is still torch's, and for the driver not free
        return int(torch.cuda.mem_get_info(device)[0] * _GPU_SHARE)
    left = memory_left()
    return None if left is None else int(left * _CPU_SHARE)


def out_of_memory(what: str, reason: BaseException | str) -> AnswerError:
    """What a request fails with: `what` needs memory, and the first line of why there is none."""
    first = str(reason).partition("\n")[0].rstrip(".")
    return AnswerError(f"{what}: out of memory ({first}).")
