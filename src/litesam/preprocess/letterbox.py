"""Resize an RGB region into a letterbox; the same pixels as FastSAM's reference implementation.

FastSAM's networks were trained on pictures that OpenCV's bilinear filter resized: no antialiasing,
and integer arithmetic with 11 bits of fraction. Pillow and `torch.interpolate` differ from it in
many pixels, so its arithmetic is repeated here (documented behaviour of OpenCV's ``resize``,
Apache-2.0; checked bit by bit against reference pictures).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from litesam.frames import Frame

    RgbArray = npt.NDArray[np.uint8]
    Places = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]

#: Grey of the padding.
PADDING = 114
_ONE = 2048


def letterbox_rgb(rgb: RgbArray, frame: Frame) -> RgbArray:
    """Return a region resized to the content of its frame, with grey padding on all sides.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8; H and W are ``frame.size_yx``.
    frame
        See `litesam.frames.fit_letterbox`.

    Returns
    -------
    ndarray
        ``(*frame.input_yx, 3)`` uint8.
    """
    (y, x), (height, width) = frame.content_origin_yx, frame.content_yx
    result = np.full((*frame.input_yx, 3), PADDING, dtype=np.uint8)
    result[y : y + height, x : x + width] = _resized(rgb, height, width)
    return result


def _resized(rgb: RgbArray, height: int, width: int) -> RgbArray:
    """Bilinear, first along rows, then along columns, each with its own rounding."""
    if rgb.shape[:2] == (height, width):
        return rgb
    lower, near, far = _places(rgb.shape[1], width, clamped=True)
    pixels = rgb.astype(np.int32)
    upper = np.minimum(lower + 1, rgb.shape[1] - 1)
    along = (pixels[:, lower] * near[:, None] + pixels[:, upper] * far[:, None]) >> 4

    lower, near, far = _places(rgb.shape[0], height, clamped=False)
    last = rgb.shape[0] - 1
    above, below = along[np.clip(lower, 0, last)], along[np.clip(lower + 1, 0, last)]
    across = ((above * near[:, None, None]) >> 16) + ((below * far[:, None, None]) >> 16)
    result: RgbArray = ((across + 2) >> 2).astype(np.uint8)
    return result


@lru_cache(maxsize=16)
def _places(source: int, target: int, *, clamped: bool) -> Places:
    """Lower neighbour of every target pixel, and the weights of both, in 1 / 2048.

    At the border columns get one neighbour with full weight, rows keep two weights for the same
    neighbour: the truncation of products tells them apart.
    """
    positions = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    lower = np.floor(positions).astype(np.int64)
    fraction = (positions - lower).astype(np.float32)
    if clamped:
        fraction[(lower < 0) | (lower >= source - 1)] = 0.0
        lower = np.clip(lower, 0, source - 1)
    near = np.rint((1 - fraction) * np.float32(_ONE)).astype(np.int32)
    far = np.rint(fraction * np.float32(_ONE)).astype(np.int32)
    return lower, near, far
