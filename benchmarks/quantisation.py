"""What weights of 8 and 4 bits cost and give: scores of the embedded suites, memory, and tokens per second.

`python -m benchmarks.quantisation --checkpoint outputs/quickstart/checkpoint --data outputs/quickstart/data/heldout`
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from accessory.eval.items import BenchmarkItem
from accessory.eval.predict import Asking, predict
from accessory.eval.registry import SuiteEntry, read_registry
from accessory.eval.scoring import Answered, score
from accessory.eval.suites.base import Resources
from benchmarks import _measure
from benchmarks._measure import Numbers, timed
from benchmarks.evaluation import suite_of
from SPHINX_V import EngineOptions, Request, SPHINX_V_Model

CPU = torch.device("cpu")
WAYS: Mapping[str, dict[str, Any]] = {
    f"{name}{'+' * bool(bits)}{bits}": {"dtype": dtype, "quantize": bits or None}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
    for bits in ("", "int8", "int4")
}


def llm_bytes(model: SPHINX_V_Model) -> int:
    """Memory of the language model's weights."""
    return sum(tensor.nbytes for tensor in model.model.llm.state_dict().values())


def scores(
    model: SPHINX_V_Model, suites: Mapping[str, tuple[SuiteEntry, list[BenchmarkItem]]], batch_size: int
) -> tuple[Numbers, list[str]]:
    """The headline score of every suite, and all answers."""
    found: Numbers = {}
    said: list[str] = []
    for name, (entry, items) in suites.items():
        with TemporaryDirectory() as folder:
            asking = Asking("benchmark", batch_size=batch_size)
            predictions = predict(model, entry, items, Path(folder) / "predictions.jsonl", asking)
        assert predictions is not None, "there are no other processes"
        said += [one.prediction for one in predictions]
        headline = score(Answered(name, entry, tuple(predictions)), Resources()).scores.scores[0]
        assert headline.value is not None, "exact scores need nothing that could be missing"
        found[name] = round(headline.value, 2)
    return found, said


def decode(model: SPHINX_V_Model, item: BenchmarkItem, rows: int, tokens: int) -> float:
    """Tokens per second of `rows` copies of one question; what answers have in common is kept from before."""
    # Nothing ends these answers but their length: no stop string, and EOS is as unlikely as any other piece.
    requests = [
        Request([[item.question, None]], item.prompts, item.picture, tokens, temperature=2.0, top_p=1.0, seed=seed)
        for seed in range(rows)
    ]
    seconds, answers = timed(CPU, lambda: model.answer_batch(requests))
    return sum(len(answer.ids) for answer in answers) / seconds


def main() -> None:
    """Command line; prints the record and writes it where asked."""
    parser = _measure.command_line("quantisation", __doc__, repeats=3)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of the embedded held-out set")
    parser.add_argument("--items", type=int, default=1000, help="of each suite, at most")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    head = _measure.begin(parser, options, CPU)
    suites = {}
    for name in read_registry().groups["heldout"]:
        entry, items = suite_of(name, options.data)
        suites[name] = (entry, items[: options.items])
    models = {}
    for name, how in WAYS.items():
        models[name] = SPHINX_V_Model.from_pretrained(options.checkpoint, device=CPU, **how)
        models[name].make_engine(EngineOptions(max_rows=options.batch_size))
    results = {name: scores(model, suites, options.batch_size) for name, model in models.items()}
    some = next(iter(suites.values()))[1][0]

    def way(model: SPHINX_V_Model) -> Numbers:
        return {f"rows_{rows}": decode(model, some, rows, options.tokens) for rows in (1, 16)}

    speeds = _measure.in_turn({name: lambda model=model: way(model) for name, model in models.items()}, options.repeats)  # type: ignore[misc]
    base = results["float32"][1]
    record = {
        **head,
        "items": sum(len(items) for _, items in suites.values()),
        "ways": {
            name: {
                "scores": found,
                "answers_as_float32": sum(a == b for a, b in zip(said, base, strict=True)),
                "llm_mib": round(llm_bytes(models[name]) / 2**20, 2),
                "tokens_per_second": _measure.medians(speeds[name]),
                **{
                    f"over_bfloat16_{rows}": _measure.ratio(speeds[name], speeds["bfloat16"], rows)
                    for rows in ("rows_1", "rows_16")
                },
            }
            for name, (found, said) in results.items()
        },
    }
    _measure.finish(record, options.record)


if __name__ == "__main__":
    main()
