"""MobileSAMv2: SAM's prompt encoder and mask decoder, trained again, behind several encoders.

Source: Zhang et al. 2023, "MobileSAMv2: Faster Segment Anything to Everything" (arXiv:2312.09579).
The networks are those of SAM: with TinyViT and ViT-H the builders of these models serve. Its
EfficientViT-L2 alone differs from that of EfficientViT-SAM: it gets the input of 1024 pixels and
shrinks it by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from litesam.models.encoders.efficient_vit import CONFIGS, NORM_EPS, EfficientViT
from litesam.models.sam import assemble

if TYPE_CHECKING:
    from litesam.models.sam import Sam
    from litesam.types import ModelSpec

#: Side of the picture that the L encoders of EfficientViT-SAM were made for.
SHRUNK_PX = 512


class ShrinkingEfficientViT(EfficientViT):
    """EfficientViT-L2 that shrinks its input first."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Encode (B, 3, S, S) normalised, zero-padded RGB.

        The shrinking is bilinear without antialiasing, after normalisation and padding, so the
        embedding is not that of EfficientViT-SAM-L2.
        """
        size = (SHRUNK_PX, SHRUNK_PX)
        return super().forward(F.interpolate(x, size, mode="bilinear", align_corners=False))


class EncoderOnly(nn.Module):
    """An image encoder under the name that it has in a whole network."""

    def __init__(self, image_encoder: nn.Module) -> None:
        super().__init__()
        self.image_encoder = image_encoder


def build_efficientvit_l2(spec: ModelSpec) -> Sam:
    """Build MobileSAMv2 with EfficientViT-L2 and random weights."""
    return assemble(spec, _l2(spec))


def build_efficientvit_l2_encoder(spec: ModelSpec) -> EncoderOnly:
    """Build its encoder alone."""
    return EncoderOnly(_l2(spec))


def _l2(spec: ModelSpec) -> ShrinkingEfficientViT:
    channels, grid_side, _ = spec.feature_shapes["image"]
    encoder = ShrinkingEfficientViT(CONFIGS["l2"], channels, grid_side)
    for module in encoder.modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            module.eps = NORM_EPS
    return encoder
