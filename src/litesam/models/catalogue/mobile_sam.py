"""MobileSAM and its light HQ decoder: TinyViT-5M with the decoder of SAM."""

from __future__ import annotations

from dataclasses import replace

from litesam.models.catalogue.shared import (
    HUGGING_FACE,
    MOBILE_SAM_RAW,
    SAM_EVERYTHING,
    SAM_FEATURE,
    SAM_MEAN,
    SAM_PROMPTS,
    SAM_PROPOSALS,
    SAM_STD,
)
from litesam.types import ModelSpec, WeightsSpec

#: The early feature is TinyViT's second stage after its downsampling.
_FEATURES = {"image": SAM_FEATURE, "early": (160, 64, 64)}

MOBILE_SAM = (
    ModelSpec(
        name="mobile_sam",
        title="MobileSAM",
        family="sam",
        builder="litesam.models.sam:build_mobile_sam",
        input_px=1024,
        resize="longest_side",
        pixel_mean=SAM_MEAN,
        pixel_std=SAM_STD,
        feature_shapes=_FEATURES,
        prompts=SAM_PROMPTS,
        proposals=SAM_PROPOSALS,
        hq="sam_hq_vit_tiny",
        weights=WeightsSpec(
            file="mobile_sam.pt",
            url=f"{MOBILE_SAM_RAW}/weights/mobile_sam.pt",
            mirrors=(f"{HUGGING_FACE}/dhkim2810/MobileSAM/resolve/main/mobile_sam.pt",),
            sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            size_bytes=40_728_226,
            licence="Apache-2.0",
        ),
        parameters=10_130_092,
        paper="Zhang et al. 2023, Faster Segment Anything: Towards Lightweight SAM for Mobile "
        "Applications, arXiv:2306.14289",
        everything=SAM_EVERYTHING,
        encoder="mobile_sam",
    ),
)

MOBILE_SAM_HQ = (
    replace(
        MOBILE_SAM[0],
        name="sam_hq_vit_tiny",
        title="Light HQ-SAM (TinyViT)",
        family="hq_sam",
        builder="litesam.models.sam_hq:build_hq_tiny",
        weights=WeightsSpec(
            file="sam_hq_vit_tiny.pth",
            url=f"{HUGGING_FACE}/lkeab/hq-sam/resolve/main/sam_hq_vit_tiny.pth",
            sha256="0f32c075ccdd870ae54db2f7630e7a0878ede5a2b06d05d6fe02c65a82fb7196",
            size_bytes=None,
            approx_bytes=42_500_000,
            licence="Apache-2.0",
        ),
        parameters=10_578_604,
        paper="Ke et al. 2023, Segment Anything in High Quality, arXiv:2306.01567",
    ),
)
