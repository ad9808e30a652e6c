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
    from collections.abc import Callable

    from litesam.models.transformer import TwoWayTransformer


class TokenMaskDecoder(nn.Module):
    """What SAM-like decoders share; how the image is enlarged is left to `upscale`.

    One single-mask token and ``multimask_outputs`` tokens for ambiguity.

    Parameters
    ----------
    transformer
        Joins tokens and image.
    multimask_outputs
        Number of masks of an ambiguous prompt.
    iou_head_hidden
        Hidden width of the head that predicts the IoU.
    mlp
        Makes an MLP from inputs, hidden width, outputs and number of linear layers.
    """

    def __init__(
        self,
        transformer: TwoWayTransformer,
        multimask_outputs: int = 3,
        iou_head_hidden: int = 256,
        mlp: Callable[[int, int, int, int], nn.Module] = MLP,
    ) -> None:
        super().__init__()
        channels = transformer.channels
        self.transformer = transformer
        self.num_mask_tokens = multimask_outputs + 1
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, channels)
        self.output_hypernetworks_mlps = nn.ModuleList(
            mlp(channels, channels, channels // 8, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = mlp(channels, iou_head_hidden, self.num_mask_tokens, 3)

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
        tokens, source = self.attend(image, image_pe, sparse, dense)
        upscaled = self.upscale(source)  # (P, C/8, 4h, 4w)
        iou: Tensor = self.iou_prediction_head(tokens[:, 0])
        return pixel_products(upscaled, self.mask_weights(tokens, masks)), iou[:, masks]

    def mask_weights(self, tokens: Tensor, masks: slice) -> Tensor:
        """Weights (P, M, C/8) that turn up-scaled pixels into the logits of some mask tokens."""
        wanted = range(self.num_mask_tokens)[masks]
        return torch.stack(
            [self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in wanted], dim=1
        )

    def output_tokens(self) -> Tensor:
        """Tokens (1 + masks, C) that the transformer turns into results; prompts come after."""
        return torch.cat((self.iou_token.weight, self.mask_tokens.weight))

    def upscale(self, image: Tensor) -> Tensor:
        """Enlarge the updated image: (P, C, h, w) -> (P, C/8, 4h, 4w)."""
        raise NotImplementedError

    def attend(
        self, image: Tensor, image_pe: Tensor, sparse: Tensor | None, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run the transformer: tokens (P, 1 + masks + T, C) and the updated image (P, C, h, w)."""
        height, width = image.shape[-2:]
        outputs = self.output_tokens()[None]  # (1, 1 + M, C)
        if sparse is None:
            tokens = outputs.expand(max(len(dense), 1), -1, -1)
        else:
            tokens = torch.cat((outputs.expand(len(sparse), -1, -1), sparse), dim=1)
        source = (image + dense).flatten(2).transpose(1, 2)  # (P or 1, h*w, C)
        positions = image_pe.flatten(2).transpose(1, 2)
        tokens, source = self.transformer(source, positions, tokens)
        # (P, h*w, C) -> (P, C, h, w), channels-last in memory
        return tokens, torch.unflatten(source, 1, (height, width)).permute(0, 3, 1, 2)


def pixel_products(pixels: Tensor, weights: Tensor) -> Tensor:
    """Products of each pixel with M weights; (P or 1, C, h, w), (P, M, C) -> (P, M, h, w)."""
    size = pixels.shape[-2:]
    # Channels-last memory makes this a plain (h*w, C) @ (C, M) product without a copy.
    flat = pixels.permute(0, 2, 3, 1).flatten(1, 2)
    return torch.unflatten((flat @ weights.transpose(1, 2)).transpose(1, 2), -1, size)


class MaskDecoder(TokenMaskDecoder):
    """SAM's own: two transposed convolutions, layer normalisation between them."""

    def __init__(
        self,
        transformer: TwoWayTransformer,
        multimask_outputs: int = 3,
        iou_head_hidden: int = 256,
    ) -> None:
        super().__init__(transformer, multimask_outputs, iou_head_hidden)
        channels = transformer.channels
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, kernel_size=2, stride=2),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 4, channels // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )

    def upscale(self, image: Tensor) -> Tensor:
        """Enlarge the updated image: (P, C, h, w) -> (P, C/8, 4h, 4w)."""
        upscaled: Tensor = self.output_upscaling(image)
        return upscaled
