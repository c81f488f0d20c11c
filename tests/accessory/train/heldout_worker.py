"""Run by test_heldout in each of several processes: the held-out loss of a run's model, once per layout.

torchrun --nproc_per_node=N -m tests.accessory.train.heldout_worker CONFIG OUT NAME=OVERRIDES …
"""

import sys
from pathlib import Path

import torch

from accessory.config import RunOptions, load_options
from accessory.main import launch
from accessory.train.build import build
from accessory.train.heldout import heldout_loss, open_held_out
from SPHINX_V.parallel import end_process
from SPHINX_V.processing.processor import Processor


def main(config: str, out: str, *runs: str) -> None:
    torch.set_num_threads(1)
    for run in runs:
        name, *overrides = run.split(",")
        options = load_options(RunOptions, config, overrides)
        with launch(options.parallel) as this:
            module, model, tokenizer = build(options, this)
            heldout = open_held_out(options.data, Processor(model.config, tokenizer), options.train.batch_size)
            losses = [heldout_loss(module, heldout, this).hex() for _ in range(2)]
            if this.is_main:
                Path(out, name).write_text(" ".join(losses), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_process(0)
