"""Caption scores equal what pycocoevalcap gives when it is called directly, on RefCOCOg and on odd text."""

import json
import random
from pathlib import Path

import numpy
import pytest

from accessory.eval.metrics import java
from accessory.eval.metrics.captions import CaptionMetrics, _bleu_of

REFERENCES = Path(__file__).parents[5] / "shared" / "data" / "caption" / "refcocog_references.json"
needs_java = pytest.mark.skipif(bool(java.missing()), reason=java.missing() or "-")


def perturbed(text, draw):
    """A caption that is about the reference and not it: a word lost, and half of them in another order."""
    words = text.split()
    if len(words) > 2:
        words.pop(draw.randrange(len(words)))
    if draw.random() < 0.5:
        draw.shuffle(words)
    return " ".join(words)


def scored(hypotheses, references):
    metrics = CaptionMetrics()
    for hypothesis, texts in zip(hypotheses, references, strict=True):
        metrics.update(hypothesis, texts)
    return metrics.compute()


def directly(hypotheses, references):
    """METEOR, CIDEr, BLEU-4, ROUGE-L as pycocoevalcap's own example calls them."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    tokenizer = PTBTokenizer()
    truths = tokenizer.tokenize({n: [{"caption": text} for text in texts] for n, texts in enumerate(references)})
    results = tokenizer.tokenize({n: [{"caption": text}] for n, text in enumerate(hypotheses)})
    return {
        "METEOR": Meteor().compute_score(truths, results)[0],
        "CIDEr": Cider().compute_score(truths, results)[0],
        "BLEU-4": Bleu(4).compute_score(truths, results, verbose=0)[0][3],
        "ROUGE-L": Rouge().compute_score(truths, results)[0],
    }


CAPTIONS = [
    ("a brown dog on the left", ["the brown dog at the left", "dog lying down"]),
    ("Man with a hat.", ["man wearing a black hat"]),
    ("the lady's umbrella", ["umbrella held by the lady ' s hand"]),
    ("", ["an empty answer"]),
    ("two zebras", ["two zebras"]),
]


# METEOR reads its table of paraphrases for several seconds at every start.
@needs_java
@pytest.mark.slow
def test_scores_are_those_of_pycocoevalcap():
    hypotheses, references = [one for one, _ in CAPTIONS], [texts for _, texts in CAPTIONS]
    found, expected = scored(hypotheses, references), directly(hypotheses, references)
    assert {name: score.value for name, score in found.items()} == pytest.approx(expected, rel=1e-12)
    assert found["METEOR"].each[4] == 1.0
    assert found["METEOR"].each[3] == 0.0


@needs_java
@pytest.mark.slow
def test_scores_on_refcocog_are_those_of_pycocoevalcap():
    if not REFERENCES.is_file():
        pytest.skip(f"{REFERENCES.name} is not there")
    values = json.loads(REFERENCES.read_text(encoding="utf-8"))
    references = [value[0]["caption"] for value in values.values()]
    draw = random.Random(0)
    hypotheses = [perturbed(texts[0], draw) for texts in references]
    found = scored(hypotheses, references)
    assert {name: score.value for name, score in found.items()} == pytest.approx(
        directly(hypotheses, references), rel=1e-12
    )
    for score in found.values():
        low, high = score.interval
        assert low < score.value < high


@needs_java
def test_a_strange_line_break_moves_no_caption_to_another_reference():
    # The tokenizer takes U+2028 and others for the end of a line; from there on every caption would be the next one's.
    strange = ["a dog\u2028and a cat", "a\x0bman", "three birds"]
    assert java.ptb_tokens(strange) == ["a dog and a cat", "a man", "three birds"]


@needs_java
def test_accents_survive_java():
    assert java.ptb_tokens(["Un café à la crème"]) == ["un café à la crème"]


@needs_java
@pytest.mark.slow
def test_meteors_separator_in_a_text_does_not_split_it():
    with java.Meteor.started() as meteor:
        counts = [meteor.statistics("a ||| dog", ["a dog"]), meteor.statistics("a dog", ["a ||| dog"])]
        assert counts[0] == counts[1] == meteor.statistics("a dog", ["a dog"])
        assert meteor.scores(counts) == (1.0, [1.0, 1.0])


@needs_java
@pytest.mark.slow
def test_the_interval_of_meteor_comes_from_the_corpus_score():
    # A resampled corpus is scored by sums of counts; drawn once each, it must be the corpus itself.
    captions = [("two zebras stand", ["two zebras"])] * 2
    found = scored([one for one, _ in captions], [texts for _, texts in captions])["METEOR"]
    assert found.interval == pytest.approx((found.value, found.value), rel=1e-9)


def test_bleu_of_sums_by_hand():
    # 9 of 10 words, 1/2, 1/2 and 1/2 of the longer ones; 10 words against 20: brevity exp(1 - 2).
    sums = numpy.asarray([[10.0, 20.0, 9.0, 4.0, 3.0, 2.0, 10.0, 8.0, 6.0, 4.0]])
    expected = (0.9 * 0.5**3) ** 0.25 * numpy.exp(-1.0)
    assert _bleu_of(sums) == pytest.approx([expected])


def test_without_java_the_reason_is_told(monkeypatch):
    pytest.importorskip("pycocoevalcap")
    monkeypatch.setenv("PATH", "")
    assert "Java" in java.missing()
