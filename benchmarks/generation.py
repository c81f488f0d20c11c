"""Times the generation engine: decoding against transformers' generate and a plain loop, a second question against the
first, a batch against one by one. Weights are random.

`python -m benchmarks.generation [--size tiny] [--dtype float32] [--record FILE.json]`
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy
import torch
from torch import Tensor

from benchmarks import _measure
from benchmarks._measure import Numbers, timed
from SPHINX_V.config import LlamaConfig, SphinxVConfig, VisionConfig, blip2_tower, clip_tower, dinov2_tower, tiny
from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.processing.tokenizer import Tokenizer
from SPHINX_V.sphinx_v import Request, SPHINX_V_Model
from SPHINX_V.weights.load import build_random
from tests.golden_model import GOLDEN
from tests.transformers_llama import llama_weights, transformers_llama

CPU = torch.device("cpu")
PROMPT = 160  # positions before the first new token
GOALS = {"decode_over_transformers": 1.5, "decode_over_loop": 1.3, "second_question_sooner": 10, "batch_of_16": 3}


def sizes(name: str) -> SphinxVConfig:
    """The preset, or 33 million parameters in the language model behind the preset's encoders."""
    if name == "tiny":
        return tiny()
    llm = LlamaConfig(dim=512, n_layers=10, n_heads=8, vocab_size=1024, multiple_of=128, max_seq_len=2048)
    return tiny().model_copy(update={"llm": llm})


def with_full_picture(config: SphinxVConfig) -> SphinxVConfig:
    """The same language model behind small encoders that give as many positions as the released ones: 1455."""
    small, tower = config.vision, {"patch_size": 16}
    vision = VisionConfig(
        view_size=256,
        clip=clip_tower(64, 2, 4, grid=16, **tower),
        dinov2=dinov2_tower(32, 1, 2, grid=16, **tower),
        blip2_vit=blip2_tower(32, 1, 2, mlp_width=64, grid=16, **tower),
        convnext=small.convnext,
        qformer=small.qformer.model_copy(update={"num_query_tokens": 32}),
    )
    llm = config.llm.model_copy(update={"max_seq_len": 2048})
    return config.model_copy(update={"vision": vision, "llm": llm})


class GrowingCache:
    """What a plain loop keeps: keys and values of a layer, joined with the new ones at each token."""

    def __init__(self) -> None:
        self._kept: tuple[Tensor, Tensor] | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if self._kept is not None:
            keys, values = torch.cat([self._kept[0], keys], 2), torch.cat([self._kept[1], values], 2)
        self._kept = keys, values
        return keys, values


def decoding(
    model: SPHINX_V_Model, low_bits: dict[str, SPHINX_V_Model], theirs: Any, new_tokens: int
) -> dict[str, Callable[[], Numbers]]:
    """Tokens per second of ways to continue the same embeddings greedily, prompt included: the engine, the engine with
    weights of few bits, a loop and transformers."""
    ids = torch.randint(3, 700, (PROMPT,), generator=torch.Generator().manual_seed(0))
    embeddings = model.model.llm.tok_embeddings(ids).unsqueeze(0)
    network = model.model
    found: dict[str, list[int]] = {}

    def rate(name: str, work: Callable[[], list[int]]) -> Callable[[], Numbers]:
        def measure() -> Numbers:
            seconds, found[name] = timed(CPU, work)
            if model.engine.rows.dtype == torch.float32:
                assert len({tuple(tokens) for tokens in found.values()}) == 1, "the ways differ in what they say"
            return {"tokens_per_second": new_tokens / seconds}

        return measure

    def engine(of: SPHINX_V_Model) -> list[int]:
        rows = of.engine.rows
        tokens = [int(rows.follow(0, 0, ids.tolist())[-1].argmax())]
        while len(tokens) < new_tokens:
            tokens.append(int(rows.step(tokens[-1:], [PROMPT + len(tokens) - 1]).argmax()))
        return tokens

    def loop() -> list[int]:
        caches: list[Any] = [GrowingCache() for _ in network.llm.layers]
        hidden = network.hidden(embeddings, caches=caches)
        tokens = [int(network.llm.output(hidden[:, -1]).argmax())]
        while len(tokens) < new_tokens:
            position = torch.tensor([PROMPT + len(tokens) - 1])
            hidden = network.hidden(network.llm.tok_embeddings(torch.tensor([tokens[-1:]])), position, caches=caches)
            tokens.append(int(network.llm.output(hidden[:, -1]).argmax()))
        return tokens

    def generate() -> list[int]:
        options = {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens, "do_sample": False}
        mask = torch.ones(1, PROMPT, dtype=torch.int64)
        out = theirs.generate(
            inputs_embeds=embeddings, attention_mask=mask, cache_implementation="static", pad_token_id=0, **options
        )
        return [int(token) for token in out[0]]

    def read_once() -> Numbers:
        """What a step must do at least: read the weights, here by a sum, which does little else."""
        weights = [parameter.data.view(-1) for name, parameter in network.llm.named_parameters() if "tok_" not in name]
        seconds, _ = timed(CPU, lambda: [weight.sum() for weight in weights])
        return {"tokens_per_second": 1 / seconds}

    ways: dict[str, Callable[[], list[int]]] = {"engine": lambda: engine(model), "loop": loop, "transformers": generate}
    ways |= {f"engine_{bits}": lambda of=of: engine(of) for bits, of in low_bits.items()}  # type: ignore[misc]
    return {**{name: rate(name, work) for name, work in ways.items()}, "weights_read_once": read_once}


def pictures(count: int) -> list[Any]:
    noise = numpy.random.default_rng(0)
    return [noise.integers(0, 256, (480, 640, 3), dtype=numpy.uint8) for _ in range(count)]


def questions(model: SPHINX_V_Model) -> dict[str, Callable[[], Numbers]]:
    """Seconds to the first token of a question, and of another one about the same picture and marks."""
    (picture,) = pictures(1)
    marks = [[100, 100, 200, 150], [300, 220]]

    def ask(text: str) -> float:
        request = Request([[text, None]], marks, picture, max_gen_len=1, temperature=0.0)
        return timed(CPU, lambda: model.engine.submit(request).answer())[0]

    def both() -> Numbers:
        model.engine.forget()
        first = ask("Please identify the labels of each marked region in the image.")
        second = ask("How do <Region 1> and <Mark 2> relate?")
        return {"first": first, "second": second, "sooner": first / second}

    return {"questions": both}


def batches(model: SPHINX_V_Model) -> dict[str, Callable[[], Numbers]]:
    """Tokens per second of 16 ragged requests, 12 of them about 4 pictures, together and one by one."""
    seen = pictures(4)
    requests = [
        Request(
            [["What is this, and why? " * (1 + n % 5), None]],
            None if n % 4 == 3 else [[10 * n + 5, 20, 60, 40 + n]],
            None if n % 4 == 3 else seen[n % 3],
            max_gen_len=24 + 8 * n,
            temperature=0.0,
        )
        for n in range(16)
    ]

    def measure(at_once: int) -> Numbers:
        model.engine.forget()
        seconds, answers = timed(CPU, lambda: list(model.engine.answers(requests, at_once)))
        return {"tokens_per_second": sum(len(answer.ids) for answer in answers) / seconds}

    return {"together": lambda: measure(16), "one_by_one": lambda: measure(1)}


@torch.inference_mode()
def measure(size: str, dtype: torch.dtype, new_tokens: int, repeats: int) -> dict[str, Any]:
    """Medians of all ways, and the ratios that the goals are about."""
    config = sizes(size)
    theirs = transformers_llama(config.llm).eval()
    network = build_random(config)
    network.llm.load_state_dict(dict(llama_weights(theirs.state_dict(), config.llm)))
    tokenizer = Tokenizer.from_file(Path(GOLDEN) / "tokenizer.model")
    model = SPHINX_V_Model(network, tokenizer)
    models, theirs = {"": model}, theirs.to(dtype)
    if dtype != torch.float32:
        with TemporaryDirectory() as folder:
            model.save_pretrained(Path(folder) / "model")
            for bits in ("", "int8", "int4"):
                path = Path(folder) / "model"
                models[bits] = SPHINX_V_Model.from_pretrained(path, device=CPU, dtype=dtype, quantize=bits or None)
    model = models.pop("")
    full = SPHINX_V_Model(build_random(with_full_picture(config), dtype=dtype), tokenizer)
    for each in (model, full, *models.values()):
        each.make_engine(EngineOptions(max_rows=16))
    decoded = _measure.in_turn(decoding(model, models, theirs, new_tokens), repeats)
    asked = _measure.in_turn(questions(model), repeats)
    asked_full = {"questions_full_picture": _measure.in_turn(questions(full), repeats)["questions"]}
    batched = _measure.in_turn(batches(model), repeats)
    once = [{"sooner": 1.0}] * repeats
    low_bits = {
        f"decode_{bits}_over_transformers": _measure.ratio(
            decoded[f"engine_{bits}"], decoded["transformers"], "tokens_per_second"
        )
        for bits in models
    }
    return {
        "parameters_of_llm": sum(p.numel() for p in network.llm.parameters()),
        "ways": {
            name: _measure.medians(rounds) for name, rounds in {**decoded, **asked, **asked_full, **batched}.items()
        },
        "decode_over_transformers": _measure.ratio(decoded["engine"], decoded["transformers"], "tokens_per_second"),
        "decode_over_loop": _measure.ratio(decoded["engine"], decoded["loop"], "tokens_per_second"),
        "decode_over_reading_the_weights": _measure.ratio(
            decoded["engine"], decoded["weights_read_once"], "tokens_per_second"
        ),
        **low_bits,
        "second_question_sooner": _measure.ratio(asked["questions"], once, "sooner"),
        "second_question_sooner_full_picture": _measure.ratio(asked_full["questions_full_picture"], once, "sooner"),
        "batch_of_16": _measure.ratio(batched["together"], batched["one_by_one"], "tokens_per_second"),
        "goals": GOALS,
    }


def main() -> None:
    """Command line; prints the record and writes it where asked."""
    parser = _measure.command_line("generation", __doc__, repeats=5)
    parser.add_argument("--size", choices=("tiny", "33m"), default="tiny")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--new_tokens", type=int, default=96)
    options = parser.parse_args()
    head = _measure.begin(parser, options, CPU)
    found = measure(options.size, getattr(torch, options.dtype), options.new_tokens, options.repeats)
    _measure.finish({**head, **found}, options.record)


if __name__ == "__main__":
    main()
