"""The decoding loop: prefill once, then one token per row and step over a static cache, for a batch or as a stream.

Prefill and a decode step are two functions of tensors; the loop around them owns texts, limits and stop strings.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from SPHINX_V.errors import UsageError
from SPHINX_V.generation.cache import KeyValueCache
from SPHINX_V.generation.sampling import Sampler, Sampling, whole_number
from SPHINX_V.generation.text import AnswerText
from SPHINX_V.inputs import ModelInputs
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.processing.conversation import STOP
from SPHINX_V.processing.tokenizer import Tokenizer

Finish = Literal["stop", "eos", "length"]
_CONTEXT = 8  # ids of the prompt that the text decoder may look back at


@dataclass(frozen=True)
class Options:
    """How one row is answered: at most `max_gen_len` new tokens, ended sooner by EOS or by one of `stops`.

    An answer also ends where the model's context is full. Raises UsageError for a `max_gen_len` that is no whole number
    of at least 1, and for `stops` that are no list of texts.
    """

    max_gen_len: int = 512
    sampling: Sampling = field(default_factory=Sampling)
    stops: Sequence[str] = (STOP,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_gen_len", whole_number(self.max_gen_len, "max_gen_len"))
        if self.max_gen_len < 1:
            raise UsageError(f"max_gen_len is {self.max_gen_len}; give at least 1 token.")
        # A text is a sequence of texts, too: each of its letters would end the answer.
        if isinstance(self.stops, str) or not isinstance(self.stops, Iterable):
            raise UsageError(f"stops is {self.stops!r}; give a list of texts, also for a single one: [{STOP!r}].")
        object.__setattr__(self, "stops", tuple(self.stops))
        for stop in self.stops:
            if not isinstance(stop, str) or not stop:
                raise UsageError(f"a stop string is {stop!r}; give a text of at least 1 character, or leave it out.")


@dataclass(frozen=True)
class Answer:
    """The text of one row, its token ids (with those of the stop string or EOS) and why it ended."""

    text: str
    ids: tuple[int, ...]
    finish: Finish


@dataclass
class DecodeState:
    """Where a batch stands: its cache, the position [B, 1] of each row's next token, and the greatest of them + 1."""

    cache: KeyValueCache
    positions: Tensor
    visible: int


def new_cache(model: SphinxV, batch: int, length: int) -> KeyValueCache:
    """A cache for what this device computes: under tensor parallelism its share of the heads."""
    config = model.config.llm
    weight = model.llm.get_parameter("layers.0.attention.wk.weight")
    # A DTensor's own shape is the whole model's; its local part says what attention sees here.
    local: Tensor = weight.to_local() if hasattr(weight, "to_local") else weight
    kv_heads = local.shape[0] // config.head_dim
    return KeyValueCache(config.n_layers, batch, kv_heads, length, config.head_dim, local.dtype, local.device)


@torch.inference_mode()
def prefill(model: SphinxV, inputs: ModelInputs, room: int) -> tuple[Tensor, DecodeState]:
    """Runs the prompts of all rows and allocates the cache, with `room` further positions per row.

    Returns the logits [B, vocab] after each row's last token, and the state that `decode_one` goes on from.
    """
    embeddings = model.embed(inputs)
    visual = embeddings.shape[1] - inputs.token_ids.shape[1]
    state = DecodeState(
        cache=new_cache(model, embeddings.shape[0], embeddings.shape[1] + room),
        positions=(inputs.lengths + visual).unsqueeze(1),
        visible=embeddings.shape[1],
    )
    # Attention is causal, so the padding on the right of a row changes nothing before it.
    hidden = model.hidden(embeddings, caches=state.cache.from_start())
    last = (state.positions - 1).unsqueeze(-1).expand(-1, 1, hidden.shape[-1])
    return model.llm.output(hidden.gather(1, last)).squeeze(1), state


@torch.inference_mode()
def decode_one(model: SphinxV, state: DecodeState, tokens: Tensor) -> Tensor:
    """One token per row [B] → the logits [B, vocab] after it; `state` moves on by one position, in place."""
    state.visible += 1
    hidden = model.hidden(
        model.llm.tok_embeddings(tokens.unsqueeze(1)),
        positions=state.positions,
        mask=state.cache.mask(state.positions, state.visible),
        caches=state.cache.at(state.positions, state.visible),
    )
    state.positions = state.positions + 1
    return model.llm.output(hidden).squeeze(1)


@dataclass
class _Row:
    """One answer in the making."""

    text: AnswerText
    limit: int
    eos: int
    ids: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    finish: Finish | None = None

    def push(self, token: int) -> str:
        """Takes the row's next token; returns the text to show. A finished row takes none."""
        if self.finish is not None:
            return ""
        self.ids.append(token)
        shown = "" if token == self.eos else self.text.push(token)
        if token == self.eos:
            self.finish = "eos"
        elif self.text.stopped:
            self.finish = "stop"
        elif len(self.ids) == self.limit:
            self.finish = "length"
        if self.finish is not None:
            shown += self.text.finish()
        self.pieces.append(shown)
        return shown

    def answer(self) -> Answer:
        assert self.finish is not None, "asked for an answer before its end"
        return Answer("".join(self.pieces), tuple(self.ids), self.finish)


def room_for_answer(model: SphinxV, inputs: ModelInputs, longest: int) -> int:
    """Tokens that an answer may take: the context less the `longest` text of the batch and the visual tokens.

    Raises UsageError with the numbers where nothing is left.
    """
    limit = model.config.llm.max_seq_len
    visual = 0 if inputs.pixels is None else model.config.visual_length
    if visual + longest >= limit:
        raise UsageError(
            f"the question takes {longest} tokens and the picture with its marks {visual}, together"
            f" {visual + longest}; the model's context is {limit} and the answer needs room too."
            f" Shorten the conversation by at least {visual + longest - limit + 1} tokens."
        )
    return limit - visual - longest


def generate_steps(
    model: SphinxV, tokenizer: Tokenizer, inputs: ModelInputs, options: Sequence[Options]
) -> Generator[list[str], None, list[Answer]]:
    """Answers a batch; yields each step's new text per row ("" for none) and returns the finished answers.

    `inputs` are rows of any text lengths, padded on the right, all with a picture or all without; `options` has one
    entry per row. The rows' answers do not depend on each other. Dropping the generator frees the cache.
    Raises UsageError for an empty batch and for a context overflow: at the call, before anything is computed.
    """
    if inputs.batch_size == 0 or inputs.batch_size != len(options):
        raise UsageError(f"{inputs.batch_size} rows with {len(options)} options; give one for each of at least 1 row.")
    lengths: list[int] = inputs.lengths.tolist()
    limits = [min(o.max_gen_len, room_for_answer(model, inputs, n)) for n, o in zip(lengths, options, strict=True)]
    rows = [
        _Row(AnswerText(tokenizer, ids[max(0, n - _CONTEXT) : n], option.stops), limit, tokenizer.eos_id)
        for ids, n, option, limit in zip(inputs.token_ids.tolist(), lengths, options, limits, strict=True)
    ]
    return _decode(model, inputs, rows, [option.sampling for option in options], tokenizer.vocab_size)


def _decode(
    model: SphinxV, inputs: ModelInputs, rows: Sequence[_Row], sampling: Sequence[Sampling], pieces: int
) -> Generator[list[str], None, list[Answer]]:
    """The loop of `generate_steps`; a generator runs only when it is asked, so all checks stand in front of it."""
    device = model.start_img.device
    sampler = Sampler(sampling, device)
    logits, state = prefill(model, inputs.to(device), max(row.limit for row in rows))
    while True:
        # Some vocabularies are padded to a round size: an id beyond the tokenizer's `pieces` has no text.
        tokens = sampler(logits[:, :pieces])
        # The one place where the host waits for the device: stop strings and streams need the ids.
        yield [row.push(token) for row, token in zip(rows, tokens.tolist(), strict=True)]
        if all(row.finish is not None for row in rows):
            return [row.answer() for row in rows]
        logits = decode_one(model, state, tokens)


def generate(model: SphinxV, tokenizer: Tokenizer, inputs: ModelInputs, options: Sequence[Options]) -> list[Answer]:
    """The answers of a batch, in its order; arguments and errors as in `generate_steps`."""
    steps = generate_steps(model, tokenizer, inputs, options)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            answers: list[Answer] = end.value
            return answers
