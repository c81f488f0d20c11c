"""Times what a saved state costs training: steps of a 50 MB model with its optimiser, saved beside or between them.

`python -m benchmarks.saving [--folder DIR] [--record FILE.json]`
"""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accessory.config import SaveOptions
from accessory.runtime.distributed import World
from accessory.train.states import StateStore
from benchmarks import _measure
from benchmarks._measure import Numbers

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

    def tensors(self) -> dict[str, Tensor]:
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.model.named_parameters()}
        moments = {
            f"{names[parameter]}.{key}": value
            for parameter, state in self.optimizer.state.items()
            for key, value in state.items()
        }
        return {**self.model.state_dict(), **moments}


def one_round(training: Training, store: StateStore | None, number: int, steps: int) -> Numbers:
    """Seconds of `steps` steps, with a save after the first one, and of the call that saves.

    A save that goes on after the last step is waited for outside of what is timed: in a run it has hundreds of steps.
    """

    def train() -> float:
        training.step()
        call = 0.0
        if store is not None:
            _measure.wait(training.device)
            start = time.perf_counter()
            store.save(number, training.tensors(), {})
            call = time.perf_counter() - start
        for _ in range(steps - 1):
            training.step()
        return call

    seconds, call = _measure.timed(training.device, train)
    if store is not None:
        store.finish()
    return {"round": seconds, "call": call}


def measure(folder: Path, device: torch.device, batch: int, steps: int, repeats: int) -> dict[str, Any]:
    """Medians over the rounds of each kind, and what a save adds to a round."""
    training = Training(device, batch)
    this = World(0, 1, device)
    stores = {
        "none": None,
        "asynchronous": StateStore(folder / "asynchronous", this, SaveOptions()),
        "synchronous": StateStore(folder / "synchronous", this, SaveOptions(asynchronous=False)),
    }
    saves = itertools.count()
    ways = {kind: lambda kind=kind: one_round(training, stores[kind], next(saves), steps) for kind in KINDS}
    rounds = {kind: _measure.medians(found) for kind, found in _measure.in_turn(ways, repeats).items()}
    plain = rounds["none"]["round"]
    size = sum(tensor.nbytes for tensor in training.tensors().values())
    return {
        "model_mb": round(sum(p.nbytes for p in training.model.parameters()) / 1e6, 1),
        "state_mb": round(size / 1e6, 1),
        "step_seconds": round(plain / steps, 4),
        **{
            kind: {"call_seconds": numbers["call"], "stall_seconds": round(numbers["round"] - plain, 4)}
            for kind, numbers in rounds.items()
            if kind != "none"
        },
    }


def main() -> None:
    """Command line; prints the record and writes it where asked."""
    parser = _measure.command_line("saving", __doc__, repeats=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20, help="in a round, of which the first is followed by a save")
    parser.add_argument("--folder", type=Path, help="where states are written (default: a temporary folder)")
    options = parser.parse_args()
    device = torch.device(options.device)
    head = _measure.begin(parser, options, device)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measured = measure(Path(folder), device, options.batch, options.steps, options.repeats)
    _measure.finish({**head, **measured}, options.record)


if __name__ == "__main__":
    main()
