"""The GPU kernels for weights of 8 bits without a GPU: what they compute in Triton's interpreter, and that they compile
for GPUs that are not there. With one: the same on it, and in a captured graph."""

import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec

import pytest
import torch

from SPHINX_V.model import lowbit_kernels
from SPHINX_V.model.lowbit import LowBitLinear
from tests.house.repo import ROOT

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton, on Linux: pip install triton")
needs_interpreter = pytest.mark.skipif(
    find_spec("triton") is None or tuple(map(int, version("triton").split(".")[:2])) < (3, 7),
    reason="needs Triton from 3.7 on, on Linux, whose interpreter knows NumPy 2.4: pip install triton",
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

NAN_ROW = 1
FLOAT, HALF, BRAIN = torch.float32, torch.float16, torch.bfloat16
# (rows, outputs, inputs, type). Up to 4 rows and in float32: lanes, 1,024 inputs at a time. Else tensor cores, 128, in
# parts; the interpreter has no products of matrices in bfloat16. Sizes within a tile, of whole tiles, and beyond them.
SMALL, RAGGED = (33, 64), (70, 2052)
CASES = [
    *((rows, *sizes, dtype) for rows in (1, 2, 3, 4) for sizes in (SMALL, RAGGED) for dtype in (FLOAT, BRAIN)),
    *((rows, 33, 1024, FLOAT) for rows in (5, 16)),
    *((rows, *sizes, HALF) for rows in (4, 5, 16, 17) for sizes in (SMALL, (128, 256), RAGGED)),
    (64, 70, 132, HALF),
    (2, 8200, 36, BRAIN),  # so many outputs that a block takes 16 of them
    (6, 19200, 36, HALF),  # so many tiles of outputs that inputs are not split
]


def problem(rows, outputs, inputs, dtype, device="cpu"):
    """x, codes of all values with a channel of zeros, scales with one of zero, and what the product is added to."""
    generator = torch.Generator().manual_seed(rows + outputs)
    codes = torch.randint(-127, 128, (outputs, inputs), generator=generator, dtype=torch.int8)
    codes[5], codes[7, :2] = 0, torch.tensor([-128, 127])
    scales = torch.rand(outputs, generator=generator).to(dtype) / 64
    scales[6] = 0
    x = torch.randn(rows, inputs, generator=generator).to(dtype)
    added = torch.randn(rows, outputs, generator=generator).to(dtype)
    return tuple(tensor.to(device) for tensor in (x, codes, scales, added))


def expected(x, codes, scales):
    return (x.double() @ codes.double().T) * scales.double()


def close(found, wanted, dtype, units=8):
    """Within the rounding of the result, 1 unit of its resolution (the interpreter cuts bfloat16 off), and that of
    float32 sums: so many units at the size of the largest result."""
    slack = torch.finfo(dtype).eps * wanted.abs() + units * torch.finfo(torch.float32).eps * wanted.abs().max()
    return bool(((found.double() - wanted).abs() <= slack).all())


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """What the kernels compute, by case."""
    file = tmp_path_factory.mktemp("interpreted") / "found.pt"
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-W", "ignore", str(ROOT / "tests/model/lowbit_worker.py"), str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return torch.load(file, weights_only=True)


@pytest.mark.slow
@needs_interpreter
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_product_is_that_of_the_codes_and_their_scales(interpreted, case):
    x, codes, scales, added = problem(*case)
    wanted = expected(x, codes, scales)
    assert wanted.abs().max() > 1
    assert close(interpreted[f"{case}"], wanted, x.dtype)
    assert close(interpreted[f"{case} added"], wanted + added.double(), x.dtype)
    assert (interpreted[f"{case}"][:, 5:7] == 0).all()


@pytest.mark.slow
@needs_interpreter
@pytest.mark.parametrize("case", CASES, ids=str)
def test_nan_stays_in_its_row(interpreted, case):
    found, clean = interpreted[f"{case} NaN"], interpreted[f"{case}"]
    row = NAN_ROW % len(found)
    others = [number for number in range(len(found)) if number != row]
    assert found[row].isnan().all()
    assert torch.equal(found[others], clean[others])


@pytest.mark.slow
@needs_interpreter
@pytest.mark.parametrize("case", [case for case in CASES if case[0] <= 4 or case[3] == FLOAT], ids=str)
def test_a_row_alone_comes_out_as_among_others(interpreted, case):
    assert torch.equal(interpreted[f"{case} last alone"][0], interpreted[f"{case}"][-1])


@needs_triton
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("rows", [1, 4, 16, 64])
def test_the_kernels_compile_for_gpus_that_are_not_here(monkeypatch, tmp_path, capability, rows):
    """And fetch codes 16 bytes at a time and ahead (8 for tensor cores), and keep all numbers in registers."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = lowbit_kernels.compiled()[0 if rows <= 4 else 1]
    constants = {"ADDED": True, "ROWS": rows, "OUTPUTS": 8, "INPUTS": 1024, "STAGES": 3}
    if rows > 4:
        constants |= {"OUTPUTS": 64, "INPUTS": 128, "STAGES": 4}
    if rows == 1:
        constants["rows"] = 1  # as Triton does with numbers that are 1
    types = {"codes": "*i8", "words": "*i32", "rows": "i32", "outputs": "i32", "inputs": "i32", "part": "i32"}
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else types.get(name, "*bf16") for name in names}
    whole = {(names.index(name),): [["tt.divisibility", 16]] for name in names if name not in {*constants, "rows"}}
    source = ASTSource(kernel, signature, {(names.index(name),): value for name, value in constants.items()}, whole)
    made = compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 4})
    assert len(made.asm["cubin"]) > 1000
    copies = [line for line in made.asm["ptx"].splitlines() if "cp.async.c" in line]
    assert len(copies) > 4
    assert not [line for line in copies if ", 0x4," in line or ", 4," in line]
    assert ".local" not in made.asm["ptx"]


def test_a_wrong_kernel_is_found_out():
    def right(x, codes, scales, added):
        return (expected(x, codes, scales) + added.double()).to(x.dtype)

    def without_sum(x, codes, scales, added):
        return expected(x, codes, scales).to(x.dtype)

    def without_the_end(x, codes, scales, added):
        x = x.clone()
        x[:, 2048:] = 0
        return right(x, codes, scales, added)

    assert lowbit_kernels.fault(torch.device("cpu"), right) == ""
    assert "1 rows of 2052 inputs by 70 outputs come out wrong" in lowbit_kernels.fault(
        torch.device("cpu"), without_sum
    )
    assert "come out wrong" in lowbit_kernels.fault(torch.device("cpu"), without_the_end)
    assert "wrong by nan" in lowbit_kernels.fault(torch.device("cpu"), lambda x, c, s, a: a * torch.nan)


def test_on_a_cpu_the_kernels_are_not_used():
    assert not lowbit_kernels.usable(torch.device("cpu"))


@needs_gpu
@needs_triton
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 16, 17, 33, 64])
@pytest.mark.parametrize("dtype", [BRAIN, HALF, FLOAT])
@pytest.mark.parametrize("outputs, inputs", [(70, 2052), (5120, 5120), (5120, 13824), (27648, 5120)])
def test_on_a_gpu(outputs, inputs, dtype, rows):
    assert lowbit_kernels.usable(torch.device("cuda"))
    x, codes, scales, added = problem(rows, outputs, inputs, dtype, "cuda")
    wanted = expected(x, codes, scales)
    units = 256  # tensor cores cut sums off at every 16 inputs, which always goes in one direction
    assert close(lowbit_kernels.product(x, codes, scales), wanted, dtype, units)
    assert close(lowbit_kernels.product(x, codes, scales, added), wanted + added.double(), dtype, units)
    last, few = lowbit_kernels.product(x, codes, scales)[-1], rows <= 4 or dtype == FLOAT
    alone = lowbit_kernels.product(x[-1:] if few else x[-5:], codes, scales)[-1]
    assert torch.equal(alone, last), "a row depends on how many are beside it"


@needs_gpu
@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("rows", [1, 16])
def test_a_captured_graph_computes_the_same(precision, rows):
    with torch.device("cuda"):
        layer = LowBitLinear(5120, 5120, precision).to(BRAIN)
        layer.fill(torch.randn(5120, 5120))
        x = torch.randn(rows, 5120, dtype=BRAIN)
    with torch.inference_mode():
        layer(x)
        torch.cuda.synchronize()
        graph, out = torch.cuda.CUDAGraph(), None
        with torch.cuda.graph(graph):
            out = layer(x)
        again = x.roll(1, -1)
        x.copy_(again)
        graph.replay()
        wanted = (again.double() @ layer.dequantised().double().T).float()
    assert (out.float() - wanted).abs().max() < 0.02 * wanted.abs().max()


@needs_gpu
@pytest.mark.parametrize("rows", [1, 16, 64, 65])
@pytest.mark.parametrize("outputs, inputs", [(72, 96), (1024, 2048)])
def test_four_bits_on_a_gpu(outputs, inputs, rows):
    """The codes as the kernel reads them and as we read them back are the same weight."""
    weight = torch.randn(outputs, inputs)
    layer, other = (LowBitLinear(inputs, outputs, "int4").to(BRAIN) for _ in range(2))
    layer.cuda().fill(weight)
    other.fill(weight)
    assert layer.order == "cuda"
    assert (layer.dequantised().cpu() - other.dequantised()).abs().max() < 0.05  # codes are further apart
    x = torch.randn(rows, inputs, device="cuda", dtype=BRAIN)
    wanted = x.double() @ layer.dequantised().double().T
    assert (layer(x).double() - wanted).abs().max() < 0.02 * wanted.abs().max()
