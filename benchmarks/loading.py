"""Times loading a checkpoint of several files: one tensor after the other, several at once, and the usual way.

`python -m benchmarks.loading [--device cuda] [--cold 1] [--folder DIR] [--record FILE.json]`
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks import _measure
from benchmarks._measure import Numbers
from SPHINX_V.config import LlamaConfig, SphinxVConfig, tiny
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.weights import load
from SPHINX_V.weights.convert import convert
from SPHINX_V.weights.folder import save_folder
from SPHINX_V.weights.load import build_random, load_model

FORMS = ("folder", "released")
SEVERAL = load.READERS
READERS = {"one": 1, "several": SEVERAL}


def write(folder: Path, config: SphinxVConfig, dtype: torch.dtype, shards: int) -> dict[str, Path]:
    """The same random weights as one of our folders and in the released form, `shards` files each."""
    state = build_random(config, dtype=dtype).state_dict()
    save_folder(folder / "folder", state, config, b"the tokenizer is not looked into", shards=shards)
    del state
    convert(folder / "folder", folder / "released", "released", shards=shards)
    return {form: folder / form for form in FORMS}


def weight_files(path: Path) -> list[Path]:
    """The files with weights in them."""
    return sorted(file for file in path.iterdir() if file.suffix in (".safetensors", ".pth"))


def make_cold(path: Path) -> None:
    """Takes the files out of the system's memory, so that they come from the disk (Linux; others ignore it)."""
    for file in weight_files(path) if hasattr(os, "posix_fadvise") else ():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def make_warm(path: Path) -> None:
    """Reads the files once and keeps nothing: the system does."""
    space = bytearray(16 << 20)
    for file in weight_files(path):
        with file.open("rb", buffering=0) as opened:
            while opened.readinto(space):
                pass


def usual_way(path: Path, config: SphinxVConfig, device: torch.device, dtype: torch.dtype) -> SphinxV:
    """The usual way: a model with memory, then file by file a whole dict of tensors that `load_state_dict` copies."""
    with torch.device("meta"):
        model = SphinxV(config).to(dtype)
    model.prompt_encoder.frequencies = model.prompt_encoder.frequencies.float()
    model.to_empty(device=device)
    for file in weight_files(path):
        model.load_state_dict(load_file(file, device=str(device)), strict=False)
    return model


def measure(
    paths: dict[str, Path], config: SphinxVConfig, device: torch.device, dtype: torch.dtype, cold: bool, repeats: int
) -> dict[str, Any]:
    """Medians of seconds over the rounds, and what several readers take of what one takes."""

    def timed(path: Path, work: Callable[[], Any]) -> Numbers:
        gc.collect()
        make_warm(path)
        if cold:
            make_cold(path)
        cpu = time.process_time()
        seconds, result = _measure.timed(device, work)
        cpu = time.process_time() - cpu
        del result
        return {"seconds": seconds, "cpu_seconds": cpu}

    def ours(form: str, readers: int) -> Numbers:
        load.READERS = readers
        found = timed(paths[form], lambda: load_model(paths[form], device=device))
        load.READERS = SEVERAL
        return found

    ways: dict[str, Callable[[], Numbers]] = {
        **{f"{form}_{name}": partial(ours, form, readers) for form in FORMS for name, readers in READERS.items()},
        "usual": lambda: timed(paths["folder"], lambda: usual_way(paths["folder"], config, device, dtype)),
        # One thread that keeps nothing: what the disk, or the system's memory, gives it.
        "read_only": lambda: timed(paths["folder"], lambda: make_warm(paths["folder"])),
    }
    rounds = _measure.in_turn(ways, repeats)
    return {
        "readers": SEVERAL,
        **{name: _measure.medians(found) for name, found in rounds.items()},
        **{
            f"{form}_several_of_one": _measure.ratio(rounds[f"{form}_several"], rounds[f"{form}_one"], "seconds")
            for form in FORMS
        },
        "folder_several_of_usual": _measure.ratio(rounds["folder_several"], rounds["usual"], "seconds"),
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _measure.command_line("loading", __doc__, repeats=7)
    made.add_argument("--device", default="cpu")
    made.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    made.add_argument("--dim", type=int, default=2048, help="width of the language model")
    made.add_argument("--layers", type=int, default=16, help="its layers; 16 of 2,048 are 1.9 GB in bfloat16")
    made.add_argument("--shards", type=int, default=4, help="files per checkpoint")
    made.add_argument("--cold", type=int, choices=(0, 1), default=0, help="1: from the disk, not the system's memory")
    made.add_argument("--folder", type=Path, help="where two checkpoints are written (default: a temporary folder)")
    return made


def main() -> None:
    """Prints the record and writes it where asked."""
    command = parser()
    options = command.parse_args()
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    llm = LlamaConfig(dim=options.dim, n_layers=options.layers, n_heads=options.dim // 128 or 1, vocab_size=32_000)
    config = tiny().model_copy(update={"llm": llm})
    head = _measure.begin(command, options, device)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        paths = write(Path(folder), config, dtype, options.shards)
        size = sum(file.stat().st_size for file in weight_files(paths["folder"]))
        measured = measure(paths, config, device, dtype, bool(options.cold), options.repeats)
    _measure.finish({**head, "megabytes": round(size / 1e6, 1), **measured}, options.record)


if __name__ == "__main__":
    main()
