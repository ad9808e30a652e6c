"""Coordinate frames: image ↔ model input ↔ low-resolution logits.

The only place of the engine that scales or shifts coordinates and the only (y, x) → (x, y) swap.
Everywhere else coordinates are (y, x) in pixels of the named frame, integers are pixel centres,
boxes are half-open (y0, x0, y1, x1).

Four frames follow each other::

    image ──(-origin)──► region ──(resize)──► model input, zero-padded
                                              ──(network)──► low-resolution logits

Source of the resize rule and of the two-step up-sampling: Kirillov et al. 2023, "Segment Anything",
and the behaviour of its reference implementation (Apache-2.0), re-written here as separable
matrices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Frame:
    """How one region of an image lies in a network's input.

    Attributes
    ----------
    origin_yx
        Image pixel of the region's top-left pixel.
    size_yx
        Size of the region, image pixels.
    content_yx
        Size of the region after resizing, model pixels. The rest of the input is padding (right,
        bottom).
    input_yx
        Size of the network's input, model pixels.
    """

    origin_yx: tuple[int, int]
    size_yx: tuple[int, int]
    content_yx: tuple[int, int]
    input_yx: tuple[int, int]

    @property
    def scale_yx(self) -> tuple[float, float]:
        """Model pixels per image pixel, for each axis (they differ by the rounding of sizes)."""
        return (self.content_yx[0] / self.size_yx[0], self.content_yx[1] / self.size_yx[1])

    def at(self, origin_yx: tuple[int, int]) -> Frame:
        """Return the same frame with the region at another place of the image."""
        return replace(self, origin_yx=(int(origin_yx[0]), int(origin_yx[1])))

    def points_to_model(self, points_yx: npt.ArrayLike) -> FloatArray:
        """Map (..., 2) points from (y, x) image pixels to (x, y) model pixels."""
        points = np.asarray(points_yx, dtype=np.float64)
        scaled = (points - np.asarray(self.origin_yx)) * np.asarray(self.scale_yx)
        return np.ascontiguousarray(scaled[..., ::-1], dtype=np.float32)

    def boxes_to_model(self, boxes_yx: npt.ArrayLike) -> FloatArray:
        """Map (..., 4) boxes, (y0, x0, y1, x1) image pixels to (x0, y0, x1, y1) model pixels."""
        boxes = np.asarray(boxes_yx, dtype=np.float64)
        corners = self.points_to_model(boxes.reshape(*boxes.shape[:-1], 2, 2))
        return corners.reshape(boxes.shape)

    def points_to_image(self, points_xy: npt.ArrayLike) -> FloatArray:
        """Map (..., 2) points from (x, y) model pixels to (y, x) image pixels."""
        points = np.asarray(points_xy, dtype=np.float64)[..., ::-1]
        return np.asarray(
            points / np.asarray(self.scale_yx) + np.asarray(self.origin_yx), dtype=np.float32
        )

    def boxes_to_image(self, boxes_xy: npt.ArrayLike) -> FloatArray:
        """Map (..., 4) boxes, (x0, y0, x1, y1) model pixels to (y0, x0, y1, x1) image pixels."""
        boxes = np.asarray(boxes_xy, dtype=np.float64)
        corners = self.points_to_image(boxes.reshape(*boxes.shape[:-1], 2, 2))
        return corners.reshape(boxes.shape)

    def resampling(self, low_res_yx: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
        """Return the matrices that resample logits to region pixels.

        ``rows @ logits @ columns.T`` turns (h, w) logits of the whole input into (H, W) logits of
        the region. It is the product of the two bilinear steps of SAM: to the input size, then, cut
        to the content, to the region.

        Parameters
        ----------
        low_res_yx
            Size (h, w) of the logits of the whole input.

        Returns
        -------
        tuple
            ``rows`` (H, h) and ``columns`` (W, w), float32, read-only.
        """
        return (
            _two_step(low_res_yx[0], self.input_yx[0], self.content_yx[0], self.size_yx[0]),
            _two_step(low_res_yx[1], self.input_yx[1], self.content_yx[1], self.size_yx[1]),
        )


def fit_longest_side(
    size_yx: tuple[int, int], input_size: int, origin_yx: tuple[int, int] = (0, 0)
) -> Frame:
    """Frame of SAM's rule: longest side to ``input_size``, aspect kept, padded right and bottom."""
    scale = input_size / max(size_yx)
    content = (
        max(1, int(size_yx[0] * scale + 0.5)),
        max(1, int(size_yx[1] * scale + 0.5)),
    )
    return Frame(
        (int(origin_yx[0]), int(origin_yx[1])),
        (int(size_yx[0]), int(size_yx[1])),
        content,
        (input_size, input_size),
    )


@lru_cache(maxsize=64)
def _bilinear(source: int, target: int) -> FloatArray:
    """(target, source) matrix: bilinear interpolation, half-pixel centres, clamped edges."""
    positions = (np.arange(target, dtype=np.float64) + 0.5) * (source / target) - 0.5
    positions = np.clip(positions, 0.0, source - 1)
    lower = np.minimum(np.floor(positions).astype(np.int64), max(source - 2, 0))
    fraction = positions - lower
    matrix = np.zeros((target, source), dtype=np.float64)
    rows = np.arange(target)
    matrix[rows, lower] = 1.0 - fraction
    matrix[rows, np.minimum(lower + 1, source - 1)] += fraction
    result = matrix.astype(np.float32)
    result.setflags(write=False)
    return result


@lru_cache(maxsize=64)
def _two_step(low_res: int, padded: int, content: int, size: int) -> FloatArray:
    """(size, low_res) matrix: bilinear to ``padded``, cut to ``content``, bilinear to ``size``."""
    up = _bilinear(low_res, padded)[:content]
    result = up if content == size else _bilinear(content, size) @ up
    result = np.ascontiguousarray(result)
    result.setflags(write=False)
    return result
