"""The benchmark for GPUs runs where there is none, small; and says so where it cannot run."""

import json

import pytest
import torch

from benchmarks import generation_gpu
from SPHINX_V.config import tiny
from SPHINX_V.model.lowbit import LowBitLinear
from SPHINX_V.weights.load import build_random

CPU = torch.device("cpu")


@pytest.mark.slow
def test_all_of_it_runs_small(tmp_path, capsys):
    record = tmp_path / "record.json"
    small = ["--preset", "tiny", "--device", "cpu", "--context", "200", "--prompt", "300", "--new_tokens", "2"]
    generation_gpu.main([*small, "--repeats", "1", "--peak_tb", "0.5", "--record", str(record)])
    found = json.loads(record.read_text())
    assert found == json.loads(capsys.readouterr().out)
    for precision in ("bfloat16", "int8", "int4"):
        one, many = found["ways"][f"decode_{precision}"], found["ways"][f"ragged_{precision}"]
        assert (one["rows"], many["rows"]) == (1, 32)
        assert found["decode_of_peak"][precision] == pytest.approx(one["gb_per_second"] / 500, abs=1e-3)
        assert found["ways"][f"first_{precision}"]["first"] > 0
        assert all(products[f"{precision}_rows_1"]["us"] > 0 for products in found["products"].values())
    assert found["weights_gb"]["int8"] < found["weights_gb"]["bfloat16"]
    assert found["int8_over_bfloat16"]["median"] > 0


def test_the_model_of_few_bits_has_the_others_parts_and_its_weights():
    network = build_random(tiny(), dtype=torch.bfloat16)
    other = generation_gpu.low_bits(network, "int8")
    weights, sizes = network.state_dict(), generation_gpu.weight_memory(other)
    for name, tensor in other.state_dict().items():
        if name in weights:
            assert tensor.data_ptr() == weights[name].data_ptr(), name
    layers = {name: layer for name, layer in other.named_modules() if isinstance(layer, LowBitLinear)}
    assert len(layers) == 7 * 4 + 1
    for name, layer in layers.items():
        assert torch.allclose(layer.dequantised(), weights[f"{name}.weight"], rtol=0.01, atol=0.01)
    codes = sum(layer.codes.nbytes for layer in layers.values())
    assert codes <= sum(piece.nbytes for piece in sizes) < 1.1 * codes


def test_products_are_those_of_a_step():
    assert generation_gpu.shapes(generation_gpu.PRESETS["sphinx_v_13b"]().llm) == {
        "heads_in": (15360, 5120),
        "heads_out": (5120, 5120),
        "gate_and_up": (27648, 5120),
        "down": (5120, 13824),
        "head": (32000, 5120),
    }


def test_the_peak_can_be_given():
    assert generation_gpu.peak_of(CPU, 0.0) is None
    assert generation_gpu.peak_of(CPU, 0.05) == 50


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--preset", "tiny", "--device", "cpu"], "tiny has 1024 positions; give a smaller --context or --prompt."),
        (
            ["--preset", "tiny", "--device", "cpu", "--context", "9", "--prompt", "100"],
            "--prompt is 100, of which picture and marks take 127; give more.",
        ),
    ],
)
def test_what_does_not_fit_is_refused(arguments, said, capsys):
    with pytest.raises(SystemExit):
        generation_gpu.main(arguments)
    assert said in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_there_is_no_gpu_it_says_what_runs(capsys):
    with pytest.raises(SystemExit):
        generation_gpu.main([])
    assert "there is no GPU; `--preset tiny --device cpu" in capsys.readouterr().err
