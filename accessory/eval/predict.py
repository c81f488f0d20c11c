"""Items → predictions with a model: in fixed batches, split over processes, each batch on disk before the next begins.

Which items share a batch depends on the suite alone. So the answers are the same to the bit in any number of processes,
and after any number of interruptions.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from accessory.eval.controls import Control, control_items
from accessory.eval.files import write_whole
from accessory.eval.items import BenchmarkItem
from accessory.eval.predictions import Prediction, answered, parts_of, write_part
from accessory.eval.record import items_hash, keep_record
from accessory.eval.registry import SuiteEntry
from SPHINX_V.errors import DataError, PromptWarning, SphinxVError, UsageError
from SPHINX_V.processing.conversation import Turn
from SPHINX_V.sphinx_v import Request, SPHINX_V_Model


@dataclass(frozen=True)
class Shard:
    """One of `size` processes that answer a suite together, each with a model of its own.

    `writes` is False for a process that only lends its GPU to the model of another (tensor parallelism).
    """

    rank: int = 0
    size: int = 1
    writes: bool = True


@dataclass(frozen=True)
class Asking:
    """How a suite is asked, beside what the registry says. `source` tells one model from another, as a hash of it."""

    source: str
    control: Control = "none"
    batch_size: int = 8
    dtype: str = ""
    shard: Shard = Shard()
    restart: bool = False


def prediction_path(folder: Path, suite: str, control: Control) -> Path:
    """Where the answers to a suite are written."""
    return folder / (f"{suite}.jsonl" if control == "none" else f"{suite}.{control}.jsonl")


def predict(
    model: SPHINX_V_Model, entry: SuiteEntry, items: Sequence[BenchmarkItem], path: Path, asking: Asking
) -> list[Prediction] | None:
    """Greedy answers to all items that `path` has not answered yet; all of them, in the items' order.

    None where other processes are still at theirs: the last one to finish writes `path`. Raises UsageError where `path`
    holds answers of another model or suite, and DataError for an item that cannot be asked.
    """
    asked = control_items(items, asking.control)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "suite": items[0].dataset,
        "control": asking.control,
        "items": len(asked),
        "items_sha256": items_hash(asked),
        "checkpoint_sha256": asking.source,
        "max_new_tokens": entry.max_new_tokens,
        "batch_size": asking.batch_size,
        "dtype": asking.dtype,
    }
    if asking.restart and asking.shard.size > 1:
        raise UsageError(f"restart: several processes would remove each other's answers; remove {path} and its parts.")
    if asking.shard.writes:
        keep_record(path, record, asking.restart)
    done = answered(path)
    todo = [
        [item for item in batch if item.question_id not in done]
        for number, batch in enumerate(batches(model, asked, asking.batch_size))
        if number % asking.shard.size == asking.shard.rank
    ]
    with tqdm(total=sum(map(len, todo)), desc=path.stem, unit="item", disable=None) as bar:
        for batch in filter(None, todo):
            predictions = list(_answers(model, entry, batch))
            if asking.shard.writes:
                write_part(path, asking.shard.rank, predictions)
            bar.update(len(batch))
    return _merged(path, asked) if asking.shard.writes else None


def batches(model: SPHINX_V_Model, items: Sequence[BenchmarkItem], size: int) -> list[list[BenchmarkItem]]:
    """Items of like length together, the longest first: what does not fit into memory is met at the start.

    Length is the question's tokens and then the number of marks, for each of which an answer has a line. Items that
    cannot be asked come last.
    """

    def length(item: BenchmarkItem) -> tuple[int, int]:
        return -len(model.processor.prompt_ids(item.turns)), -len(item.prompts)

    askable = sorted((item for item in items if not item.fault), key=length)
    others = [item for item in items if item.fault]
    return [group[at : at + size] for group in (askable, others) for at in range(0, len(group), size)]


def _answers(model: SPHINX_V_Model, entry: SuiteEntry, batch: Sequence[BenchmarkItem]) -> Iterator[Prediction]:
    """The predictions of a batch; an item that fails is refused by name, or kept with its fault."""
    with warnings.catch_warnings():
        # Marks and questions are the benchmark's: `load.oddities` tells of them once, and a control means to be odd.
        warnings.simplefilter("ignore", PromptWarning)
        faults = {item.question_id: item.fault for item in batch if item.fault}
        try:
            texts = _generate(model, entry, [item for item in batch if item.question_id not in faults])
        except SphinxVError as error:
            faults |= _culprits(model, batch, error)
            if entry.on_bad_item == "refuse":
                key, reason = next(iter(faults.items()))
                raise DataError(
                    f"{batch[0].dataset}, question {key}: {reason} Mend the item, or set on_bad_item to unanswered."
                ) from None
            texts = _generate(model, entry, [item for item in batch if item.question_id not in faults])
        for item in batch:
            fault = faults.get(item.question_id, "")
            text, finish = ("", "") if fault else texts[item.question_id]
            weighed = (
                []
                if fault or not item.choices
                else model.score((*item.turns[:-1], Turn(item.stem)), item.choices, item.prompts, item.picture)
            )
            yield Prediction(
                image_name=item.image_name,
                question_id=item.question_id,
                question=item.question,
                prediction=text,
                answer=item.truth,
                dataset_name=item.dataset,
                marks=item.prompts,
                finish=finish,
                category=item.category,
                choices=item.choices,
                history=item.history,
                likelihoods=tuple((one.total, one.tokens) for one in weighed),
                fault=fault,
            )


def _request(item: BenchmarkItem, longest: int) -> Request:
    return Request(item.turns, item.prompts, item.picture, max_gen_len=longest, temperature=0.0)


def _generate(
    model: SPHINX_V_Model, entry: SuiteEntry, items: Sequence[BenchmarkItem]
) -> dict[int | str, tuple[str, str]]:
    """The answer to each item and why it ended."""
    if not items:
        return {}
    # What is kept of other batches would be there or not, depending on where a run was stopped.
    model.engine.forget()
    answers = model.answer_batch([_request(item, entry.max_new_tokens) for item in items])
    return {item.question_id: (answer.text, answer.finish) for item, answer in zip(items, answers)}


def _culprits(model: SPHINX_V_Model, batch: Sequence[BenchmarkItem], error: SphinxVError) -> dict[int | str, str]:
    """The items of a batch that fail alone, too, with their reasons. Raises `error` where all of them pass."""
    found: dict[int | str, str] = {}
    for item in batch:
        try:
            model.answer_batch([_request(item, 1)])
        except SphinxVError as reason:
            found[item.question_id] = str(reason)
    if not found:
        raise error
    return found


def _merged(path: Path, items: Sequence[BenchmarkItem]) -> list[Prediction] | None:
    """All predictions in the items' order, written to `path`; None where some are still missing."""
    done = answered(path)
    if any(item.question_id not in done for item in items):
        return None
    predictions = [done[item.question_id] for item in items]
    parts = parts_of(path)
    if parts:
        write_whole(path, "".join(f"{prediction.line()}\n" for prediction in predictions))
        for part in parts:
            part.unlink(missing_ok=True)
    return predictions


def wait_for(path: Path, seconds: float = 0.2) -> None:
    """Returns when the other processes have finished `path`; torchrun ends this one where one of them fails."""
    while not path.exists():
        time.sleep(seconds)
