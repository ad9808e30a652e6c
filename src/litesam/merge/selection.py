"""Choose among masks that are there already: by points, by boxes, by words.

Works on any set of `MaskRecord` of one plane: the instances of FastSAM as well as the result of
everything mode or of any other program, where it makes a click answer at once, without any network.
Source of the rules: Zhao et al. 2023, "Fast Segment Anything", Sec. 3.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from litesam.errors import ImageError, PromptError
from litesam.types import Box, MaskRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.frames import FloatArray
    from litesam.types import BoolArray, BoxPrompt, PointPrompt, Prompts

RgbArray = npt.NDArray[np.uint8]

#: Masks of fewer pixels show too little to be compared with words.
MIN_TEXT_AREA_PX = 100
_WHITE = 255


class TextScorer(Protocol):
    """Tells how well pictures fit words; see `litesam.predictors.text.ClipScorer`."""

    def __call__(self, pictures: Sequence[RgbArray], text: str) -> npt.ArrayLike:
        """Return one number per (h, w, 3) uint8 picture; the higher, the better it fits."""
        ...


@dataclass(frozen=True, slots=True)
class TextMatch:
    """The mask that fits the words best: its index, and its share in [0, 1] of all that fit."""

    index: int
    share: float


def records_from_labels(labels: npt.ArrayLike) -> list[MaskRecord]:
    """Return the objects of a label image, to choose from.

    Parameters
    ----------
    labels
        (H, W) integers, 0 for background: of everything mode, a person or another program.

    Returns
    -------
    list of MaskRecord
        One for each label, in their order; ``label`` is its value, scores are 1.

    Raises
    ------
    ImageError
        If it is no plane of integers from 0 on.
    """
    array = np.asarray(labels)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise ImageError(
            f"A label image is a plane of integers (H, W); this one has the shape {array.shape} "
            f"and the type {array.dtype}."
        )
    if array.size and array.min() < 0:
        raise ImageError(f"Labels are 0 (background) or more; the least is {array.min()}.")
    values, compact = np.unique(array, return_inverse=True)
    compact = compact.reshape(array.shape) + int(bool(values.size) and values[0] != 0)
    values = values[values > 0]
    found = ndimage.find_objects(compact.astype(np.int32))
    return [
        MaskRecord(
            Box(rows.start, columns.start, rows.stop, columns.stop),
            compact[rows, columns] == number,
            *(1.0, 1.0, 1.0),
            label=int(value),
        )
        for number, (value, (rows, columns)) in enumerate(zip(values, found, strict=True), 1)
    ]


def select_by_prompts(records: Sequence[MaskRecord], prompts: Prompts) -> MaskRecord:
    """Choose as the points and the box of one object say: `Segmenter.segment` without a network.

    Parameters
    ----------
    records
        Masks of one plane, which may overlap.
    prompts
        *Points*: see `select_by_points`. *A box*: the mask of highest IoU with it. *Both*: the same
        among the masks that hold all foreground and no background points, if any of these touches
        the box, else among all.

    Returns
    -------
    MaskRecord
        The mask; with its ``label`` where it is one of ``records`` as it was. Without any pixel (an
        empty box at (0, 0), scores of 0) if nothing is there.

    Raises
    ------
    PromptError
        If there is a mask prompt: masks that are there already cannot be refined by one.
    """
    if prompts.low_res_mask is not None:
        raise PromptError(
            "A mask prompt cannot choose among masks; give points or a box, or ask the decoder "
            "with Segmenter.segment."
        )
    if prompts.box is None:
        return select_by_points(records, prompts.points)
    pixels = [(*_pixel(p.y, p.x), int(p.label)) for p in prompts.points]
    fitting = [
        record
        for record in records
        if all(_holds(record, y, x) == bool(label) for y, x, label in pixels if label >= 0)
    ]
    for among in (fitting, records):
        best = select_by_box(among, prompts.box)
        if best is not None:
            return among[best]
    return _empty(None)


# ------------------------------------------------------------------------------------------- points


def records_at(records: Sequence[MaskRecord], y: float, x: float) -> list[int]:
    """Return the indices of the masks that hold the pixel at (y, x), the smallest first.

    Parameters
    ----------
    records
        Masks of one plane.
    y, x
        Image pixels; rounded to the nearest pixel.
    """
    pixel = _pixel(y, x)
    found = [index for index, record in enumerate(records) if _holds(record, *pixel)]
    return sorted(found, key=lambda index: records[index].area)


def select_by_points(records: Sequence[MaskRecord], points: Sequence[PointPrompt]) -> MaskRecord:
    """Join and cut masks as the points say.

    From the largest to the smallest mask: one that holds a foreground point is added, the pixels of
    one that holds a background point are removed; point after point, so the last one decides where
    a mask holds both. So a small mask on a large one can be cut out of it.

    Parameters
    ----------
    records
        Masks of one plane.
    points
        At least one point, image pixels.

    Returns
    -------
    MaskRecord
        The result, with the scores of the added mask of highest predicted IoU; with its ``label``
        where it is one mask as it was. Without any pixel: an empty box at (0, 0) and scores of 0.

    Raises
    ------
    PromptError
        If there are no points.
    """
    if not points:
        raise PromptError("There are no points; give at least one.")
    pixels = [(*_pixel(p.y, p.x), int(p.label)) for p in points]
    hits = [
        (record, labels)
        for record in records
        if (labels := [label for y, x, label in pixels if label >= 0 and _holds(record, y, x)])
    ]
    added = [record for record, labels in hits if 1 in labels]
    first = next((point for point in points if point.label == 1), None)
    place = None if first is None else (first.y, first.x)
    if not added:
        return _empty(place)
    y0, x0 = min(r.box.y0 for r in added), min(r.box.x0 for r in added)
    y1, x1 = max(r.box.y1 for r in added), max(r.box.x1 for r in added)
    canvas = np.zeros((y1 - y0, x1 - x0), dtype=np.bool_)
    hits.sort(key=lambda hit: -hit[0].area)
    for record, labels in hits:
        here, there = _shared(record.box, Box(y0, x0, y1, x1))
        for label in labels:
            if label == 1:
                canvas[there] |= record.crop[here]
            else:
                canvas[there] &= ~record.crop[here]
    best = max(added, key=lambda record: record.predicted_iou)
    return _trimmed(canvas, y0, x0, best, place, best.label if len(hits) == 1 else 0)


def _pixel(y: float, x: float) -> tuple[int, int]:
    return (math.floor(y + 0.5), math.floor(x + 0.5))


def _holds(record: MaskRecord, y: int, x: int) -> bool:
    box = record.box
    inside = box.y0 <= y < box.y1 and box.x0 <= x < box.x1
    return inside and bool(record.crop[y - box.y0, x - box.x0])


def _shared(box: Box, frame: Box) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Overlap of two boxes, in pixels of the first and of the second; may be empty."""
    y0, x0 = max(box.y0, frame.y0), max(box.x0, frame.x0)
    y1, x1 = max(min(box.y1, frame.y1), y0), max(min(box.x1, frame.x1), x0)
    return (
        (slice(y0 - box.y0, y1 - box.y0), slice(x0 - box.x0, x1 - box.x0)),
        (slice(y0 - frame.y0, y1 - frame.y0), slice(x0 - frame.x0, x1 - frame.x0)),
    )


def _empty(point: tuple[float, float] | None) -> MaskRecord:
    return MaskRecord(Box(0, 0, 0, 0), np.zeros((0, 0), dtype=np.bool_), 0.0, 0.0, 0.0, point)


def _trimmed(
    canvas: BoolArray,
    y: int,
    x: int,
    like: MaskRecord,
    point: tuple[float, float] | None,
    label: int,
) -> MaskRecord:
    """Record of the true pixels of a canvas whose first pixel is (y, x)."""
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    if rows.size == 0:
        return _empty(point)
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return MaskRecord(
        Box(y + y0, x + x0, y + y1, x + x1),
        canvas[y0:y1, x0:x1].copy(),
        like.predicted_iou,
        like.stability,
        like.score,
        point,
        label,
    )


# -------------------------------------------------------------------------------------------- boxes


def select_by_box(records: Sequence[MaskRecord], box: BoxPrompt) -> int | None:
    """Return the index of the mask whose IoU with a box is highest; None if none touches it."""
    best, best_iou = None, 0.0
    size = (box.y1 - box.y0) * (box.x1 - box.x0)
    # Pixels whose centres lie in the half-open box.
    y0, x0, y1, x1 = (math.ceil(value) for value in (box.y0, box.x0, box.y1, box.x1))
    pixels = Box(y0, x0, max(y1, y0), max(x1, x0))
    for index, record in enumerate(records):
        here, _ = _shared(record.box, pixels)
        shared = int(np.count_nonzero(record.crop[here]))
        if shared and shared / (size + record.area - shared) > best_iou:
            best, best_iou = index, shared / (size + record.area - shared)
    return best


def select_by_boxes(records: Sequence[MaskRecord], boxes: Sequence[BoxPrompt]) -> list[int]:
    """Return the indices of the masks that fit the boxes best, in order of the boxes.

    A mask that fits several boxes best is named once; a box that touches no mask names none.
    """
    found = (select_by_box(records, box) for box in boxes)
    return list(dict.fromkeys(index for index in found if index is not None))


# -------------------------------------------------------------------------------------------- words


def picture_of(record: MaskRecord, rgb: RgbArray) -> RgbArray:
    """Return the pixels of a mask on white, cut to its box.

    Parameters
    ----------
    record
        A mask.
    rgb
        (H, W, 3) uint8, the plane.

    Returns
    -------
    ndarray
        (h, w, 3) uint8.
    """
    cut = rgb[record.box.slices]
    picture: RgbArray = np.where(record.crop[..., None], cut, np.uint8(_WHITE))
    return picture


def select_by_text(
    records: Sequence[MaskRecord], rgb: RgbArray, text: str, scorer: TextScorer
) -> TextMatch | None:
    """Return the mask that fits the words best.

    Parameters
    ----------
    records
        Masks of one plane; those of at most `MIN_TEXT_AREA_PX` pixels are left out.
    rgb
        (H, W, 3) uint8, the plane.
    text
        What is looked for.
    scorer
        Compares pictures with words.

    Returns
    -------
    TextMatch or None
        None if no mask is large enough.

    Raises
    ------
    PromptError
        If the text is empty.
    """
    if not text.strip():
        raise PromptError("The text is empty; say what to look for.")
    large = [index for index, r in enumerate(records) if r.area > MIN_TEXT_AREA_PX]
    if not large:
        return None
    logits = np.asarray(scorer([picture_of(records[i], rgb) for i in large], text), np.float64)
    shares: FloatArray = np.exp(logits - logits.max())
    best = int(shares.argmax())
    return TextMatch(large[best], float(shares[best] / shares.sum()))
