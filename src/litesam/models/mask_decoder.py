"""SAM's mask decoder: image embedding + prompt tokens → mask logits and predicted IoU.

Source: Kirillov et al. 2023, "Segment Anything", Sec. 3 and Appendix A; module names are those of
the official checkpoints (Apache-2.0), code is our own. Only the mask tokens that are asked for get
their up-scaled product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from litesam.models.layers import MLP, LayerNorm2d

if TYPE_CHECKING:
    from litesam.models.transformer import TwoWayTransformer


class MaskDecoder(nn.Module):
    """Decoder with one single-mask token and ``multimask_outputs`` tokens for ambiguity."""

    def __init__(
        self,
        transformer: TwoWayTransformer,
        multimask_outputs: int = 3,
        iou_head_hidden: int = 256,
    ) -> None:
        super().__init__()
        channels = transformer.channels
        self.transformer = transformer
        self.num_mask_tokens = multimask_outputs + 1
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, channels)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, kernel_size=2, stride=2),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 4, channels // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(channels, channels, channels // 8, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = MLP(channels, iou_head_hidden, self.num_mask_tokens, 3)

    def forward(
        self,
        image: Tensor,
        image_pe: Tensor,
        sparse: Tensor | None,
        dense: Tensor,
        masks: slice,
    ) -> tuple[Tensor, Tensor]:
        """Decode P prompts.

        Parameters
        ----------
        image
            Image embedding (P or 1, C, h, w); with 1 all prompts share it.
        image_pe
            Its positional encoding (P or 1, C, h, w).
        sparse
            Prompt tokens (P, T, C), or None for prompts that are masks only.
        dense
            Dense prompt, broadcastable to (P or 1, C, h, w).
        masks
            Which of the mask tokens: ``slice(0, 1)`` the single mask, ``slice(1, 4)`` the three of
            an ambiguous prompt.

        Returns
        -------
        tuple
            Logits (P, M, 4h, 4w) and predicted IoU (P, M).
        """
        tokens, upscaled_source = self.attend(image, image_pe, sparse, dense)
        upscaled: Tensor = self.output_upscaling(upscaled_source)  # (P, C/8, 4h, 4w)
        wanted = range(self.num_mask_tokens)[masks]
        weights = torch.stack(
            [self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in wanted], dim=1
        )  # (P, M, C/8)
        # Channels-last memory makes this a plain (4h*4w, C/8) @ (C/8, M) product without a copy.
        pixels = upscaled.permute(0, 2, 3, 1).flatten(1, 2)
        logits = (pixels @ weights.transpose(1, 2)).transpose(1, 2)
        logits = torch.unflatten(logits, -1, upscaled.shape[-2:])
        iou: Tensor = self.iou_prediction_head(tokens[:, 0])
        return logits, iou[:, masks]

    def attend(
        self, image: Tensor, image_pe: Tensor, sparse: Tensor | None, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run the transformer: tokens (P, 1 + masks + T, C) and the updated image (P, C, h, w)."""
        height, width = image.shape[-2:]
        outputs = torch.cat((self.iou_token.weight, self.mask_tokens.weight))[None]  # (1, 1 + M, C)
        if sparse is None:
            tokens = outputs.expand(max(len(dense), 1), -1, -1)
        else:
            tokens = torch.cat((outputs.expand(len(sparse), -1, -1), sparse), dim=1)
        source = (image + dense).flatten(2).transpose(1, 2)  # (P or 1, h*w, C)
        positions = image_pe.flatten(2).transpose(1, 2)
        tokens, source = self.transformer(source, positions, tokens)
        # (P, h*w, C) -> (P, C, h, w), channels-last in memory
        return tokens, torch.unflatten(source, 1, (height, width)).permute(0, 3, 1, 2)
