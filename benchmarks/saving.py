"""Times what a saved state costs training: steps of a 50 MB model with its optimiser, saved beside or between them.

`python -m benchmarks.saving [--folder DIR] [--record FILE.json]`
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from accessory.config import SaveOptions
from accessory.runtime.distributed import World
from accessory.train.states import StateStore

WIDTH, LAYERS = 1792, 4  # 12.8 million parameters: 51 MB, and as much for each of AdamW's moments
KINDS = ("none", "asynchronous", "synchronous")


class Training:
    """Steps of a stack of linear layers, on one batch that stays the same."""

    def __init__(self, device: torch.device, batch: int) -> None:
        torch.manual_seed(0)
        layers = [layer for _ in range(LAYERS) for layer in (nn.Linear(WIDTH, WIDTH), nn.GELU())]
        self.device = device
        self.model = nn.Sequential(*layers).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.batch = torch.randn(batch, WIDTH, device=device)

    def step(self) -> None:
        self.model(self.batch).square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def tensors(self) -> dict[str, Tensor]:
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        moments = {
            f"{names[parameter]}.{key}": value
            for parameter, state in self.optimizer.state.items()
            for key, value in state.items()
        }
        return {**self.model.state_dict(), **moments}


def one_round(training: Training, store: StateStore | None, number: int, steps: int) -> dict[str, float]:
    """Seconds of `steps` steps, with a save after the first one, and of the call that saves.

    A save that goes on after the last step is waited for outside of what is timed: in a run it has hundreds of steps.
    """
    training.wait()
    start = time.perf_counter()
    call = 0.0
    for step in range(steps):
        training.step()
        if step == 0 and store is not None:
            training.wait()
            before = time.perf_counter()
            store.save(number, training.tensors(), {})
            call = time.perf_counter() - before
    training.wait()
    seconds = time.perf_counter() - start
    if store is not None:
        store.finish()
    return {"round": seconds, "call": call}


def measure(folder: Path, device: torch.device, batch: int, steps: int, repeats: int) -> dict[str, Any]:
    """Medians over `repeats` interleaved rounds of each kind; the first round of each warms up."""
    training = Training(device, batch)
    this = World(0, 1, device)
    stores = {
        "none": None,
        "asynchronous": StateStore(folder / "asynchronous", this, SaveOptions()),
        "synchronous": StateStore(folder / "synchronous", this, SaveOptions(asynchronous=False)),
    }
    rounds: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for number in range(repeats + 1):
        for kind in KINDS:
            rounds[kind].append(one_round(training, stores[kind], number, steps))

    def middle(kind: str, what: str) -> float:
        return median(one[what] for one in rounds[kind][1:])

    plain = middle("none", "round")
    size = sum(tensor.nbytes for tensor in training.tensors().values())
    return {
        "model_mb": round(sum(p.nbytes for p in training.model.parameters()) / 1e6, 1),
        "state_mb": round(size / 1e6, 1),
        "step_seconds": round(plain / steps, 4),
        **{
            f"{kind}_{what}": round(value, 4)
            for kind in KINDS[1:]
            for what, value in {
                "call_seconds": middle(kind, "call"),
                "stall_seconds": middle(kind, "round") - plain,
            }.items()
        },
    }


def main() -> None:
    """Command line; prints the record and writes it where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.saving", description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20, help="in a round, of which the first is followed by a save")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where states are written (default: a temporary folder)")
    parser.add_argument("--record", type=Path, help="JSON file to write")
    options = parser.parse_args()
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measured = measure(Path(folder), device, options.batch, options.steps, options.repeats)
    record = {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "batch": options.batch,
        "steps": options.steps,
        "repeats": options.repeats,
        **measured,
    }
    text = json.dumps(record, indent=2)
    print(text)
    if options.record is not None:
        options.record.parent.mkdir(parents=True, exist_ok=True)
        options.record.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
