"""The models that litesam knows: an explicit tuple; adding a model is adding a `ModelSpec` here.

Builders are strings, so that listing models imports no torch.
"""

from __future__ import annotations

from difflib import get_close_matches

from litesam.errors import UnknownModelError
from litesam.types import ModelSpec, WeightsSpec

#: ImageNet statistics on the 0–255 scale, as SAM uses them.
_SAM_MEAN = (123.675, 116.28, 103.53)
_SAM_STD = (58.395, 57.12, 57.375)
_SAM_PROMPTS = ("point", "box", "mask")

MODELS: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="lite_sam",
        title="Lite-SAM (own weights)",
        family="lite_sam",
        builder="litesam.models.lite_sam:build",
        input_px=512,
        resize="longest_side",
        pixel_mean=_SAM_MEAN,
        pixel_std=_SAM_STD,
        feature_shapes={"image": (256, 64, 64)},
        prompts=_SAM_PROMPTS,
        proposals=("auto_ppn", "grid"),
        hq=None,
        weights=WeightsSpec(
            file="lite_sam.safetensors",
            url=None,
            sha256="1a30d4b9aebd30d2543a1e934b61792b6dbf071039931da2e447704a321bead8",
            size_bytes=8_614_312,
            licence="BSD-3-Clause",
        ),
        parameters=4_276_088,
        paper="After Fu et al. 2024, Lite-SAM Is Actually What You Need for Segment Everything, "
        "arXiv:2407.08965; unspecified parts and weights are our own",
        # Its predicted IoU is lower than SAM's; chosen on training images of nuclei.
        everything={
            "grid": {
                "predicted_iou_threshold": 0.6,
                "stability_threshold": 0.6,
                "min_visible": 0.5,
            },
        },
    ),
    ModelSpec(
        name="mobile_sam",
        title="MobileSAM",
        family="sam",
        builder="litesam.models.sam:build_mobile_sam",
        input_px=1024,
        resize="longest_side",
        pixel_mean=_SAM_MEAN,
        pixel_std=_SAM_STD,
        feature_shapes={"image": (256, 64, 64)},
        prompts=_SAM_PROMPTS,
        proposals=("grid",),
        hq=None,
        weights=WeightsSpec(
            file="mobile_sam.pt",
            # A pinned commit: the master branch of the repository may change.
            url="https://github.com/ChaoningZhang/MobileSAM/raw/"
            "34bbbfdface3c18e5221aa7de6032d7220c6c6a1/weights/mobile_sam.pt",
            sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            size_bytes=40_728_226,
            licence="Apache-2.0",
        ),
        parameters=10_130_092,
        paper="Zhang et al. 2023, Faster Segment Anything: Towards Lightweight SAM for Mobile "
        "Applications, arXiv:2306.14289",
        # Thresholds of SAM's automatic mask generator.
        everything={
            "predicted_iou_threshold": 0.88,
            "stability_threshold": 0.95,
        },
    ),
)


def list_models() -> tuple[ModelSpec, ...]:
    """Return the specs of all models, the default first."""
    return MODELS


def get_spec(name: str) -> ModelSpec:
    """Return the spec of one model.

    Raises
    ------
    UnknownModelError
        If no model has that name; the message lists close matches.
    """
    for spec in MODELS:
        if spec.name == name:
            return spec
    names = [spec.name for spec in MODELS]
    close = get_close_matches(str(name).lower().replace("-", "_").replace(" ", "_"), names, n=2)
    hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    raise UnknownModelError(
        f"There is no model {name!r}. {hint}Models: {', '.join(map(repr, names))}."
    )
