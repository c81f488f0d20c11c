"""Run in a process of its own: imports every module of both packages and writes down what that changed.

    python tests/house/import_probe.py REPORT MODULE...

REPORT gets JSON: {"failed": {module: error}, "changed": {module: [what, …]}}. Whatever the imports print goes where
it would go for a user, so the caller sees it.
"""

import importlib
import json
import logging
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Optional, or needed by tests only: the packages must import without any of them.
BLOCKED = {
    "accelerate", "clip", "cv2", "datasets", "deepspeed", "fairscale", "fastapi", "flash_attn", "gradio", "hypothesis",
    "matplotlib", "open_clip", "openai", "pandas", "peft", "pycocotools", "pytest", "rich", "scipy", "segment_anything",
    "skimage", "sklearn", "starlette", "tensorboard", "tensorboardX", "timm", "tokenizers", "torchaudio",
    "torchvision", "transformers", "triton", "uvicorn", "wandb", "xformers",
}  # fmt: skip


class Blocker:
    """A finder that says of every optional package that it is not there."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked by the house test)", name=name)


def observers() -> dict[str, Callable[[], Any]]:
    """What an import must leave as it was: a name and how to look at it."""
    import numpy
    import PIL.Image
    import torch
    import torch.distributed

    return {
        "os.environ": lambda: dict(os.environ),
        "working directory": os.getcwd,
        "sys.path": lambda: list(sys.path),
        "SIGINT and SIGTERM handlers": lambda: [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
        "root logger": lambda: (logging.root.level, list(logging.root.handlers)),
        "random state of Python": random.getstate,
        "random state of numpy": lambda: numpy.random.get_state()[1].tobytes(),  # type: ignore[index, union-attr]
        "random state of torch": lambda: torch.get_rng_state().numpy().tobytes(),
        "Pillow's size limit": lambda: PIL.Image.MAX_IMAGE_PIXELS,
        "default dtype": torch.get_default_dtype,
        "default device": lambda: str(torch.get_default_device()),
        "threads": lambda: (torch.get_num_threads(), torch.get_num_interop_threads()),
        "deterministic flag": torch.are_deterministic_algorithms_enabled,
        "gradients enabled": torch.is_grad_enabled,
        "float32 matmul precision": torch.get_float32_matmul_precision,
        "cudnn flags": lambda: (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "CUDA initialised": torch.cuda.is_initialized,
        "process group": lambda: torch.distributed.is_available() and torch.distributed.is_initialized(),
    }


def main(report: str, modules: list[str]) -> None:
    sys.meta_path.insert(0, Blocker())
    # What the dependencies do to the process when they load is theirs; ours starts after that.
    for name in ("sentencepiece", "safetensors.torch", "yaml", "pydantic", "tqdm", "torch.utils.data"):
        importlib.import_module(name)
    looks = observers()
    before = {what: look() for what, look in looks.items()}

    failed: dict[str, str] = {}
    changed: dict[str, list[str]] = {}
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            failed[module] = f"{type(error).__name__}: {error}"
        after = {what: look() for what, look in looks.items()}
        different = [what for what in looks if after[what] != before[what]]
        if different:
            changed[module] = different
        before = after
    Path(report).write_text(json.dumps({"failed": failed, "changed": changed}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
