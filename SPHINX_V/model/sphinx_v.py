"""SPHINX-V (arXiv 2403.20271): picture, marks and text as one sequence through the language model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from SPHINX_V.config import NUM_VIEWS, SphinxVConfig
from SPHINX_V.inputs import ModelInputs, PromptSlots
from SPHINX_V.model.llama import LayerCache, Llama
from SPHINX_V.model.packing import Packing
from SPHINX_V.model.prompt_encoder import PromptEncoder
from SPHINX_V.model.vision import MixedEncoder, patch_boxes, split_views


def projection(width: int, dim: int, eps: float) -> nn.Sequential:
    """Linear and LayerNorm into the language model's space."""
    return nn.Sequential(nn.Linear(width, dim), nn.LayerNorm(dim, eps=eps))


class SphinxV(nn.Module):
    """`BOS | start_img view end_img ×5 | start_vp prompts end_vp | rest of the text` (spec: Sequence)."""

    def __init__(self, config: SphinxVConfig) -> None:
        super().__init__()
        self.config = config
        dim, eps = config.llm.dim, config.norm_eps
        self.llm = Llama(config.llm)
        self.vision = MixedEncoder(config.vision)
        self.visual_proj = projection(config.vision.mixed_width, dim, eps)
        self.qformer_proj = projection(config.vision.qformer.width, dim, eps)
        self.prompt_encoder = PromptEncoder(config.prompts)
        self.vp_proj = projection(config.prompts.width, dim, eps)
        self.start_img = nn.Parameter(torch.zeros(1, 1, dim))
        self.end_img = nn.Parameter(torch.zeros(1, 1, dim))
        self.start_vp = nn.Parameter(torch.zeros(1, 1, dim))
        self.end_vp = nn.Parameter(torch.zeros(1, 1, dim))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Pictures [B, 3, H, H] → tokens [B, 5, Q + 1 + grid², D], Q-Former's first, without tags."""
        views = split_views(pixels)
        tokens = self.encode_views(views.flatten(0, 1), torch.arange(NUM_VIEWS, device=views.device).repeat(len(views)))
        return tokens.unflatten(0, views.shape[:2])

    def encode_views(self, views: Tensor, places: Tensor) -> Tensor:
        """Single views [N, 3, V, V] → their tokens [N, Q + 1 + grid², D]; `places` [N] says which of a picture's five
        views each of them is."""
        mixed, queries = self.vision(views)
        patches = self.visual_proj(mixed)
        if self.config.vision.position_features:
            patches = patches + self.patch_places().to(patches.dtype)[places]
        return torch.cat([self.qformer_proj(queries), patches], dim=1)

    def patch_places(self) -> Tensor:
        """What every patch's place adds to its token [5, 1 + grid², D].

        The tokens of a point at its centre and of a box around it, as a mark there would have them. Marks and patches
        thus share one basis, so that attention can match them from the start. An option of small recipes; class tokens
        have no place and get zeros.
        """
        boxes = patch_boxes(self.config.vision.grid).to(self.start_vp.device)
        centers = (boxes[..., :2] + boxes[..., 2:]) / 2
        points = torch.cat([centers, torch.full_like(centers, -1)], dim=-1)
        valid = torch.ones(boxes.shape[:-1], dtype=torch.bool, device=boxes.device)
        as_points = self.encode_prompts(PromptSlots(points, valid, valid))
        as_boxes = self.encode_prompts(PromptSlots(boxes, ~valid, valid))
        return nn.functional.pad(as_points + as_boxes, (0, 0, 1, 0))

    def encode_prompts(self, slots: PromptSlots) -> Tensor:
        """Prompt slots → tokens [B, S, D], one per slot, without tags."""
        return self.vp_proj(self.prompt_encoder(slots))

    def image_block(self, image_tokens: Tensor) -> Tensor:
        """Image tokens [B, 5, n, D] with their tags: [B, 5 · (n + 2), D]."""
        batch, views = image_tokens.shape[:2]
        start = self.start_img.expand(batch, views, 1, -1)
        end = self.end_img.expand(batch, views, 1, -1)
        return torch.cat([start, image_tokens, end], dim=2).flatten(1, 2)

    def prompt_block(self, prompt_tokens: Tensor) -> Tensor:
        """Prompt tokens [B, S, D] with their tags: [B, S + 2, D]."""
        batch = prompt_tokens.shape[0]
        return torch.cat([self.start_vp.expand(batch, 1, -1), prompt_tokens, self.end_vp.expand(batch, 1, -1)], dim=1)

    def visual_prefix(self, image_tokens: Tensor, prompt_tokens: Tensor) -> Tensor:
        """Joins image tokens [B, 5, n, D] and prompt tokens [B, S, D] with their tags: [B, visual_length, D]."""
        return torch.cat([self.image_block(image_tokens), self.prompt_block(prompt_tokens)], dim=1)

    def embed(self, inputs: ModelInputs) -> Tensor:
        """The whole sequence as embeddings [B, V + T, D]; V = 0 without a picture."""
        text = self.llm.tok_embeddings(inputs.token_ids)
        if inputs.pixels is None or inputs.slots is None:
            return text
        prefix = self.visual_prefix(self.encode_image(inputs.pixels), self.encode_prompts(inputs.slots))
        return torch.cat([text[:, :1], prefix.to(text.dtype), text[:, 1:]], dim=1)

    def hidden(
        self,
        embeddings: Tensor,
        positions: Tensor | None = None,
        mask: Tensor | Packing | None = None,
        caches: list[LayerCache] | None = None,
        taps: list[Tensor] | None = None,
    ) -> Tensor:
        """Hidden states [B, S, D] of a sequence; arguments as in `Llama.forward`."""
        return self.llm(embeddings, positions, mask, caches, taps)

    def forward(self, inputs: ModelInputs) -> Tensor:
        """Logits [B, T, vocab] of the last T positions, T = text tokens with BOS.

        With a picture row 0 stands at `end_vp` and predicts the first token after BOS; without one it is BOS itself.
        """
        hidden = self.hidden(self.embed(inputs))
        return self.llm.output(hidden[:, -inputs.token_ids.shape[1] :])
