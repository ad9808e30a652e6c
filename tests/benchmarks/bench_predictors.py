"""Encode and decode of Lite-SAM and MobileSAM, in one run."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from timing import load_lite_sam, medians, parser, print_ratio, print_times, set_threads

from litesam.types import PromptBatch
from weights import constant_lite_sam, filled_predictor

SIZE = 512


def _picture() -> np.ndarray:
    """Bright discs on a noisy ground, (512, 512, 3) uint8."""
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:SIZE, :SIZE]
    image = rng.normal(60, 8, (SIZE, SIZE))
    for y, x in rng.uniform(20, SIZE - 20, (60, 2)):
        image += 100 * ((yy - y) ** 2 + (xx - x) ** 2 < 144)
    return np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _boxes(count: int, side: float) -> PromptBatch:
    low = np.random.default_rng(1).uniform(0, SIZE - side, (count, 2))
    return PromptBatch(boxes=np.concatenate([low, low + side], axis=1))


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, repeats=7)
    arguments.add_argument("--skip-batch", action="store_true", help="leave out 64 boxes")
    options = arguments.parse_args()
    set_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        lite = load_lite_sam(options.weights, Path(folder))
        mobile = filled_predictor("mobile_sam", Path(folder))
    # Masks that never, and always, reach the border of their window: the two ends of growth.
    small, large = constant_lite_sam(-1.0), constant_lite_sam(1.0)
    rgb = _picture()

    seconds = medians(
        {"lite_sam": lambda: lite.encode(rgb), "mobile_sam": lambda: mobile.encode(rgb)},
        options.repeats,
    )
    print_times(f"Encode a tile of {SIZE}x{SIZE}", seconds)
    print_ratio("lite_sam is faster by", seconds["mobile_sam"] / seconds["lite_sam"], 8)

    lite_image, mobile_image = lite.encode(rgb), mobile.encode(rgb)
    small_image = replace(lite_image, weights=small.encoder_hash)
    large_image = replace(lite_image, weights=large.encoder_hash)
    click = PromptBatch(points=[[[250, 250]]], labels=[[1]])
    far = PromptBatch(points=[[[250, 50], [250, 450]]], labels=[[1, 1]])
    seconds = medians(
        {
            "lite_sam, window of 32 cells": lambda: small.decode_windows(small_image, click),
            "lite_sam, window of 64 cells": lambda: small.decode_windows(small_image, far),
            "lite_sam, grown from 32 to 64": lambda: large.decode_windows(large_image, click),
            "lite_sam, these weights": lambda: lite.decode_windows(lite_image, click),
            "mobile_sam": lambda: mobile.decode(mobile_image, click),
        },
        options.repeats,
    )
    print_times("Decode one click, three candidates", seconds)
    one = seconds["lite_sam, window of 32 cells"]
    print_ratio("lite_sam (32 cells) is faster by", seconds["mobile_sam"] / one)
    print(f"  a click takes {1000 * one:.0f} ms (expected: below 60 ms)")

    if options.skip_batch:
        return
    near, middle = _boxes(64, 30.0), _boxes(64, 120.0)
    seconds = medians(
        {
            "lite_sam, windows of 16 cells": lambda: small.decode_windows(
                small_image, near, multimask=False
            ),
            "lite_sam, windows of 32 cells": lambda: small.decode_windows(
                small_image, middle, multimask=False
            ),
            "lite_sam, boxes of 30 px, these weights": lambda: lite.decode_windows(
                lite_image, near, multimask=False
            ),
            "mobile_sam": lambda: mobile.decode(mobile_image, near, multimask=False),
        },
        max(1, options.repeats // 3),
    )
    print_times("Decode a batch of 64 boxes, one mask each", seconds)
    print_ratio(
        "lite_sam (16 cells) is faster by",
        seconds["mobile_sam"] / seconds["lite_sam, windows of 16 cells"],
    )


if __name__ == "__main__":
    main()
