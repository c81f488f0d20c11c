"""Captions against references: METEOR, CIDEr, BLEU and ROUGE-L by pycocoevalcap, one hypothesis per region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy

from accessory.eval.metrics import java
from accessory.eval.metrics.bootstrap import Interval, interval

BLEU_ORDER = 4  # the longest n-gram


@dataclass(frozen=True)
class CaptionScore:
    """One corpus score in [0, 1] (CIDEr: in [0, 10]), its interval, and the score of each caption."""

    value: float
    interval: Interval | None
    each: tuple[float, ...]


@dataclass
class CaptionMetrics:
    """Scores of a corpus, as update / compute / reset."""

    hypotheses: list[str] = field(default_factory=list)
    references: list[list[str]] = field(default_factory=list)

    def reset(self) -> None:
        self.hypotheses.clear()
        self.references.clear()

    def update(self, hypothesis: str, references: Sequence[str]) -> None:
        """Adds a caption with its references (at least one); an empty caption scores 0."""
        self.hypotheses.append(hypothesis)
        self.references.append(list(references))

    def compute(self) -> dict[str, CaptionScore]:
        """METEOR, CIDEr, BLEU-4, ROUGE-L by name. Raises UsageError where Java fails; ask `java.missing` first.

        Intervals draw captions with replacement. CIDEr's weights of words stay those of the whole corpus.
        """
        flat = java.ptb_tokens([*self.hypotheses, *(text for texts in self.references for text in texts)])
        hypotheses = {number: [text] for number, text in enumerate(flat[: len(self.hypotheses)])}
        rest = iter(flat[len(self.hypotheses) :])
        references = {number: [next(rest) for _ in texts] for number, texts in enumerate(self.references)}
        return {
            "METEOR": _meteor(references, hypotheses),
            "CIDEr": _cider(references, hypotheses),
            "BLEU-4": _bleu(references, hypotheses),
            "ROUGE-L": _rouge(references, hypotheses),
        }


Captions = dict[int, list[str]]


def _mean(value: float, each: Sequence[float]) -> CaptionScore:
    values = numpy.asarray(each, float)
    return CaptionScore(
        float(value), interval(lambda counts: counts @ values / len(values), len(values)), tuple(map(float, each))
    )


def _cider(references: Captions, hypotheses: Captions) -> CaptionScore:
    from pycocoevalcap.cider.cider import Cider

    return _mean(*Cider().compute_score(references, hypotheses))


def _rouge(references: Captions, hypotheses: Captions) -> CaptionScore:
    from pycocoevalcap.rouge.rouge import Rouge

    return _mean(*Rouge().compute_score(references, hypotheses))


def _bleu(references: Captions, hypotheses: Captions) -> CaptionScore:
    """BLEU-4 (Papineni et al. 2002) of the corpus, with the closest reference's length."""
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=BLEU_ORDER)
    for number, texts in references.items():
        scorer += (hypotheses[number][0], texts)
    counts = scorer.ctest
    lengths = [[one["testlen"], min((abs(n - one["testlen"]), n) for n in one["reflen"])[1]] for one in counts]
    table = numpy.asarray([[*pair, *one["correct"], *one["guess"]] for pair, one in zip(lengths, counts)], float)
    corpus, each = scorer.compute_score(option="closest")
    found = interval(lambda drawn: _bleu_of(drawn @ table), len(table))
    return CaptionScore(float(corpus[-1]), found, tuple(map(float, each[-1])))


def _bleu_of(sums: numpy.ndarray) -> numpy.ndarray:
    """BLEU-4 from the counts of corpora [R, 10]: both lengths, and n-grams that are right and that there are."""
    ours, theirs, right, all_grams = numpy.split(sums, [1, 2, 2 + BLEU_ORDER], axis=1)
    precision = numpy.exp(numpy.log(right / all_grams).mean(axis=1))
    return precision * numpy.minimum(1.0, numpy.exp(1 - theirs / ours))[:, 0]


def _meteor(references: Captions, hypotheses: Captions) -> CaptionScore:
    with java.Meteor.started() as meteor:
        counts = [meteor.statistics(hypotheses[number][0], references[number]) for number in references]
        corpus, each = meteor.scores(counts)

        # METEOR adds up its counts over a corpus, so a resampled corpus is one line of sums: all go in one pass. Before
        # adding it takes the one chunk of a caption that matches its reference whole for none.
        table = numpy.asarray([[float(field) for field in line.split()] for line in counts])
        lengths, chunks, matched = table[:, :2], table[:, -3], table[:, -2:]
        table[(chunks == 1) & (lengths == matched).all(axis=1), -3] = 0

        def resampled(drawn: numpy.ndarray) -> numpy.ndarray:
            sums = [" ".join(map(str, row)) for row in (drawn @ table).tolist()]
            return numpy.asarray(meteor.scores(sums)[1])

        return CaptionScore(corpus, interval(resampled, len(counts)), tuple(each))
