"""What a decoder gives, and the objects made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from litesam.frames import Frame, resample
from litesam.types.arrays import AnyArray, BoolArray, FloatArray, IntArray
from litesam.types.regions import Box

#: Logit of everything outside the window that a decoder looked at: "certainly not the object".
OUTSIDE_LOGIT = -32.0


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Decoder output for P prompts with M candidates each.

    Attributes
    ----------
    logits
        (P, M, h, w) float32; mask = logits > 0. The low-resolution model frame (padding included),
        or, where ``origins`` is given, a window of it per prompt.
    predicted_iou
        (P, M) float32, the model's own estimate of each mask's IoU.
    frame
        The frame of the embedding.
    low_res_yx
        Size of the whole low-resolution frame.
    origins
        (P, 2) top-left (y, x) of each prompt's window in the low-resolution frame; None: the whole
        frame.
    limits
        (P, M, 4) boxes (y0, x0, y1, x1) in image pixels that each mask is cut to once it has the
        resolution of the image (pixel centres in the half-open box stay), or None. Instances of
        FastSAM end exactly at their boxes.
    """

    logits: FloatArray
    predicted_iou: FloatArray
    frame: Frame
    low_res_yx: tuple[int, int]
    origins: IntArray | None = None
    limits: FloatArray | None = None

    def __len__(self) -> int:
        return int(self.logits.shape[0])

    def whole(self) -> Masks:
        """Return the masks on the whole low-resolution frame; unseen pixels get `OUTSIDE_LOGIT`."""
        if self.origins is None:
            return self
        count, candidates, height, width = self.logits.shape
        full = np.full((count, candidates, *self.low_res_yx), OUTSIDE_LOGIT, dtype=np.float32)
        for p, (y, x) in enumerate(self.origins):
            full[p, :, y : y + height, x : x + width] = self.logits[p]
        return Masks(full, self.predicted_iou, self.frame, self.low_res_yx, limits=self.limits)

    def take(self, indices: npt.ArrayLike) -> Masks:
        """Return the masks of some prompts."""
        index = np.asarray(indices)
        return Masks(
            self.logits[index],
            self.predicted_iou[index],
            self.frame,
            self.low_res_yx,
            None if self.origins is None else self.origins[index],
            None if self.limits is None else self.limits[index],
        )

    def best(self) -> Masks:
        """Return the candidate of highest predicted IoU of each prompt (M = 1)."""
        rows = np.arange(len(self))
        columns = self.predicted_iou.argmax(axis=1)
        return Masks(
            self.logits[rows, columns][:, None],
            self.predicted_iou[rows, columns][:, None],
            self.frame,
            self.low_res_yx,
            self.origins,
            None if self.limits is None else self.limits[rows, columns][:, None],
        )

    def to_image(self, threshold: float = 0.0) -> BoolArray:
        """Return (P, M, H, W) bool masks of the frame's region, in image pixels.

        The logits are resampled as the frame says (`Frame.resampling`), then compared with
        ``threshold``. A logit equal to it is outside, also for EfficientSAM, whose reference
        implementation counts it in: with real weights no logit is exactly 0.
        """
        masks = self.whole()
        rows, columns = self.frame.resampling(self.low_res_yx)
        result = np.empty(
            (*masks.logits.shape[:2], rows.shape[0], columns.shape[0]), dtype=np.bool_
        )
        for p in range(len(self)):
            for m in range(masks.logits.shape[1]):
                result[p, m] = resample(rows, masks.logits[p, m], columns) > threshold
                if self.limits is not None:
                    self._cut(result[p, m], p, m, self.frame.origin_yx, False)
        return result

    def _cut(
        self, values: AnyArray, prompt: int, candidate: int, origin: tuple[int, int], outside: Any
    ) -> None:
        """Overwrite values at image pixel ``origin`` and on that lie outside the mask's limits."""
        if self.limits is None:
            return
        y0, x0, y1, x1 = (float(limit) for limit in self.limits[prompt, candidate])
        y = np.arange(values.shape[0]) + origin[0]
        x = np.arange(values.shape[1]) + origin[1]
        values[(y < y0) | (y >= y1), :] = outside
        values[:, (x < x0) | (x >= x1)] = outside

    def crop_logits(
        self, prompt: int, candidate: int = 0, threshold: float = 0.0
    ) -> tuple[tuple[int, int], FloatArray]:
        """Return the part of one mask's logits, in image pixels, that can exceed ``threshold``.

        Only that part is resampled, so the cost follows the object and not the image.

        Returns
        -------
        tuple
            Image pixel (y, x) of the top-left value and (h, w) float32 logits; exact where they
            exceed ``threshold``, at most ``threshold`` elsewhere. (0, 0) values if none exceeds it.
        """
        if self.origins is not None and self.frame.upsampling == "bicubic":
            return self.take([prompt]).whole().crop_logits(0, candidate, threshold)
        logits = self.logits[prompt, candidate]
        reach = self.frame.reach(logits, threshold)
        if reach is None:
            return self.frame.origin_yx, np.zeros((0, 0), dtype=np.float32)
        rows, columns = self.frame.resampling(self.low_res_yx)
        oy, ox = self.frame.origin_yx
        if self.origins is not None:
            y, x = (int(v) for v in self.origins[prompt])
            y_image, rows = _window_rows(rows, y, logits.shape[0])
            x_image, columns = _window_rows(columns, x, logits.shape[1])
            oy, ox = oy + y_image, ox + x_image
        part = _inner_rows if self.frame.upsampling == "bicubic" else _partial_rows
        r0, rows = part(rows, reach[0])
        c0, columns = part(columns, reach[1])
        # What is cut off counts as the threshold itself, hence the subtraction.
        values = resample(rows, logits[reach] - np.float32(threshold), columns)
        values = values + np.float32(threshold)
        self._cut(values, prompt, candidate, (oy + r0, ox + c0), OUTSIDE_LOGIT)
        return (oy + r0, ox + c0), values

    def crop(
        self, prompt: int, candidate: int = 0, threshold: float = 0.0
    ) -> tuple[Box, BoolArray]:
        """Return one mask as its bounding box in the image and the bool pixels inside it.

        An empty mask gives an empty box at the frame's origin. See `crop_logits`.
        """
        (oy, ox), logits = self.crop_logits(prompt, candidate, threshold)
        mask = logits > threshold
        if not mask.any():
            oy, ox = self.frame.origin_yx
            return Box(oy, ox, oy, ox), np.zeros((0, 0), dtype=np.bool_)
        y0, y1 = _span(mask.any(axis=1))
        x0, x1 = _span(mask.any(axis=0))
        return Box(oy + y0, ox + x0, oy + y1, ox + x1), mask[y0:y1, x0:x1]


def _span(flags: npt.ArrayLike) -> tuple[int, int]:
    """First and one past the last true index."""
    where = np.flatnonzero(flags)
    return int(where[0]), int(where[-1]) + 1


def _window_rows(matrix: FloatArray, start: int, length: int) -> tuple[int, FloatArray]:
    """Return the part of a resampling matrix for source pixels ``start : start + length``.

    The result is (first target pixel, matrix). All target pixels that touch the window stay, and
    weights that leave it are clamped to the window's edge: a window behaves like an image of its
    own.
    """
    first, window = _partial_rows(matrix, slice(start, start + length))
    outside = matrix[first : first + len(window)]
    missing = 1.0 - window.sum(axis=1)
    left = outside[:, :start].sum(axis=1)
    window[:, 0] += np.minimum(left, missing)
    window[:, -1] += np.maximum(missing - left, 0.0)
    return first, window


def _partial_rows(matrix: FloatArray, part: slice) -> tuple[int, FloatArray]:
    """Return the target pixels that touch some source pixels; other weights are dropped."""
    window = matrix[:, part]
    touched = np.flatnonzero(window.any(axis=1))
    if touched.size == 0:
        return 0, np.zeros((0, window.shape[1]), dtype=np.float32)
    first, last = int(touched[0]), int(touched[-1]) + 1
    return first, np.array(window[first:last])


def _inner_rows(matrix: FloatArray, part: slice) -> tuple[int, FloatArray]:
    """Return the target pixels that are mixed from some source pixels alone."""
    outside = matrix[:, : part.start].any(axis=1) | matrix[:, part.stop :].any(axis=1)
    inner = np.flatnonzero(~outside)
    if inner.size == 0:
        return 0, np.zeros((0, part.stop - part.start), dtype=np.float32)
    first, last = int(inner[0]), int(inner[-1]) + 1
    return first, matrix[first:last, part]


@dataclass(frozen=True, slots=True, eq=False)
class MaskRecord:
    """One segmented object.

    Attributes
    ----------
    box
        Bounding box in the image plane.
    crop
        Bool pixels inside the box.
    predicted_iou, stability
        The model's quality estimate and the IoU of the mask between two thresholds (SAM's stability
        score).
    score
        What overlaps are resolved by: the higher score wins.
    point
        (y, x) of the point prompt that made it, or None.
    label
        Its value in the label image, 0 while it has none.
    """

    box: Box
    crop: BoolArray
    predicted_iou: float
    stability: float
    score: float
    point: tuple[float, float] | None = None
    label: int = 0

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.crop))

    def mask(self, shape_yx: tuple[int, int]) -> BoolArray:
        """Return the (H, W) bool mask in a plane of that shape."""
        full = np.zeros(shape_yx, dtype=np.bool_)
        full[self.box.slices] = self.crop
        return full
