"""What processes that share a model must do alike, also where one of them runs out of memory; and pictures, of which
each encodes its part."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, distributed, nn

from SPHINX_V.config import NUM_VIEWS
from SPHINX_V.errors import AnswerError
from SPHINX_V.generation.cache import RowCache, Span, model_group
from SPHINX_V.generation.link import Link, link_over
from SPHINX_V.generation.program import Program
from SPHINX_V.model.llama import Block
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.model.vision import split_views
from SPHINX_V.processing.image import normalise

_NO_CPU_MEMORY = "DefaultCPUAllocator: can't allocate memory"  # which CPUs have no error of its own for


class AgreedShortage(torch.OutOfMemoryError):
    """Memory is short on a process, and all of them know."""


class Alone:
    """A process that holds the whole model, and has nobody to agree with."""

    link: Link | None = None

    def __init__(self, model: SphinxV) -> None:
        self._model = model
        self.program = Program(model.llm)

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that all processes go through. Where memory is short in it on one of them, torch.OutOfMemoryError is
        raised on all."""
        try:
            yield
        except RuntimeError as error:
            raise torch.OutOfMemoryError(_shortage_in(error)) from None

    def step(self) -> AbstractContextManager[None]:
        """A block that computes steps. Where memory is short in it, torch.OutOfMemoryError is raised."""
        return self.together()

    def shortage(self) -> str | None:
        """Why the results of a step are not finite, where it is that memory was short; all processes ask."""
        return None

    def blocks(self, squares: Tensor) -> Tensor:
        """Pictures [B, 3, H, H] uint8 → their tagged tokens [B, 5 · (n + 2), D]."""
        pixels = normalise(squares.to(self._model.start_img.device))
        return self._model.image_block(self._model.encode_image(pixels))


class Peers(Alone):
    """One of several processes that share the language model.

    A process that runs out of memory before an exchange would leave the others waiting in it for ever. So inside
    `together` all agree before they embed, run the layers or read off logits; and within the layers the one that is
    short sends NaN from there on, and says why when all of them ask.
    """

    link: Link

    def __init__(self, model: SphinxV, link: Link) -> None:
        self._model = model
        self.link = link
        self.program = _InStep(model, self)
        self.short: str | None = None  # of what, on this process; not yet told
        self._inside = False

    @contextmanager
    def together(self) -> Iterator[None]:
        self._inside = True
        try:
            yield
        except AgreedShortage:
            raise
        except RuntimeError as error:
            self.short = _shortage_in(error)
        finally:
            self._inside = False
        self._agree()

    def step(self) -> AbstractContextManager[None]:
        """Agreeing takes time, so nothing is raised: see `shortage`."""
        return nullcontext()

    def before_exchange(self) -> None:
        """In a block of `together` all agree here that they have got so far."""
        if self._inside:
            self._agree()

    def shortage(self) -> str | None:
        short, self.short = self.short, None
        return self.link.agree(short)

    def _agree(self) -> None:
        short = self.shortage()
        if short is not None:
            raise AgreedShortage(short)

    def blocks(self, squares: Tensor) -> Tensor:
        """Each process encodes its share of the views; then all have all. A view's tokens do not depend on the others'
        but for the rounding of larger products."""
        count = len(squares) * NUM_VIEWS
        share = -(-count // self.link.size)
        own = torch.arange(count)[self.link.rank * share : (self.link.rank + 1) * share]
        config, device = self._model.config, self._model.start_img.device
        try:
            views = split_views(normalise(squares.to(device))).flatten(0, 1)
            shape = (share, config.image_length // NUM_VIEWS - 2, config.llm.dim)
            part = torch.zeros(shape, dtype=self._model.start_img.dtype, device=device)
            whole = part.new_empty((self.link.size * share, *shape[1:]))
            if len(own):
                part[: len(own)] = self._model.encode_views(views[own.to(device)], (own % NUM_VIEWS).to(device))
        except RuntimeError as error:
            self.short = _shortage_in(error)
            part = whole = squares.new_empty(0)
        self._agree()  # who has nothing goes no further
        distributed.all_gather_into_tensor(whole, part, group=self.link.model_group)
        return self._model.image_block(whole[:count].unflatten(0, (-1, NUM_VIEWS)))


class _InStep(Program):
    """Makes all its exchanges with the other processes, whatever happens on this one."""

    def __init__(self, model: SphinxV, peers: Peers) -> None:
        super().__init__(model.llm)
        self._peers = weakref.proxy(peers)
        blocks = [block for block in model.llm.layers if isinstance(block, Block)]
        # What sends within the layers, in this order; each returns when the sum over processes is there.
        self._senders: list[nn.Module] = [part for b in blocks for part in (b.attention.wo, b.feed_forward.w2)]
        self._sent = sent = [0]

        def count(module: nn.Module, arguments: Any, output: Any) -> None:
            sent[0] += 1

        for module in self._senders:
            weakref.finalize(self, module.register_forward_hook(count).remove)

    def embed(self, ids: Tensor) -> Tensor:
        self._peers.before_exchange()
        with _whole_or_not_at_all("embeddings"):
            return super().embed(ids)

    def __call__(self, x: Tensor, cache: RowCache, span: Span) -> Tensor:
        self._peers.before_exchange()
        self._sent[0] = 0
        try:
            hidden = super().__call__(x, cache, span)
            assert self._sent[0] == len(self._senders), "each layer sends twice"
            return hidden
        except RuntimeError as error:
            self._peers.short = _shortage_in(error)
        # Out of the handler, so that what the layers held is free again.
        with _whole_or_not_at_all("hidden states"):
            for module in self._senders[self._sent[0] :]:
                weight: Any = module.weight
                nothing = torch.full((1, weight.to_local().shape[1]), torch.nan, dtype=x.dtype, device=x.device)
                module(nothing.expand(len(x), -1))
        return x.fill_(torch.nan)

    def logits(self, hidden: Tensor) -> Tensor:
        self._peers.before_exchange()
        with _whole_or_not_at_all("logits"):
            return super().logits(hidden)


@contextmanager
def _whole_or_not_at_all(what: str) -> Iterator[None]:
    """Where an exchange itself finds no memory, the others cannot be told."""
    try:
        yield
    except RuntimeError as error:
        raise AnswerError(
            f"out of memory while {what} are exchanged ({_shortage_in(error)}); the processes of the model are out of"
            " step now. Start them anew, with smaller prefix_bytes or fewer max_rows."
        ) from None


def _shortage_in(error: RuntimeError) -> str:
    """What an error says of memory that is short; raises it again where it is of something else."""
    text = str(error).partition("\n")[0]
    if isinstance(error, torch.OutOfMemoryError):
        return text
    if _NO_CPU_MEMORY not in text:
        raise error
    return text[text.index(_NO_CPU_MEMORY) :]


def peers_of(model: SphinxV) -> Alone:
    """Who shares the model with this process. All that do must call this in the same order."""
    group = model_group(model)
    return Alone(model) if group is None else Peers(model, link_over(group))
