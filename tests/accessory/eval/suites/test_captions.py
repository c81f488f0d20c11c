"""RefCOCOg: regions to captions, and what is said where Java is missing."""

import pytest

from accessory.eval.metrics import java
from tests.accessory.eval.small_suites import answered, numbers, score

SAID = [
    answered("<Region 1>: a brown dog\n<Region 2>: two cats", "Region 1: a brown dog\nRegion 2: two black cats", 1, 2),
    answered("a man with a hat", "Region 1: a man with a hat\n", 2, 1),
    answered("", "Region 1: an umbrella", 3, 1),
]
NAMES = {"METEOR", "CIDEr", "BLEU-4", "ROUGE-L"}


def test_without_java_all_four_are_missing_with_the_reason(monkeypatch):
    pytest.importorskip("pycocoevalcap")
    monkeypatch.setenv("PATH", "")
    found = score("captions", SAID)
    assert numbers(found) == dict.fromkeys(NAMES)
    assert all("Java" in one.note for one in found.scores)
    assert found.tally.unanswered == 1


@pytest.mark.slow
@pytest.mark.skipif(bool(java.missing()), reason=java.missing() or "-")
def test_every_region_is_a_caption_and_a_subset_is_told():
    found = score("captions", SAID, items=4896)
    assert set(numbers(found)) == NAMES
    assert found.scores[0].of == "4 captions"
    assert found.items[1].value > found.items[2].value == 0.0
    notes = {one.name: one.note for one in found.scores}
    assert notes["CIDEr"].endswith("CIDEr of a subset means nothing")
    assert "3 of the benchmark's 4,896 items" in notes["METEOR"]
    assert [mark.given for mark in found.items[0].marks] == ["a brown dog", "two cats"]
