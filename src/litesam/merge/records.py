"""Logits of the decoder → `MaskRecord`: the step from the model's frame to pixels of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from litesam.merge.scores import fuse_scores, stability_score
from litesam.types import BoolArray, Box, MaskRecord, Masks, Tile


def record_from_masks(
    masks: Masks,
    prompt: int,
    candidate: int = 0,
    *,
    stability_offset: float = 1.0,
    point: tuple[float, float] | None = None,
    confidence: float | None = None,
) -> MaskRecord:
    """Turn one candidate mask of one prompt into a record, in image pixels.

    Parameters
    ----------
    masks
        Output of a decoder.
    prompt, candidate
        Which mask.
    stability_offset
        Shift of the threshold for the stability score, logits. As in SAM the score is that of the
        mask at the resolution of the image.
    point
        (y, x) of the prompt, for the record.
    confidence
        Confidence of the proposal that asked for the mask; it enters the score.

    Returns
    -------
    MaskRecord
        Its score is the predicted IoU, or its fusion with the confidence (`fuse_scores`). An empty
        mask has an empty box at the frame's origin and stability 0.
    """
    predicted_iou = float(masks.predicted_iou[prompt, candidate])
    score = predicted_iou if confidence is None else fuse_scores(confidence, predicted_iou)
    (oy, ox), logits = masks.crop_logits(prompt, candidate, -stability_offset)
    mask = logits > 0.0
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        oy, ox = masks.frame.origin_yx
        empty = np.zeros((0, 0), dtype=np.bool_)
        return MaskRecord(Box(oy, ox, oy, ox), empty, predicted_iou, 0.0, score, point)
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return MaskRecord(
        box=Box(oy + y0, ox + x0, oy + y1, ox + x1),
        crop=mask[y0:y1, x0:x1].copy(),
        predicted_iou=predicted_iou,
        stability=float(stability_score(logits, stability_offset)),
        score=score,
        point=point,
    )


@dataclass(frozen=True, slots=True, eq=False)
class SegmentResult:
    """One object, as the decoder saw it.

    Attributes
    ----------
    mask
        (H, W) bool, the whole plane.
    record
        The same mask as bounding box and pixels, with its scores.
    masks
        All candidates (P = 1), in the low-resolution frame of ``tile``: `with_candidate` takes
        another one, ``masks.logits[0, candidate]`` can be fed back as ``Prompts.low_res_mask``.
    candidate
        Which candidate ``mask`` is; at first the one of highest predicted IoU.
    tile
        The tile that was decoded. Give it to `Segmenter.segment` again to refine the same object.
        Its index is -1 if it is a wider window, for an object larger than a tile.
    """

    mask: BoolArray
    record: MaskRecord
    masks: Masks
    candidate: int
    tile: Tile

    @property
    def candidates(self) -> int:
        """Number of candidates."""
        return int(self.masks.logits.shape[1])

    def with_candidate(self, candidate: int) -> SegmentResult:
        """Return the same result with another candidate (counted in a circle) as its mask."""
        return segment_result(
            self.masks, candidate % self.candidates, self.record.point, self.mask.shape, self.tile
        )


def segment_result(
    masks: Masks,
    candidate: int,
    point: tuple[float, float] | None,
    shape_yx: tuple[int, ...],
    tile: Tile,
) -> SegmentResult:
    """Return one candidate of what was decoded in a tile, see `SegmentResult`.

    Parameters
    ----------
    masks, candidate
        What was decoded for one object, and which of its masks is meant.
    point
        (y, x) of the prompt, for the record.
    shape_yx
        Height and width of the plane.
    tile
        The tile.
    """
    record = record_from_masks(masks, 0, candidate, point=point)
    mask = record.mask((shape_yx[0], shape_yx[1]))
    return SegmentResult(mask, record, masks, candidate, tile)
