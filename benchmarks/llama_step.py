"""Times a training step of our decoder against transformers' LlamaForCausalLM of the same sizes, weights and inputs.

`python -m benchmarks.llama_step [--sequence 256] [--threads 2] [--record FILE.json]`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from accessory.config import ParallelOptions, TrainOptions
from accessory.data.collate import Batch, collate
from accessory.data.dataset import Sample
from accessory.parallel.layout import prepare
from accessory.runtime.distributed import World
from accessory.train.freeze import freeze
from accessory.train.phases import Phases
from accessory.train.step import LossModule, StepEngine
from benchmarks import _measure
from benchmarks._measure import Numbers
from SPHINX_V.config import LlamaConfig, SphinxVConfig, tiny
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.processing.processor import IGNORE
from SPHINX_V.weights.load import build_random
from tests.transformers_llama import llama_weights, transformers_llama

BATCH = 4
# Shares of the tokens that are targets: all, as in pretraining, and a part, as where questions are answered.
TARGETS = {"all_targets": 1.0, "quarter_targets": 0.25}
GOAL = 1.0
CPU = torch.device("cpu")
TRAIN = TrainOptions(lr=4e-5, batch_size=BATCH)

Step = Callable[[Batch], float]
"""One optimiser step on a batch; its loss per target."""


def sizes() -> SphinxVConfig:
    """27 million parameters in the language model; the rest is as small as can be, frozen, and sees no picture."""
    llm = LlamaConfig(dim=512, n_layers=6, n_heads=8, vocab_size=8000, multiple_of=128)
    return tiny().model_copy(update={"llm": llm})


def batch_of(sequence: int, share: float) -> Batch:
    """Random texts of one length, so that neither side pads; the last `share` of each are targets."""
    config = sizes()
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(3, config.llm.vocab_size, (BATCH, sequence), generator=generator).tolist()
    questions = sequence - round(share * sequence)
    samples = [
        Sample(ids, [IGNORE] * questions + ids[questions:], None, None, (), (), index) for index, ids in enumerate(rows)
    ]
    return collate(samples, config.prompts.num_slots)


def ours(weights: dict[str, torch.Tensor], compile_layers: bool) -> Step:
    """A step of our training: forward, loss, backward, norm, clipping and AdamW, by the engine of all recipes."""
    parallel, this = ParallelOptions(compile=compile_layers), World(0, 1, CPU)

    def lay_out(model: SphinxV) -> None:
        freeze(model, sorted({name.split(".")[0] for name, _ in model.named_parameters()} - {"llm"}))
        prepare(model, parallel, this)

    model = build_random(sizes(), parallelize=lay_out)
    model.llm.load_state_dict(weights)
    engine, phases = StepEngine(LossModule(model, TRAIN), TRAIN, parallel, this), Phases(CPU)
    return lambda batch: engine.run([batch], TRAIN.lr, False, phases).losses[0].item()


def theirs(model: Any) -> Step:
    """The same step with transformers' model and loss, and torch's own clipping and AdamW."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=TRAIN.lr, betas=TRAIN.betas, weight_decay=TRAIN.weight_decay, fused=True
    )

    def step(batch: Batch) -> float:
        labels = batch.labels.masked_fill(batch.labels == IGNORE, -100)  # what transformers' loss leaves out
        embeddings = model.get_input_embeddings()(batch.inputs.token_ids)
        loss = model(inputs_embeds=embeddings, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), TRAIN.clip_grad, foreach=True)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def measure(sequence: int, repeats: int) -> dict[str, Any]:
    """All sides train from the same weights on the same batches in the same order; their losses must agree."""
    config = sizes()
    torch.manual_seed(0)
    other = transformers_llama(config.llm).train()
    weights = dict(llama_weights({name: tensor.clone() for name, tensor in other.state_dict().items()}, config.llm))
    steps = {"ours": ours(weights, False), "ours_compiled": ours(weights, True), "transformers": theirs(other)}
    batches = {name: batch_of(sequence, share) for name, share in TARGETS.items()}
    losses: dict[str, list[float]] = {side: [] for side in steps}

    def timed(side: str, batch: Batch) -> Numbers:
        seconds, loss = _measure.timed(CPU, lambda: steps[side](batch))
        losses[side].append(loss)
        return {"seconds": seconds}

    first = {side: round(timed(side, batches["all_targets"])["seconds"], 2) for side in steps}
    ways = {
        f"{targets}/{side}": lambda side=side, batch=batch: timed(side, batch)
        for targets, batch in batches.items()
        for side in steps
    }
    found = _measure.in_turn(ways, repeats)
    apart = max(max(values) - min(values) for values in zip(*losses.values(), strict=True))
    assert apart <= 1e-4, f"the losses of a step differ by {apart}"

    def faster(targets: str, side: str, base: str) -> Numbers:
        """How many times as many steps `side` does in the time of `base`."""
        return _measure.ratio(found[f"{targets}/{base}"], found[f"{targets}/{side}"], "seconds")

    return {
        "parameters_m": round(sum(tensor.numel() for tensor in weights.values()) / 1e6, 1),
        "batch": BATCH,
        "losses_apart": round(apart, 8),
        "first_step_seconds": first,
        "goal_ours_over_transformers": GOAL,
        **{
            targets: {
                "target_share": share,
                "step_seconds": {side: _measure.medians(found[f"{targets}/{side}"])["seconds"] for side in steps},
                "ours_over_transformers": faster(targets, "ours", "transformers"),
                "compiled_over_ours": faster(targets, "ours_compiled", "ours"),
            }
            for targets, share in TARGETS.items()
        },
    }


def main() -> None:
    """Command line; prints the record and writes it where asked."""
    parser = _measure.command_line("llama_step", __doc__, repeats=9)
    parser.add_argument("--sequence", type=int, default=256, help="tokens of each of the 4 rows")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    try:
        import transformers
    except ImportError:
        parser.error('transformers is not installed: pip install "sphinx-v[test]"')
    torch.set_num_threads(options.threads)
    head = _measure.begin(parser, options, CPU)
    measured = measure(options.sequence, options.repeats)
    _measure.finish({**head, "transformers": transformers.__version__, **measured}, options.record)


if __name__ == "__main__":
    main()
