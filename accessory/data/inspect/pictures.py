"""Sizes of many pictures, each looked at once, several at a time: on a network disk waiting is what takes long."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from SPHINX_V.errors import DataError
from SPHINX_V.processing.image import open_picture, picture_size

Size = tuple[int, int]


class Pictures:
    """Width and height in pixels, as displayed, by path; a picture that does not open gives its error instead.

    `decode` opens whole pictures; else headers are read, which does not find a file that is cut off.
    """

    def __init__(self, workers: int, decode: bool = False) -> None:
        self._pool = ThreadPoolExecutor(workers)
        self._decode = decode
        self.seen: dict[Path, Size | DataError] = {}

    def __enter__(self) -> Pictures:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def look(self, paths: Iterable[Path]) -> None:
        """Looks at those that have not been seen yet; `seen` has them all afterwards."""
        new = [path for path in dict.fromkeys(paths) if path not in self.seen]
        self.seen.update(zip(new, self._pool.map(self._size, new)))

    def _size(self, path: Path) -> Size | DataError:
        try:
            return open_picture(path).size if self._decode else picture_size(path)
        except DataError as error:
            return error
