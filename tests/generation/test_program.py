"""Parts of the program that decoding runs, against the model's own."""

import pytest
import torch

from SPHINX_V.generation.program import _norm
from SPHINX_V.model.llama import RMSNorm


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_norms_in_half_precision_are_the_models_to_the_bit(dtype):
    """The model rounds before it scales; to scale first would round differently in one of some ten numbers."""
    noise = torch.Generator().manual_seed(0)
    norm = RMSNorm(96, 1e-5).to(dtype)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(96, generator=noise))
        x = (torch.randn(64, 96, generator=noise) * 3).to(dtype)
        assert torch.equal(_norm(x, norm), norm(x))
        scaled_first = torch.nn.functional.rms_norm(x.float(), (96,), norm.weight.float(), 1e-5).to(dtype)
        assert not torch.equal(scaled_first, norm(x))


def test_norms_in_float32_are_the_models():
    norm, x = RMSNorm(96, 1e-5), torch.randn(5, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(_norm(x, norm), norm(x), atol=1e-6)
