"""SPHINX-V: a multimodal language model that answers about the points, boxes and free shapes drawn on a picture.

The public names. The heavy ones load at first use (PEP 562), so `import SPHINX_V` loads neither torch nor PIL.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from SPHINX_V.errors import (
    AnswerError,
    CheckpointError,
    CheckpointWarning,
    ConfigError,
    DataError,
    PromptWarning,
    QueueFullError,
    SphinxVError,
    UsageError,
)
from SPHINX_V.prompts import Box, Mask, Point, Scribble

if TYPE_CHECKING:
    from SPHINX_V.generation.options import EngineOptions
    from SPHINX_V.overlay import draw_marks
    from SPHINX_V.sphinx_v import Request, SPHINX_V_Model

__version__ = "0.1.0"

__all__ = [
    "AnswerError",
    "Box",
    "CheckpointError",
    "CheckpointWarning",
    "ConfigError",
    "DataError",
    "EngineOptions",
    "Mask",
    "Point",
    "PromptWarning",
    "QueueFullError",
    "Request",
    "SPHINX_V_Model",
    "Scribble",
    "SphinxVError",
    "UsageError",
    "draw_marks",
]

_LAZY = {
    "EngineOptions": "SPHINX_V.generation.options",
    "Request": "SPHINX_V.sphinx_v",
    "SPHINX_V_Model": "SPHINX_V.sphinx_v",
    "draw_marks": "SPHINX_V.overlay",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
