"""Run by test_lead in each of two processes, of which one goes away; what the other saw is written as JSON.

torchrun --nproc_per_node=2 -m tests.generation.lead_ends_worker FOLDER leader|follower
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from SPHINX_V.generation import runner
from SPHINX_V.parallel import rank
from SPHINX_V.sphinx_v import SPHINX_V_Model
from tests.generation.lead_worker import HELLO, refusal, split_model

SILENCE = 10.0


def gone_leader(model: SPHINX_V_Model) -> dict[str, Any]:
    """It leads, says nothing for longer than exchanges of the model may take, answers and dies without a word."""
    if rank():
        return {"said": refusal(model.engine.follow), "again": refusal(model.engine.follow)}
    runner.HEARTBEAT = SILENCE / 4  # so that it says that it is there
    model.engine.start()
    time.sleep(1.5 * SILENCE)
    return {"text": model.generate_batch([HELLO])[0]}


def gone_follower(model: SPHINX_V_Model) -> dict[str, Any]:
    """It fails in the middle of a request."""
    if rank():
        model.model.llm.layers[1].attention.wq.register_forward_pre_hook(lambda module, arguments: 1 / 0)
        try:
            model.engine.follow()
        except ZeroDivisionError:
            return {"said": "ZeroDivisionError"}
        return {}
    model.engine.start()
    streams = [model.engine.submit(HELLO) for _ in range(3)]
    said = [refusal(stream.answer) for stream in streams]
    later = refusal(lambda: model.engine.submit(HELLO))
    model.engine.stop()
    return {"said": said, "later": later, "weighed": refusal(lambda: model.score(HELLO.turns, ["yes"]))}


def main(folder: Path, who: str) -> None:
    torch.set_num_threads(1)
    if who == "leader":
        distributed.init_process_group("gloo", timeout=timedelta(seconds=SILENCE))
    seen = {"leader": gone_leader, "follower": gone_follower}[who](split_model(2))
    (folder / f"{rank()}.json").write_text(json.dumps(seen), encoding="utf-8")
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
