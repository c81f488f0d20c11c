"""A run's losses and gradient norms do not depend on the grid of processes, its mode, or what is computed twice."""

import shutil

import pytest

from tests.accessory.runs import FREEZE, MIXED, read_metrics, run, talk, write_data, write_run
from tests.launch import torchrun

STEPS = 5
SAME = 1e-5
ROUNDED = 0.05  # eight bits of bfloat16
TWO = {
    "ddp": ["parallel.mode=ddp", "train.batch_size=2"],
    "sdp": ["parallel.mode=sdp", "train.batch_size=2"],
    "fsdp": ["parallel.mode=fsdp", "train.batch_size=1", "train.accumulation=2", "train.packing=true"],
    "tensor": ["parallel.tensor=2"],
    "tensor-packed": ["parallel.tensor=2", "parallel.recompute=selective", "train.packing=true"],
}
FOUR = {
    "tensor-ddp": ["parallel.tensor=2", "train.batch_size=2"],
    "tensor-sdp": ["parallel.tensor=2", "parallel.mode=sdp", "train.batch_size=1", "train.accumulation=2"],
    "tensor-fsdp": ["parallel.tensor=2", "parallel.mode=fsdp", "parallel.recompute=full", "train.batch_size=2"],
}
COMPILED = {
    "tensor": ["parallel.tensor=2", "parallel.recompute=selective", "parallel.compile=true"],
    "fsdp": ["parallel.mode=fsdp", "train.batch_size=2", "train.packing=true", "parallel.compile=true"],
}

# What neither stage trains: the visual encoder, whose views are split over tensor ranks.
EVERYTHING = {
    "tensor": ["parallel.tensor=2"],
    "fsdp": ["parallel.mode=fsdp", "parallel.recompute=full", "train.batch_size=2"],
    "bfloat16": ["parallel.tensor=2", "parallel.dtype=bfloat16"],
}


def written(folder, stage, preset=False):
    return write_run(
        folder,
        write_data(folder, MIXED),
        preset=preset,
        batch_size=4,
        freeze=FREEZE.get(stage, []),
        max_steps=STEPS,
        warmup_epochs=0.0,
        mark_loss=0.5,
        data={"box_jitter": True},
    )


def check_layouts(config, folder, processes, layouts):
    """Trains in this process and in all layouts; those named bfloat16 compute in it."""
    expected = run(config)
    runs = [",".join([name, *overrides]) for name, overrides in layouts.items()]
    done = torchrun(processes, "tests.accessory.train.mesh_worker", str(config), str(folder), *runs)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in layouts:
        metrics = read_metrics(folder / name)
        assert len(metrics) == STEPS
        rounding = ROUNDED if name == "bfloat16" else SAME
        for line, reference in zip(metrics, expected):
            assert line["tokens"] == reference["tokens"]
            for key in {"loss", "grad_norm", "mark_loss"} & set(reference):
                assert line[key] == pytest.approx(reference[key], rel=rounding), (name, line["step"], key)


@pytest.mark.parametrize("stage", [1, 2])
def test_two_processes_equal_one(tmp_path, stage):
    check_layouts(written(tmp_path, stage), tmp_path, 2, TWO)


def test_two_processes_equal_one_where_everything_is_trained(tmp_path):
    check_layouts(written(tmp_path, None), tmp_path, 2, EVERYTHING)


def test_a_process_whose_items_are_all_bad_takes_part_and_teaches_nothing(tmp_path):
    """Pictures that pass the first look and break on the way."""
    late = [talk(f"What is {number}?", "A dot.", image=f"late{number}.png") for number in range(3)]
    pictures = [item for item in MIXED if "image" in item]
    data = write_data(tmp_path, [*pictures, *late])
    for number in range(3):
        (tmp_path / f"late{number}.png").write_bytes((tmp_path / "image.png").read_bytes()[:-3000])
    bad = {"on_bad_sample": "skip", "max_bad_rate": 0.5}
    config = write_run(tmp_path, data, batch_size=2, max_steps=STEPS, warmup_epochs=0.0, data=bad)
    expected = run(config)
    layouts = {"ddp": ["parallel.mode=ddp", "train.batch_size=1"], "fsdp": ["parallel.mode=fsdp", "train.batch_size=1"]}
    runs = [",".join([name, *overrides]) for name, overrides in layouts.items()]
    done = torchrun(2, "tests.accessory.train.mesh_worker", str(config), str(tmp_path), *runs)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("3 bad items left out:") == 2
    for name in layouts:
        metrics = read_metrics(tmp_path / name)
        assert sum(line["samples"] == 1 for line in metrics) >= 1, "some process had none"
        assert [line["samples"] for line in metrics] == [line["samples"] for line in expected]
        for line, reference in zip(metrics, expected):
            assert line["loss"] == pytest.approx(reference["loss"], rel=SAME)
            assert line["grad_norm"] == pytest.approx(reference["grad_norm"], rel=SAME)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2])
def test_four_processes_equal_one(tmp_path, stage):
    check_layouts(written(tmp_path, stage), tmp_path, 4, FOUR)


@pytest.mark.slow
def test_four_tensor_ranks_equal_one(tmp_path):
    # The golden has two heads for keys and values; `tiny` has four, and five views for its four processes.
    check_layouts(written(tmp_path, None, preset=True), tmp_path, 4, {"tensor": ["parallel.tensor=4"]})


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_two_processes_with_compiled_layers_equal_one_without(tmp_path):
    check_layouts(written(tmp_path, 2), tmp_path, 2, COMPILED)
