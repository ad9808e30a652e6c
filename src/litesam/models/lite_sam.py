"""Lite-SAM: LiteViT, AutoPPN, SAM's prompt encoder and mask decoder; decoding in windows.

After Fu et al. 2024 (arXiv 2407.08965); the paper has no public code or weights. The unspecified
parts and the weights are ours (``docs/decisions/0003-lite-sam-architecture.md``). The windows are
our addition: an object is decoded from the part of the embedding around its prompt, with the
positional encoding of its true place, so that a small object costs a sixteenth of a full decode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from litesam.models.auto_ppn import AutoPPN
from litesam.models.encoders.lite_vit import LiteViT
from litesam.models.mask_decoder import MaskDecoder
from litesam.models.prompt_maps import MapPromptEncoder, WindowPrompts
from litesam.models.transformer import TwoWayTransformer

if TYPE_CHECKING:
    from litesam.types import ModelSpec

#: Sides of the decoder's windows, embedding cells.
WINDOWS = (16, 32, 64)


class LiteSAM(nn.Module):
    """The whole network; see the parts for shapes."""

    def __init__(self, input_px: int = 512, grid_side: int = 64, mlp_dim: int = 1024) -> None:
        super().__init__()
        self.input_px = input_px
        self.grid_side = grid_side
        self.image_encoder = LiteViT()
        self.auto_ppn = AutoPPN()
        self.prompt_encoder = MapPromptEncoder(input_px=input_px, grid_side=grid_side)
        self.mask_decoder = MaskDecoder(TwoWayTransformer(mlp_dim=mlp_dim))

    @property
    def stride(self) -> int:
        """Model pixels per embedding cell."""
        return self.input_px // self.grid_side

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        """Encode (B, 3, S, S) normalised pixels.

        Returns
        -------
        dict
            ``"image"``: (B, C, S/8, S/8); ``"picture"``: the pixels, from which an HQ decoder
            computes finer features.
        """
        embedding = self.image_encoder(x.contiguous(memory_format=torch.channels_last))
        return {"image": embedding, "picture": x}

    def decode_windows(
        self,
        embedding: Tensor,
        positions: Tensor,
        origins: Tensor,
        side: int,
        prompts: WindowPrompts,
        masks: slice,
        images: Tensor | None = None,
        offset_xy: tuple[int, int] = (0, 0),
    ) -> tuple[Tensor, Tensor]:
        """Decode P prompts, each in its own window of the embedding.

        Parameters
        ----------
        embedding
            (B, C, h, w).
        positions
            Positional encoding (1, C, h, w) of the same cells.
        origins
            (P, 2) int, top-left cell (y, x) of each window in the embedding.
        side
            Side of the windows, cells.
        prompts
            What is said about the objects.
        masks
            Which mask tokens, see `MaskDecoder.forward`.
        images
            (P,) int, which image of the batch each prompt belongs to; None: all to the first.
        offset_xy
            Model pixel (x, y) at which the embedding's first cell lies; not zero for crops in
            training.

        Returns
        -------
        tuple
            Logits (P, M, 4 * side, 4 * side) of the windows and predicted IoU (P, M).
        """
        windows, window_positions, sparse, dense = self.window_inputs(
            embedding, positions, origins, side, prompts, images, offset_xy
        )
        logits, iou = self.mask_decoder(windows, window_positions, sparse, dense, masks)
        return logits, iou

    def window_inputs(
        self,
        embedding: Tensor,
        positions: Tensor,
        origins: Tensor,
        side: int,
        prompts: WindowPrompts,
        images: Tensor | None = None,
        offset_xy: tuple[int, int] = (0, 0),
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """What the mask decoder takes for P prompts, each in its window; see `decode_windows`.

        Returns
        -------
        tuple
            Embedding and positional encoding (P or 1, C, side, side), the prompts' tokens
            (P, T, C) or None, and the dense prompts (P, C, side, side).
        """
        corners = origins.flip(-1) * self.stride + origins.new_tensor(offset_xy)
        sparse = self.prompt_encoder.sparse_tokens(prompts.points, prompts.labels, prompts.boxes)
        dense = self.prompt_encoder.dense_windows(prompts, corners, 4 * side)
        if embedding.shape[0] == 1 and tuple(embedding.shape[-2:]) == (side, side):
            return embedding, positions, sparse, dense  # one window: shared by all prompts
        windows = cut_windows(embedding, origins, side, images)
        return windows, cut_windows(positions, origins, side), sparse, dense


def cut_windows(x: Tensor, origins: Tensor, side: int, images: Tensor | None = None) -> Tensor:
    """Cut (P, C, side, side) windows out of (B, C, h, w), channels-last in memory.

    Parameters
    ----------
    x
        (B, C, h, w).
    origins
        (P, 2) int, top-left (y, x).
    side
        Side of the windows.
    images
        (P,) int index into B; None: image 0.
    """
    step = torch.arange(side, device=x.device)
    rows = origins[:, 0, None] + step  # (P, side)
    columns = origins[:, 1, None] + step
    batch = torch.zeros_like(origins[:, 0]) if images is None else images
    cells = x.permute(0, 2, 3, 1)[batch[:, None, None], rows[:, :, None], columns[:, None, :]]
    return cells.permute(0, 3, 1, 2)


def build(spec: ModelSpec | None = None) -> LiteSAM:
    """Build the network with random weights, as the registry's spec says or with the defaults."""
    if spec is None:
        return LiteSAM()
    return LiteSAM(input_px=spec.input_px, grid_side=spec.feature_shapes["image"][1])
