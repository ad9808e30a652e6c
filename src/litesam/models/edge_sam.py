"""EdgeSAM: RepViT-M1 with SAM's prompt encoder and mask decoder.

Source: Zhou et al. 2023, "EdgeSAM: Prompt-In-the-Loop Distillation for On-Device Deployment of SAM"
(arXiv 2312.06660); written without its code. The published weights are non-commercial.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from litesam.models.encoders.rep_vit import RepViT
from litesam.models.mask_decoder import MaskDecoder
from litesam.models.prompt_encoder import PromptEncoder
from litesam.models.sam import Sam
from litesam.models.transformer import TwoWayTransformer

if TYPE_CHECKING:
    from litesam.types import ModelSpec


def build(spec: ModelSpec) -> Sam:
    """Build EdgeSAM with random weights."""
    channels, grid_side, _ = spec.feature_shapes["image"]
    network = Sam(
        RepViT(channels),
        PromptEncoder(channels, input_px=spec.input_px, grid_side=grid_side),
        MaskDecoder(TwoWayTransformer(channels=channels)),
    )
    # mypy: torch declares `Module.to(memory_format=...)` without a return type.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
