"""A model that says what it is told: its layers add nothing, so each token decides the next one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.processing.tokenizer import Tokenizer
from tests.golden_model import golden_config


def chain_model(tokenizer: Tokenizer, *chains: Sequence[int], max_seq_len: int = 2048) -> SphinxV:
    """Greedy decoding walks along `chains` of ids; an id may have one successor. Unknown ids lead to themselves.

    Embeddings are one-hot, attention and feed-forward write zeros, the output is a permutation-like matrix.
    """
    vocab = tokenizer.vocab_size
    config = golden_config()
    llm = config.llm.model_copy(
        update={"dim": vocab, "n_layers": 1, "n_heads": 8, "n_kv_heads": 8, "max_seq_len": max_seq_len}
    )
    model = SphinxV(config.model_copy(update={"llm": llm}))
    successor = torch.arange(vocab)
    for chain in chains:
        for first, second in itertools.pairwise(chain):
            assert successor[first] in (first, second), f"token {first} has two successors"
            successor[first] = second
    with torch.no_grad():
        for block in model.llm.layers:
            block.attention.wo.weight.zero_()
            block.feed_forward.w2.weight.zero_()
        model.llm.tok_embeddings.weight.copy_(torch.eye(vocab))
        model.llm.output.weight.zero_()
        model.llm.output.weight[successor, torch.arange(vocab)] = 1.0
    return model.eval().requires_grad_(False)
