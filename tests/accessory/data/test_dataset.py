"""Entries → samples: the golden's ids, labels and slots; lengths, pictures and what is refused before training."""

import json
import warnings

import pytest
import torch
from PIL import Image

from accessory.config import DataOptions
from accessory.data.dataset import RegionDataset
from accessory.data.sources import BadItems
from SPHINX_V.errors import ConfigError, DataError
from tests.accessory.runs import MIXED, golden_items, talk, write_data


@pytest.fixture
def load(golden_processor, tmp_path):
    """A data set of these items, with these options."""

    def loaded(items, bad=None, **options):
        written = tmp_path / "items0.json"
        if not written.exists() or json.loads(written.read_text(encoding="utf-8")) != items:
            write_data(tmp_path, items)  # not twice: a data set refuses a file that changes under it
        config = tmp_path / "data.yaml"
        given = {"max_words": 2048, "box_jitter": False, "max_bad_rate": 1.0, **options}
        return RegionDataset(DataOptions(config=str(config), **given), golden_processor, 0, bad or BadItems())

    return loaded


def marked(**fields):
    return talk("<image>\nWhat is <Region 1>?", "<Region 1>: cat", **{"image": "image.png", **fields})


@pytest.mark.parametrize("number", range(4))
def test_items_are_those_of_the_reference(load, golden_facts, golden_tensors, number):
    item = golden_facts["items"][number]
    kind = "points" if "points" in item else "bbox"
    place = golden_items(golden_facts, kind).index({"image": "image.png", **item})
    sample = load(golden_items(golden_facts, kind))[0, place]
    assert sample.ids == golden_tensors[f"item{number}_input_ids"].tolist()
    assert sample.labels == golden_tensors[f"item{number}_labels"].tolist()
    assert sample.slots.coords[0].equal(golden_tensors[f"item{number}_sparse_vp"])
    assert sample.pixels.equal(golden_tensors["pixels_u8"])


def test_reading_twice_gives_the_same(load):
    dataset = load(MIXED)
    for index in range(len(MIXED)):
        first, second = dataset[0, index], dataset[0, index]
        assert first.ids == second.ids
        if first.slots is not None:
            assert first.slots.coords.equal(second.slots.coords)


def test_jitter_differs_by_epoch_and_item_and_not_by_reading(load):
    dataset = load(MIXED, box_jitter=True)
    plain = load(MIXED)

    def coords(source, epoch, index):
        return source[epoch, index].slots.coords

    assert coords(dataset, 1, 0).equal(coords(dataset, 1, 0))
    assert not coords(dataset, 1, 0).equal(coords(dataset, 2, 0))
    assert not coords(dataset, 1, 0).equal(coords(plain, 1, 0))
    assert coords(dataset, 1, 2).equal(coords(plain, 1, 2)), "points stay"


def test_kinds_tell_texts_from_pictures(load):
    dataset = load(MIXED)
    assert dataset.kind_names == ("image_text/picture", "image_text/text")
    assert dataset.kinds.tolist() == [0] * 6 + [1] * 2


def test_a_text_only_item_has_neither_pixels_nor_slots(load):
    sample = load([MIXED[6]])[0, 0]
    assert (sample.pixels, sample.slots, sample.slot_pieces, sample.label_pieces) == (None, None, (), ())
    assert any(sample.labels)


@pytest.mark.parametrize("keep_items", [0, 8])
def test_items_are_the_same_kept_or_read_anew(load, keep_items):
    kept = load(MIXED, keep_items=keep_items)
    for _ in range(2):
        for index in range(8):
            sample, other = kept[0, index], load(MIXED, keep_items=8 - keep_items)[0, index]
            assert (sample.ids, sample.labels) == (other.ids, other.labels)
            assert (sample.slot_pieces, sample.label_pieces) == (other.slot_pieces, other.label_pieces)


def turns(*answers, **fields):
    """An item of one turn per answer."""
    conversations = [entry for answer in answers for entry in talk("And this?", answer)["conversations"]]
    return {"conversations": conversations, **fields}


def test_text_is_truncated_only_at_answer_boundaries_and_counted(load, golden_processor):
    answers = ("<Region 1>: a cat", "<Region 1>: a dog that sleeps", "<Region 1>: a horse")
    about = {"image": "image.png", "bbox": [[10, 20, 30, 40]]}
    wholes = [load([turns(*answers[:count], **about)])[0, 0] for count in (1, 2, 3)]
    one, two, three = (len(whole.ids) for whole in wholes)
    visual = golden_processor.config.visual_length
    load([turns(*answers, **about)])
    for room, kept in ((three, 3), (three - 1, 2), (two, 2), (two - 1, 1), (one, 1)):
        dataset = load([turns(*answers, **about)], max_words=visual + room)
        assert (dataset.truncated, dataset.too_long) == (int(kept < 3), 0)
        sample, whole = dataset[0, 0], wholes[kept - 1]
        assert (sample.ids, sample.labels) == (whole.ids, whole.labels), "as if the later turns had never been"
        assert dataset.lengths.tolist() == [len(whole.ids)]
        assert sample.slot_pieces == whole.slot_pieces, "and the mark is what the last answer that is left calls it"
    with pytest.raises(ConfigError, match=r"of 1; 1 have no answer within data\.max_words"):
        load([turns(*answers, **about)], max_words=visual + one - 1)


def test_a_text_without_a_picture_may_take_all_of_max_words(load, golden_processor):
    long = talk("Count.", "one two three four five six seven eight nine ten " * 50)
    length = len(load([long])[0, 0].ids)
    assert load([long], max_words=length).truncated == 0
    with pytest.raises(ConfigError, match="1 have no answer"):
        load([long], max_words=length - 1)


def test_an_item_without_room_for_its_answer_is_dropped_and_counted(load, golden_processor):
    items = [marked(), {**marked(), "conversations": talk("Why? " * 200, "So.")["conversations"]}]
    bad = BadItems()
    dataset = load(items, bad, max_words=golden_processor.config.visual_length + 200)
    assert (len(dataset), dataset.too_long, dataset.truncated) == (1, 1, 0)
    assert not bad.places
    with pytest.raises(
        ConfigError, match=r"no item is left to train on, of 1; 1 have no answer within data\.max_words"
    ):
        load(items[1:], max_words=golden_processor.config.visual_length + 200)


def test_max_words_must_hold_the_visual_tokens(load):
    with pytest.raises(ConfigError, match=r"data\.max_words is 1467, of which a picture takes 1467"):
        load(MIXED, max_words=1467)


BAD = {
    "a box outside": (marked(bbox=[[700, 10, 20, 20]]), "prompt 1 Box", "outside the picture of 643×361"),
    "a point outside": (marked(points=[[10, 362]]), "prompt 1 Point", "outside the picture of 643×361"),
    "no such picture": (marked(image="no.png"), "no.png", "no such picture"),
    "not a picture": (marked(image="data.yaml"), "data.yaml", "not a picture"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_before_training(load, tmp_path, name):
    item, *parts = BAD[name]
    with pytest.raises(DataError) as caught:
        load([MIXED[0], item])
    assert str(caught.value).startswith(f"{tmp_path / 'items0.json'}, item 1: ")
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_skipped_before_training(load, name):
    bad = BadItems()
    dataset = load([MIXED[0], BAD[name][0], MIXED[1]], bad, on_bad_sample="skip")
    assert len(dataset) == 2
    assert len(bad.places) == 1
    assert "item 1: " in next(iter(bad.places))


def test_without_the_check_a_bad_item_is_met_when_it_is_read(load):
    dataset = load([BAD["a box outside"][0]], check_pictures=False)
    with pytest.raises(DataError, match=r"items0\.json, item 0: prompt 1 Box"):
        dataset[0, 0]


def test_a_picture_that_lies_on_its_side_is_measured_as_shown(load, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees: 40 × 100 in the file, 100 × 40 as shown
    Image.new("RGB", (40, 100)).save(tmp_path / "turned.jpg", exif=exif)
    assert len(load([marked(image="turned.jpg", points=[[90, 30]])])) == 1
    with pytest.raises(DataError, match="100×40"):
        load([marked(image="turned.jpg", points=[[30, 90]])])


def test_a_box_that_oversteps_the_edge_is_taken_without_a_word(load):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample = load([marked(bbox=[[600, 300, 43.4, 61.2]])])[0, 0]
    # The square has 643 pixels a side and the picture begins 141 below its top: 643.4 / 643 lies outside.
    assert sample.slots.coords[0, 0].tolist() == pytest.approx([0.933, 0.686, 1.001, 0.781], abs=1e-6)


def test_pieces_of_marks_say_name_and_label(load, golden_processor):
    item = talk("Labels?", "<Region 1>: cat\nRegion 3: dog", image="image.png", bbox=[[1, 2, 30, 40]] * 3)
    sample = load([item])[0, 0]

    def decode(rows):
        return [golden_processor.tokenizer.decode(list(pieces)).replace(" ", "") for pieces in rows]

    assert decode(sample.slot_pieces) == ["<Region1>cat", "", "<Region3>dog"]
    assert decode(sample.label_pieces) == ["cat", "", "dog"]


def test_the_later_mark_of_a_relation_says_it_and_no_patch_does(load, golden_processor):
    item = talk("Relation?", "<Region 1> is above <Region 2>.", image="image.png", bbox=[[1, 2, 30, 40]] * 2)
    sample = load([item])[0, 0]
    text = [golden_processor.tokenizer.decode(list(pieces)).replace(" ", "") for pieces in sample.slot_pieces]
    assert text == ["", "<Region2>above"]
    assert sample.label_pieces == ((), ())


def test_kept_pictures_equal_read_ones(load):
    kept, read = load(MIXED, cache_pictures=True), load(MIXED)
    assert torch.equal(kept[0, 0].pixels, read[0, 0].pixels)
    assert kept[0, 0].pixels is kept[0, 1].pixels
