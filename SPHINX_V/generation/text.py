"""Tokens of an answer → the text to show: stop strings cut off, never shown in part, outer white space stripped."""

from __future__ import annotations

from collections.abc import Sequence

from SPHINX_V.errors import UsageError
from SPHINX_V.processing.tokenizer import StreamDecoder, Tokenizer


class AnswerText:
    """The text of one answer as its tokens come. All pieces joined are the answer, stripped, without the stop string.

    What could be the beginning of a stop string, and white space that could be the end of the answer, is held back
    until the next tokens decide. A stop string may span tokens; each step looks at the held text and the new text only.
    """

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int], stops: Sequence[str]) -> None:
        """`context`: the last ids of the prompt, which decide whether the first piece has a space in front."""
        if not all(stops):
            raise UsageError("a stop string is empty, which would end every answer at once; leave it out.")
        self._decoder = StreamDecoder(tokenizer, list(context))
        self._stops = tuple(stops)
        self._held = ""
        self._shown_any = False
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that this token lets through; sets `stopped` when it completes a stop string."""
        return self._show(self._decoder.push(token), last=False)

    def finish(self) -> str:
        """What was held back, when no more tokens will come."""
        return "" if self.stopped else self._show(self._decoder.flush(), last=True)

    def _show(self, new: str, last: bool) -> str:
        self._held += new
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            visible = self._held[: min(found)]
        elif last:
            visible = self._held
        else:
            visible = self._held[: len(self._held) - self._undecided()]
        visible = visible.rstrip()
        self._held = self._held[len(visible) :]
        if not self._shown_any:
            visible = visible.lstrip()
            self._shown_any = bool(visible)
        return visible

    def _undecided(self) -> int:
        """Characters at the end of the held text that are the beginning of a stop string."""
        longest = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:length]):
                    longest = length
                    break
        return longest
