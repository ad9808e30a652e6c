"""The HQ decoder: SAM's mask decoder with one more token, which sees finer features.

Source: Ke et al. 2023, "Segment Anything in High Quality", Sec. 3.2: the HQ output token and
global-local feature fusion. Module names are those of the official checkpoints (SysCV/sam-hq,
Apache-2.0), code is our own.

What differs, with the same results: the last convolution of the fused features is followed by a
product with the weights of the HQ token, so both become one convolution to a single channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from litesam.models.layers import MLP, LayerNorm2d
from litesam.models.mask_decoder import MaskDecoder, pixel_products

if TYPE_CHECKING:
    from litesam.models.transformer import TwoWayTransformer


class MaskDecoderHQ(MaskDecoder):
    """SAM's decoder with the HQ token.

    Parameters
    ----------
    transformer
        As in `MaskDecoder`.
    early_channels
        Width of the encoder's early feature.
    """

    def __init__(self, transformer: TwoWayTransformer, early_channels: int) -> None:
        super().__init__(transformer)
        channels = transformer.channels
        self.hf_token = nn.Embedding(1, channels)
        self.hf_mlp = MLP(channels, channels, channels // 8, 3)
        self.compress_vit_feat = _enlarging(early_channels, channels, channels // 8)
        self.embedding_encoder = _enlarging(channels, channels // 4, channels // 8)
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(channels // 8, channels // 4, kernel_size=3, padding=1),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.Conv2d(channels // 4, channels // 8, kernel_size=3, padding=1),
        )

    def output_tokens(self) -> Tensor:
        """Tokens of `MaskDecoder`, then the HQ token."""
        return torch.cat((super().output_tokens(), self.hf_token.weight))

    def details(self, image: Tensor, early: Tensor) -> Tensor:
        """Fine features of an image, the same for all prompts on it.

        Parameters
        ----------
        image
            Image embedding (1, C, h, w).
        early
            Early feature of the encoder (1, C', h, w).

        Returns
        -------
        Tensor
            (1, C/8, 4h, 4w).
        """
        deep: Tensor = self.embedding_encoder(image)
        shallow: Tensor = self.compress_vit_feat(early)
        return deep + shallow

    def decode_hq(
        self,
        image: Tensor,
        details: Tensor,
        image_pe: Tensor,
        sparse: Tensor | None,
        dense: Tensor,
        *,
        multimask: bool,
        hq_only: bool,
    ) -> tuple[Tensor, Tensor]:
        """Decode P prompts to one mask each.

        Parameters
        ----------
        image, image_pe, sparse, dense
            As in `MaskDecoder.forward`.
        details
            Result of `details` of the same image.
        multimask
            Refine the mask of the tokens 1–3 with the highest predicted IoU instead of that of
            token 0.
        hq_only
            Give the HQ mask itself instead of the sum of SAM's logits and its own.

        Returns
        -------
        tuple
            Logits (P, 1, 4h, 4w) and the predicted IoU of SAM's mask (P, 1).
        """
        plain, refined, iou = self.decode_parts(
            image, details, image_pe, sparse, dense, multimask=multimask
        )
        return refined if hq_only else refined + plain, iou

    def decode_parts(
        self,
        image: Tensor,
        details: Tensor,
        image_pe: Tensor,
        sparse: Tensor | None,
        dense: Tensor,
        *,
        multimask: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Like `decode_hq`: logits (P, 1, 4h, 4w) of SAM's mask and of the HQ token, and the IoU.

        They are not added up yet.
        """
        tokens, source = self.attend(image, image_pe, sparse, dense)
        upscaled = self.upscale(source)  # (P, C/8, 4h, 4w)
        masks = slice(1, None) if multimask else slice(0, 1)
        iou: Tensor = self.iou_prediction_head(tokens[:, 0])[:, masks]
        best = iou.argmax(dim=1, keepdim=True)  # (P, 1)
        rows = torch.arange(len(best), device=best.device)[:, None]
        weights = self.mask_weights(tokens, masks)[rows, best]  # (P, 1, C/8)
        refined = self._hq_logits(
            upscaled, details, self.hf_mlp(tokens[:, 1 + self.num_mask_tokens])
        )
        return pixel_products(upscaled, weights), refined, iou.gather(1, best)

    def _hq_logits(self, upscaled: Tensor, details: Tensor, weights: Tensor) -> Tensor:
        """Products (P, 1, 4h, 4w) of the fused features with the HQ token's weights (P, C/8)."""
        first, norm, activation, last = self.embedding_maskfeature
        refined: Tensor = activation(norm(first(upscaled)))  # (P, C/4, 4h, 4w)
        # the last convolution for the one channel that the token asks for, tap by tap
        kernels = torch.einsum("po,ocyx->pyxc", weights, last.weight).flatten(1, 2)  # (P, 9, C/4)
        taps = pixel_products(refined, kernels)  # (P, 9, 4h, 4w)
        constant = weights @ last.get_parameter("bias")  # (P)
        logits = pixel_products(details, weights[:, None]) + constant[:, None, None, None]
        height, width = logits.shape[-2:]
        for tap in range(9):
            to_y, from_y = _shifted(tap // 3 - 1, height)
            to_x, from_x = _shifted(tap % 3 - 1, width)
            logits[:, 0, to_y, to_x] += taps[:, tap, from_y, from_x]
        return logits


def _enlarging(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two transposed convolutions that enlarge four times; names as upstream (0, 1, 3)."""
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, hidden, kernel_size=2, stride=2),
        LayerNorm2d(hidden),
        nn.GELU(),
        nn.ConvTranspose2d(hidden, outputs, kernel_size=2, stride=2),
    )


def _shifted(offset: int, size: int) -> tuple[slice, slice]:
    """Pixels that have a neighbour at ``offset`` (-1, 0 or 1), and those neighbours."""
    low, high = max(0, -offset), size - max(0, offset)
    return slice(low, high), slice(low + offset, high + offset)
