"""Resize an RGB region to a network's input; the same pixels as SAM's reference implementation.

SAM resizes the uint8 image with Pillow's bilinear filter, which is antialiased when it reduces.
`torch.interpolate` and others differ by several grey levels, so Pillow itself does it here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

RgbArray = npt.NDArray[np.uint8]


def resize_rgb(rgb: RgbArray, size_yx: tuple[int, int]) -> RgbArray:
    """Return the (H, W, 3) uint8 image at another size, bilinear with antialiasing.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8.
    size_yx
        Wanted height and width; the image itself is returned where they are its own.
    """
    if rgb.shape[:2] == tuple(size_yx):
        return rgb
    image = Image.fromarray(np.ascontiguousarray(rgb))
    height, width = size_yx
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
