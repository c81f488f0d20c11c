"""Free questions: conversations about marked elements as a visitor would ask, in which nothing is asked twice.

An answer names its mark as the other tasks do ("<Mark 1>: blue"), and where yes or no is asked, its reason stands
before it: it is then built of what those tasks teach, and can be checked by whoever asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, permutations

from accessory.data import labels

from .elements import Drawn, Element
from .plan import ALIKE, CASUAL, FOLLOWED, FREE_MARK_WEIGHTS, Extent, MarkKind
from .telling import NOUNS, caption, comparison, direction, tag, with_article
from .vocabulary import COLORS, DIRECTIONS, SHAPES, WORDS

Turn = tuple[str, str]
Fact = tuple[str, frozenset[int]]  # what is told, and of which marks by number

# The first wording is the commonest. {x} and {y} are marks, {value} is "red", "a circle" or "EXIT".
_WORDINGS: dict[str, tuple[str, ...]] = {
    "color": (
        *("What color is {x}?", "What is the color of {x}?", "Which color does {x} have?", "What colour is {x}?"),
        *("Tell me the color of {x}.", "Which color is {x}?"),
    ),
    "shape": (
        *("What shape is {x}?", "What is the shape of {x}?", "Which shape does {x} have?", "Which shape is {x}?"),
        "Tell me the shape of {x}.",
    ),
    "what": (
        *("What is {x}?", "What is in {x}?", "What do you see in {x}?", "What object is {x}?", "Describe {x}."),
        *("What is at {x}?", "What is this in {x}?"),
    ),
    "word": (
        *("What word is written in {x}?", "What does {x} say?", "What is written in {x}?", "Read {x}."),
        *("Which word is in {x}?", "What is the text in {x}?"),
    ),
    "is color": ("Is {x} {value}?", "Is the color of {x} {value}?"),
    "is shape": ("Is {x} {value}?", "Is the shape of {x} {value}?"),
    "is word": ("Does {x} say {value}?", "Is the word in {x} {value}?"),
    "same color": (
        *("Do {x} and {y} have the same color?", "Are {x} and {y} the same color?"),
        "Is {x} the same color as {y}?",
    ),
    "same shape": (
        *("Do {x} and {y} have the same shape?", "Are {x} and {y} the same shape?"),
        "Is {x} the same shape as {y}?",
    ),
    "larger": ("Is {x} larger than {y}?", "Is {x} bigger than {y}?"),
    "smaller": ("Is {x} smaller than {y}?",),
    "which larger": ("Which is larger, {x} or {y}?", "Which is bigger, {x} or {y}?"),
    "which smaller": ("Which is smaller, {x} or {y}?",),
    "direction": ("Is {x} {value} {y}?",),
    "open direction": ("Where is {x} relative to {y}?", "How does {x} lie to {y}?"),
    "count": (
        *("How many marks are there?", "How many {noun}s are there?", "How many {noun}s are marked?"),
        "How many {noun}s are marked in the image?",
    ),
    "again": ("And {x}?", "What about {x}?"),
}
_FIRST = 0.5  # how often the commonest wording is taken
_NUMBERS = ("one", "two", "three", "four", "five", "six")
_VALUES = {"color": tuple(COLORS), "shape": SHAPES, "word": WORDS}
_LARGEST_LIST = 3  # marks of a conversation in which all are asked for


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question with its answer: what the answer tells, and of a single mark its topic and number."""

    text: str
    answer: str
    facts: frozenset[Fact]
    topic: str = ""
    about: int = 0


def converse(
    drawn: Drawn, kind: MarkKind, rng: random.Random, extent: Extent
) -> tuple[tuple[Element, ...], tuple[Turn, ...]]:
    """Marked elements and the turns about them."""
    conversation = _Conversation(_choose(drawn, rng), drawn.image.size, kind, rng)
    turns: list[Turn] = []
    listed = len(conversation.marks) <= _LARGEST_LIST and rng.random() < extent.listed
    for _ in range(1 if listed else rng.randint(*extent.turns)):
        asked = conversation.ask(extent.topics)
        if asked is None:
            break
        turns.append((asked.text, asked.answer))
    if listed:
        # At one end: between a question and its follow-up nobody would know what "it" is.
        turns.insert(rng.choice((0, len(turns))), conversation.all_marks())
    return conversation.marks, tuple(turns)


def _choose(drawn: Drawn, rng: random.Random) -> tuple[Element, ...]:
    """Elements to mark, in random order; often two of them alike, as few are by chance."""
    count = min(rng.choices(list(FREE_MARK_WEIGHTS), list(FREE_MARK_WEIGHTS.values()))[0], len(drawn.elements))
    objects = [element for element in drawn.elements if element.kind == "object"]
    alike = [(a, b) for a, b in combinations(objects, 2) if a.color == b.color or a.shape == b.shape]
    chosen = list(rng.choice(alike)) if count > 1 and alike and rng.random() < ALIKE else []
    others = [element for element in drawn.elements if element not in chosen]
    chosen += rng.sample(others, count - len(chosen))
    return tuple(rng.sample(chosen, count))


def _value(about: str, mark: Element) -> str:
    return {"color": mark.color, "shape": mark.shape}.get(about, mark.label)


def _said(about: str, value: str) -> str:
    return with_article(value) if about == "shape" else value


def _facts(about: str, *numbers: int) -> frozenset[Fact]:
    """What an answer tells of each of some marks."""
    names = ("color", "shape") if about == "what" else (about,)
    return frozenset((name, frozenset({number})) for name in names for number in numbers)


class _Conversation:
    """The marks of a conversation, and what has been told of them so far."""

    def __init__(self, marks: tuple[Element, ...], size: tuple[int, int], kind: MarkKind, rng: random.Random) -> None:
        self.marks = marks
        self.size = size
        self.kind = kind
        self.rng = rng
        self.told: set[Fact] = set()
        self.last: _Asked | None = None

    def ask(self, topics: dict[str, float]) -> _Asked | None:
        """A question whose answer tells only what has not been told; None where nothing is left to ask."""
        makers: dict[str, Callable[[], _Asked | None]] = {
            **{topic: partial(self._single, topic) for topic in ("color", "shape", "what", "word")},
            **{"is": self._is, "same": self._same, "larger": self._larger, "direction": self._direction},
            "count": self._count,
        }
        # In a random order in which what weighs twice as much comes first twice as often.
        drawn = {topic: self.rng.random() ** (1 / weight) for topic, weight in topics.items() if weight}
        order = sorted(drawn, key=lambda topic: -drawn[topic])
        if self.last is not None and self.last.topic in drawn and self.rng.random() < FOLLOWED:
            order.insert(0, self.last.topic)
        for topic in order:
            asked = makers[topic]()
            if asked is not None:
                self.told |= asked.facts
                self.last = asked
                return asked
        return None

    def all_marks(self) -> Turn:
        """A question for all marks, as the other tasks put it."""
        kinds = {mark.kind for mark in self.marks}
        points = self.kind == "point"
        if self.rng.random() < 0.5 and len(kinds) == 1:
            task: labels.Task = "labels" if kinds == {"object"} else "ocr"
            texts = [mark.label for mark in self.marks]
        else:
            task, texts = "brief", [caption(mark, self.size) for mark in self.marks]
        return labels.question(task, points), labels.answer(texts, points)

    def _untold(self, facts: Iterable[Fact]) -> bool:
        return not self.told & set(facts)

    def _numbers(self, about: str) -> list[int]:
        """The marks of which it can be asked and has not been told."""
        kinds = {"word": ("word",), "what": ("object", "word")}.get(about, ("object",))
        numbered = enumerate(self.marks, start=1)
        return [n for n, mark in numbered if mark.kind in kinds and self._untold(self._of(about, n))]

    def _of(self, about: str, number: int) -> frozenset[Fact]:
        is_word = about == "what" and self.marks[number - 1].kind == "word"
        return _facts("word" if is_word else about, number)

    def _phrase(self, wording: str, **parts: str) -> str:
        first, *others = _WORDINGS[wording]
        text = first if not others or self.rng.random() < _FIRST else self.rng.choice(others)
        text = text.format(**parts)
        return text[0].lower() + text[1:].rstrip("?.") if self.rng.random() < CASUAL else text

    def _tags(self, *numbers: int) -> list[str]:
        return [tag(self.kind, number) for number in numbers]

    def _name(self, number: int) -> str:
        """A mark's name, or "it" where no other can be meant."""
        meant = len(self.marks) == 1 if self.last is None else self.last.about == number
        return "it" if meant and self.rng.random() < FOLLOWED else tag(self.kind, number)

    def _chosen(self, numbers: Sequence[int]) -> int:
        """One of `numbers`, often the last question's."""
        if self.last is not None and self.last.about in numbers and self.rng.random() < FOLLOWED:
            return self.last.about
        return self.rng.choice(numbers)

    def _single(self, topic: str) -> _Asked | None:
        numbers = self._numbers(topic)
        if not numbers:
            return None
        number = self._chosen(numbers)
        mark, name = self.marks[number - 1], tag(self.kind, number)
        again = self.last is not None and self.last.topic == topic and self.last.about != number
        wording, called = ("again", name) if again and self.rng.random() < 0.5 else (topic, self._name(number))
        text = self._phrase(wording, x=called)
        return _Asked(text, f"{name}: {_value(topic, mark)}", self._of(topic, number), topic=topic, about=number)

    def _is(self) -> _Asked | None:
        about = self.rng.choice(("color", "shape", "word"))
        numbers = self._numbers(about)
        if not numbers:
            return None
        number = self._chosen(numbers)
        value = _value(about, self.marks[number - 1])
        asked = value
        if self.rng.random() < 0.5:
            others = {_value(about, self.marks[other - 1]) for other in numbers} - {value}
            # Another mark's value half of the time: it is in the picture, and still not here.
            near = sorted(others) if others and self.rng.random() < 0.5 else [v for v in _VALUES[about] if v != value]
            asked = self.rng.choice(near)
        name = tag(self.kind, number)
        text = self._phrase(f"is {about}", x=self._name(number), value=_said(about, asked))
        return _Asked(text, _verdict(f"{name}: {value}", asked == value), self._of(about, number), about=number)

    def _same(self) -> _Asked | None:
        groups: dict[bool, list[tuple[str, tuple[int, int]]]] = {True: [], False: []}
        for about in ("color", "shape"):
            for pair in permutations(self._numbers(about), 2):
                one, other = (_value(about, self.marks[number - 1]) for number in pair)
                groups[one == other].append((about, pair))
        possible = [same for same, pairs in groups.items() if pairs]
        # Of the pictures that have nothing alike, half are not asked: else no would be the better guess.
        if not possible or (possible == [False] and self.rng.random() < 0.5):
            return None
        # The answer first, so that yes and no come about equally often.
        same = self.rng.choice(possible)
        about, pair = self.rng.choice(groups[same])
        x, y = self._tags(*pair)
        first, second = (_value(about, self.marks[number - 1]) for number in pair)
        text = self._phrase(f"same {about}", x=x, y=y)
        return _Asked(text, _verdict(f"{x}: {first}\n{y}: {second}", same), _facts(about, *pair))

    def _neighbours(
        self, fact: str, tell: Callable[[Element, Element], str | None]
    ) -> tuple[int, int, str, str] | None:
        """Two marks whose numbers follow each other, in any order; what `tell` says of the first as seen from the
        second, and the sentence that says it of the later one: as relations are told."""
        pairs = [
            (later, later - 1)
            for later in range(2, len(self.marks) + 1)
            if (fact, frozenset({later, later - 1})) not in self.told
            and tell(self.marks[later - 1], self.marks[later - 2]) is not None
        ]
        if not pairs:
            return None
        pair = self.rng.choice(pairs)
        later, earlier = self._tags(*pair)
        than = " than" if fact == "size" else ""
        told = f"{later} is {tell(*(self.marks[number - 1] for number in pair))}{than} {earlier}"
        x, y = self.rng.sample(pair, 2)
        return x, y, tell(self.marks[x - 1], self.marks[y - 1]) or "", told

    def _larger(self) -> _Asked | None:
        found = self._neighbours("size", comparison)
        if found is None:
            return None
        x, y, said, told = found
        asked = self.rng.choice(("larger", "smaller"))
        facts = frozenset({("size", frozenset({x, y}))})
        first, second = self._tags(x, y)
        if self.rng.random() < 0.3:
            return _Asked(self._phrase(f"which {asked}", x=first, y=second), f"{told}.", facts)
        return _Asked(self._phrase(asked, x=first, y=second), _verdict(f"{told}.", asked == said), facts)

    def _direction(self) -> _Asked | None:
        found = self._neighbours("direction", direction)
        if found is None:
            return None
        x, y, said, told = found
        facts = frozenset({("direction", frozenset({x, y}))})
        first, second = self._tags(x, y)
        if self.rng.random() < 0.3:
            return _Asked(self._phrase("open direction", x=first, y=second), f"{told}.", facts)
        asked = said if self.rng.random() < 0.5 else self.rng.choice([name for name in DIRECTIONS if name != said])
        text = self._phrase("direction", x=first, y=second, value=asked)
        return _Asked(text, _verdict(f"{told}.", asked == said), facts)

    def _count(self) -> _Asked | None:
        facts = frozenset({("count", frozenset[int]())})
        count = _NUMBERS[len(self.marks) - 1]
        answer = f"There {'is' if len(self.marks) == 1 else 'are'} {count}."
        return _Asked(self._phrase("count", noun=self._noun()), answer, facts) if self._untold(facts) else None

    def _noun(self) -> str:
        return self.rng.choice(("mark", NOUNS[self.kind]))


def _verdict(reason: str, yes: bool) -> str:
    return f"{reason}\n{'Yes' if yes else 'No'}."
