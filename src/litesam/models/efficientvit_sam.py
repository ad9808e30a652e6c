"""EfficientViT-SAM: EfficientViT encoders with SAM's prompt encoder and mask decoder.

Source: Zhang et al. 2024, "EfficientViT-SAM: Accelerated Segment Anything Model Without Accuracy
Loss" (arXiv 2402.05008). The sizes L see an image of 512 pixels, but prompts and masks belong to a
frame of 1024 pixels in all sizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from litesam.models.encoders.efficient_vit import CONFIGS, NORM_EPS, EfficientViT
from litesam.models.sam import assemble

if TYPE_CHECKING:
    from litesam.models.sam import Sam
    from litesam.types import ModelSpec


def build_l0(spec: ModelSpec) -> Sam:
    """Build EfficientViT-SAM-L0 with random weights."""
    return _build(spec, "l0")


def build_l1(spec: ModelSpec) -> Sam:
    """Build EfficientViT-SAM-L1 with random weights."""
    return _build(spec, "l1")


def build_l2(spec: ModelSpec) -> Sam:
    """Build EfficientViT-SAM-L2 with random weights."""
    return _build(spec, "l2")


def build_xl0(spec: ModelSpec) -> Sam:
    """Build EfficientViT-SAM-XL0 with random weights."""
    return _build(spec, "xl0")


def build_xl1(spec: ModelSpec) -> Sam:
    """Build EfficientViT-SAM-XL1 with random weights."""
    return _build(spec, "xl1")


def _build(spec: ModelSpec, size: str) -> Sam:
    channels, grid_side, _ = spec.feature_shapes["image"]
    network = assemble(spec, EfficientViT(CONFIGS[size], channels, grid_side))
    # SAM's decoder has 1e-5; this family was trained with one value everywhere.
    for module in network.modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            module.eps = NORM_EPS
    return network
