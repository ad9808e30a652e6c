"""EfficientSAM: plain vision transformers, square input, own prompt encoder and decoder."""

from __future__ import annotations

from litesam.models.catalogue.shared import (
    HUGGING_FACE,
    SAM_FEATURE,
    SAM_PROPOSALS,
)
from litesam.types import ModelSpec, WeightsSpec

#: Statistics of ImageNet, given by the authors on the 0–1 scale.
_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
#: Thresholds of the authors' notebook (it keeps the best of three masks of a point).
_EVERYTHING = {
    "grid": {
        "predicted_iou_threshold": 0.7,
        "stability_threshold": 0.9,
        "min_region_area_px": 100,
    }
}
_RAW = "https://github.com/yformer/EfficientSAM/raw/d525f622e6f640acf5a0fc37c7ca1f243da5bde0"


def _efficient_sam(
    name: str, title: str, weights: WeightsSpec, parameters: int, memory_bytes: int
) -> ModelSpec:
    return ModelSpec(
        name=name,
        title=title,
        family="efficient_sam",
        builder=f"litesam.models.efficient_sam:build_{name.rpartition('_')[2]}",
        input_px=1024,
        resize="squash",
        pixel_mean=_MEAN,
        pixel_std=_STD,
        feature_shapes={"image": SAM_FEATURE},
        prompts=("point", "box"),
        proposals=SAM_PROPOSALS,
        hq=None,
        weights=weights,
        parameters=parameters,
        paper="Xiong et al. 2023, EfficientSAM: Leveraged Masked Image Pretraining for Efficient "
        "Segment Anything, arXiv:2312.00863",
        everything=_EVERYTHING,
        max_points=6,
        memory_bytes=memory_bytes,
    )


EFFICIENT_SAM = (
    _efficient_sam(
        "efficient_sam_vitt",
        "EfficientSAM-Ti",
        WeightsSpec(
            file="efficient_sam_vitt.pt",
            url=f"{_RAW}/weights/efficient_sam_vitt.pt",
            mirrors=(f"{HUGGING_FACE}/merve/EfficientSAM/resolve/main/efficient_sam_vitt.pt",),
            sha256="dff858b19600a46461cbb7de98f796b23a7a888d9f5e34c0b033f7d6eb9e4e6a",
            size_bytes=40_982_470,
            licence="Apache-2.0",
            container=("model",),
        ),
        10_223_204,
        1_000_000_000,
    ),
    _efficient_sam(
        "efficient_sam_vits",
        "EfficientSAM-S",
        WeightsSpec(
            # The authors' repository has it only as a .zip, which holds this file.
            file="efficient_sam_vits.pt",
            url=f"{HUGGING_FACE}/yunyangx/EfficientSAM/resolve/main/efficient_sam_vits.pt",
            mirrors=(f"{_RAW}/weights/efficient_sam_vits.pt.zip",),
            sha256="339376940b92351ae26dd1162e2305a1cc6f5cde735105e91286251abd9a6b65",
            size_bytes=105_742_022,
            licence="Apache-2.0",
            container=("model",),
        ),
        26_413_028,
        1_500_000_000,
    ),
)
