"""SPHINX_V_Model: load a checkpoint, ask about marked places of a picture, get text."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from SPHINX_V.errors import CheckpointWarning, PromptWarning, UsageError
from SPHINX_V.generation.engine import Engine
from SPHINX_V.generation.likelihood import Likelihood, likelihoods
from SPHINX_V.generation.options import Answer, EngineOptions
from SPHINX_V.generation.request import Request
from SPHINX_V.generation.sampling import whole_number
from SPHINX_V.inputs import ModelInputs
from SPHINX_V.model.lowbit import LowBitLinear
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.parallel import init_mesh, local_device, tensor_parallel_plan
from SPHINX_V.processing.processor import Processor
from SPHINX_V.processing.tokenizer import Tokenizer
from SPHINX_V.weights.checkpoint import few
from SPHINX_V.weights.folder import save_folder
from SPHINX_V.weights.load import LoadReport, load_model
from SPHINX_V.weights.local_part import is_distributed


class SPHINX_V_Model:
    """A model with its tokenizer and processor, ready to answer.

    Pictures are paths, PIL images or uint8 arrays [H, W], [H, W, 3] or [H, W, 4]; prompts are in pixels of that
    picture: Point, Box, Scribble, Mask or raw lists (`[x, y]` a point, `[x, y, w, h]` a box). Arguments are read,
    never changed. Whatever the caller can get wrong raises an error of `SPHINX_V.errors`; what is legal but probably
    not meant is warned of (PromptWarning).

    `load_report` says what was loaded from the checkpoint and what was not; None for a model that was not loaded.
    """

    def __init__(self, model: SphinxV, tokenizer: Tokenizer, load_report: LoadReport | None = None) -> None:
        if tokenizer.vocab_size > model.config.llm.vocab_size:
            raise UsageError(
                f"the tokenizer has {tokenizer.vocab_size} pieces, the model {model.config.llm.vocab_size};"
                " they belong to different checkpoints."
            )
        self.model = model.eval()
        self.config = model.config
        self.tokenizer = tokenizer
        self.processor = Processor(model.config, tokenizer)
        self.load_report = load_report
        self._engine: Engine | None = None
        self._making = threading.RLock()  # held to make an engine: two would share out the memory, and one be lost

    @staticmethod
    def from_pretrained(
        path: str | os.PathLike[str],
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        tensor_parallel: int = 1,
        data_parallel: int = 1,
        initialise_missing: str = "none",
        seed: int = 0,
        tokenizer_file: str | os.PathLike[str] | None = None,
        overrides: Mapping[str, Any] | None = None,
        replicas: str = "check",
        quantize: str | None = None,
    ) -> SPHINX_V_Model:
        """Loads a released folder, our own folder, or a starting point (Meta's LLaMA, SPHINX-v2-1k).

        `device`: by default the GPU where there is one; `dtype`: by default the file's. `tensor_parallel` N: run under
        `torchrun --nproc_per_node=N`; each process then holds its share of the language model, on its own GPU, and all
        of them must make the same calls, or `engine.follow()` the first one. With `data_parallel` M, M · N processes
        hold M such models: ranks 0 … N-1 the first. `initialise_missing` ("none", "prompts", "all") says what may be
        drawn at random, from `seed`, where the checkpoint has no such tensor. `tokenizer_file` takes the place of the
        folder's `tokenizer.model`; `overrides` changes single sizes, such as {"llm.max_seq_len": 4096}; `replicas`
        "first" accepts shards that disagree in a tensor that all of them hold. `quantize` "int8" or "int4" stores the
        language model's weights in so many bits, which takes a half or a quarter of bfloat16's memory and changes
        answers a little; the other parts stay as they are.

        Warns (CheckpointWarning) of tensors drawn at random and of unknown ones; `load_report` has all their names.
        Raises CheckpointError, ConfigError, UsageError.
        """
        place = local_device(device)
        parallelize = None
        if tensor_parallel != 1:
            place = local_device(place.type)
            parallelize = tensor_parallel_plan(init_mesh(tensor_parallel, place.type, data_parallel))
        loaded = load_model(
            path,
            device=place,
            dtype=dtype,
            parallelize=parallelize,
            initialise_missing=initialise_missing,
            seed=seed,
            tokenizer_file=tokenizer_file,
            overrides=overrides,
            replicas=replicas,
            quantize=quantize,
        )
        _warn_about(loaded.report, os.fspath(path))
        source = f"tokenizer of {os.fspath(path)}" if tokenizer_file is None else os.fspath(tokenizer_file)
        return SPHINX_V_Model(loaded.model, Tokenizer(loaded.tokenizer_bytes, source), loaded.report)

    def save_pretrained(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes our own folder (safetensors, configuration, tokenizer), which `from_pretrained` loads.

        Raises UsageError where `path` is taken and for a model that is split over processes or quantised.
        """
        if any(isinstance(module, LowBitLinear) for module in self.model.modules()):
            raise UsageError("the model is quantised, which cannot be undone; load it without quantize to save it.")
        state = self.model.state_dict()
        if any(is_distributed(tensor) for tensor in state.values()):
            raise UsageError("this process holds a part of the model; load it with tensor_parallel=1 to save it.")
        save_folder(path, state, self.config, self.tokenizer.serialized, overwrite=overwrite)

    @property
    def device(self) -> torch.device:
        return self.model.start_img.device

    @property
    def engine(self) -> Engine:
        """What answers; made with `EngineOptions()` at first use, or before by `make_engine`. It holds the cache."""
        with self._making:
            return self.make_engine() if self._engine is None else self._engine

    def make_engine(self, options: EngineOptions | None = None) -> Engine:
        """A new engine with limits of one's own in the place of the present one, whose memory goes when nobody uses it
        any more. Raises UsageError where memory is short, and while the present one leads or follows processes."""
        with self._making:
            if self._engine is not None:
                self._engine.check_not_led("make_engine()")
            self._engine = None  # first, so that its cache does not stand in the way
            self._engine = Engine(self.model, self.processor, options)
            return self._engine

    @torch.inference_mode()
    def logits(self, inputs: ModelInputs) -> Tensor:
        """Logits [T, vocab] float32 of the last T positions of one row, T = text tokens with BOS.

        With a picture row 0 stands at `end_vp` and predicts the first token after BOS; without one it is BOS itself.
        Raises UsageError for several rows, for a sequence longer than the model's context, and while the engine leads
        or follows other processes.
        """
        if self._engine is not None:
            self._engine.check_not_led("logits()")
        if inputs.batch_size != 1:
            raise UsageError(f"logits() takes one row, got {inputs.batch_size}; call it row by row.")
        text, visual = inputs.token_ids.shape[1], 0 if inputs.pixels is None else self.config.visual_length
        limit = self.config.llm.max_seq_len
        if text + visual > limit:
            raise UsageError(
                f"the text takes {text} tokens and the picture with its marks {visual}, together {text + visual}; the"
                f" model's context is {limit}. Shorten the text by at least {text + visual - limit} tokens."
            )
        return self.model(inputs.to(self.device))[0].float()

    def generate_response(
        self,
        turns: Iterable[Any],
        prompts: Iterable[Any] | None = None,
        image: Any = None,
        max_gen_len: int = 512,
        temperature: float = 0.1,
        top_p: float = 0.5,
        seed: int = 0,
    ) -> str:
        """The answer to the last turn of `turns` = `[[question, answer], …, [question, None]]`, stripped.

        `prompts` are marks on `image`, at most as many as the model has slots; both may be absent. `temperature` 0 is
        greedy; else tokens are drawn from the likeliest ones of total probability `top_p`, by `seed`. At most
        `max_gen_len` tokens, fewer where the model's context ends.
        """
        return "".join(self._pieces(Request(turns, prompts, image, max_gen_len, temperature, top_p, seed)))

    def stream_response(
        self,
        turns: Iterable[Any],
        prompts: Iterable[Any] | None = None,
        image: Any = None,
        max_gen_len: int = 512,
        temperature: float = 0.1,
        top_p: float = 0.5,
        seed: int = 0,
    ) -> Iterator[str]:
        """As `generate_response`, but yields new text as it comes; the pieces joined are that answer.

        Wrong arguments raise here, not at the first piece. Dropping the iterator ends the answer.
        """
        return self._pieces(Request(turns, prompts, image, max_gen_len, temperature, top_p, seed))

    def _pieces(self, request: Request) -> Iterator[str]:
        stream = self.engine.submit(request)
        for sentence in stream.warnings:
            warnings.warn(sentence, PromptWarning, stacklevel=3)

        def pieces() -> Iterator[str]:
            try:
                yield from stream
            finally:
                stream.cancel()

        return pieces()

    def generate_batch(self, requests: Iterable[Request], *, max_rows: int | None = None) -> list[str]:
        """Answers to many requests, in their order; each equals the answer that the request would get alone.

        They run together, at most `max_rows` at a time (default: as many as the engine has rows), with texts, marks and
        pictures of any sizes, or none.
        """
        return [answer.text for answer in self._answers(requests, max_rows)]

    def answer_batch(self, requests: Iterable[Request], *, max_rows: int | None = None) -> list[Answer]:
        """As `generate_batch`, with token ids and the reason why each answer ended."""
        return self._answers(requests, max_rows)

    def _answers(self, requests: Iterable[Request], max_rows: int | None) -> list[Answer]:
        if not isinstance(requests, Iterable):
            raise UsageError(f"requests is a {type(requests).__name__}; give a list of them, also for a single one.")
        requests = list(requests)
        for number, request in enumerate(requests, start=1):
            if not isinstance(request, Request):
                raise UsageError(f"request {number} is {request!r}; give Request(turns, prompts, image).")
        if not requests:
            raise UsageError("the batch is empty; give at least one Request.")
        if max_rows is not None and whole_number(max_rows, "max_rows") < 1:
            raise UsageError(f"max_rows is {max_rows}; give at least 1.")
        answers = []
        for number, answer in enumerate(self.engine.answers(requests, max_rows), start=1):
            for sentence in answer.warnings:
                warnings.warn(f"request {number}: {sentence}", PromptWarning, stacklevel=3)
            answers.append(answer)
        return answers

    def score(
        self,
        turns: Iterable[Any],
        continuations: Iterable[str],
        prompts: Iterable[Any] | None = None,
        image: Any = None,
    ) -> list[Likelihood]:
        """How likely each text is as the answer to the last turn: the sum of its tokens' natural log-probabilities, the
        stop string's included, and their number. Picture, marks and question are computed once for all of them."""
        question = self.processor.question(image, prompts, turns, self.engine.squares.open)
        for sentence in question.warnings:
            warnings.warn(sentence, PromptWarning, stacklevel=2)
        return likelihoods(self.engine, self.processor, question, continuations)


def _warn_about(report: LoadReport, path: str) -> None:
    if report.initialised:
        warnings.warn(
            f"{path}: {len(report.initialised)} tensors are not in the checkpoint and were drawn at random:"
            f" {few(report.initialised)}; train them before you trust an answer.",
            CheckpointWarning,
            stacklevel=3,
        )
    if report.unknown:
        warnings.warn(
            f"{path}: {len(report.unknown)} tensors are unknown and were left out: {few(report.unknown)};"
            " if they matter, this is a checkpoint of another model.",
            CheckpointWarning,
            stacklevel=3,
        )
