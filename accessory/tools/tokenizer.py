"""Trains a SentencePiece tokenizer of LLaMA's form on a text file; for small models trained from scratch."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from SPHINX_V.config import PromptConfig
from SPHINX_V.errors import ConfigError, SphinxVError
from SPHINX_V.processing.conversation import STOP, SYSTEM

MIN_VOCAB = 3 + 256 + 24 + 64  # control pieces, bytes, the whole pieces below, and some letters

# Whole pieces: the template stands around every sample, so it must be cheap in tokens; a mark's name in one piece is
# next to what is said of the mark.
TEMPLATE = (f" {SYSTEM}", STOP, " Human:", " Assistant:")
MARKS = tuple(f"<{word} {number}>" for word in ("Mark", "Region") for number in range(1, PromptConfig().num_slots + 1))


def train_tokenizer(corpus: Path, vocab_size: int) -> bytes:
    """A byte-pair model with LLaMA's settings: byte fallback, single digits, no normalisation, one space in front.

    The same corpus gives the same bytes. Raises ConfigError for a missing corpus and an impossible size.
    """
    from sentencepiece import SentencePieceTrainer

    if vocab_size < MIN_VOCAB:
        raise ConfigError(f"vocab {vocab_size} is too small; the bytes and letters alone take {MIN_VOCAB}.")
    try:
        lines = corpus.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ConfigError(
            f"{corpus}: no such corpus; accessory.data.synthetic and accessory.data.convert.coco write corpus.txt."
        ) from None
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            character_coverage=0.99995,
            user_defined_symbols=[text.replace(" ", "▁") for text in (*TEMPLATE, *MARKS)],
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ConfigError(f"{corpus}: cannot train a tokenizer of {vocab_size} pieces ({error}).") from None
    return model.getvalue()


def main() -> int:
    """Command line: CORPUS OUT [--vocab N]."""
    parser = argparse.ArgumentParser(prog="python -m accessory.tools.tokenizer", description=__doc__)
    parser.add_argument("corpus", type=Path, help="text file, one sentence a line")
    parser.add_argument("out", type=Path, help="tokenizer.model to write")
    parser.add_argument("--vocab", type=int, default=1024, help="pieces (default 1024)")
    arguments = parser.parse_args()
    try:
        serialized = train_tokenizer(arguments.corpus, arguments.vocab)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_bytes(serialized)
    except SphinxVError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{arguments.out}: {arguments.vocab} pieces")
    return 0


if __name__ == "__main__":
    sys.exit(main())
