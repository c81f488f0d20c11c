"""The held-out loss: a mean over target tokens of items that stay the same, with any number of processes."""

import pytest
import torch

from accessory.config import RunOptions, load_options
from accessory.data.collate import collate
from accessory.main import launch
from accessory.runtime.distributed import World
from accessory.train.build import build
from accessory.train.heldout import HeldOut, heldout_loss, open_held_out
from SPHINX_V.errors import DataError
from SPHINX_V.processing.processor import Processor
from tests.accessory.runs import MIXED, talk, write_data, write_run
from tests.accessory.train.padded import padded_loss
from tests.launch import torchrun


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A run of tiny that jitters boxes and holds out the mixed items."""
    folder = tmp_path_factory.mktemp("heldout")
    heldout = write_data(folder / "heldout", MIXED)
    training = write_data(folder, [talk("Anything else?", "No.")])
    data = {"box_jitter": True, "heldout": str(heldout)}
    return write_run(folder, training, preset=True, batch_size=2, data=data)


@pytest.fixture(scope="module")
def opened(config):
    """Options, the module that training calls, and the held-out items."""
    options = load_options(RunOptions, config)
    with launch(options.parallel) as this:
        module, model, tokenizer = build(options, this)
        yield this, module, open_held_out(options.data, Processor(model.config, tokenizer), 2)


def test_it_is_the_mean_over_target_tokens_of_all_items(opened):
    this, module, heldout = opened
    losses, targets = 0.0, 0
    for index in range(len(MIXED)):
        batch = collate([heldout.dataset[7, index]], 10)
        with torch.no_grad():
            losses += padded_loss(module.model, batch.inputs, batch.labels).item()
        targets += batch.target_count
    # In float32, in batches of two: padding and sums round otherwise.
    assert heldout_loss(module, heldout, this) == pytest.approx(losses / targets, rel=1e-6)


def test_it_is_the_same_every_time_and_leaves_nothing_behind(opened):
    this, module, heldout = opened
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = heldout_loss(module, heldout, this)
    assert torch.equal(torch.get_rng_state(), before)
    assert heldout_loss(module, heldout, this) == first
    assert all(parameter.grad is None for parameter in module.parameters())


def test_boxes_stay_where_they_are(opened):
    heldout = opened[2]
    first, later = heldout.dataset[0, 0].slots.coords, heldout.dataset[3, 0].slots.coords
    assert torch.equal(first, later)


def test_every_item_is_in_one_batch_of_its_kind(opened):
    heldout = opened[2]
    assert sorted(index for batch in heldout.batches for index in batch) == list(range(len(MIXED)))
    for batch in heldout.batches:
        assert len({heldout.dataset.kinds[index] for index in batch}) == 1
        assert len(batch) <= 2


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_ranks_compute_one_kind_at_a_time_and_count_every_batch_once(opened, size):
    heldout = HeldOut(opened[2].dataset, 1)
    shares = [list(heldout.share(World(rank, size, torch.device("cpu")))) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    for turn in zip(*shares):
        assert len({heldout.dataset.kinds[heldout.batches[number][0]] for number, _, _ in turn}) == 1
    counted = [(number, batch.indices) for share in shares for number, counts, batch in share if counts]
    assert sorted(counted) == [(number, tuple(batch)) for number, batch in enumerate(heldout.batches)]


def test_a_number_of_items_is_always_the_same_choice(opened):
    dataset = opened[2].dataset
    chosen = HeldOut(dataset, 2, 3).items
    assert len(chosen) == len(set(chosen)) == 3
    assert HeldOut(dataset, 8, 3).items == chosen
    assert HeldOut(dataset, 2, 100).items == list(range(len(MIXED)))


def test_worker_processes_change_nothing(config, opened):
    this, module, heldout = opened
    options = heldout.dataset.options.model_copy(update={"workers": 1})
    other = open_held_out(options, heldout.dataset.processor, 2)
    assert heldout_loss(module, other, this) == heldout_loss(module, heldout, this)


def test_no_file_means_no_items(opened):
    dataset = opened[2].dataset
    assert open_held_out(dataset.options.model_copy(update={"heldout": None}), dataset.processor, 2) is None


def test_a_bad_item_is_refused_also_where_training_skips_it(tmp_path, opened):
    processor = opened[2].dataset.processor
    heldout = write_data(tmp_path, [MIXED[0], {**MIXED[0], "bbox": [[1, 2, -3, 4]]}])
    options = opened[2].dataset.options.model_copy(update={"heldout": str(heldout), "on_bad_sample": "skip"})
    with pytest.raises(DataError, match="item 1: bbox"):
        open_held_out(options, processor, 2)


@pytest.mark.slow
def test_the_number_of_processes_changes_no_bit(tmp_path, config, opened):
    this, module, heldout = opened
    expected = heldout_loss(module, heldout, this).hex()
    for processes, layouts in {
        2: ["ddp,parallel.mode=ddp", "fsdp,parallel.mode=fsdp"],
        3: ["three,parallel.mode=sdp"],
    }.items():
        done = torchrun(processes, "tests.accessory.train.heldout_worker", str(config), str(tmp_path), *layouts)
        assert done.returncode == 0, done.stderr[-3000:]
        for layout in layouts:
            written = (tmp_path / layout.split(",")[0]).read_text(encoding="utf-8")
            assert written.split() == [expected] * 2, layout
