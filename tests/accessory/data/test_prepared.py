"""What is found out about all items before training: once, by one process, and never more bad ones than allowed."""

import json
import multiprocessing
import random

import pytest
import yaml
from PIL import Image

from accessory.config import DataOptions
from accessory.data.dataset import RegionDataset
from accessory.data.prepared import prepare
from accessory.data.sources import BadItems
from accessory.tools.tokenizer import train_tokenizer
from SPHINX_V.errors import ConfigError, DataError
from SPHINX_V.processing.processor import Processor
from SPHINX_V.processing.tokenizer import Tokenizer
from tests.accessory.runs import MIXED, talk, write_data

NO_PICTURE = talk("What?", "A dot.", image="late.png")
WRONG = {"conversations": []}


@pytest.fixture
def options(tmp_path):
    """Options for a data set of these items, written once."""

    def written(*files, **given):
        if files:
            write_data(tmp_path, *files)
        config = str(tmp_path / "data.yaml")
        return DataOptions(**{"config": config, "max_words": 2048, "box_jitter": False, "max_bad_rate": 1.0, **given})

    return written


@pytest.fixture
def load(options, golden_processor):
    def loaded(*files, bad=None, processor=golden_processor, hooks=(), **given):
        return RegionDataset(options(*files, **given), processor, 0, bad or BadItems(), *hooks)

    return loaded


def findings(folder):
    return sorted(path.name for path in (folder / ".sphinx_v_index").glob("*.prepared.safetensors"))


def test_a_second_start_looks_at_nothing(load, tmp_path):
    first = load(MIXED)
    (name,) = findings(tmp_path)
    before = (tmp_path / ".sphinx_v_index" / name).stat()
    # A picture that has gone shows that nobody looks for it; it is then met when it is read.
    (tmp_path / "image.png").unlink()
    second = load()
    assert second.lengths.tolist() == first.lengths.tolist()
    assert second.kinds.tolist() == first.kinds.tolist()
    after = (tmp_path / ".sphinx_v_index" / name).stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert len(second[0, 6].ids) == second.lengths[6]
    with pytest.raises(DataError, match="no such picture"):
        second[0, 0]


def test_lengths_are_those_of_the_samples(load):
    dataset = load(MIXED, MIXED[5:])
    assert dataset.lengths.tolist() == [len(dataset[0, index].ids) for index in range(11)]
    assert [dataset.entry(index).where[-1] for index in range(11)] == [*"01234567", *"012"]


@pytest.mark.parametrize("change", ["max_words", "ratio", "pictures", "tokenizer", "root"])
def test_what_findings_depend_on_makes_new_ones(load, tmp_path, golden_processor, change):
    load(MIXED)
    assert len(findings(tmp_path)) == 1
    given, config = {}, tmp_path / "data.yaml"
    if change == "max_words":
        given["max_words"] = 2049
    elif change == "pictures":
        given["check_pictures"] = False
    elif change == "tokenizer":
        letters = random.Random(0)
        corpus = "\n".join("".join(letters.choices("abcdefghijkl", k=6)) for _ in range(2000))
        (tmp_path / "corpus.txt").write_text(corpus, encoding="utf-8")
        tokenizer = Tokenizer(train_tokenizer(tmp_path / "corpus.txt", 400))
        given["processor"] = Processor(golden_processor.config, tokenizer)
    else:
        values = yaml.safe_load(config.read_text(encoding="utf-8"))
        values["META"][0][change] = 0.5 if change == "ratio" else "."
        if change == "root":
            values["META"][0]["root"] = str(tmp_path / "elsewhere")
            (tmp_path / "elsewhere").mkdir()
            (tmp_path / "elsewhere" / "image.png").write_bytes((tmp_path / "image.png").read_bytes())
        config.write_text(yaml.safe_dump(values), encoding="utf-8")
    load(**given)
    assert len(findings(tmp_path)) == 2
    load(**given)
    assert len(findings(tmp_path)) == 2


@pytest.mark.slow  # two interpreters start
def test_findings_of_several_processes_equal_those_of_one(load, tmp_path, monkeypatch):
    monkeypatch.setattr("accessory.data.prepared._PART", 3)
    items = [*MIXED, WRONG, NO_PICTURE, *MIXED[:4], WRONG]
    alone, several = BadItems(), BadItems()
    one = load(items, bad=alone, on_bad_sample="skip", index_dir=str(tmp_path / "one"))
    two = load(bad=several, on_bad_sample="skip", index_dir=str(tmp_path / "two"), prepare_processes=2)
    for source, other in zip(one.sources, two.sources, strict=True):
        assert source.items.tolist() == other.items.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13]
        assert source.lengths.tolist() == other.lengths.tolist()
        assert source.flags.tolist() == other.flags.tolist() == [1] * 6 + [0] * 2 + [1] * 4
    assert list(alone.places) == list(several.places)
    assert [place.split(": ")[0][-2:] for place in alone.places] == [" 8", " 9", "14"]


def test_others_wait_for_the_builder_and_read_what_it_made(options, golden_processor):
    given = options(MIXED)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(3), context.Queue()

    def start(is_builder):
        dataset = RegionDataset(given, golden_processor, 0, BadItems(), is_builder, lambda: barrier.wait(60))
        results.put((dataset.lengths.tolist(), dataset.kinds.tolist(), dataset[0, 7].ids))

    processes = [context.Process(target=start, args=(number == 2,)) for number in range(3)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]) == 8


def test_a_builder_that_fails_lets_the_others_go_and_they_say_so(load, tmp_path):
    passed = []
    with pytest.raises(DataError, match=r"item 1: conversations is \[\]"):
        load([MIXED[6], WRONG], hooks=(True, lambda: passed.append("builder")))
    with pytest.raises(DataError) as caught:
        load(hooks=(False, lambda: passed.append("other")))
    assert passed == ["builder", "other"]
    assert str(caught.value).startswith(f"{tmp_path / 'items0.json'}: the process that prepares the data has left no")
    assert "data.index_dir" in str(caught.value)


# ---- bad items


def test_bad_items_are_told_at_every_start_by_every_process(options, load, tmp_path):
    options([*MIXED, WRONG])
    for is_builder in (True, True, False):
        bad = BadItems()
        assert len(load(bad=bad, hooks=(is_builder, lambda: None), on_bad_sample="skip")) == 8
        assert list(bad.places) == [
            f"{tmp_path / 'items0.json'}, item 8: conversations is []; give a list that starts with a human turn."
        ]
        assert bad.total == 9


def test_items_that_were_skipped_are_refused_when_nothing_may_be(load, tmp_path):
    load([*MIXED, WRONG], on_bad_sample="skip")
    with pytest.raises(DataError, match=rf"{tmp_path / 'items0.json'}, item 8: conversations is \[\]"):
        load()


def test_a_picture_that_has_come_since_is_no_longer_left_out(load, tmp_path):
    items = [MIXED[0], NO_PICTURE, {**NO_PICTURE, "image": "never.png"}]
    bad = BadItems()
    assert len(load(items, bad=bad, on_bad_sample="skip")) == 1
    assert len(bad.places) == 2
    Image.new("RGB", (40, 30)).save(tmp_path / "late.png")
    bad = BadItems()
    assert len(load(bad=bad, on_bad_sample="skip")) == 2
    (place,) = bad.places
    assert place.startswith(f"{tmp_path / 'items0.json'}, item 2: {tmp_path / 'never.png'}: no such picture")


def test_a_rate_of_bad_items_above_the_limit_stops_the_run(load, tmp_path):
    items = [*MIXED, WRONG, WRONG]
    bad = BadItems()
    with pytest.raises(DataError) as caught:
        load(items, bad=bad, on_bad_sample="skip", max_bad_rate=0.1)
    reasons = tmp_path / ".sphinx_v_index" / "data.yaml.bad_items.jsonl"
    assert str(caught.value) == (
        f"2 of 10 items are bad so far, a rate of 0.2; data.max_bad_rate allows 0.1. The reasons are in {reasons};"
        " mend the items, or raise the rate."
    )
    assert [json.loads(line) for line in reasons.read_text(encoding="utf-8").splitlines()] == [
        {
            "file": str(tmp_path / "items0.json"),
            "item": number,
            "reason": "conversations is []; give a list that starts with a human turn.",
        }
        for number in (8, 9)
    ]


def test_a_rate_at_the_limit_is_allowed_and_the_reasons_are_written(load, tmp_path):
    bad = BadItems(tmp_path / "out" / "reasons.jsonl")
    assert len(load([*MIXED, NO_PICTURE, WRONG], bad=bad, on_bad_sample="skip", max_bad_rate=0.2)) == 8
    lines = bad.file.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["item"] for line in lines] == [8, 9]
    assert json.loads(lines[0])["reason"].startswith(f"{tmp_path / 'late.png'}: no such picture")


def test_the_limit_is_one_percent_by_default():
    assert DataOptions(config="a", max_words=1).max_bad_rate == 0.01


def test_the_rate_goes_on_being_looked_at_while_training(tmp_path):
    bad = BadItems(tmp_path / "reasons.jsonl", total=200, max_rate=0.01)
    bad.add("a.json, item 1: broken")
    bad.add("a.json, item 1: broken")
    bad.add("a.json, item 2: broken")
    with pytest.raises(DataError, match=r"3 of 200 items are bad so far, a rate of 0\.015; .* allows 0\.01\."):
        bad.add("half a pair: \ud800")
    last = json.loads((tmp_path / "reasons.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert last == {"reason": "half a pair: \ud800"}


def test_reasons_that_cannot_be_written_are_an_error(tmp_path):
    (tmp_path / "taken").write_text("", encoding="utf-8")
    bad = BadItems(tmp_path / "taken" / "reasons.jsonl", {"a": None})
    with pytest.raises(ConfigError, match=r"reasons\.jsonl: cannot be written"):
        bad.write()


def test_sources_come_in_the_order_of_the_configuration(options, golden_processor):
    prepared = prepare(options(MIXED[:2], MIXED[6:]), golden_processor, BadItems(), True, lambda: None)
    assert [source.reader.file.path.name for source in prepared] == ["items0.json", "items1.json"]
    assert [source.looked_at for source in prepared] == [2, 2]
