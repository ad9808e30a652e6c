"""What rows of several families have in common."""

from __future__ import annotations

#: ImageNet statistics on the 0–255 scale, as SAM uses them.
SAM_MEAN = (123.675, 116.28, 103.53)
SAM_STD = (58.395, 57.12, 57.375)
SAM_PROMPTS = ("point", "box", "mask")
SAM_FEATURE = (256, 64, 64)

#: Everything mode of SAM-like models: the grid of SAM's automatic mask generator; places and boxes
#: of Lite-SAM's AutoPPN; boxes as in MobileSAMv2.
SAM_PROPOSALS = ("grid", "auto_ppn", "boxes")
#: Thresholds of SAM's automatic mask generator.
SAM_EVERYTHING = {"grid": {"predicted_iou_threshold": 0.88, "stability_threshold": 0.95}}

#: MobileSAM's repository at a pinned commit: its master branch may change.
MOBILE_SAM_RAW = (
    "https://github.com/ChaoningZhang/MobileSAM/raw/34bbbfdface3c18e5221aa7de6032d7220c6c6a1"
)
HUGGING_FACE = "https://huggingface.co"
