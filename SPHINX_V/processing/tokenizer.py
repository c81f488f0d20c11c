"""The SentencePiece tokenizer: ids with character offsets, and decoding piece by piece for streams."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from SPHINX_V.errors import CheckpointError

_SPACE = "\u2581"  # how pieces write a space


@dataclass(frozen=True)
class Encoded:
    """Token ids and, per id, the character span [start, end) of the text it stands for."""

    ids: list[int]
    spans: list[tuple[int, int]]


class Tokenizer:
    """A SentencePiece model file (LLaMA's, or one of the same form)."""

    def __init__(self, serialized: bytes, source: str = "tokenizer") -> None:
        from sentencepiece import SentencePieceProcessor

        self.serialized = serialized
        self._pieces = SentencePieceProcessor()
        self._blank: dict[int, bool] = {}
        self._plain: dict[int, str | None] = {}
        try:
            self._pieces.LoadFromSerializedProto(serialized)
        except (RuntimeError, OSError) as error:
            raise CheckpointError(
                f"{source}: not a SentencePiece model ({error}); copy tokenizer.model again."
            ) from None
        self.bos_id: int = self._pieces.bos_id()
        self.eos_id: int = self._pieces.eos_id()
        if self.bos_id < 0 or self.eos_id < 0:
            raise CheckpointError(f"{source}: has no BOS or EOS piece; SPHINX-V needs both.")

    @staticmethod
    def from_file(path: str | os.PathLike[str]) -> Tokenizer:
        """Reads a `tokenizer.model` file; raises CheckpointError that names it."""
        try:
            return Tokenizer(Path(path).read_bytes(), os.fspath(path))
        except FileNotFoundError:
            raise CheckpointError(f"{os.fspath(path)}: no such tokenizer; every checkpoint folder needs one.") from None
        except OSError as error:
            raise CheckpointError(
                f"{os.fspath(path)}: cannot be read ({error}); give the file tokenizer.model."
            ) from None

    @property
    def vocab_size(self) -> int:
        return self._pieces.vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without BOS and EOS."""
        return self._pieces.encode(text)

    def encode_with_spans(self, text: str) -> Encoded:
        """Ids and the character spans they come from, without BOS and EOS."""
        mapping = self._pieces.encode(text, return_type="offset_mapping")
        return Encoded(mapping["ids"], mapping["offsets"])

    def is_control(self, token: int) -> bool:
        """True for BOS, EOS and other ids that stand for no text."""
        return self._pieces.is_control(token)

    def is_blank(self, token: int) -> bool:
        """True for an id whose text is white space or nothing; asked of every piece of a data set, so it is kept."""
        if token not in self._blank:
            self._blank[token] = not self.decode([token]).strip()
        return self._blank[token]

    def plain_text(self, token: int) -> str | None:
        """The text of an id that has the same one wherever it stands, but at the very beginning of a text; None for
        bytes, which are parts of characters, control ids and unknown ones."""
        if token not in self._plain:
            pieces = self._pieces
            special = pieces.is_control(token) or pieces.is_byte(token) or pieces.is_unknown(token)
            self._plain[token] = None if special else pieces.id_to_piece(token).replace(_SPACE, " ")
        return self._plain[token]

    def decode(self, ids: list[int]) -> str:
        return self._pieces.decode(ids)


class StreamDecoder:
    """Turns ids into text as they come, in linear time and never splitting a character.

    Most ids have a text of their own. Around others a short window of ids is decoded again at each step: pieces that
    belong together (bytes of one character, the space in front of a word) are always decoded side by side.
    """

    def __init__(self, tokenizer: Tokenizer, context: list[int]) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        for token in context:
            self._append(token)
        # Some context in front keeps the leading space of the first piece.
        self._ids = self._ids[-4:]
        self._start = 0
        self._shown = len(self._ids)
        self._begun = bool(tokenizer.decode(self._ids))  # is there text before what is not shown yet?

    def push(self, token: int) -> str:
        """The new text that this id completes; empty while a character is incomplete."""
        plain = self._tokenizer.plain_text(token)
        if plain is not None and self._begun and self._shown == len(self._ids):
            before = self._ids[-1]
            if self._tokenizer.plain_text(before) is not None:
                self._ids, self._start, self._shown = [before, token], 0, 2
                return plain
        self._append(token)
        return self._new_text(allow_broken=False)

    def flush(self) -> str:
        """What is left at the end, an incomplete character as U+FFFD."""
        return self._new_text(allow_broken=True)

    def _append(self, token: int) -> None:
        """Control ids have no text, but keep the bytes before and after them apart; one of a run is enough for that."""
        if not (self._ids and self._tokenizer.is_control(token) and self._tokenizer.is_control(self._ids[-1])):
            self._ids.append(token)

    def _new_text(self, allow_broken: bool) -> str:
        before = self._tokenizer.decode(self._ids[self._start : self._shown])
        text = self._tokenizer.decode(self._ids[self._start :])
        if text.endswith("�") and not allow_broken:
            return ""
        self._start = max(self._start, self._shown - 1) if self._shown else 0
        if self._start and self._tokenizer.is_control(self._ids[self._start]):
            # A word after BOS alone would be taken for the beginning of a text and lose its space.
            self._start -= 1
        self._shown = len(self._ids)
        self._begun = self._begun or bool(text)
        return text[len(before) :]
