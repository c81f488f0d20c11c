"""Weights of 8 and 4 bits: the codes by hand, kernels against the plain product, the whole model against bfloat16."""

import pytest
import torch

from SPHINX_V import Request, SPHINX_V_Model, UsageError
from SPHINX_V.config import LlamaConfig
from SPHINX_V.model import lowbit
from SPHINX_V.model.llama import Llama
from SPHINX_V.model.lowbit import GROUP, LowBitLinear, order_of, packed_for_cuda, tiled, untiled, use_low_bits, way_of

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def layer(weight: torch.Tensor, precision: str, dtype: torch.dtype = torch.float32) -> LowBitLinear:
    made = LowBitLinear(weight.shape[1], weight.shape[0], precision).to(dtype)
    made.fill(weight)
    return made


def test_int8_codes_by_hand():
    made = layer(torch.tensor([[127.0, -63.6, 0.4], [0.0, 0.0, 0.0], [-2.54, 1.27, 0.02]]), "int8")
    assert made.codes.tolist() == [[127, -64, 0], [0, 0, 0], [-127, 64, 1]]
    assert torch.allclose(made.scales, torch.tensor([1.0, 0.0, 0.02]))


def test_int4_codes_by_hand():
    weight = torch.zeros(2, GROUP)
    weight[0, :4] = torch.tensor([15.0, 1.0, 7.4, 8.6])  # from 0 to 15: steps of 1
    weight[1, :] = -3.0  # all the same: no steps
    made = layer(weight, "int4")
    codes = torch.stack([made.codes & 15, made.codes >> 4], dim=-1).flatten(1)
    assert codes[0, :5].tolist() == [15, 1, 7, 9, 0]
    assert made.dequantised()[0, :5].tolist() == [15.0, 1.0, 7.0, 9.0, 0.0]
    assert made.dequantised()[1].tolist() == [-3.0] * GROUP


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("precision, levels", [("int8", 254), ("int4", 15)])
def test_no_weight_is_further_off_than_half_a_step(precision, levels, dtype):
    torch.manual_seed(0)
    weight = torch.randn(48, 96)
    made = layer(weight, precision, dtype).dequantised().float()
    groups = weight.unflatten(1, (-1, GROUP if precision == "int4" else 96))
    spread = 2 * groups.abs().amax(-1) if precision == "int8" else groups.amax(-1) - groups.amin(-1)
    step = (spread / levels)[..., None].expand_as(groups).flatten(1)
    # Scale, centre and result are rounded to the type: each by at most half its resolution at the values' size.
    slack = 3 * torch.finfo(dtype).eps * weight.abs().max() + 8 * torch.finfo(dtype).eps * step
    assert ((made - weight).abs() <= step / 2 + slack).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 5, 12, 13, 40])
@pytest.mark.parametrize("outputs, inputs", [(48, 64), (277, 96), (33, 160)])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_the_product_is_that_of_the_weight_it_stands_for(precision, outputs, inputs, rows, dtype):
    torch.manual_seed(1)
    made = layer(torch.randn(outputs, inputs), precision, dtype)
    x = torch.randn(rows, inputs).to(dtype)
    expected = x.double() @ made.dequantised().double().T
    # Kernels round weights or results to the type, or neither: a few units of its resolution at the largest result.
    assert (made(x).double() - expected).abs().max() <= 4 * torch.finfo(dtype).eps * expected.abs().max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_weight_that_is_filled_a_few_rows_at_a_time(monkeypatch, precision, dtype):
    weight = torch.randn(48, 64, generator=torch.Generator().manual_seed(3))
    whole = layer(weight, precision, dtype)
    monkeypatch.setattr(lowbit, "_CPU_NUMBERS", 5 * 64)
    parts = layer(weight, precision, dtype)
    assert torch.equal(parts.codes, whole.codes)
    assert torch.equal(parts.scales, whole.scales)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_what_it_is_added_to(precision, dtype):
    torch.manual_seed(2)
    made = layer(torch.randn(48, 64), precision, dtype)
    x, base = torch.randn(3, 64).to(dtype), torch.randn(3, 48).to(dtype)
    kept = base.clone()
    assert torch.allclose(made.added_to(base, x), base + made(x))
    assert torch.equal(base, kept)


@pytest.mark.parametrize(
    "device, dtype, rows, inputs, usable, way",
    [
        ("cuda", torch.bfloat16, 1, 5120, True, "cuda_int8"),
        ("cuda", torch.float16, 64, 5120, True, "cuda_int8"),
        ("cuda", torch.bfloat16, 65, 5120, True, "unpack"),
        ("cuda", torch.float32, 16, 5120, True, "cuda_int8"),
        ("cuda", torch.float32, 17, 5120, True, "unpack"),
        ("cuda", torch.bfloat16, 1, 5122, True, "unpack"),
        ("cuda", torch.bfloat16, 1, 5120, False, "unpack"),
        ("cpu", torch.bfloat16, 12, 64, True, "cpu_int8"),
        ("cpu", torch.bfloat16, 13, 64, True, "unpack"),
        ("cpu", torch.bfloat16, 1, 40, True, "unpack"),
        ("cpu", torch.float16, 1, 64, True, "unpack"),
        ("cpu", torch.float32, 1, 64, True, "unpack"),
        ("mps", torch.bfloat16, 1, 64, True, "unpack"),
    ],
)
def test_ways_of_eight_bits(device, dtype, rows, inputs, usable, way):
    assert way_of("int8", "plain", inputs, dtype, device, rows, lambda: usable) == way


def test_our_kernels_are_asked_about_only_where_they_would_be_used():
    def never() -> bool:
        raise AssertionError("asked")

    for device, rows in (("cpu", 1), ("cuda", 100)):
        way_of("int8", "plain", 64, torch.bfloat16, device, rows, never)
    way_of("int4", "cuda", 64, torch.bfloat16, "cuda", 1, never)


@pytest.mark.parametrize(
    "device, dtype, outputs, cores, order, ways",
    [
        ("cuda", torch.bfloat16, 72, True, "cuda", ["cuda_int4", "cuda_int4", "unpack"]),
        ("cuda", torch.bfloat16, 72, False, "plain", ["unpack"] * 3),
        ("cuda", torch.bfloat16, 70, True, "plain", ["unpack"] * 3),
        ("cuda", torch.float16, 72, True, "plain", ["unpack"] * 3),
        ("cpu", torch.bfloat16, 48, False, "cpu", ["cpu_int4"] * 3),
        ("cpu", torch.bfloat16, 72, False, "plain", ["unpack"] * 3),
        ("cpu", torch.float32, 48, False, "plain", ["unpack"] * 3),
    ],
)
def test_orders_and_ways_of_four_bits(device, dtype, outputs, cores, order, ways):
    assert order_of("int4", outputs, dtype, device, cores) == order
    assert [way_of("int4", order, 64, dtype, device, rows, lambda: True) for rows in (1, 64, 65)] == ways


def as_torch_packs(swapped, depth):
    """What torch packs for its GPU kernel (torch 2.13, int4mm.cu), number by number; of two inputs in a byte it
    takes the upper half for the first."""
    outputs, inputs = swapped.shape[0], 2 * swapped.shape[1]
    codes = torch.stack([swapped >> 4, swapped & 15], dim=-1).flatten(1).long()
    packed = torch.zeros(outputs // 8, inputs // (16 * depth), 32, depth // 2, dtype=torch.int64)
    for tile, outer, lane, pair in torch.cartesian_prod(*map(torch.arange, packed.shape)).tolist():
        first = (outer * depth + 2 * pair) * 8 + lane % 4
        read = codes[8 * tile + lane // 4].view(-1, 2)[[first, first + 4, first + 8, first + 12]]
        places = [*read[:, 0].tolist(), *read[:, 1].tolist()]
        packed[tile, outer, lane, pair] = sum(code << 4 * place for place, code in enumerate(places))
    return torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32)


@pytest.mark.parametrize("inputs, depth", [(32, 2), (64, 4), (96, 2), (128, 8), (256, 8)])
def test_codes_for_torchs_gpu_kernel_are_read_back(inputs, depth):
    codes = torch.randint(0, 256, (16, inputs // 2), dtype=torch.uint8)
    words = as_torch_packs(codes >> 4 | codes << 4, depth)
    packed = packed_for_cuda(codes, as_torch_packs)
    assert torch.equal(tiled(packed), words)
    assert torch.equal(untiled(packed), codes)


def test_a_torch_with_another_order_is_noticed():
    codes = torch.randint(0, 256, (16, 32), dtype=torch.uint8)
    with pytest.warns(RuntimeWarning, match="another order of codes of 4 bits"):
        assert packed_for_cuda(codes, lambda swapped, depth: as_torch_packs(swapped, depth).flip(2)) is None


def test_codes_of_one_device_are_refused_on_another():
    made = layer(torch.randn(48, 64), "int4", torch.bfloat16)
    made.order = "cuda"
    with pytest.raises(UsageError, match=r"filled on cuda in bfloat16 and is now on cpu in torch\.bfloat16; its codes"):
        made(torch.zeros(1, 64, dtype=torch.bfloat16))
    made = layer(torch.randn(48, 64), "int4", torch.bfloat16).to(torch.float16)
    with pytest.raises(UsageError, match=r"now on cpu in torch\.float16"):
        made(torch.zeros(1, 64, dtype=torch.float16))


def test_where_a_gradient_is_wanted_no_kernel_is_used():
    made = layer(torch.randn(48, 64), "int8", torch.bfloat16)
    x = torch.randn(1, 64, dtype=torch.bfloat16, requires_grad=True)
    made(x).sum().backward()
    assert torch.allclose(x.grad[0], made.dequantised().sum(0), rtol=0.02, atol=0.1)


def test_rows_that_are_not_side_by_side():
    made = layer(torch.eye(32), "int8", torch.bfloat16)
    x = torch.arange(64.0).view(32, 2).to(torch.bfloat16).t()
    assert torch.allclose(made(x).float(), x.float(), rtol=0.01)


def test_int8_takes_widths_that_the_kernel_cannot_read():
    """torch's kernel reads 32 inputs at a time, beyond the end of a row of 40."""
    made = layer(torch.randn(8, 40), "int8", torch.bfloat16)
    x = torch.randn(1, 40).to(torch.bfloat16)
    expected = x.float() @ made.dequantised().float().T
    assert torch.allclose(made(x).float(), expected, atol=0.1)


def test_the_head_keeps_eight_bits():
    config = LlamaConfig(dim=64, n_layers=2, n_heads=2, n_kv_heads=2, multiple_of=32, vocab_size=50, max_seq_len=16)
    with torch.device("meta"):
        llm = Llama(config)
    before = {name for name in llm.state_dict() if name.endswith("weight") and "norm" not in name}
    layers = use_low_bits(llm, "int4")
    assert set(layers) == before - {"tok_embeddings.weight"}
    assert {name for name, made in layers.items() if made.precision == "int8"} == {"output.weight"}


def test_int4_refuses_widths_without_whole_groups():
    config = LlamaConfig(dim=48, n_layers=1, n_heads=2, n_kv_heads=2, multiple_of=32, vocab_size=50, max_seq_len=16)
    with torch.device("meta"):
        llm = Llama(config)
    with pytest.raises(UsageError, match=r"groups of 32 inputs, and layers\.0\.attention\.wq has 48; use int8"):
        use_low_bits(llm, "int4")


@pytest.fixture(scope="module", params=["int8", "int4"])
def quantised(request, golden):
    return SPHINX_V_Model.from_pretrained(golden, device="cpu", dtype=torch.bfloat16, quantize=request.param)


def test_a_loaded_model_answers_with_the_weights_it_stands_for(quantised, golden, golden_facts):
    """The same weights in float32 layers give the same logits, up to bfloat16."""
    plain = SPHINX_V_Model.from_pretrained(golden, device="cpu", dtype=torch.bfloat16)
    for name, module in quantised.model.llm.named_modules():
        if isinstance(module, LowBitLinear):
            plain.model.llm.get_submodule(name).weight.data.copy_(module.dequantised())
    turns, marks = [[golden_facts["question"], None]], golden_facts["boxes_xywh_px"]
    inputs = plain.processor(image=golden / "image.png", prompts=marks, turns=turns)
    expected = plain.logits(inputs)
    assert (quantised.logits(inputs) - expected).abs().max() < 0.05 * expected.abs().max()
    request = Request(turns, marks, golden / "image.png", max_gen_len=8, temperature=0)
    together = quantised.generate_batch([request, request])
    assert together[0] == together[1]


def test_other_parts_are_untouched(quantised, golden):
    plain = SPHINX_V_Model.from_pretrained(golden, device="cpu", dtype=torch.bfloat16)
    own = quantised.model.state_dict()
    others = [
        name for name in plain.model.state_dict() if not name.startswith("llm.layers") and name != "llm.output.weight"
    ]
    assert len(others) > 50
    assert all(torch.equal(own[name], tensor) for name, tensor in plain.model.state_dict().items() if name in others)


def test_a_quantised_model_is_not_saved(quantised, tmp_path):
    with pytest.raises(UsageError, match="quantised, which cannot be undone"):
        quantised.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_unknown_precisions_are_refused(golden):
    with pytest.raises(UsageError, match="quantize is 'int2'; give 'int8' or 'int4', or None"):
        SPHINX_V_Model.from_pretrained(golden, quantize="int2")
