"""transformers' LLaMA of our sizes, and its weights under our names: the other side of parity tests and benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from SPHINX_V.config import LlamaConfig


def transformers_llama(config: LlamaConfig) -> Any:
    """A `LlamaForCausalLM` with the sizes of `config` and transformers' own random weights."""
    from transformers.models.llama import modeling_llama

    sizes = modeling_llama.LlamaConfig(
        hidden_size=config.dim,
        intermediate_size=config.ffn_dim,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.kv_heads,
        vocab_size=config.vocab_size,
        rms_norm_eps=config.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        max_position_embeddings=config.max_seq_len,
    )
    return modeling_llama.LlamaForCausalLM(sizes)


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """A projection of half-split heads (transformers) with its rows in interleaved order (Meta)."""
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def llama_weights(state: Mapping[str, Tensor], config: LlamaConfig) -> Iterator[tuple[str, Tensor]]:
    """The state of transformers' model under the names of our `Llama`."""
    yield "tok_embeddings.weight", state["model.embed_tokens.weight"]
    yield "norm.weight", state["model.norm.weight"]
    yield "output.weight", state["lm_head.weight"]
    for index in range(config.n_layers):
        theirs, ours = f"model.layers.{index}.", f"layers.{index}."
        yield ours + "attention.wq.weight", interleaved(state[theirs + "self_attn.q_proj.weight"], config.n_heads)
        yield ours + "attention.wk.weight", interleaved(state[theirs + "self_attn.k_proj.weight"], config.kv_heads)
        yield ours + "attention.wv.weight", state[theirs + "self_attn.v_proj.weight"]
        yield ours + "attention.wo.weight", state[theirs + "self_attn.o_proj.weight"]
        yield ours + "attention_norm.weight", state[theirs + "input_layernorm.weight"]
        yield ours + "ffn_norm.weight", state[theirs + "post_attention_layernorm.weight"]
        for name, other in (("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj")):
            yield ours + f"feed_forward.{name}.weight", state[theirs + f"mlp.{other}.weight"]
