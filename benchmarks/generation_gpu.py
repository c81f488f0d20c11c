"""Times a model of the released size on a GPU, random weights in bfloat16, 8 and 4 bits: decoding against what the
memory gives, 32 ragged rows, the first token of a new and of a known picture, and each product of a layer alone.

`python -m benchmarks.generation_gpu --record FILE.json`; needs a GPU of 80 GB, and 141 GB for all 32 rows.
`python -m benchmarks.generation_gpu --preset tiny --device cpu --context 300 --prompt 300` runs all of it, small.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import _measure
from benchmarks._measure import Numbers, timed
from benchmarks.first_answer import question
from SPHINX_V.config import PRESETS, LlamaConfig
from SPHINX_V.generation.cache import row_bytes
from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.generation.rows import Rows
from SPHINX_V.generation.sampling import Draws, Sampler, Sampling
from SPHINX_V.model import lowbit_kernels
from SPHINX_V.model.lowbit import PRECISIONS, LowBitLinear, Precision, use_low_bits
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.weights.load import build_random

DTYPE = torch.bfloat16
ROWS = 32
GOALS = {"int8_over_bfloat16": 1.4}
# Terabytes per second that makers write of their cards' memory, by what the driver calls them; the first that fits.
PEAKS = {
    "H200": 4.8,
    "H100 PCIe": 2.0,
    "H100": 3.35,
    "A100-SXM4-80GB": 2.039,
    "A100": 1.555,
    "B200": 8.0,
    "L40S": 0.864,
}
_BEYOND_CACHE = 2**29  # bytes: weights that are read one after another are as many that none is still in the cache
_CALLS = 20


def low_bits(network: SphinxV, precision: Precision) -> SphinxV:
    """The same model with weights of few bits in its language model; all else is shared."""
    with torch.device("meta"):
        other = SphinxV(network.config)
    layers = use_low_bits(other.llm, precision)
    weights = network.llm.state_dict()
    for name, layer in layers.items():
        layer.to_empty(device=weights[name].device).to(DTYPE).fill(weights[name])
    for name, child in network.named_children():
        if name != "llm":
            setattr(other, name, child)
    for name, parameter in network.named_parameters():
        if not name.startswith("llm.") or name.removeprefix("llm.") not in layers:
            owner, _, leaf = name.rpartition(".")
            setattr(other.get_submodule(owner), leaf, parameter)
    return other.eval()


def weight_memory(network: SphinxV) -> list[Tensor]:
    """All that a step reads of the language model's weights, as int64, each piece of memory once."""
    found = {}
    for name, tensor in network.llm.state_dict().items():
        if not name.startswith("tok_embeddings"):
            storage = tensor.untyped_storage()
            whole = torch.empty(0, dtype=torch.int64, device=tensor.device)
            found[storage.data_ptr()] = whole.set_(storage, 0, (storage.nbytes() // 8,), (1,))
    return list(found.values())


def read(network: SphinxV, device: torch.device) -> Numbers:
    """Bytes per second of a kernel that does nothing but read all weights: a sum."""
    memory = weight_memory(network)
    seconds, _ = timed(device, lambda: [piece.sum() for piece in memory])
    return {"gb_per_second": sum(piece.nbytes for piece in memory) / seconds / 1e9}


def draw(network: SphinxV, device: torch.device, lengths: Sequence[int], count: int) -> tuple[float, int]:
    """Seconds of `count` greedy tokens of rows that hold `lengths` positions, as the engine draws them, and how many of
    the rows have room."""
    options = EngineOptions(max_rows=len(lengths), max_len=max(lengths) + count, prefix_bytes=0, picture_bytes=0)
    rows = Rows(network, options)
    lengths = lengths[: rows.count]
    sampler = Sampler([Draws(Sampling(temperature=0.0))] * len(lengths), device)
    tokens = list(range(5, 5 + len(lengths)))
    work = partial(rows.decoder.draw, tokens, lengths, count, network.config.llm.vocab_size, sampler)
    work()  # captures the graphs
    return timed(device, work)[0], len(lengths)


def decode(network: SphinxV, device: torch.device, lengths: Sequence[int], count: int) -> Numbers:
    """How fast rows decode, and how much memory they read for it: weights, and the keys and values before them."""
    seconds, rows = draw(network, device, lengths, count)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()  # the next rows are planned by what is free
    kept = sum(row_bytes(network, length + count // 2, DTYPE) for length in lengths[:rows])
    moved = sum(piece.nbytes for piece in weight_memory(network)) + kept
    return {
        "rows": rows,
        "tokens_per_second": count * rows / seconds,
        "step_ms": seconds / count * 1e3,
        "gb_per_second": moved * count / seconds / 1e9,
    }


def first_tokens(network: SphinxV, device: torch.device, preset: str, length: int) -> Callable[[], Numbers]:
    """Seconds to the logits after a prompt of a new picture, of which encoding it, and after another question about it;
    what a server does beside (texts, marks, waiting) is not in it."""
    prompt = question(preset, length - network.config.visual_length)
    begin, *text = prompt.key.ids
    other = replace(prompt, key=replace(prompt.key, ids=(begin, *reversed(text))))
    rows = Rows(network, EngineOptions(max_rows=1, max_len=length + 8))

    def measure() -> Numbers:
        rows.forget()
        vision, pictures = timed(device, lambda: rows.encode([prompt]))
        prefill, _ = timed(device, lambda: rows.fill(0, [prompt], pictures))
        second, (_, (kept,)) = timed(device, lambda: rows.fill(0, [other], rows.encode([other])))
        assert kept >= network.config.visual_length, "the picture was computed again"
        first = vision + prefill
        return {"vision": vision, "prefill": prefill, "first": first, "second": second, "sooner": first / second}

    return measure


def shapes(llm: LlamaConfig) -> dict[str, tuple[int, int]]:
    """(outputs, inputs) of the products of a step."""
    heads = (llm.n_heads + 2 * llm.kv_heads) * llm.head_dim
    return {
        "heads_in": (heads, llm.dim),
        "heads_out": (llm.dim, llm.n_heads * llm.head_dim),
        "gate_and_up": (2 * llm.ffn_dim, llm.dim),
        "down": (llm.dim, llm.ffn_dim),
        "head": (llm.vocab_size, llm.dim),
    }


def multipliers(outputs: int, inputs: int, precision: str, device: torch.device) -> tuple[list[Any], int]:
    """Products with weights of one shape, as many as are beyond the cache; and the bytes of one weight."""
    weight = torch.randn(outputs, inputs, device=device, dtype=DTYPE)
    copies = -(-_BEYOND_CACHE // weight.nbytes) if device.type == "cuda" else 2
    if precision == "bfloat16":
        return [partial(functional.linear, weight=weight.clone()) for _ in range(copies)], weight.nbytes
    layer = LowBitLinear(inputs, outputs, precision).to(device, DTYPE)  # type: ignore[arg-type]
    layer.fill(weight)
    size = layer.codes.nbytes + layer.scales.nbytes
    copies = copies * weight.nbytes // size
    parts = ((layer.codes.clone(), layer.scales.clone()) for _ in range(copies))
    return [LowBitLinear.over(layer.precision, layer.order, *part) for part in parts], size


def product_speed(outputs: int, inputs: int, precision: str, device: torch.device, rows: int) -> Numbers:
    """Microseconds and bytes per second of a product alone, launched from a graph as in a step."""
    calls, size = multipliers(outputs, inputs, precision, device)
    x = torch.randn(rows, inputs, device=device, dtype=DTYPE)

    def once() -> None:
        for call in calls:
            call(x)

    once()
    work = once
    if device.type == "cuda":
        _measure.wait(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            once()
        work = graph.replay
        work()
    seconds = min(timed(device, work)[0] for _ in range(_CALLS if device.type == "cuda" else 2)) / len(calls)
    return {"us": round(seconds * 1e6, 2), "gb_per_second": round(size / seconds / 1e9, 1)}


def product_speeds(llm: LlamaConfig, device: torch.device) -> dict[str, dict[str, Numbers]]:
    """Each product of a step alone, by its name, precision and rows."""
    return {
        name: {
            f"{precision}_rows_{rows}": product_speed(*shape, precision, device, rows)
            for precision in ("bfloat16", *PRECISIONS)
            for rows in (1, 4, 16, 32)
        }
        for name, shape in shapes(llm).items()
    }


def peak_of(device: torch.device, given: float) -> float | None:
    """Bytes per second, in GB, that the memory is said to give; None where nobody says it."""
    if given or device.type != "cuda":
        return 1000 * given or None
    name = torch.cuda.get_device_name(device)
    return next((1000 * peak for part, peak in PEAKS.items() if part in name), None)


@torch.inference_mode()
def measure(options: Any, device: torch.device) -> dict[str, Any]:
    """Medians of all, and the ratios that the goals are about."""
    build, network = timed(device, lambda: build_random(PRESETS[options.preset](), device=device, dtype=DTYPE).eval())
    networks: dict[str, SphinxV] = {"bfloat16": network}
    for bits in PRECISIONS:
        networks[bits] = low_bits(network, bits)
    context, count = options.context, options.new_tokens
    ragged = [context // 4 + (context - context // 4) * row // (ROWS - 1) for row in range(ROWS)]
    timings: dict[str, Callable[[], Numbers]] = {}
    for name, one in networks.items():
        timings[f"decode_{name}"] = partial(decode, one, device, [context], count)
        timings[f"read_{name}"] = partial(read, one, device)
        timings[f"ragged_{name}"] = partial(decode, one, device, ragged, count)
    found = _measure.in_turn(timings, options.repeats)
    first = _measure.in_turn(
        {f"first_{name}": first_tokens(one, device, options.preset, options.prompt) for name, one in networks.items()},
        options.repeats,
    )
    peak = peak_of(device, options.peak_tb)
    ways = {name: _measure.medians(rounds) for name, rounds in {**found, **first}.items()}

    def faster(way: str, bits: str) -> Numbers:
        return _measure.ratio(found[f"{way}_{bits}"], found[f"{way}_bfloat16"], "tokens_per_second")

    def of_reading(name: str) -> Numbers:
        return _measure.ratio(found[f"decode_{name}"], found[f"read_{name}"], "gb_per_second")

    return {
        "build_seconds": round(build, 2),
        "kernels": {"int8": lowbit_kernels.usable(device), "int4": lowbit_kernels.tensor_cores(device)},
        "weights_gb": {
            name: round(sum(piece.nbytes for piece in weight_memory(one)) / 1e9, 3) for name, one in networks.items()
        },
        "ways": ways,
        "decode_of_reading": {name: of_reading(name) for name in networks},
        "peak_gb_per_second": peak,
        "decode_of_peak": peak
        and {name: round(ways[f"decode_{name}"]["gb_per_second"] / peak, 3) for name in networks},
        **{f"{bits}_over_bfloat16": faster("decode", bits) for bits in PRECISIONS},
        **{f"{bits}_over_bfloat16_ragged": faster("ragged", bits) for bits in PRECISIONS},
        "goals": GOALS,
        "products": product_speeds(network.config.llm, device),
        "peak_memory_gib": round(torch.cuda.max_memory_allocated(device) / 2**30, 2) if device.type == "cuda" else None,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; prints the record and writes it where asked."""
    parser = _measure.command_line("generation_gpu", __doc__, repeats=3)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="sphinx_v_13b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--context", type=int, default=1700, help="positions that a row holds before it decodes")
    parser.add_argument("--new_tokens", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=1600, help="positions of a prompt with its picture")
    parser.add_argument("--peak_tb", type=float, default=0, help="TB per second of the memory, where it is not known")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error(
            "there is no GPU; `--preset tiny --device cpu --context 300 --prompt 300` shows that all of it runs."
        )
    llm, visual = PRESETS[options.preset]().llm, PRESETS[options.preset]().visual_length
    if max(options.context + options.new_tokens, options.prompt + 8) > llm.max_seq_len:
        parser.error(f"{options.preset} has {llm.max_seq_len} positions; give a smaller --context or --prompt.")
    if options.prompt <= visual + 1:
        parser.error(f"--prompt is {options.prompt}, of which picture and marks take {visual}; give more.")
    head = _measure.begin(parser, options, device)
    _measure.finish({**head, **measure(options, device)}, options.record)


if __name__ == "__main__":
    main()
