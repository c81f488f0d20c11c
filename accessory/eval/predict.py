"""Items → predictions with a model, in batches, each written as soon as its batch is answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from accessory.eval.items import BenchmarkItem
from SPHINX_V.sphinx_v import Request, SPHINX_V_Model


@dataclass(frozen=True)
class Prediction:
    """One answered item, in the form of result files that users hold already."""

    image_name: str
    question_id: int | str
    question: str
    prediction: str
    answer: str


def predict(
    model: SPHINX_V_Model, items: Sequence[BenchmarkItem], out: Path, max_new_tokens: int, batch_size: int = 64
) -> list[Prediction]:
    """Greedy answers to all items, in their order; one JSON line each in `out`."""
    predictions: list[Prediction] = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as lines:
        for start in range(0, len(items), batch_size):
            chosen = items[start : start + batch_size]
            requests = [
                Request(
                    turns=[[item.question, None]],
                    prompts=item.prompts,
                    image=item.picture,
                    max_gen_len=max_new_tokens,
                    temperature=0.0,
                )
                for item in chosen
            ]
            for item, text in zip(chosen, model.generate_batch(requests, max_rows=batch_size)):
                prediction = Prediction(item.picture.name, item.question_id, item.question, text, item.truth)
                lines.write(json.dumps(asdict(prediction), ensure_ascii=False) + "\n")
                predictions.append(prediction)
            lines.flush()
    return predictions
