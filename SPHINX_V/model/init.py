"""Random initialisation: each tensor from a generator of (seed, its name), so no order or subset changes another."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_ONES = ("norm.weight", "norm1.weight", "norm2.weight", "_norm.weight", "gamma", "scale1", "scale2")
# Prompt embeddings start small beside the Fourier features (of root mean square 0.7), or all marks would look alike.
_EMBEDDINGS = (
    *("class_token", "position_embedding", "query_tokens"),
    *("point_invalid", "point_valid", "box_invalid", "box_valid", "corner0", "corner1"),
)


def initialise(model: nn.Module, seed: int, names: Iterable[str] | None = None) -> None:
    """Fills parameters and buffers in place, on their own device: all of them, or those of `names` (ours, dotted)."""
    tensors = model.state_dict()
    kinds = (nn.LayerNorm, nn.GroupNorm)
    norms = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, kinds)}
    for name in tensors if names is None else names:
        with torch.no_grad():
            _fill(tensors[name], name, name in norms, seed)


def generator_of(seed: int, name: str, device: torch.device) -> torch.Generator:
    """The generator that the values of a tensor are drawn from."""
    # Seed and name in one hash of 32 bits: of a longer seed the CPU generator drops the upper half.
    return torch.Generator(device=device).manual_seed(zlib.crc32(f"{seed}:{name}".encode()))


def _fill(tensor: Tensor, name: str, is_norm: bool, seed: int) -> None:
    # Keys start equal to queries, so attention starts by looking at what is alike (mimetic initialisation,
    # arXiv 2305.09828); a mark then finds the patches at its place within few steps. Output rows start along the
    # embeddings of the same tokens, so that a state that predicts "3" is alike the "3" of the text that looks for it.
    # What a head reads it writes back along itself (the same paper), so that looking at a word starts as saying it.
    source = name.replace("attention.wk", "attention.wq").replace("attention.wo", "attention.wv")
    source = source.replace("output.weight", "tok_embeddings.weight")
    generator = generator_of(seed, source, tensor.device)
    if name.endswith("attention.wo.weight"):
        read = torch.empty_like(tensor.T, memory_format=torch.contiguous_format)
        tensor.copy_(read.normal_(std=1.0 / math.sqrt(read.shape[-1]), generator=generator).T)
    elif is_norm or name.endswith(_ONES):
        tensor.fill_(1.0)
    elif name.endswith(".bias"):
        tensor.zero_()
    elif name.endswith("frequencies"):
        tensor.normal_(generator=generator)  # SAM's Gaussian matrix has unit scale
    elif name.endswith("tok_embeddings.weight"):
        # Of the order of the visual tokens beside them, which would drown much smaller ones in the first layer. What
        # all words share gives every head a query and a key that only their distance turns, so that text looks back at
        # what stands just before it; that finds a mark's number, from the first step.
        tensor.normal_(std=0.3, generator=generator)
        tensor += torch.empty_like(tensor[0]).normal_(std=0.3, generator=generator)
    elif name.endswith(_EMBEDDINGS) or name.endswith(("_img", "_vp")):
        tensor.normal_(std=0.02, generator=generator)
    elif tensor.ndim == 4:
        # Convolutions feed a GELU: He's scale keeps the variance (arXiv 1502.01852).
        fan_in = tensor[0].numel()
        tensor.normal_(std=math.sqrt(2.0 / fan_in), generator=generator)
    else:
        # 1/sqrt(fan_in), so that wide and narrow models start alike.
        tensor.normal_(std=1.0 / math.sqrt(tensor.shape[-1]), generator=generator)
