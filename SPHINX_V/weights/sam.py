"""The prompt encoder's start from SAM ViT-H (arXiv 2304.02643): frequencies, point and corner embeddings."""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor

from SPHINX_V.errors import CheckpointError
from SPHINX_V.weights.tensor_files import TensorFile

# Our name → SAM's own name, then transformers' (SamModel). SAM's labels 0 and 1 are background and foreground points,
# 2 and 3 a box's corners; SPHINX-V took 0 and 1 for slots without and with a mark.
_NAMES = {
    "frequencies": (
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        "shared_image_embedding.positional_embedding",
        "prompt_encoder.shared_embedding.positional_embedding",
    ),
    **{
        ours: (f"prompt_encoder.point_embeddings.{label}.weight", f"prompt_encoder.point_embed.{label}.weight")
        for label, ours in enumerate(("point_invalid", "point_valid", "corner0", "corner1"))
    },
}


def read_sam(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Our names and tensors from `sam_vit_h_4b8939.pth` or transformers' file; fill them in with `load.load_tensors`.

    SAM has no counterpart of `box_valid`, `box_invalid` and `up`: these stay as they are.
    Raises CheckpointError where a tensor is missing or of a shape that SAM's never has.
    """
    file = TensorFile(Path(path))
    found: dict[str, Tensor] = {}
    for ours, candidates in _NAMES.items():
        name = next((name for name in candidates if name in file), None)
        if name is None:
            raise CheckpointError(
                f"{file.path}: lacks tensor {candidates[0]}; is it a file of SAM with its prompt encoder?"
            )
        tensor = file.read(name)
        if tensor.ndim != 2 or tensor.shape[0] != (2 if ours == "frequencies" else 1):
            raise CheckpointError(f"{file.path}: tensor {name} has the shape {list(tensor.shape)}, which is not SAM's.")
        found[f"prompt_encoder.{ours}"] = (tensor if ours == "frequencies" else tensor[0]).clone()
    return found
