"""Held out means: no item is trained on; pictures that are, are counted."""

import pytest

from accessory.data.sources import read_sources
from accessory.train.overlap import check_held_out, find_overlap
from SPHINX_V.errors import ConfigError
from tests.accessory.runs import MIXED, talk, write_data

LABEL = talk("What is it?", "A dog.", image="image.png", bbox=[[10, 20, 30, 40]])


@pytest.fixture
def entries(tmp_path):
    def read(name, *items):
        (source,) = read_sources(write_data(tmp_path / name, list(items)))
        return [source.entry(item, f"{source.path}, item {number}", 10) for number, item in enumerate(items)]

    return read


def test_nothing_in_common(entries):
    assert check_held_out(entries("training", MIXED[6]), entries("heldout", LABEL, MIXED[7])) is None


def test_an_item_that_is_trained_on_is_refused_with_both_places(entries, tmp_path):
    training, heldout = entries("training", MIXED[0], LABEL), entries("heldout", MIXED[7], LABEL, MIXED[0])
    with pytest.raises(ConfigError) as caught:
        check_held_out(training, heldout)
    places = f"{tmp_path / 'heldout' / 'items0.json'}, item 2", f"{tmp_path / 'training' / 'items0.json'}, item 0"
    assert f"{places[0]} is also trained on, as {places[1]} (2 such items of 3)" in str(caught.value)


def test_a_text_that_is_trained_on_is_refused_too(entries):
    with pytest.raises(ConfigError, match="1 such items of 1"):
        check_held_out(entries("training", *MIXED), entries("heldout", MIXED[6]))


@pytest.mark.parametrize(
    "other",
    [
        {**LABEL, "bbox": [[200, 100, 30, 40]]},
        {**LABEL, "conversations": talk("What is it?", "A cat.")["conversations"]},
        {**LABEL, "conversations": talk("Which?", "A dog.")["conversations"]},
    ],
    ids=["marks", "answer", "question"],
)
def test_a_picture_with_other_marks_or_words_is_told(entries, tmp_path, other):
    sentence = check_held_out(entries("training", other, MIXED[6]), entries("heldout", LABEL, MIXED[7]))
    assert sentence.startswith("data.heldout: 1 of 1 pictures are also trained on")
    assert str(tmp_path / "heldout" / "image.png") in sentence


def test_a_mark_that_moves_by_a_fraction_of_a_pixel_is_the_same(entries):
    moved = {**LABEL, "bbox": [[10.2, 19.9, 30.1, 40.1]]}
    assert len(find_overlap(entries("training", moved), entries("heldout", LABEL)).items) == 1


def test_pictures_are_the_same_by_their_bytes_and_name(entries, tmp_path):
    training, heldout = entries("training", LABEL), entries("heldout", LABEL)
    picture = tmp_path / "training" / "image.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:-1] + b"?")
    assert find_overlap(training, heldout) == find_overlap([], heldout)
    picture.unlink()
    picture.symlink_to(tmp_path / "heldout" / "image.png")
    assert len(find_overlap(training, heldout).items) == 1


def test_pictures_of_one_name_in_several_folders_are_told_apart(entries, tmp_path):
    training = entries("training", LABEL)
    first, second = entries("one", LABEL), entries("two", LABEL)
    (tmp_path / "one" / "image.png").write_bytes(b"another picture")
    shared = find_overlap(training, [*first, *second])
    assert shared.items == ((second[0].where, training[0].where),)
    assert shared.pictures == (tmp_path / "two" / "image.png",)
