"""What Python callers are told who give something else than is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import litesam
from engine.threshold_predictor import ThresholdPredictor
from litesam.errors import ConfigError, ImageError, PromptError
from litesam.io import read_image
from litesam.samples import sample_path

PLANE = np.zeros((40, 50), np.uint8)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("cells.tif", r"read the file first, with litesam\.io\.read_image"),
        (Path("cells.tif"), "Got the path"),
        (read_image(sample_path("nuclei")), r"Got ImageData.* give its \.array"),
        (np.zeros(5), "2 to 5 are needed"),
    ],
)
def test_no_array(image: Any, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        litesam.Segmenter(image, ThresholdPredictor())


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        (lambda: litesam.Prompts(points=[(10, 10)]), r"write PointPrompt\(y, x\)"),
        (lambda: litesam.Prompts(box=(1, 2, 30, 40)), r"write BoxPrompt\(y0, x0, y1, x1\)"),
        (lambda: (10, 10), r"such as Prompts\(points="),
        (lambda: litesam.PointPrompt(10, 10), "prompts are needed"),
    ],
)
def test_no_prompts(prompts: Any, said: str) -> None:
    segmenter = litesam.Segmenter(PLANE, ThresholdPredictor())
    with pytest.raises(PromptError, match=said):
        segmenter.segment(prompts())


@pytest.mark.parametrize("value", ["0.5", float("nan"), None.__class__])
def test_no_number(value: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"nms_iou is .*; (a number is needed|it must be between)"
    ):
        litesam.EverythingConfig(nms_iou=value)
