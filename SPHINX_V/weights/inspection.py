"""What a checkpoint holds: sizes, parameters by part, types, missing and unexpected names; reads no weights."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from SPHINX_V.weights.checkpoint import few, model_shapes, open_checkpoint
from SPHINX_V.weights.names import PROMPT_PARTS

# In the order in which they are shown; the first prefix that fits counts.
_PARTS = {
    "llm": ("llm.",),
    "clip": ("vision.clip.",),
    "dinov2": ("vision.dinov2.",),
    "convnext": ("vision.convnext.",),
    "blip2_vit": ("vision.blip2_vit.",),
    "qformer": ("vision.qformer.",),
    "projections": ("visual_proj.", "qformer_proj.", "start_img", "end_img"),
    "prompts": PROMPT_PARTS,
}


@dataclass(frozen=True)
class Inspection:
    """Names of `missing` and `unexpected` are ours, of `unused` and `unknown` released ones."""

    path: str
    kind: str
    files: dict[str, int]
    has_tokenizer: bool
    config: dict[str, Any]
    tensors: int
    parameters: dict[str, int]
    total: int
    dtypes: dict[str, int]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: dict[str, dict[str, list[int]]]
    unused: tuple[str, ...]
    unknown: tuple[str, ...]


def part_of(name: str) -> str:
    """The part of the model that one of our names belongs to; "other" for names of no part."""
    return next((part for part, starts in _PARTS.items() if name.startswith(starts)), "other")


def inspect_checkpoint(path: str | os.PathLike[str]) -> Inspection:
    """Looks at any checkpoint. Raises as `open_checkpoint`; tensors that do not fit are reported, not raised."""
    checkpoint = open_checkpoint(path)
    source = checkpoint.source
    expected = model_shapes(checkpoint.config)
    found = checkpoint.compare(expected)
    counts: Counter[str] = Counter(dict.fromkeys(_PARTS, 0))
    for name, info in source.tensors.items():
        counts[part_of(name)] += info.numel
    counts["unused"] = sum(info.numel for info in source.unused.values())
    counts["unknown"] = sum(info.numel for info in source.unknown.values())
    everything = {**source.tensors, **source.unused, **source.unknown}
    dtypes: Counter[str] = Counter()
    for info in everything.values():
        dtypes[str(info.dtype).removeprefix("torch.")] += info.numel
    return Inspection(
        path=os.fspath(path),
        kind=checkpoint.kind,
        files={file.path.name: file.path.stat().st_size for file in source.files},
        has_tokenizer=checkpoint.tokenizer_bytes is not None,
        config=checkpoint.config.model_dump(mode="json"),
        tensors=len(everything),
        parameters={part: count for part, count in counts.items() if count or part in _PARTS or part == "unused"},
        total=sum(counts.values()),
        dtypes=dict(dtypes),
        missing=found.missing,
        unexpected=found.unexpected,
        mismatched={
            name: {"file": list(source.tensors[name].shape), "model": list(expected[name])} for name in found.mismatched
        },
        unused=checkpoint.unused,
        unknown=checkpoint.unknown,
    )


def as_dict(found: Inspection) -> dict[str, Any]:
    return asdict(found)


def as_text(found: Inspection) -> str:
    """A table for people."""
    llm, vision = found.config["llm"], found.config["vision"]
    size = sum(found.files.values())
    towers = (f"{name} {vision[name]['layers']}×{vision[name]['width']}" for name in ("clip", "dinov2", "blip2_vit"))
    heads = f"{llm['n_heads']} heads ({llm['n_kv_heads'] or llm['n_heads']} for keys and values)"
    lines = [
        f"{found.path}: {found.kind}, {len(found.files)} weight files, {size / 1e9:.3f} GB, {found.tensors} tensors",
        f"  language model: {llm['n_layers']} layers, width {llm['dim']}, {heads}, vocabulary {llm['vocab_size']}",
        f"  encoders: {', '.join(towers)}, convnext {'-'.join(map(str, vision['convnext']['dims']))}",
        f"  types: {', '.join(f'{name} {count:,}' for name, count in found.dtypes.items())}",
        f"  tokenizer: {'yes' if found.has_tokenizer else 'MISSING'}",
        "  parameters",
        *(f"    {part:<12}{count:>16,}" for part, count in found.parameters.items()),
        f"    {'total':<12}{found.total:>16,}",
    ]
    for what in ("missing", "unexpected", "unused", "unknown"):
        listed = getattr(found, what)
        lines.append(f"  {what}: {f'{len(listed)}: {few(listed)}' if listed else 'none'}")
    for name, shapes in found.mismatched.items():
        lines.append(f"  other shape: {name} is {shapes['file']}, the configuration asks for {shapes['model']}")
    return "\n".join(lines)
