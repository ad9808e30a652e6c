"""Instances that a network found in one look: chosen from its cells, made masks, chosen by prompts.

What `litesam.predictors.fast_sam` is made of. Source: Zhao et al. 2023, "Fast Segment Anything",
Sec. 3.2 and 3.3; masks as sums of prototypes: Bolya et al. 2019, "YOLACT".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from litesam.merge import box_nms

if TYPE_CHECKING:
    import numpy.typing as npt

    from litesam.frames import FloatArray, Frame
    from litesam.types import Embedding, IntArray, PromptBatch


@dataclass(frozen=True, slots=True)
class InstanceSettings:
    """How instances are chosen from the cells of the network; part of an embedding's identity.

    Attributes
    ----------
    confidence
        Cells at or below this are no instances.
    nms_iou
        Of two boxes that overlap more than this the more confident stays.
    most
        At most this many instances.
    snap_px
        Sides of boxes closer than this to the border of the letterbox move to it, model pixels.
    full_iou
        A box whose IoU with the letterbox is above this becomes the full picture.
    """

    confidence: float = 0.4
    nms_iou: float = 0.9
    most: int = 300
    snap_px: float = 20.0
    full_iou: float = 0.9


# -------------------------------------------------------------------------------- cells → instances


def choose_instances(
    boxes: FloatArray,
    scores: FloatArray,
    coefficients: FloatArray,
    input_yx: tuple[int, int],
    settings: InstanceSettings,
) -> dict[str, npt.NDArray[np.float32]]:
    """Keep the cells of the network that are instances.

    Parameters
    ----------
    boxes, scores, coefficients
        (A, 4) (x0, y0, x1, y1), (A,) and (A, K) of all cells, model pixels.
    input_yx
        Size of the letterbox.
    settings
        Thresholds.

    Returns
    -------
    dict
        ``"boxes"``, ``"scores"`` and ``"coefficients"`` of N instances, the most confident first.
    """
    sure = np.flatnonzero(scores > np.float32(settings.confidence))
    kept = sure[box_nms(boxes[sure], scores[sure], settings.nms_iou, most=settings.most)]
    return {
        "boxes": _snapped(boxes[kept], input_yx, settings),
        "scores": np.ascontiguousarray(scores[kept]),
        "coefficients": np.ascontiguousarray(coefficients[kept]),
    }


def _snapped(
    boxes: FloatArray, input_yx: tuple[int, int], settings: InstanceSettings
) -> FloatArray:
    """Sides next to the border on the border; boxes of nearly everything are everything."""
    height, width = (float(side) for side in input_yx)
    boxes = boxes.copy()
    boxes[:, :2][boxes[:, :2] < settings.snap_px] = 0.0
    for column, side in ((2, width), (3, height)):
        boxes[:, column][boxes[:, column] > side - settings.snap_px] = side
    sizes = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0).prod(axis=1)
    inner = np.clip(boxes[:, 2:], 0.0, (width, height)) - np.clip(
        boxes[:, :2], 0.0, (width, height)
    )
    shared = np.maximum(inner, 0.0).prod(axis=1)
    full = shared > settings.full_iou * (sizes + width * height - shared)
    boxes[full] = (0.0, 0.0, width, height)
    return boxes


# -------------------------------------------------------------------------------- instances → masks


class _Taps:
    """A bilinear resampling matrix as two neighbours and two weights for each target pixel."""

    def __init__(self, matrix: FloatArray) -> None:
        pixels = np.arange(len(matrix))
        self.lower: IntArray = (matrix > 0).argmax(axis=1).astype(np.int64)
        self.upper: IntArray = np.minimum(self.lower + 1, matrix.shape[1] - 1)
        self.near = matrix[pixels, self.lower]
        self.far = np.where(self.upper > self.lower, matrix[pixels, self.upper], np.float32(0))

    def span(self, pixels: slice) -> slice:
        """Cells that some pixels are mixed from."""
        lower, upper = self.lower[pixels], self.upper[pixels]
        return slice(int(lower[0]), int(upper[-1]) + 1) if len(lower) else slice(0, 0)

    def rows(self, cells: FloatArray, first: int, pixels: slice) -> FloatArray:
        """Rows of pixels from rows of cells, of which the first one is cell ``first``."""
        near, far = self.near[pixels, None], self.far[pixels, None]
        mixed: FloatArray = cells[self.lower[pixels] - first] * near
        mixed += cells[self.upper[pixels] - first] * far
        return mixed


class Instances:
    """Instances of one embedding in image pixels; masks are made when they are asked for."""

    def __init__(self, embedding: Embedding) -> None:
        features = embedding.features
        self.frame = embedding.frame
        self.prototypes: FloatArray = features["prototypes"]  # (K, h, w)
        self.scores: FloatArray = features["scores"]  # (N,)
        self.boxes = image_boxes(features["boxes"], embedding.frame)  # (N, 4) y0, x0, y1, x1
        self._coefficients: FloatArray = features["coefficients"]  # (N, K)
        rows, columns = self.frame.resampling((self.prototypes.shape[1], self.prototypes.shape[2]))
        self._rows, self._columns = _Taps(rows), _Taps(columns)
        # Pixels whose centres lie in the half-open box.
        origin = np.asarray(self.frame.origin_yx * 2)
        self._pixels = np.ceil(self.boxes - origin).astype(np.int64)
        self._crops: dict[int, FloatArray] = {}

    def __len__(self) -> int:
        return len(self.scores)

    def pixels(self, index: int) -> tuple[slice, slice]:
        """Pixels of the region that the box of an instance holds."""
        y0, x0, y1, x1 = (int(value) for value in self._pixels[index])
        return slice(y0, max(y1, y0)), slice(x0, max(x1, x0))

    def cells(self, index: int, margin: int = 0) -> tuple[slice, slice]:
        """Low-resolution cells that the pixels of an instance are mixed from, and a margin."""
        spans = [
            taps.span(pixels)
            for taps, pixels in zip((self._rows, self._columns), self.pixels(index), strict=True)
        ]
        rows, columns = (
            slice(max(span.start - margin, 0), min(span.stop + margin, side))
            for span, side in zip(spans, self.prototypes.shape[1:], strict=True)
        )
        return rows, columns

    def low_res(self, index: int, rows: slice, columns: slice) -> FloatArray:
        """Mask logits of some cells."""
        width = self.prototypes.shape[2]
        flat = self.prototypes.reshape(len(self.prototypes), -1)
        # All columns: a block of whole rows needs no copy of the prototypes.
        low = self._coefficients[index] @ flat[:, rows.start * width : rows.stop * width]
        logits: FloatArray = low.reshape(-1, width)[:, columns]
        return logits

    def crop(self, index: int) -> FloatArray:
        """Mask logits of the pixels in the box of an instance; kept, as prompts share them."""
        if index not in self._crops:
            (rows, columns), (y, x) = self.cells(index), self.pixels(index)
            low = self._rows.rows(self.low_res(index, rows, columns), rows.start, y)
            self._crops[index] = self._columns.rows(low.T, columns.start, x).T
        return self._crops[index]

    def area(self, index: int) -> int:
        """Pixels of the mask of an instance."""
        return int(np.count_nonzero(self.crop(index) > 0))

    def at(self, y: int, x: int) -> IntArray:
        """Indices of the instances whose masks hold a pixel of the region."""
        mixed = np.zeros(len(self.prototypes), dtype=np.float32)
        for row, down in _both(self._rows, y):
            for column, right in _both(self._columns, x):
                mixed += np.float32(down * right) * self.prototypes[:, row, column]
        y0, x0, y1, x1 = self._pixels.T
        inside = (y0 <= y) & (y < y1) & (x0 <= x) & (x < x1)
        return np.flatnonzero(inside & (self._coefficients @ mixed > 0)).astype(np.int64)

    def best_for_box(self, among: IntArray, box: FloatArray, number: int) -> list[int]:
        """Return the instances of highest IoU between mask and (y0, x0, y1, x1) box, best first."""
        inner = box - np.asarray(self.frame.origin_yx * 2)
        size = float((box[2] - box[0]) * (box[3] - box[1]))
        y0, x0, y1, x1 = (int(value) for value in np.ceil(inner))
        pixels = self._pixels[among]
        heights = np.minimum(pixels[:, 2], y1) - np.maximum(pixels[:, 0], y0)
        widths = np.minimum(pixels[:, 3], x1) - np.maximum(pixels[:, 1], x0)
        # A mask lies in its own box: the IoU is at most what both boxes share, of the given one.
        shared = np.maximum(heights, 0) * np.maximum(widths, 0)
        found: list[tuple[float, int]] = []
        for position in np.argsort(-shared, kind="stable"):
            enough = len(found) == number and found[-1][0] <= -shared[position] / size
            if shared[position] == 0 or enough:
                break
            index = int(among[position])
            mask, (top, left) = self.crop(index) > 0, self._pixels[index, :2]
            inside = mask[max(y0 - top, 0) : y1 - top, max(x0 - left, 0) : x1 - left]
            both = int(np.count_nonzero(inside))
            if both:
                iou = both / (size + int(np.count_nonzero(mask)) - both)
                found = sorted([*found, (-iou, index)])[:number]
        return [index for _, index in found]


def _both(taps: _Taps, pixel: int) -> tuple[tuple[int, float], tuple[int, float]]:
    """Return the two neighbours of a pixel and their weights."""
    return (
        (int(taps.lower[pixel]), float(taps.near[pixel])),
        (int(taps.upper[pixel]), float(taps.far[pixel])),
    )


def image_boxes(boxes: FloatArray, frame: Frame) -> FloatArray:
    """(N, 4) (x0, y0, x1, y1) model pixels → (y0, x0, y1, x1) image pixels, clipped to the region.

    One scale for both axes, unlike `Frame.boxes_to_image`, a convention of the network family; the
    rounding of sizes makes the two differ by fractions of a pixel.
    """
    scale = min(have / need for have, need in zip(frame.input_yx, frame.size_yx, strict=True))
    corners = boxes.reshape(-1, 2, 2)[..., ::-1].astype(np.float64)
    corners = (corners - np.asarray(frame.content_origin_yx)) / scale
    corners = np.clip(corners, 0.0, np.asarray(frame.size_yx)) + np.asarray(frame.origin_yx)
    result: FloatArray = corners.reshape(-1, 4).astype(np.float32)
    return result


class Choice:
    """What one prompt chooses."""

    def __init__(self, found: Instances, prompts: PromptBatch, row: int) -> None:
        self._found = found
        self._box = None if prompts.boxes is None else prompts.boxes[row]
        #: Labels of the points in each instance that contains any, in order of the points.
        self._hits: dict[int, list[int]] = {}
        self._asked = 0
        if prompts.points is None or prompts.labels is None:
            return
        pixels = np.floor(prompts.points[row] - np.asarray(found.frame.origin_yx) + 0.5)
        pixels = np.clip(pixels, 0, np.asarray(found.frame.size_yx) - 1).astype(np.int64)
        for (y, x), label in zip(pixels.tolist(), prompts.labels[row].tolist(), strict=True):
            if label == -1:
                continue
            self._asked += label
            for index in found.at(y, x).tolist():
                self._hits.setdefault(index, []).append(label)

    def candidates(self, number: int) -> list[list[int]]:
        """Instances of each candidate, at most ``number`` of them; may be none."""
        fitting = sorted(
            index
            for index, labels in self._hits.items()
            if self._asked and 0 not in labels and len(labels) == self._asked
        )
        if self._box is not None:
            every = np.arange(len(self._found))
            best = self._found.best_for_box(np.asarray(fitting, np.int64), self._box, number)
            best = best or self._found.best_for_box(every, self._box, number)
            return [[index] for index in best]
        if number == 1 or not fitting:
            return [list(self._hits)]
        return [[index] for index in self._spread(fitting, number)]

    def _spread(self, fitting: list[int], number: int) -> list[int]:
        """Most confident, smallest, largest, next confident: so many, from small to large."""
        area = {index: self._found.area(index) for index in fitting}
        by_area = sorted(fitting, key=lambda index: area[index])
        # Instances are in order of confidence.
        wanted = dict.fromkeys([fitting[0], by_area[0], by_area[-1], *fitting])
        return sorted(list(wanted)[:number], key=lambda index: area[index])

    def paint(self, chosen: list[int], logits: FloatArray) -> float:
        """Add and remove instances in the (H, W) logits; return the confidence of the result."""
        found, confidence = self._found, 0.0
        for index in sorted(sorted(chosen), key=lambda index: -found.area(index)):
            view, mask = logits[found.pixels(index)], found.crop(index)
            for label in self._hits[index] if self._box is None else [1]:
                if label == 1:
                    np.maximum(view, mask, out=view)
                    confidence = max(confidence, float(found.scores[index]))
                else:
                    view[mask > 0] = np.minimum(view, -mask)[mask > 0]
        return confidence if bool((logits > 0).any()) else 0.0
