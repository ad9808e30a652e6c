"""From a mask in one slice to the mask in the next: prompts, decoder, and how far to trust it.

Masks travel as `MaskRecord`, in pixels of the plane.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from litesam.errors import Cancelled
from litesam.frames import resample
from litesam.merge import bridge, intersection
from litesam.merge.bridge import signed_distance
from litesam.predictors.base import check_prompt_kinds
from litesam.preprocess import AnyPlane, Plane
from litesam.prompting.from_masks import deepest_pixel
from litesam.segmenter import Segmenter
from litesam.tiling import tile_for_prompts, without_far_background
from litesam.types import (
    BoolArray,
    Box,
    BoxPrompt,
    FloatArray,
    MaskRecord,
    Masks,
    PromptBatch,
    Prompts,
    Tile,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from litesam.frames import Frame
    from litesam.types import IsCancelled, ModelSpec, PropagateConfig

#: Logits of a mask that is given as a prompt: certain, but not more than a decoder would be.
_MASK_LOGIT = 4.0
#: The threshold that gives the object its known size on the prompted slice is looked for in this
#: range of logits.
_THRESHOLDS = 1.0
#: Width of the ring around an object that its brightness is compared with, and its distance.
_RING_PX, _RING_GAP_PX = 3, 1
#: Difference of an object from its surroundings, in standard deviations, from which on it is clear.
_CLEAR = 1.5


@dataclass(frozen=True, slots=True)
class Reference:
    """What the model makes of an object where it is known: on the prompted slice.

    Attributes
    ----------
    predicted_iou
        When it is asked with the prompts that are made of the known mask.
    threshold
        Logits above this make a mask as large as the known one.
    trust
        IoU of that mask with the known one, in [0, 1].
    contrast
        Brightness of the object less that of its surroundings; 0 if they hardly differ.
    """

    predicted_iou: float
    threshold: float
    trust: float
    contrast: float


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """The slices that objects are carried through.

    Attributes
    ----------
    segmenter
        Gives planes and embeddings.
    before, behind
        Index of the axes before and behind the one that is gone through.
    length
        Number of slices.
    rim_px
        Mirrored pixels around a plane, (top, left); the model sees ``rim`` more on both sides.
    """

    segmenter: Segmenter
    before: tuple[int, ...]
    behind: tuple[int, ...]
    length: int
    rim_px: tuple[int, int] = (0, 0)

    def index(self, number: int) -> tuple[int, ...]:
        """Return the index of a slice's plane."""
        return (*self.before, number, *self.behind)

    def with_rim_for(self, size_px: float, share: float) -> Stack:
        """Return the same stack, shown so small that objects of that size take a share of it."""
        segmenter = self.segmenter
        if share <= 0 or len(segmenter.tiles) > 1:
            return self
        side = round(size_px / share)
        height, width = segmenter.plane_shape
        rim = (max(0, side - height) // 2, max(0, side - width) // 2)
        # As long as the longer side is large enough nothing is gained: it decides the scale.
        return replace(self, rim_px=rim if max(height, width) < side else (0, 0))

    def shown(self, number: int) -> tuple[AnyPlane, tuple[Tile, ...]]:
        """Return a slice with its rim, and the tiles that the model looks at."""
        plane = self.segmenter.plane(self.index(number))
        if self.rim_px == (0, 0):
            return plane, self.segmenter.tiles
        (top, left), whole = self.rim_px, slice(None)
        padding = ((top, top), (left, left), (0, 0))
        rgb = np.pad(plane.region(whole, whole), padding, mode="symmetric")
        box = Box(0, 0, rgb.shape[0], rgb.shape[1])
        return Plane(rgb, f"{plane.fingerprint}, rim {top}, {left}"), (Tile(0, box, box),)

    def pixels(self, number: int, box: Box) -> FloatArray:
        """Return the brightness of a part of a slice, as the model sees it."""
        rgb = self.segmenter.plane(self.index(number)).region(*box.slices)
        return np.asarray(rgb.mean(axis=2), dtype=np.float32)


def decoded(
    stack: Stack, number: int, prompts: Prompts, cancelled: IsCancelled | None = None
) -> MaskRecord:
    """Return what a person's prompts on one slice mean, with the rules of `Segmenter.segment`.

    Raises
    ------
    PromptError
        If they lie outside the plane or are none that the model takes.
    Cancelled
        If ``cancelled`` said so.
    """
    segmenter = stack.segmenter
    tile_for_prompts(segmenter.tiles, prompts)  # refuses what lies outside the plane
    plane, tiles = stack.shown(number)
    shifted = _shifted(prompts, stack.rim_px)
    tile = tile_for_prompts(tiles, shifted)
    batch = without_far_background(shifted, tile).to_batch()
    check_prompt_kinds(batch, segmenter.predictor.spec)
    segmenter.embedder.embed_all(plane, (tile,), cancelled=cancelled)
    ambiguous = len(prompts.points) == 1 and prompts.box is None
    masks = segmenter.predictor.decode(
        segmenter.embedder.embed(plane, tile), batch, multimask=ambiguous
    )
    return _record(stack, masks.best(), 0, 0.0)


def _shifted(prompts: Prompts, by: tuple[int, int]) -> Prompts:
    """Prompts in pixels of the plane with its rim; an earlier mask has no place there."""
    (y, x), box = by, prompts.box
    return Prompts(
        tuple(replace(point, y=point.y + y, x=point.x + x) for point in prompts.points),
        None if box is None else BoxPrompt(box.y0 + y, box.x0 + x, box.y1 + y, box.x1 + x),
    )


def look(
    stack: Stack,
    number: int,
    expected: Sequence[MaskRecord],
    thresholds: Sequence[float],
    config: PropagateConfig,
    cancelled: IsCancelled | None = None,
) -> list[MaskRecord]:
    """Find objects in one slice that are expected to look like given masks.

    Parameters
    ----------
    stack, number
        The slice.
    expected
        What each object should look like, not empty.
    thresholds
        Of the logits of each.
    config
        Parameters.
    cancelled
        Asked before the slice is embedded and before each batch.

    Returns
    -------
    list of MaskRecord
        What the decoder found, perhaps nothing.

    Raises
    ------
    Cancelled
        If ``cancelled`` said so.
    """
    found: dict[int, MaskRecord] = {}
    for rows, masks in _decoded(stack, number, expected, config, cancelled):
        for row, asked in enumerate(rows):
            found[asked] = _record(stack, masks, row, thresholds[asked])
    return [found[asked] for asked in range(len(expected))]


def references(
    stack: Stack,
    number: int,
    known: Sequence[MaskRecord],
    config: PropagateConfig,
    cancelled: IsCancelled | None = None,
) -> list[Reference]:
    """Ask the model about objects whose masks are known, to learn how far to trust it.

    Parameters and errors are those of `look`.
    """
    found: dict[int, Reference] = {}
    for rows, masks in _decoded(stack, number, known, config, cancelled):
        for row, asked in enumerate(rows):
            record = known[asked]
            _, logits = masks.crop_logits(row, 0, -_THRESHOLDS)
            threshold = _threshold_for(logits, record.area)
            seen = _record(stack, masks, row, threshold)
            found[asked] = Reference(
                seen.predicted_iou,
                threshold,
                overlap(seen, record),
                _clear_contrast(stack, number, record),
            )
    return [found[asked] for asked in range(len(known))]


def _decoded(
    stack: Stack,
    number: int,
    expected: Sequence[MaskRecord],
    config: PropagateConfig,
    cancelled: IsCancelled | None,
) -> Iterator[tuple[list[int], Masks]]:
    """Yield the numbers of objects and their masks, batch by batch."""
    plane, tiles = stack.shown(number)
    embedder, predictor = stack.segmenter.embedder, stack.segmenter.predictor
    by_tile: dict[int, list[int]] = {}
    for asked, record in enumerate(expected):
        tile = tile_for_prompts(tiles, Prompts(box=_box(stack, record)))
        by_tile.setdefault(tile.index, []).append(asked)
    for index, members in sorted(by_tile.items()):
        tile = next(tile for tile in tiles if tile.index == index)
        embedder.embed_all(plane, (tile,), cancelled=cancelled)
        embedding = embedder.embed(plane, tile)
        batch = _batch(stack, [expected[asked] for asked in members], embedding.frame, tile, config)
        for chunk in predictor.batches(embedding, batch, config.batch_size):
            check(cancelled)
            masks = predictor.decode_windows(embedding, batch.take(chunk), multimask=False)
            yield [members[int(row)] for row in chunk], masks.best()


def _box(stack: Stack, record: MaskRecord) -> BoxPrompt:
    """Box of a mask, in pixels of what is shown."""
    (top, left), box = stack.rim_px, record.box
    return BoxPrompt(box.y0 + top, box.x0 + left, box.y1 + top, box.x1 + left)


def _batch(
    stack: Stack, records: Sequence[MaskRecord], frame: Frame, tile: Tile, config: PropagateConfig
) -> PromptBatch:
    boxes = [_box(stack, record) for record in records]
    points = labels = low_res = None
    spec = stack.segmenter.predictor.spec
    if config.prompt_kind in ("point", "both", "all") and "point" in spec.prompts:
        points = np.array([[_central_point(stack, record, tile)] for record in records])
        labels = np.ones(points.shape[:2], dtype=np.int64)
    if config.prompt_kind in ("mask", "all") and "mask" in spec.prompts:
        low_res = np.array([_low_res_mask(stack, record, frame, spec) for record in records])
    if config.prompt_kind == "point" and points is not None:
        return PromptBatch(points, labels)
    corners = np.array([(box.y0, box.x0, box.y1, box.x1) for box in boxes])
    return PromptBatch(points, labels, corners, low_res, boxes_are_guesses=True)


def _central_point(stack: Stack, record: MaskRecord, tile: Tile) -> tuple[float, float]:
    """Pixel of a mask that is farthest from its edge, of what the tile shows of it."""
    (top, left), box, shown = stack.rim_px, record.box, tile.padded
    oy, ox = box.y0 + top, box.x0 + left
    rows = slice(max(shown.y0 - oy, 0), max(shown.y1 - oy, 0))
    columns = slice(max(shown.x0 - ox, 0), max(shown.x1 - ox, 0))
    y, x, _ = deepest_pixel(record.crop[rows, columns])
    return (y + oy + rows.start, x + ox + columns.start)


def _low_res_mask(stack: Stack, record: MaskRecord, frame: Frame, spec: ModelSpec) -> FloatArray:
    """Logits of a mask as the decoder would give them back, whole low-resolution frame."""
    _, height, width = spec.feature_shapes["image"]
    rows, columns = frame.coverage((4 * height, 4 * width))
    y = record.box.y0 + stack.rim_px[0] - frame.origin_yx[0]
    x = record.box.x0 + stack.rim_px[1] - frame.origin_yx[1]
    inside = record.crop[
        max(-y, 0) : max(frame.size_yx[0] - y, 0), max(-x, 0) : max(frame.size_yx[1] - x, 0)
    ]
    rows = rows[:, max(y, 0) : max(y, 0) + inside.shape[0]]
    columns = columns[:, max(x, 0) : max(x, 0) + inside.shape[1]]
    share = resample(rows, inside.astype(np.float32), columns)
    return np.asarray(_MASK_LOGIT * (2.0 * share - 1.0), dtype=np.float32)


def _record(stack: Stack, masks: Masks, row: int, threshold: float) -> MaskRecord:
    """Mask of one object, cut to the plane."""
    box, crop = masks.crop(row, 0, threshold)
    (top, left), (height, width) = stack.rim_px, stack.segmenter.plane_shape
    y, x = box.y0 - top, box.x0 - left
    inside = crop[max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)]
    score = float(masks.predicted_iou[row, 0])
    return trimmed(inside, (max(y, 0), max(x, 0)), score)


def _threshold_for(logits: FloatArray, area: int) -> float:
    """Threshold above which as many logits lie as the object has pixels, within limits."""
    values = np.sort(logits, axis=None)[::-1]
    if len(values) <= area:
        return -_THRESHOLDS
    between = (float(values[area - 1]) + float(values[area])) / 2
    return float(np.clip(between, -_THRESHOLDS, _THRESHOLDS))


# --------------------------------------------------------------------------------------- the masks


def trimmed(
    mask: BoolArray, origin_yx: tuple[int, int], score: float, stability: float = 0.0
) -> MaskRecord:
    """Return a record of a mask that lies at a place of the plane, in its bounding box."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    oy, ox = origin_yx
    if rows.size == 0:
        return MaskRecord(Box(oy, ox, oy, ox), np.zeros((0, 0), np.bool_), score, stability, score)
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    box = Box(oy + y0, ox + x0, oy + y1, ox + x1)
    return MaskRecord(box, mask[y0:y1, x0:x1].copy(), score, stability, score)


def overlap(first: MaskRecord, second: MaskRecord) -> float:
    """IoU of two masks; 0 if both are empty."""
    common = intersection(first, second)
    union = first.area + second.area - common
    return common / union if union else 0.0


def mixed(parts: Sequence[tuple[MaskRecord, float]], score: float) -> MaskRecord:
    """Return the weighted mean of masks: that of the signed distances to their outlines.

    Empty masks and those of weight 0 do not count. Where the mean is empty, as of masks far apart,
    it is the mask of most weight.
    """
    counted = [(record, weight) for record, weight in parts if record.area and weight > 0]
    if len(counted) < 2:
        only = counted[0][0] if counted else parts[0][0]
        return replace(only, predicted_iou=score, score=score)
    window = _around([record.box for record, _ in counted])
    total = np.zeros(window.size_yx, dtype=np.float32)
    for record, weight in counted:
        total += np.float32(weight) * signed_distance(_on(record, window))
    if not (total > 0).any():
        only = max(counted, key=lambda part: part[1])[0]
        return replace(only, predicted_iou=score, score=score)
    return trimmed(total > 0, (window.y0, window.x0), score)


def between(above: MaskRecord, below: MaskRecord, steps: int) -> list[MaskRecord]:
    """Return the masks of ``steps`` slices between two, see `litesam.merge.bridge`."""
    window = _around([above.box, below.box])
    masks = bridge(_on(above, window), _on(below, window), steps)
    return [trimmed(mask, (window.y0, window.x0), 0.0) for mask in masks]


def contrast(stack: Stack, number: int, record: MaskRecord) -> tuple[float, float]:
    """Return how much brighter than its surroundings an object is, and the standard deviation of
    the brightness within both.
    """
    margin = _RING_PX + _RING_GAP_PX
    height, width = stack.segmenter.plane_shape
    box = record.box
    window = Box(
        max(box.y0 - margin, 0),
        max(box.x0 - margin, 0),
        min(box.y1 + margin, height),
        min(box.x1 + margin, width),
    )
    mask = _on(record, window)
    near = ndimage.binary_dilation(mask, iterations=_RING_GAP_PX)
    ring = ndimage.binary_dilation(near, iterations=_RING_PX) & ~near
    if not (mask.any() and ring.any()):
        return 0.0, 0.0
    pixels = stack.pixels(number, window)
    inside, outside = pixels[mask], pixels[ring]
    spread = float(np.sqrt((inside.var() + outside.var()) / 2))
    return float(inside.mean() - outside.mean()), spread


def _clear_contrast(stack: Stack, number: int, record: MaskRecord) -> float:
    difference, spread = contrast(stack, number, record)
    return difference if abs(difference) > _CLEAR * max(spread, 1.0) else 0.0


def _around(boxes: Sequence[Box]) -> Box:
    return Box(
        min(box.y0 for box in boxes),
        min(box.x0 for box in boxes),
        max(box.y1 for box in boxes),
        max(box.x1 for box in boxes),
    )


def _on(record: MaskRecord, window: Box) -> BoolArray:
    """Mask on a window that holds it."""
    canvas = np.zeros(window.size_yx, dtype=np.bool_)
    y, x = record.box.y0 - window.y0, record.box.x0 - window.x0
    canvas[y : y + record.crop.shape[0], x : x + record.crop.shape[1]] = record.crop
    return canvas


def check(cancelled: IsCancelled | None) -> None:
    """Raise `Cancelled` if the work is to stop."""
    if cancelled is not None and cancelled():
        raise Cancelled("Propagation was cancelled; nothing of it is kept.")
