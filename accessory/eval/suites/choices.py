"""VCR, multiple choice: Q→A, QA→R and Q→AR by the letter answered and by the likelihood of the choices."""

from __future__ import annotations

import re
from collections.abc import Callable

from accessory.eval.forms import LETTERS
from accessory.eval.predictions import Prediction
from accessory.eval.scores import ItemScore, MarkScore, Score, SuiteScores, mean
from accessory.eval.suites.base import Suite

_LETTER = re.compile(
    r"^\W*(?:the\s+)?(?:right\s+|correct\s+)?(?:answer|choice|option)?(?:\s+is)?\W*([A-J])\b(?!')", re.I
)
_ALONE = re.compile(r"(?<![\w'])\(?([A-J])[).:](?!\w)")


def letter_of(answer: str, choices: int) -> str | None:
    """The letter that an answer chooses: `B`, `(B)`, `B. because…`, `The answer is B`; None where it chooses none.

    A lower-case letter counts only where it is the whole answer: "a man" is no choice of A.
    """
    text = answer.strip()
    known = LETTERS[:choices]
    if len(text.strip("().: ")) == 1:
        letter = text.strip("().: ").upper()
        return letter if letter in known else None
    match = _LETTER.match(text)
    if match and match[1].isupper() and not re.match(r"\s+[a-z]", text[match.end(1) :]):
        return match[1] if match[1] in known else None
    found = {letter for letter in _ALONE.findall(text) if letter in known}
    return found.pop() if len(found) == 1 else None


class Choices(Suite):
    """Accuracies × 100 of the two halves of each question and of both together, which is right where both halves are.

    By letter: what was written, a text without a letter is wrong and counted as unparsable. By likelihood: the choice
    whose text the model holds likeliest as the answer, in sum and per token.
    """

    def reset(self) -> None:
        super().reset()
        self._items: list[ItemScore] = []
        self._hits: dict[str, dict[str, dict[str, float]]] = {}

    def update(self, prediction: Prediction) -> None:
        self.tally.add_whole(prediction)
        truth = prediction.answer.strip().upper()
        letter = letter_of(prediction.prediction, len(prediction.choices) or len(LETTERS))
        self.tally.unparsable += letter is None and bool(prediction.prediction.strip())
        question, _, part = str(prediction.question_id).rpartition(":")
        self._add("letter", part, question, letter == truth)
        for name, weigh in _LIKELIHOODS.items():
            if prediction.likelihoods:
                values = [weigh(total, tokens) for total, tokens in prediction.likelihoods]
                self._add(name, part, question, LETTERS[values.index(max(values))] == truth)
        said = prediction.prediction.strip()
        mark = MarkScore(None, said, _spelled(truth, prediction.choices), float(letter == truth))
        self._items.append(ItemScore(prediction.question_id, float(letter == truth), (mark,)))

    def _add(self, way: str, part: str, question: str, right: bool) -> None:
        self._hits.setdefault(way, {}).setdefault(part, {})[question] = float(right)

    def compute(self) -> SuiteScores:
        scores: list[Score] = []
        for way in ("letter", *_LIKELIHOODS):
            parts = self._hits.get(way, {})
            halves = {"Q→A": parts.get("Q-A", {}), "QA→R": parts.get("QA-R", {})}
            both = {key: halves["Q→A"][key] * halves["QA→R"][key] for key in halves["Q→A"] if key in halves["QA→R"]}
            for name, hits in (*halves.items(), ("Q→AR", both)):
                title = name if way == "letter" else f"{name}, {way}"
                if hits:
                    note = self.subset_note()
                    scores.append(mean(title, list(hits.values()), [1.0] * len(hits), "questions", note=note))
                else:
                    scores.append(Score(title, None, note=f"the predictions hold no {way}" if way != "letter" else ""))
        return SuiteScores(tuple(scores), tuple(self._items), self.tally)


_LIKELIHOODS: dict[str, Callable[[float, int], float]] = {
    "likelihood": lambda total, tokens: total,
    "likelihood per token": lambda total, tokens: total / max(1, tokens),
}


def _spelled(letter: str, choices: tuple[str, ...]) -> str:
    place = LETTERS.find(letter)
    return f"{letter}. {choices[place]}" if 0 <= place < len(choices) else letter
