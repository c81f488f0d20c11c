"""`--dry_run`: an estimate as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch

from accessory.config import RunOptions
from accessory.train.estimate import Estimate, Part, estimate

_MEANING = {
    "frozen": "frozen weights",
    "masters": "trained weights, float32",
    "gathered": "trained weights, gathered",
    "gradients": "gradients",
    "optimizer": "optimiser states",
    "activations": "activations kept",
    "working": "activations in work",
    "exchange": "buffers of exchange",
}


def dry_run(options: RunOptions, processes: int, result: Path) -> str:
    """What a run of `processes` would be, for people; arguments and errors as of `estimate.estimate`."""
    found = estimate(options, processes, result)
    parallel = options.parallel
    head = (
        f"dry run of {processes} process{'es' if processes > 1 else ''}: data {processes // parallel.tensor} × tensor"
        f" {parallel.tensor}, {parallel.mode}, recompute {parallel.recompute}, {parallel.dtype}"
    )
    sections = [head, _parameters(found.parts), _memory(found), _work(found, options), *found.remarks]
    return "\n\n".join([*sections, f"the run would write to {options.output}"])


def _parameters(parts: Sequence[Part]) -> str:
    whole = Part("all", sum(part.trained for part in parts), sum(part.frozen for part in parts))
    lines = [f"{'parameters':<24}{'trained':>16}{'frozen':>16}"]
    return "\n".join(lines + [f"  {part.name:<22}{part.trained:>16,}{part.frozen:>16,}" for part in (*parts, whole)])


def _memory(found: Estimate) -> str:
    largest, memory = found.work.largest, found.memory
    visual = f" and {found.work.visual_length:,} visual" if largest.picture else ""
    lines = [
        f"memory per GPU, at the largest micro-batch: {largest.rows} × {largest.text_length:,} text{visual} tokens"
        f"{f', packed into {largest.packed:,}' if largest.packed else ''}, {largest.targets:,} targets"
    ]
    rows = [(_MEANING[field.name], getattr(memory, field.name)) for field in fields(memory)]
    rows.append(("all, without torch's own", memory.total))
    if torch.cuda.is_available():
        device = torch.cuda.get_device_properties(torch.cuda.current_device())
        rows.append((f"this {device.name}", device.total_memory))
    unit, size = ("GiB", 2**30) if memory.total >= 2**30 else ("MiB", 2**20)
    return "\n".join(lines + [f"  {name:<32}{value / size:>10.2f} {unit}" for name, value in rows])


def _work(found: Estimate, options: RunOptions) -> str:
    work = found.work
    epochs = work.total_steps / work.steps_per_epoch
    tokens = work.text_tokens + work.visual_tokens
    lines = [
        f"data: {work.items:,} items of {options.data.config}; {work.truncated:,} cut to data.max_words"
        f" {options.data.max_words}, {work.too_long:,} dropped for having no answer within it",
        f"steps: {work.steps_per_epoch:,} per epoch, {work.total_steps:,} in all ({epochs:.2f} epochs), of"
        f" {work.step_size:,} items each",
        f"tokens: {tokens:,} per epoch ({work.text_tokens:,} of text, {work.visual_tokens:,} visual),"
        f" {round(tokens * epochs):,} in all",
    ]
    if options.data.heldout is not None:
        lines.append(
            f"held out: {found.heldout_items:,} items of {options.data.heldout}, every"
            f" {options.data.heldout_every:,} steps"
        )
    return "\n".join(lines)
