"""Run by test_lead in each of two or four processes: the first leads and is asked, what all saw is written as JSON.

torchrun --nproc_per_node=2 -m tests.generation.lead_worker FOLDER
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from SPHINX_V.errors import SphinxVError
from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.generation.prompt import prepare
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.parallel import end_process, init_mesh, rank, tensor_parallel
from SPHINX_V.processing.image import normalise, open_picture, square_picture
from SPHINX_V.processing.tokenizer import Tokenizer
from SPHINX_V.sphinx_v import Request, SPHINX_V_Model
from tests.golden_model import GOLDEN, golden_model

BOXES = [[49, 139, 196, 182], [324, 57, 106, 122]]
PICTURE, PORTRAIT = GOLDEN / "image.png", GOLDEN / "portrait.png"
HELLO = Request([["Hello?", None]], max_gen_len=12, temperature=0.0)
ENDLESS = Request([["Hello?", None]], max_gen_len=1500, temperature=0.0)
LARGE = Request([["What is <Region 2>? " * 9, None]], BOXES, PICTURE, 5, 0.0)
CHOICES = ["yes", "He is waiting for the bus.", "no"]
MIXED = [
    Request([["What is <Region 2>? " * 4, None]], BOXES, PICTURE, 4, 0.0),
    Request([["Why?", None]], [[120, 200]], PORTRAIT, 24, 1.0, 0.9, 3),
    Request([["What", "this"], ["and that?", None]], None, PICTURE, 12, 0.7, 1.0, 4),
    Request([["Hello?", None]], None, None, 9, 1.0, 1.0, 5, top_k=7, repetition_penalty=1.5),
    Request([["A much longer question, is it not?", None]], max_gen_len=20, temperature=0.0),
]
STREAMED = [([["What is <Region 1>?", None]], BOXES, PICTURE, 16, 1.0, 0.9, 11), ([["Why?", None]], None, PORTRAIT, 9)]


def refusal(call: Callable[[], Any]) -> str:
    """What a call that fails says."""
    try:
        call()
    except SphinxVError as error:
        return f"{type(error).__name__}: {error}"
    return ""


class Shortage:
    """Memory that is short once, on one process: a module raises what CUDA does, at the first input of `length` rows,
    or at the first one. `real`: it asks for more than there is."""

    def __init__(self, module: torch.nn.Module, process: int, length: int | None, real: bool = False) -> None:
        self.length, self.over, self.real = length, False, real
        if rank() == process:
            module.register_forward_pre_hook(self._look)

    def _look(self, module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        if not self.over and self.length in (None, len(arguments[0])):
            self.over = True
            if self.real:
                torch.empty(10**15)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 47.00 MiB.\nMore of it.")


def split_model(size: int) -> SPHINX_V_Model:
    """The golden over `size` processes; the letter Z has no finite embedding."""
    tokenizer = Tokenizer.from_file(GOLDEN / "tokenizer.model")
    model = golden_model()
    if size > model.config.llm.kv_heads:
        model = with_all_heads(model)
    model.llm.tok_embeddings.weight[tokenizer.encode("Z")[-1]] = float("nan")
    tensor_parallel(model, init_mesh(size, "cpu"))
    return SPHINX_V_Model(model, tokenizer)


def with_all_heads(model: SphinxV) -> SphinxV:
    """The same model, with a key-value head for each query head, which more processes can share."""
    llm = model.config.llm
    state = model.state_dict()
    for name in [one for one in state if one.endswith(("attention.wk.weight", "attention.wv.weight"))]:
        heads = state[name].unflatten(0, (llm.kv_heads, llm.head_dim))
        state[name] = heads.repeat_interleave(llm.n_heads // llm.kv_heads, 0).flatten(0, 1)
    wide = SphinxV(model.config.model_copy(update={"llm": llm.model_copy(update={"n_kv_heads": llm.n_heads})}))
    wide.load_state_dict(state)
    return wide.eval().requires_grad_(False)


def alone(model: SPHINX_V_Model, request: Request) -> str:
    """The answer of an engine that has kept nothing and does nothing else."""
    model.engine.forget()
    return model.engine.submit(request).answer().text


def in_thread(call: Callable[[], Any]) -> Callable[[], Any]:
    """Starts `call` in a thread; returns what waits for its result."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()

    def result() -> Any:
        thread.join()
        return found[0]

    return result


def two_threads(model: SPHINX_V_Model) -> dict[str, Any]:
    expected = [alone(model, request) for request in MIXED], [alone(model, Request(*one)) for one in STREAMED]
    model.engine.forget()
    batch = in_thread(lambda: model.generate_batch(MIXED))
    streams = in_thread(lambda: ["".join(model.stream_response(*one)) for one in STREAMED])
    scores = in_thread(lambda: totals(model))
    return {"alone": expected, "together": (batch(), streams()), "scores": scores()}


def totals(model: SPHINX_V_Model) -> list[float]:
    return [one.total for one in model.score([["Why is <Region 1> here?", None]], CHOICES, BOXES, PICTURE)]


def ends(model: SPHINX_V_Model) -> dict[str, Any]:
    """Cancelled, late, refused and damaged requests, each beside one that lives."""
    engine = model.engine
    kept = [engine.submit(HELLO)]
    cancelled = engine.submit(ENDLESS)
    next(cancelled)
    cancelled.cancel()
    found: dict[str, Any] = {"cancelled": [cancelled.answer().finish, len(cancelled.answer().ids) < 1500]}
    late = engine.submit(replace(ENDLESS, timeout=0.3))
    never = engine.submit(replace(ENDLESS, timeout=1e-9))
    kept.append(engine.submit(HELLO))
    found["late"] = [late.answer().finish, never.answer().finish, len(never.answer().ids)]
    damaged = engine.submit(Request([["Z", None]]))
    kept.append(engine.submit(HELLO))
    found["not finite"] = refusal(damaged.answer)
    running = [engine.submit(ENDLESS) for _ in range(3)]
    for stream in running:
        next(stream)
    waiting = [engine.submit(HELLO) for _ in range(4)]
    found["full"] = refusal(lambda: engine.submit(HELLO))
    for stream in running:
        stream.cancel()
    return {**found, "kept": [stream.answer().text for stream in [*kept, *waiting]]}


def short_of_memory(model: SPHINX_V_Model) -> dict[str, Any]:
    """Two requests, of which one process has no memory for one; what each of them says, and what comes after."""
    engine = model.engine
    running = engine.submit(Request(HELLO.turns, max_gen_len=60, temperature=0.0))
    next(running)
    large = engine.submit(LARGE)
    found = {"large": outcome(large.answer), "small": outcome(running.answer)}
    kept = engine.stats().prefix_bytes
    return {**found, "kept": kept, "again": [alone(model, LARGE), alone(model, HELLO)]}


def outcome(call: Callable[[], Any]) -> str:
    said = refusal(call)
    return said or call().text


def weighed(model: SPHINX_V_Model) -> dict[str, Any]:
    return {"said": refusal(lambda: totals(model)), "again": totals(model)}


def stopped(model: SPHINX_V_Model) -> dict[str, Any]:
    engine = model.engine
    streams = [engine.submit(ENDLESS)]
    next(streams[0])
    streams += [engine.submit(ENDLESS) for _ in range(4)]
    not_alone = [refusal(lambda: model.logits(model.processor(turns=HELLO.turns))), refusal(model.make_engine)]
    engine.stop()
    ends = [stream.answer().finish for stream in streams]
    return {"ends": ends, "not alone": not_alone}


def drained(model: SPHINX_V_Model) -> dict[str, Any]:
    stream = model.engine.submit(HELLO)
    model.engine.stop(drain=600.0)
    return {"text": stream.answer().text}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    size = int(os.environ["WORLD_SIZE"])
    model = split_model(size)
    engine = model.make_engine(EngineOptions(max_rows=3, max_waiting=4))
    layer, vision = model.model.llm.layers[1], model.model.vision
    large = len(prepare(model.processor, model.processor.question(PICTURE, BOXES, LARGE.turns), 2048).key)
    # Name → what the leader does, and where memory is short meanwhile.
    sessions: dict[str, tuple[Callable[[SPHINX_V_Model], Any], tuple[Any, ...] | None]] = {
        "threads": (two_threads, None),
        "ends": (ends, None),
        "short for a prompt on the follower": (short_of_memory, (layer.feed_forward.w1, 1, large)),
        "short for a prompt on the leader": (short_of_memory, (layer.attention.wk, 0, large, True)),
        "short for views": (short_of_memory, (vision.dinov2, 1, None)),
        "short in a step": (short_of_memory, (layer.attention.wv, 1, 2)),
        "short for texts": (weighed, (layer.feed_forward.w3, 1, None)),
        "stopped": (stopped, None),
        "drained": (drained, None),
    }
    with torch.inference_mode():
        squares = torch.stack([square_picture(open_picture(one), 448) for one in (PICTURE, PORTRAIT)])
        whole = golden_model()
        views, expected = engine.rows.peers.blocks(squares), whole.image_block(whole.encode_image(normalise(squares)))
    seen: dict[str, Any] = {
        "views": [(views - expected).abs().max().item(), torch.equal(views, expected)],
        "before": {"totals": totals(model), "text": alone(model, HELLO)},
        "all ask": [model.engine.submit(replace(ENDLESS, timeout=seconds)).answer().finish for seconds in (1e-9, 0.2)],
        "wrong part": refusal(engine.start if rank() else engine.follow),
    }
    for name, (ask, shortage) in sessions.items():
        if shortage is not None:
            Shortage(*shortage)
        if rank():
            engine.follow()
        else:
            engine.start()
            seen[name] = ask(model)
            engine.stop()
            seen["last"] = refusal(lambda: engine.submit(HELLO))
        seen["counts"] = [engine.stats().tokens, engine.stats().finished, engine.stats().failed]
    (folder / f"{rank()}.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    end_process(0)
