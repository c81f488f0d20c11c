"""Layers of few bits in the program: those that share an input are one product over memory that they share."""

import pytest
import torch

from SPHINX_V import EngineOptions, Request, SPHINX_V_Model
from SPHINX_V.generation.program import Program
from SPHINX_V.model.lowbit import LowBitLinear

TOGETHER = (("attention", ("wq", "wk", "wv")), ("feed_forward", ("w1", "w3")))


def groups(llm):
    """The layers of each block that have the same input."""
    for block in llm.layers:
        for part, names in TOGETHER:
            yield [getattr(getattr(block, part), name) for name in names]


@pytest.fixture(scope="module", params=["int8", "int4"])
def quantised(request, golden):
    """In float32, where codes of 4 bits are in no kernel's order."""
    return SPHINX_V_Model.from_pretrained(golden, device="cpu", dtype=torch.float32, quantize=request.param)


def test_they_share_memory_and_stay_what_they_were(quantised):
    llm = quantised.model.llm
    layers = [layer for group in groups(llm) for layer in group]
    assert all(isinstance(layer, LowBitLinear) for layer in layers)
    before = [layer.dequantised().clone() for layer in layers]
    programs = [Program(llm)]
    places = [layer.codes.data_ptr() for layer in layers]
    programs.append(Program(llm))
    assert [layer.codes.data_ptr() for layer in layers] == places, "a second program has a second copy"
    for group in groups(llm):
        for tensors in ([layer.codes for layer in group], [layer.scales for layer in group]):
            assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
            size = tensors[0].untyped_storage().nbytes()
            assert size == sum(tensor.numel() * tensor.itemsize for tensor in tensors)
    for layer, weight in zip(layers, before):
        assert torch.equal(layer.dequantised(), weight)
        x = torch.randn(2, layer.inputs)
        assert torch.allclose(layer(x), x @ weight.T, atol=1e-4)


def test_the_program_gives_the_logits_of_the_model(quantised, golden, golden_facts):
    inputs = quantised.processor(
        image=golden / "image.png", prompts=golden_facts["boxes_xywh_px"], turns=[[golden_facts["question"], None]]
    )
    expected = quantised.logits(inputs)
    rows = quantised.engine.rows  # makes the program
    assert torch.equal(quantised.logits(inputs), expected), "sharing memory has changed a weight"
    ids = inputs.token_ids[0].tolist()[:7]
    hidden = quantised.model.hidden(quantised.model.llm.tok_embeddings(torch.tensor([ids])))
    alone = quantised.model.llm.output(hidden)[0]
    with torch.inference_mode():
        assert torch.allclose(rows.follow(0, 0, ids), alone, atol=1e-4 * float(alone.abs().max()))


def test_a_layer_that_is_watched_is_called(quantised):
    llm = quantised.model.llm
    seen = []
    watched = llm.layers[0].attention.wk
    handle = watched.register_forward_hook(lambda module, arguments, output: seen.append(module))
    try:
        quantised.make_engine()
        quantised.engine.rows.follow(0, 0, [5, 6])
    finally:
        handle.remove()
    assert seen == [watched]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_on_a_gpu_a_captured_step_says_what_its_parts_say(precision, golden, golden_facts):
    model = SPHINX_V_Model.from_pretrained(golden, device="cuda", dtype=torch.bfloat16, quantize=precision)
    request = Request([[golden_facts["question"], None]], None, golden / "image.png", max_gen_len=12, temperature=0)
    answers = []
    for graphs in (True, False):
        model.make_engine(EngineOptions(max_rows=4, cuda_graphs=graphs))
        answers += [model.answer_batch([request])[0].ids, *(answer.ids for answer in model.answer_batch([request] * 4))]
    assert len(set(answers)) == 1
