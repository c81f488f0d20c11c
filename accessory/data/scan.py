"""Where the items of an annotation file begin and end: one pass over its bytes, without parsing or holding them."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

import numpy
from numpy.typing import NDArray

from SPHINX_V.errors import DataError

CHUNK = 1 << 18  # bytes looked at together: large enough for numpy, small enough for the processor's cache

_QUOTE, _BACKSLASH, _COMMA, _OPEN, _CLOSE = (ord(sign) for sign in '"\\,[]')
_SPACE = b" \t\r\n"  # white space as JSON knows it
_SIGNS = numpy.zeros(256, dtype=bool)
_SIGNS[list(b'"\\,[]{}')] = True
_STEP = numpy.zeros(256, dtype=numpy.int8)  # how a sign outside of strings changes the depth of nesting
_STEP[list(b"[{")] = 1
_STEP[list(b"]}")] = -1
_KINDS = {b"{": "dict", b'"': "str", b"t": "bool", b"f": "bool", b"n": "NoneType"}

Offsets = NDArray[numpy.int64]


def scan_list(file: BinaryIO, name: str) -> Offsets:
    """Bounds [N + 1] of the N items of a JSON list: item i is the bytes from `bounds[i] + 1` up to `bounds[i + 1]`.

    Each bound is the place of a `[`, `,` or `]`, so there may be white space around an item. Nothing inside of one is
    looked at but its strings and brackets; that it is not valid JSON shows when it is parsed.
    Raises DataError that names the file where it is not UTF-8, no list, or ends early or late.
    """
    scanner, found = _ListScanner(name), []
    for start, chunk in _chunks(file, name):
        found.append(scanner.feed(chunk) + start)
    bounds = numpy.concatenate(found) if found else numpy.empty(0, numpy.int64)
    scanner.finish(bounds)
    if len(bounds) == 2:
        file.seek(int(bounds[0]) + 1)
        if not file.read(int(bounds[1] - bounds[0] - 1)).strip(_SPACE):
            return bounds[:1]  # an empty list, which has no item between its brackets
    return bounds


def scan_lines(file: BinaryIO, name: str) -> tuple[Offsets, Offsets]:
    """Bounds [N + 1] of the N lines of a .jsonl file, as of `scan_list`, and the numbers of those that are blank.

    Lines end at a line feed alone: other separators, such as U+2028, are allowed inside a JSON text.
    Raises DataError that names the file where it is not UTF-8.
    """
    bounds = [numpy.array([-1])]
    spaced = [numpy.empty(0, numpy.int64)]
    size, lines, at_start = 0, 0, True
    for start, chunk in _chunks(file, name):
        data = numpy.frombuffer(chunk, numpy.uint8)
        ends = numpy.flatnonzero(data == ord("\n"))
        # A line is blank only if it begins with white space, which few do: those are read again below.
        begins = numpy.concatenate([[0], ends + 1]) if at_start else ends + 1
        numbers = lines + numpy.arange(len(begins)) + (0 if at_start else 1)
        inside = begins < len(data)
        spaced.append(numbers[inside][numpy.isin(data[begins[inside]], list(_SPACE))])
        at_start = len(ends) > 0 and ends[-1] == len(data) - 1
        bounds.append(ends + start)
        lines, size = lines + len(ends), start + len(data)
    if not at_start:
        bounds.append(numpy.array([size]))
    joined = numpy.concatenate(bounds)
    blank = [number for number in numpy.concatenate(spaced) if _is_blank(file, joined, number)]
    return joined, numpy.array(blank, dtype=numpy.int64)


def _is_blank(file: BinaryIO, bounds: Offsets, number: int) -> bool:
    start, stop = int(bounds[number]) + 1, int(bounds[number + 1])
    file.seek(start)
    return not file.read(stop - start).strip(_SPACE)


def _chunks(file: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of a file from its beginning, all of it UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    start, pending = 0, 0
    while True:
        chunk = file.read(CHUNK)
        try:
            if pending or not chunk.isascii() or not chunk:
                decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            at = start - pending + error.start
            byte = error.object[error.start]
            raise DataError(
                f"{name}: is not UTF-8 text (byte {byte:#04x} at {at}: {error.reason}); save it again as UTF-8."
            ) from None
        pending = len(decoder.getstate()[0])
        if not chunk:
            return
        yield start, chunk
        start += len(chunk)


class _ListScanner:
    """The state between chunks: how deep, in a string or not, and whether the next byte is escaped."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.offset = 0
        self.depth = 0
        self.in_string = False
        self.escaped = False  # the first byte of the next chunk stands behind a backslash
        self.opened = False
        self.closed = False

    def feed(self, chunk: bytes) -> Offsets:
        """Places in `chunk` of the bounds that lie in it."""
        skipped = 0
        if not self.opened:
            skipped = self._open(chunk)
        bounds = self._look(chunk, skipped) if self.opened and not self.closed else self._after(chunk, skipped)
        self.offset += len(chunk)
        return bounds

    def finish(self, bounds: Offsets) -> None:
        """Refuses a file that ends too early."""
        if not self.opened:
            raise DataError(f"{self.name}: not valid JSON: the file is empty; an annotation file is a list of items.")
        if not self.closed:
            raise DataError(
                f"{self.name}: not valid JSON: the file ends inside item {len(bounds) - 1}, which begins at byte"
                f" {bounds[-1] + 1}; it may have been cut short."
            )

    def _open(self, chunk: bytes) -> int:
        """White space in front of the list; refuses a file that is something else."""
        content = chunk.lstrip(_SPACE)
        if not content:
            return len(chunk)
        if content[:1] != b"[":
            kind = _KINDS.get(content[:1], "number" if content[:1] in b"-0123456789" else "")
            if not kind:
                at = self.offset + len(chunk) - len(content)
                raise DataError(
                    f"{self.name}: not valid JSON: byte {content[0]:#04x} at {at} opens no list; an annotation file is"
                    " a list of items, in UTF-8 without a byte-order mark."
                )
            raise DataError(
                f"{self.name}: holds a {kind}; an annotation file is a list of items, or one item a line in a .jsonl."
            )
        self.opened = True
        return len(chunk) - len(content)

    def _after(self, chunk: bytes, start: int) -> Offsets:
        """Refuses anything but white space outside of the list."""
        rest = chunk[start:].lstrip(_SPACE)
        if rest:
            at = self.offset + len(chunk) - len(rest)
            raise DataError(f"{self.name}: not valid JSON: something follows the list, at byte {at}.")
        return numpy.empty(0, numpy.int64)

    def _look(self, chunk: bytes, skipped: int) -> Offsets:
        data = numpy.frombuffer(chunk, numpy.uint8)
        places = numpy.flatnonzero(_SIGNS[data])
        places = places[numpy.searchsorted(places, skipped) :]
        signs = data[places]
        outside = self._outside(data, places, signs)
        places, signs = places[outside], signs[outside]
        depth = self.depth + numpy.cumsum(_STEP[signs], dtype=numpy.int64)
        bound = (signs == _COMMA) & (depth == 1)
        if not self.depth and len(bound):
            bound[0] = True  # the bracket that opens the list
        ends = numpy.flatnonzero(depth == 0)
        if len(ends):
            end = int(ends[0])
            if signs[end] != _CLOSE:
                at = self.offset + int(places[end])
                raise DataError(f"{self.name}: not valid JSON: {chr(signs[end])} at byte {at} closes nothing.")
            self.closed = True
            self._after(chunk, int(places[end]) + 1)
            bound[end] = True
            return places[: end + 1][bound[: end + 1]]
        self.depth = int(depth[-1]) if len(depth) else self.depth
        return places[bound]

    def _outside(
        self, data: NDArray[numpy.uint8], places: Offsets, signs: NDArray[numpy.uint8]
    ) -> NDArray[numpy.bool_]:
        """Which signs are brackets and commas outside of strings; carries the state of strings over."""
        quotes = signs == _QUOTE
        slashes = places[signs == _BACKSLASH]
        if self.escaped or len(slashes):
            quotes &= ~self._behind_backslash(len(data), slashes)[places]
        inside = numpy.cumsum(quotes, dtype=numpy.int64) + self.in_string
        inside &= 1
        if len(inside):
            self.in_string = bool(inside[-1])
        return (inside == 0) & (signs != _QUOTE) & (signs != _BACKSLASH)

    def _behind_backslash(self, size: int, slashes: Offsets) -> NDArray[numpy.bool_]:
        """For each byte, whether a backslash escapes it: in a run of them each second one is itself escaped."""
        escaped = numpy.zeros(size + 1, dtype=bool)
        escaped[0] = self.escaped
        if len(slashes):
            begins = numpy.ones(len(slashes), dtype=bool)
            begins[1:] = slashes[1:] != slashes[:-1] + 1
            order = numpy.arange(len(slashes))
            nth = order - numpy.maximum.accumulate(numpy.where(begins, order, 0))
            if self.escaped and slashes[0] == 0:
                first = int(numpy.flatnonzero(begins)[1]) if begins.sum() > 1 else len(slashes)
                nth[:first] += 1
            escaped[slashes[nth % 2 == 0] + 1] = True
        self.escaped = bool(escaped[size])
        return escaped[:size]
