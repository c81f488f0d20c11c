"""The sources of a data configuration and the items of their files, found exactly as training finds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from accessory.data.index import AnnotationFile, build_index, index_place, open_index
from accessory.data.sources import LocatedSource, read_sources
from SPHINX_V.errors import UsageError


def chosen_sources(config: str | Path, only: str) -> list[LocatedSource]:
    """The sources of a configuration that have `only` in the path of their file, in order.

    Raises ConfigError for a wrong configuration, not for files that lack, and UsageError where no path has `only`.
    """
    sources = read_sources(config)
    found = [source for source in sources if only in str(source.path)]
    if not found:
        raise UsageError(f"--only {only}: none of the {len(sources)} paths in {config} has this in it.")
    return found


@contextmanager
def annotation_file(path: Path) -> Iterator[AnnotationFile]:
    """The items of a file, by the index that training has left beside it, or by one that is made for this reading.

    Raises DataError for a file that is missing, not UTF-8 or no list.
    """
    known = open_index(path, index_place(path, None))
    if known is not None:
        yield known
        return
    # Looking leaves nothing beside the data.
    with TemporaryDirectory(prefix="sphinx-v-index-") as folder:
        yield build_index(path, Path(folder) / path.name)
