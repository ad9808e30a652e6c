"""Lite-SAM: our own model and weights, and its HQ decoder."""

from __future__ import annotations

from dataclasses import replace

from litesam.models.catalogue.shared import SAM_FEATURE, SAM_MEAN, SAM_PROMPTS, SAM_STD
from litesam.types import ModelSpec, WeightsSpec

LITE_SAM = (
    ModelSpec(
        name="lite_sam",
        title="Lite-SAM (own weights)",
        family="lite_sam",
        builder="litesam.models.lite_sam:build",
        input_px=512,
        resize="longest_side",
        # Chosen on slices of two volumes of 60 and 120 px, and on small nuclei in planes of 256 px,
        # see docs/decisions/0003-lite-sam-architecture.md and 0009-closer-looks.md.
        max_enlargement=2.7,
        looks_closer=True,
        corrects=True,
        pixel_mean=SAM_MEAN,
        pixel_std=SAM_STD,
        # The picture is for the HQ decoder: a fifth of the embedding, so that it is always there.
        feature_shapes={"image": SAM_FEATURE, "picture": (3, 512, 512)},
        prompts=SAM_PROMPTS,
        proposals=("auto_ppn", "grid", "boxes"),
        hq="lite_sam_hq",
        weights=WeightsSpec(
            file="lite_sam.safetensors",
            url=None,
            sha256="7e57557764a6ed799afd389792aba39e940506fb5bb289717970305560c58ceb",
            size_bytes=8_615_200,
            licence="BSD-3-Clause",
        ),
        parameters=4_276_088,
        paper="After Fu et al. 2024, Lite-SAM Is Actually What You Need for Segment Everything, "
        "arXiv:2407.08965; unspecified parts and weights are our own",
        # Its predicted IoU is lower than SAM's. The grid's thresholds were chosen on training
        # images of nuclei, AutoPPN's on images of four data sets, see docs/model-card-lite-sam.md.
        everything={
            "auto_ppn": {
                "confidence_threshold": 0.5,
                "predicted_iou_threshold": 0.4,
                "stability_threshold": 0.0,
                "min_visible": 0.7,
            },
            "grid": {
                "predicted_iou_threshold": 0.6,
                "stability_threshold": 0.6,
                "min_visible": 0.5,
            },
        },
        proposer=None,
    ),
)

LITE_SAM_HQ = (
    replace(
        LITE_SAM[0],
        name="lite_sam_hq",
        title="Lite-SAM HQ",
        family="hq_lite_sam",
        encoder="lite_sam",
        rest_from="lite_sam",
        builder="litesam.models.lite_sam_hq:build",
        weights=WeightsSpec(
            file="lite_sam_hq.safetensors",
            url=None,
            sha256="f360f2e6c5a4a330fce0a724e14291de4c97a8b4fb5c9076dc03f59454ec979b",
            size_bytes=444_024,
            licence="BSD-3-Clause",
        ),
        parameters=4_495_980,
        paper="After Fu et al. 2024, arXiv:2407.08965, and Ke et al. 2023, Segment Anything in "
        "High Quality, arXiv:2306.01567; unspecified parts and weights are our own",
    ),
)
