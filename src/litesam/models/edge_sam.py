"""EdgeSAM: RepViT-M1 with SAM's prompt encoder and mask decoder.

Source: Zhou et al. 2023, "EdgeSAM: Prompt-In-the-Loop Distillation for On-Device Deployment of SAM"
(arXiv 2312.06660); written without its code. The published weights are non-commercial.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam.models.encoders.rep_vit import RepViT
from litesam.models.sam import assemble

if TYPE_CHECKING:
    from litesam.models.sam import Sam
    from litesam.types import ModelSpec


def build(spec: ModelSpec) -> Sam:
    """Build EdgeSAM with random weights."""
    return assemble(spec, RepViT(spec.feature_shapes["image"][0]))
