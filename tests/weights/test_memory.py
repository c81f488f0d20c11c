"""Peak memory of conversion and loading, measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from SPHINX_V.weights.byte_ranges import STAGE_BYTES
from SPHINX_V.weights.load import READERS
from tests.weights import small

ROOT = Path(__file__).parents[2]

# VmHWM counts mapped file pages too, as `time -v` does; ru_maxrss would begin with the peak of the parent process.
# It only grows, so the steps come in the order of what they need.
MEASURE = """
import json, sys, torch
torch.set_num_threads(1)
from SPHINX_V.weights.convert import convert
from SPHINX_V.weights.load import load_model

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

warm, source, target = sys.argv[1:]
convert(warm, target + "/warm-folder", "folder")
convert(warm, target + "/warm-released", "released", shards=2)
load_model(warm)
before, grown = peak(), {}
convert(source, target + "/folder", "folder")
grown["folder"] = peak() - before
convert(target + "/folder", target + "/4", "released", shards=4)
grown["4"] = peak() - before
convert(source, target + "/1", "released", shards=1)
grown["1"] = peak() - before
load_model(source)
grown["load"] = peak() - before
print(json.dumps(grown))
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")


@pytest.fixture(scope="module")
def measured(golden, tmp_path_factory):
    """Bytes by which the peak grew per step, where the results lie, bytes of the largest tensor and of all."""
    folder = tmp_path_factory.mktemp("large")
    config = small.small_config(dim=512, n_layers=10, multiple_of=256, ffn_dim_multiplier=None)
    state = small.random_state(config)
    source = small.write_released(folder / "source", config, small.released_state(state), 2)
    sizes = [tensor.nbytes for tensor in state.values()]
    del state
    command = [sys.executable, "-c", MEASURE, str(golden), str(source), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert sum(sizes) > 100e6, "too little to tell memory from noise"
    return json.loads(done.stdout), folder, max(sizes), sum(sizes)


@pytest.mark.parametrize("shards", [4, 1])
def test_resharding_holds_one_shard(shards, measured):
    grown, folder, tensor, _ = measured
    shard = max(path.stat().st_size for path in (folder / str(shards)).glob("*.pth"))
    # A measure that sees nothing would pass too: a shard's dict is in memory as a whole. Some of it may lie in memory
    # that the small model before has left free (seen: a fifth of a shard).
    assert 0.5 * shard < grown[str(shards)] < 1.3 * shard + tensor


def test_conversion_to_a_folder_holds_tensors(measured):
    grown, _, tensor, total = measured
    # Pages of a mapped file count as memory until the system takes them back, so some more than tensors is seen.
    assert grown["folder"] < total / 3
    assert 3 * tensor < total / 3


def test_loading_holds_the_model_and_not_its_file(measured):
    grown, _, tensor, total = measured
    assert 0.9 * total < grown["load"] < 1.15 * total + tensor


# In another type each tensor goes through a stage: float64 makes the model twice as large as its files.
CONVERTED = """
import sys, torch
torch.set_num_threads(1)
from SPHINX_V.weights.load import load_model

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

load_model(sys.argv[1], dtype=torch.float64)
before = peak()
load_model(sys.argv[2], dtype=torch.float64)
print(peak() - before)
"""


def test_loading_in_another_type_holds_the_model_and_a_stage_per_reader(golden, measured):
    _, folder, tensor, total = measured
    command = [sys.executable, "-c", CONVERTED, str(golden), str(folder / "source")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    grown, stages = int(done.stdout), READERS * STAGE_BYTES
    assert 0.95 * 2 * total < grown < 1.05 * 2 * total + stages + tensor
    # A second copy, of the files or of the model, would show.
    assert stages + tensor < total / 4
