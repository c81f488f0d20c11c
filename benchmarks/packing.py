"""Times forward and backward of a training step on texts of mixed lengths: packed rows against padded ones.

`python -m benchmarks.packing [--repeats 5] [--record FILE.json]`
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch.nn.functional import pad

from accessory.config import TrainOptions
from accessory.data.collate import Batch, collate
from accessory.data.dataset import Sample
from accessory.data.sampler import EpochBatches
from accessory.train.places import Places
from accessory.train.step import LossModule
from benchmarks import _measure
from benchmarks._measure import Numbers
from SPHINX_V.config import LlamaConfig, SphinxVConfig, tiny
from SPHINX_V.processing.processor import IGNORE
from SPHINX_V.weights.load import build_random

# Text-only items; lengths in tokens, the least and the most, drawn evenly between them.
QUESTION = (16, 48)
ANSWERS = {"short": (0.80, 3, 24), "brief": (0.15, 24, 96), "long": (0.05, 160, 440)}  # share of the items, lengths
CAP = 512
BATCH = 8
POOL = 8  # batches that length buckets are made from; all of a round's
GOALS = {"packed_over_longest": 1.3, "packed_over_cap": 4.0}


class Way(NamedTuple):
    """How the items of an epoch are made into rows."""

    pool: int  # batches sorted by length together: 1 shuffles only
    packed: bool
    to_cap: bool


WAYS = {
    "cap": Way(1, packed=False, to_cap=True),
    "longest": Way(1, packed=False, to_cap=False),
    "packed": Way(1, packed=True, to_cap=False),
    "longest_in_buckets": Way(POOL, packed=False, to_cap=False),
    "packed_in_buckets": Way(POOL, packed=True, to_cap=False),
}


def sizes() -> SphinxVConfig:
    """14 million parameters, of which 5 million in the language model's layers; the towers see no picture here."""
    llm = LlamaConfig(dim=256, n_layers=6, n_heads=8, vocab_size=16000, multiple_of=64)
    return tiny().model_copy(update={"llm": llm})


def samples(items: int, vocabulary: int) -> list[Sample]:
    """Items of random tokens whose answers, EOS included, are the targets."""
    numbers = {name: round(share * items) for name, (share, _, _) in ANSWERS.items()}
    numbers["short"] += items - sum(numbers.values())
    chance = random.Random(0)
    made: list[Sample] = []
    for name, (_, least, most) in ANSWERS.items():
        for _ in range(numbers[name]):
            question, answer = chance.randint(*QUESTION), chance.randint(least, most)
            ids = [1, *(chance.randrange(3, vocabulary) for _ in range(question + answer))]
            labels = [IGNORE] * (1 + question) + ids[1 + question :]
            made.append(Sample(ids, labels, None, None, (), (), len(made)))
    return made


def batches(made: Sequence[Sample], way: Way, epoch: int) -> list[Batch]:
    """An epoch in the order of the training's own sampler."""
    lengths = [len(sample.ids) for sample in made]
    order = EpochBatches(lengths, [0] * len(made), BATCH, seed=0, epoch=epoch, pool=way.pool)
    slots = sizes().prompts.num_slots
    rows = [collate([made[index] for index in order[number]], slots) for number in range(len(order))]
    return [_widened(batch) for batch in rows] if way.to_cap else rows


def _widened(batch: Batch) -> Batch:
    """The batch with its texts padded to the cap."""
    rest = (0, CAP - batch.labels.shape[1])
    inputs = replace(batch.inputs, token_ids=pad(batch.inputs.token_ids, rest, value=IGNORE))
    return replace(batch, inputs=inputs, labels=pad(batch.labels, rest, value=IGNORE))


def step(module: LossModule, micro_batches: Sequence[Batch], packed: bool) -> tuple[float, int]:
    """Forward and backward of one step over micro-batches, as `StepEngine` does it; the loss per target, and the tokens
    that were computed, padding included."""
    targets = sum(batch.target_count for batch in micro_batches)
    loss, tokens = torch.zeros(()), 0
    for batch in micro_batches:
        places = Places.of(batch, module.model.config, "sdpa" if packed else None)
        shares = module(batch, places, False) / targets
        shares.sum().backward()
        loss += shares[0].detach()
        tokens += len(places.tokens) if places.tokens is not None else batch.labels.numel()
    return loss.item(), tokens


def measure(items: int, repeats: int) -> dict[str, Any]:
    """Every round shuffles anew, and all ways of a round compute on the same items."""
    config = sizes()
    module = LossModule(build_random(config), TrainOptions(lr=1e-4, batch_size=BATCH))
    made = samples(items, config.llm.vocab_size)
    targets = sum(1 for sample in made for label in sample.labels if label != IGNORE)
    losses: list[float] = []

    def timed(way: Way) -> Callable[[], Numbers]:
        epochs = itertools.count()

        def run() -> Numbers:
            micro_batches = batches(made, way, next(epochs))
            seconds, (loss, tokens) = _measure.timed(
                torch.device("cpu"), lambda: step(module, micro_batches, way.packed)
            )
            module.zero_grad()
            losses.append(loss)
            return {"useful_tokens_per_second": targets / seconds, "computed_tokens": tokens}

        return run

    found = _measure.in_turn({name: timed(way) for name, way in WAYS.items()}, repeats)
    assert max(losses) - min(losses) <= 1e-4, f"the ways differ in the loss: {min(losses)} to {max(losses)}"
    lengths = sorted(len(sample.ids) for sample in made)

    def over(one: str, other: str) -> Numbers:
        return _measure.ratio(found[one], found[other], "useful_tokens_per_second")

    return {
        "parameters_m": round(sum(parameter.numel() for parameter in module.parameters()) / 1e6, 1),
        "mix": {
            "question_tokens": QUESTION,
            "answer_tokens": {name: {"share": share, "from": a, "to": b} for name, (share, a, b) in ANSWERS.items()},
            "item_tokens": {
                "median": lengths[len(lengths) // 2],
                "mean": round(sum(lengths) / len(lengths), 1),
                "longest": lengths[-1],
                "cap": CAP,
            },
            "targets": targets,
            "batch": BATCH,
        },
        "loss_per_target": round(losses[0], 4),
        "losses_apart": round(max(losses) - min(losses), 8),
        "ways": {name: _measure.medians(rounds, digits=1) for name, rounds in found.items()},
        "goals": GOALS,
        "packed_over_longest": over("packed", "longest"),
        "packed_over_cap": over("packed", "cap"),
        "packed_over_longest_in_buckets": over("packed_in_buckets", "longest_in_buckets"),
    }


def main() -> None:
    """Command line; prints the record and writes it where asked."""
    parser = _measure.command_line("packing", __doc__, repeats=5)
    parser.add_argument("--items", type=int, default=POOL * BATCH, help=f"a multiple of {BATCH}, the batch size")
    options = parser.parse_args()
    if options.items < BATCH or options.items % BATCH:
        parser.error(f"--items is {options.items}; give a multiple of {BATCH}, the batch size.")
    head = _measure.begin(parser, options, torch.device("cpu"))
    _measure.finish({**head, **measure(options.items, options.repeats)}, options.record)


if __name__ == "__main__":
    main()
