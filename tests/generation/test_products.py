"""Products by parts of a weight are the products they stand for."""

import pytest
import torch
from torch.nn import functional

from SPHINX_V.generation import products
from SPHINX_V.generation.products import added_product, product

LARGE = (1024, 256)  # enough numbers to be taken by parts, in four of 256 outputs


@pytest.mark.parametrize("rows", [1, 2, 9, products._MOST_ROWS, products._MOST_ROWS + 1])
@pytest.mark.parametrize("shape", [LARGE, (64, 32), (1023, 256)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_are_those_of_linear(rows, shape, dtype):
    torch.manual_seed(0)
    weight, x, y = torch.randn(shape).to(dtype), torch.randn(rows, shape[1]).to(dtype), torch.randn(rows, shape[0])
    y = y.to(dtype)
    kept = y.clone()
    expected = functional.linear(x.double(), weight.double())
    # Sums of 256 products, added in another order.
    atol = 256 * torch.finfo(dtype).eps
    assert torch.allclose(product(weight)(x).double(), expected, rtol=torch.finfo(dtype).eps, atol=atol)
    added = added_product(weight)(y, x)
    assert torch.allclose(added.double(), expected + kept.double(), rtol=torch.finfo(dtype).eps, atol=atol)
    assert torch.equal(y, kept), "the sum is a new tensor"


def test_large_weights_are_taken_by_parts_without_a_copy():
    weight = torch.randn(LARGE)
    parts = products._parts(weight)
    assert parts is not None
    assert parts.shape == (4, 256, 256)
    assert parts.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()
    assert products._parts(torch.randn(64, 32)) is None
    assert products._parts(torch.randn(1023, 256)) is None
    assert products._parts(weight.bfloat16()) is None


def test_results_lie_as_those_of_linear_do():
    """What follows views a row as heads of complex numbers."""
    found = product(torch.randn(LARGE))(torch.randn(1, 256))
    assert found.is_contiguous()
    assert torch.view_as_complex(found.unflatten(-1, (8, -1, 2))).shape == (1, 8, 64)
