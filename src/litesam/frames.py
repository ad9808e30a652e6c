"""Coordinate frames: image ↔ model input ↔ low-resolution logits.

The only place of the engine that scales or shifts coordinates and the only (y, x) → (x, y) swap.
Everywhere else coordinates are (y, x) in pixels of the named frame, integers are pixel centres,
boxes are half-open (y0, x0, y1, x1).

Four frames follow each other::

    image ──(-origin)──► region ──(resize)──► model input, padded
                                              ──(network)──► low-resolution logits

The model frame is the one in which prompts are given and masks come back; a network may look at a
smaller picture of the same frame (EfficientViT-SAM: prompts on 1024 px, pixels on 512).

Source of the resize rule and of the two-step up-sampling: Kirillov et al. 2023, "Segment Anything",
and the behaviour of its reference implementation (Apache-2.0), re-written here as separable
matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from typing import Literal

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
        Size of the region after resizing, model pixels. The rest of the input is padding.
    input_yx
        Size of the model frame, model pixels.
    content_origin_yx
        Model pixel of the content's top-left pixel; (0, 0) where all padding is right and bottom.
    upsampling
        How logits become image pixels: ``"two_step"`` as SAM does (bilinear to the model frame,
        cut to the content, bilinear to the region), ``"bicubic"`` as EfficientSAM does (straight
        to the region; only where the content fills the frame) or ``"direct"`` as FastSAM does (cut
        to whole cells of the content, bilinear to the region). With ``"direct"`` logits of the
        region's own size stay as they are.
    """

    origin_yx: tuple[int, int]
    size_yx: tuple[int, int]
    content_yx: tuple[int, int]
    input_yx: tuple[int, int]
    content_origin_yx: tuple[int, int] = (0, 0)
    upsampling: Literal["two_step", "bicubic", "direct"] = "two_step"

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
        scaled = scaled + np.asarray(self.content_origin_yx)
        return np.ascontiguousarray(scaled[..., ::-1], dtype=np.float32)

    def boxes_to_model(self, boxes_yx: npt.ArrayLike) -> FloatArray:
        """Map (..., 4) boxes, (y0, x0, y1, x1) image pixels to (x0, y0, x1, y1) model pixels."""
        boxes = np.asarray(boxes_yx, dtype=np.float64)
        corners = self.points_to_model(boxes.reshape(*boxes.shape[:-1], 2, 2))
        return corners.reshape(boxes.shape)

    def points_to_image(self, points_xy: npt.ArrayLike) -> FloatArray:
        """Map (..., 2) points from (x, y) model pixels to (y, x) image pixels."""
        points = np.asarray(points_xy, dtype=np.float64)[..., ::-1]
        points = points - np.asarray(self.content_origin_yx)
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
        the region. With ``"two_step"`` it is the product of the two bilinear steps of SAM: to the
        size of the model frame, then, cut to the content, to the region.

        Parameters
        ----------
        low_res_yx
            Size (h, w) of the logits of the whole input.

        Returns
        -------
        tuple
            ``rows`` (H, h) and ``columns`` (W, w), float32, read-only.
        """
        if self.upsampling == "direct" and tuple(low_res_yx) == self.size_yx:
            return _identity(self.size_yx[0]), _identity(self.size_yx[1])
        rows, columns = (self._resampling(low_res_yx[axis], axis) for axis in (0, 1))
        return rows, columns

    def coverage(self, low_res_yx: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
        """Return the matrices that turn a mask of the region into shares of low-resolution cells.

        ``rows @ mask @ columns.T`` turns (H, W) zeros and ones into (h, w): the share of each cell
        of the whole input that the mask covers; 0 in the padding.

        Parameters
        ----------
        low_res_yx
            Size (h, w) of the cells of the whole input.

        Returns
        -------
        tuple
            ``rows`` (h, H) and ``columns`` (w, W), float32, read-only.
        """
        rows, columns = (
            _coverage(
                low_res_yx[axis],
                self.input_yx[axis],
                self.content_origin_yx[axis],
                self.content_yx[axis],
                self.size_yx[axis],
            )
            for axis in (0, 1)
        )
        return rows, columns

    def reach(self, logits: FloatArray, threshold: float) -> tuple[slice, slice] | None:
        """Return the logits that image pixels above ``threshold`` can be mixed from.

        Parameters
        ----------
        logits
            (h, w) of the whole input or of a window of it.
        threshold
            Every image pixel above it is mixed from logits in the result only.

        Returns
        -------
        tuple or None
            Rows and columns; None if no pixel can exceed the threshold.
        """
        if self.upsampling == "bicubic":
            above, margin, length = _bicubic_above(logits, threshold), 0, _TAPS
        else:
            # A pixel mixes at most three neighbours of each axis, with positive weights of sum 1.
            above, margin, length = logits > threshold, 2, 1
        spans = []
        for axis in (0, 1):
            where = np.flatnonzero(above.any(axis=1 - axis))
            if where.size == 0:
                return None
            start, stop = int(where[0]) - margin, int(where[-1]) + length + margin
            spans.append(slice(max(start, 0), min(stop, logits.shape[axis])))
        return spans[0], spans[1]

    def _resampling(self, low_res: int, axis: int) -> FloatArray:
        size, content, padded = self.size_yx[axis], self.content_yx[axis], self.input_yx[axis]
        if self.upsampling == "bicubic":
            return _bicubic(low_res, size)
        if self.upsampling == "direct":
            return _direct(low_res, padded, content, size)
        return _two_step(low_res, padded, self.content_origin_yx[axis], content, size)


def resample(rows: FloatArray, values: FloatArray, columns: FloatArray) -> FloatArray:
    """Return ``rows @ values @ columns.T`` of matrices from `Frame.resampling` or `Frame.coverage`.

    Each of their rows mixes a few neighbours, and rows that follow each other mix what lies side by
    side. So large ones are multiplied in blocks of rows, each with what it mixes alone: a fifth of
    the time of the whole product.

    Parameters
    ----------
    rows, columns
        (H, h) and (W, w).
    values
        (h, w).

    Returns
    -------
    ndarray
        (H, W).
    """
    if rows.size < _BLOCK**3 and columns.size < _BLOCK**3:
        return np.asarray(rows @ values @ columns.T, dtype=np.float32)
    return _in_blocks(rows, _in_blocks(columns, values.T).T)


def _in_blocks(matrix: FloatArray, values: FloatArray) -> FloatArray:
    """``matrix @ values``; see `resample`."""
    result: FloatArray = np.zeros((len(matrix), values.shape[1]), dtype=np.float32)
    for start in range(0, len(matrix), _BLOCK):
        block = matrix[start : start + _BLOCK]
        used = np.flatnonzero(block.any(axis=0))
        if used.size:
            mixed = slice(used[0], used[-1] + 1)
            np.matmul(block[:, mixed], values[mixed], out=result[start : start + _BLOCK])
    return result


def fit_longest_side(
    size_yx: tuple[int, int],
    input_size: int,
    origin_yx: tuple[int, int] = (0, 0),
    max_enlargement: float | None = None,
) -> Frame:
    """Frame of SAM's rule: longest side to ``input_size``, aspect kept, padded right and bottom.

    A region smaller than ``input_size / max_enlargement`` is enlarged by that factor only, and has
    more padding.
    """
    scale = min(input_size / max(size_yx), max_enlargement or math.inf)
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


def fit_squash(
    size_yx: tuple[int, int], input_size: int, origin_yx: tuple[int, int] = (0, 0)
) -> Frame:
    """Frame of EfficientSAM's rule: both sides to ``input_size``, the aspect is not kept."""
    side = (input_size, input_size)
    return Frame(
        (int(origin_yx[0]), int(origin_yx[1])),
        (int(size_yx[0]), int(size_yx[1])),
        side,
        side,
        upsampling="bicubic",
    )


def fit_letterbox(
    size_yx: tuple[int, int],
    input_size: int,
    origin_yx: tuple[int, int] = (0, 0),
    stride: int = 32,
) -> Frame:
    """Frame of YOLO's rule: longest side to ``input_size``, aspect kept, centred padding.

    The padding reaches to the next multiple of ``stride`` only, so the frame is seldom square.
    """
    scale = input_size / max(size_yx)
    # round half to even and the ±0.1 that decides odd paddings: conventions of the YOLO family
    content = tuple(max(1, round(side * scale)) for side in size_yx)
    padding = tuple((-side) % stride for side in content)
    before = tuple(round(p / 2 - 0.1) for p in padding)
    return Frame(
        (int(origin_yx[0]), int(origin_yx[1])),
        (int(size_yx[0]), int(size_yx[1])),
        (content[0], content[1]),
        (content[0] + padding[0], content[1] + padding[1]),
        (before[0], before[1]),
        "direct",
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
def _coverage(low_res: int, padded: int, start: int, content: int, size: int) -> FloatArray:
    """(low_res, size) matrix: share of each cell that each region pixel covers."""
    cells = np.arange(low_res + 1, dtype=np.float64) * (padded / low_res)
    pixels = start + np.arange(size + 1, dtype=np.float64) * (content / size)
    low = np.maximum(cells[:-1, None], pixels[None, :-1])
    high = np.minimum(cells[1:, None], pixels[None, 1:])
    result: FloatArray = np.asarray(
        np.clip(high - low, 0.0, None) / (padded / low_res), dtype=np.float32
    )
    result.setflags(write=False)
    return result


@lru_cache(maxsize=16)
def _identity(size: int) -> FloatArray:
    result = np.eye(size, dtype=np.float32)
    result.setflags(write=False)
    return result


@lru_cache(maxsize=64)
def _direct(low_res: int, padded: int, content: int, size: int) -> FloatArray:
    """(size, low_res) matrix: cut off the cells of the centred padding, bilinear to ``size``.

    Where the padding is no whole number of cells the first cut is rounded down and the second up, a
    convention of FastSAM's network family.
    """
    before = (padded - content) / 2 * (low_res / padded)
    start = int(before)
    stop = max(int(low_res - before), start + 1)
    result = np.zeros((size, low_res), dtype=np.float32)
    result[:, start:stop] = _bilinear(stop - start, size)
    result.setflags(write=False)
    return result


@lru_cache(maxsize=64)
def _bicubic(source: int, target: int) -> FloatArray:
    """(target, source) matrix: cubic convolution with a = -0.75, half-pixel centres, clamped edges.

    Source: Keys 1981, "Cubic convolution interpolation for digital image processing"; -0.75 is the
    value of PyTorch.
    """
    a = -0.75
    positions = (np.arange(target, dtype=np.float64) + 0.5) * (source / target) - 0.5
    lower = np.floor(positions).astype(np.int64)
    matrix = np.zeros((target, source), dtype=np.float64)
    rows = np.arange(target)
    for tap in range(-1, 3):
        distance = np.abs(positions - (lower + tap))
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
        weight = np.where(distance <= 1, near, far)
        np.add.at(matrix, (rows, np.clip(lower + tap, 0, source - 1)), weight)
    result = matrix.astype(np.float32)
    result.setflags(write=False)
    return result


#: Rows that `resample` multiplies at once.
_BLOCK = 32
#: Neighbours of each axis that a bicubic pixel is mixed from.
_TAPS = 4
#: At most this share of a bicubic pixel's weights is negative: half way between its neighbours they
#: are -3/32, 19/32, 19/32, -3/32 on each axis, so 2 (6/32) (38/32) = 0.4453 on both. Rounded up.
_NEGATIVE_SHARE = 0.446


def _bicubic_above(logits: FloatArray, threshold: float) -> npt.NDArray[np.bool_]:
    """Tell which 4x4 neighbourhoods (named by their first pixel) can make a pixel above threshold.

    Negative weights can lift a pixel beside a steep edge above all of its neighbours. With N the
    sum of negative weights, the others sum up to 1 + N, so a pixel is at most
    ``(1 + N) highest - N lowest`` of its neighbourhood.
    """
    highest, lowest = (_over_taps(logits, join) for join in (np.maximum, np.minimum))
    bound: npt.NDArray[np.bool_] = highest + _NEGATIVE_SHARE * (highest - lowest) > threshold
    return bound


def _over_taps(values: FloatArray, join: np.ufunc) -> FloatArray:
    """Join values over 4x4 neighbourhoods, less where the array is smaller: (h - 3, w - 3)."""
    for axis in (0, 1):
        count = max(values.shape[axis] - _TAPS + 1, 1)
        taps = min(_TAPS, values.shape[axis])
        moved = np.moveaxis(values, axis, 0)
        parts = [moved[tap : tap + count] for tap in range(taps)]
        values = np.moveaxis(np.asarray(reduce(join, parts)), 0, axis)
    return values


@lru_cache(maxsize=64)
def _two_step(low_res: int, padded: int, start: int, content: int, size: int) -> FloatArray:
    """(size, low_res) matrix: bilinear to ``padded``, cut to the content, bilinear to ``size``."""
    up = _bilinear(low_res, padded)[start : start + content]
    result = up if content == size else _bilinear(content, size) @ up
    result = np.ascontiguousarray(result)
    result.setflags(write=False)
    return result
