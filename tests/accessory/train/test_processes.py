"""A run does not depend on how processes and accumulation share a step, and is the same every time."""

import pytest
import yaml

from accessory.runtime.distributed import world
from SPHINX_V.sphinx_v import SPHINX_V_Model
from SPHINX_V.weights.load import load_model
from tests.accessory.runs import MIXED, read_metrics, run, write_data, write_run
from tests.launch import torchrun

STEPS = 3
# float32: sums in another order differ in the last of 24 bits, and AdamW's first steps carry that on.
SAME = 1e-6
EXACT = ("step", "lr", "tokens", "samples")
SHARED = {
    "preset": True,
    "max_steps": STEPS,
    "warmup_epochs": 0.0,
    "mark_loss": 0.5,
    "patch_loss": 0.5,
    "data": {"box_jitter": True},
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The metrics of one process with a batch of four, and its folder."""
    folder = tmp_path_factory.mktemp("alone")
    return run(write_run(folder, write_data(folder, MIXED), batch_size=4, **SHARED)), folder


def assert_same(metrics, expected):
    assert len(metrics) == len(expected) == STEPS
    for line, reference in zip(metrics, expected):
        assert [line[key] for key in EXACT] == [reference[key] for key in EXACT]
        for key in ("loss", "grad_norm", "mark_loss", "patch_loss"):
            assert line[key] == pytest.approx(reference[key], rel=SAME), (line["step"], key)


@pytest.mark.parametrize(("batch_size", "accumulation"), [(2, 2), (1, 4)])
def test_accumulation_equals_a_larger_batch(alone, tmp_path, batch_size, accumulation):
    config = write_run(
        tmp_path, write_data(tmp_path, MIXED), batch_size=batch_size, accumulation=accumulation, **SHARED
    )
    assert_same(run(config), alone[0])


def test_two_processes_that_accumulate_equal_one(alone, tmp_path):
    config = write_run(tmp_path, write_data(tmp_path, MIXED), batch_size=1, accumulation=2, **SHARED)
    done = torchrun(2, "accessory.main", "--config", config)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained on 8 items") == 1, "only the main process reports"
    assert_same(read_metrics(tmp_path / "out"), alone[0])


def test_the_steps_hold_pictures_and_texts(alone):
    """Else the tests above would compare less than they say."""
    assert sorted(line["mark_loss"] > 0 for line in alone[0]) == [False, True, True]


def test_one_seed_gives_the_same_metrics_and_another_does_not(alone, tmp_path):
    config = write_run(tmp_path, write_data(tmp_path, MIXED), batch_size=4, **SHARED)

    def timeless(metrics):
        return [{key: value for key, value in line.items() if key != "step_time"} for line in metrics]

    assert timeless(run(config)) == timeless(alone[0])
    assert timeless(run(config, "train.seed=1")) != timeless(alone[0])


def test_metrics_have_the_promised_keys(alone):
    promised = {"step", "loss", "grad_norm", "lr", "tokens", "samples", "targets", "step_time"}
    for number, line in enumerate(alone[0], start=1):
        assert set(line) == promised | {"mark_loss", "patch_loss"}
        assert line["step"] == number
        assert line["samples"] == 4
        assert line["step_time"] > 0


def test_the_checkpoint_answers(alone):
    folder = alone[1]
    model = SPHINX_V_Model.from_pretrained(folder / "out" / "checkpoint")
    answer = model.generate_response(
        [["What is this?", None]], [[10, 20, 30, 40]], folder / "image.png", max_gen_len=4, temperature=0.0
    )
    assert isinstance(answer, str)


def test_frozen_parts_stay_bit_for_bit_and_the_rest_moves(alone, tmp_path):
    config = write_run(tmp_path, write_data(tmp_path, MIXED), batch_size=4, **SHARED)
    before = alone[1] / "out" / "checkpoint"
    values = yaml.safe_load(config.read_text(encoding="utf-8"))
    values["model"] = {"checkpoint": str(before)}
    values["train"]["freeze"] = ["vision", "llm.layers"]
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    run(config)
    old = load_model(before).model.state_dict()
    new = load_model(tmp_path / "out" / "checkpoint").model.state_dict()
    changed = {name for name in old if not old[name].equal(new[name])}
    assert changed
    assert not [name for name in changed if name.startswith(("vision.", "llm.layers."))]
    assert {"llm.output.weight", "vp_proj.0.weight", "prompt_encoder.corner0"} <= changed


def test_alone_means_a_world_of_one(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with world() as this:
        assert (this.rank, this.size, this.is_main) == (0, 1, True)
        assert this.gather(["a", "b"]) == ["a", "b"]
