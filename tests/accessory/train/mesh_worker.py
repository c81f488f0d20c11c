"""Run by test_meshes in each of several processes: trains the same short runs in one layout after another.

torchrun --nproc_per_node=N -m tests.accessory.train.mesh_worker CONFIG OUT NAME=OVERRIDES …
"""

import sys
from pathlib import Path

import torch

from accessory.config import RunOptions, load_options
from accessory.main import launch, train
from SPHINX_V.parallel import end_process


def main(config: str, out: str, *runs: str) -> None:
    torch.set_num_threads(1)
    for run in runs:
        name, *overrides = run.split(",")
        options = load_options(RunOptions, config, [f"output={Path(out) / name}", *overrides])
        with launch(options.parallel) as this:
            train(options, this)


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_process(0)
