"""Run by test_memory in each of two processes: what one really holds in several layouts, in bytes.

torchrun --nproc_per_node=2 -m tests.accessory.train.sizes_worker CONFIG OUT NAME,OVERRIDE,… …
"""

import json
import sys
from pathlib import Path

from accessory.config import RunOptions, load_options
from accessory.main import launch
from accessory.train.build import build
from accessory.train.gradients import trained_parts
from accessory.train.optim import Optimizers
from SPHINX_V.parallel import end_process
from SPHINX_V.weights.local_part import local_tensor


def main(config: str, out: str, *runs: str) -> None:
    sizes = {}
    for run in runs:
        name, *overrides = run.split(",")
        options = load_options(RunOptions, config, overrides)
        with launch(options.parallel) as this:
            model = build(options, this).model
            parts = trained_parts(model, this)
            frozen = [local_tensor(p) for p in model.parameters() if not p.requires_grad]
            states = [tensor for _, key, tensor in Optimizers(parts, options.train).states() if key != "step"]
        sizes[name] = {
            "frozen": sum(tensor.nbytes for tensor in frozen),
            "masters": sum(part.local.nbytes for part in parts),
            "optimizer": sum(tensor.nbytes for tensor in states),
        }
    if this.is_main:
        Path(out).write_text(json.dumps(sizes), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_process(0)
