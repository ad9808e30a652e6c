"""Prompts → masks that are good enough → masks without duplicates.

Source of the filters and their order: the automatic mask generator of Segment Anything (Kirillov et
al. 2023; reference implementation Apache-2.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from litesam.errors import Cancelled, ConfigError
from litesam.merge import box_nms, clean_records, mask_nms, near_inner_edge, record_from_masks
from litesam.types import Box, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from litesam.everything.proposals import ProposedPrompts
    from litesam.frames import FloatArray
    from litesam.predictors import Predictor
    from litesam.types import (
        AnyArray,
        Embedding,
        EverythingConfig,
        IntArray,
        IsCancelled,
        MaskRecord,
        Masks,
        OnProgress,
        Tile,
    )

#: Prompts between two looks at *cancelled* on a CPU, where a call of the decoder costs in
#: proportion to its prompts and short ones lose nothing.
_PROMPTS_PER_LOOK = 32


def given(value: float | None) -> float:
    """Value of an option that `resolve_config` has filled."""
    if value is None:
        raise ConfigError("An option of everything mode has no value; use resolve_config first.")
    return value


def check_cancelled(cancelled: IsCancelled | None) -> None:
    """Raise `Cancelled` if the caller wants that."""
    if cancelled is not None and cancelled():
        raise Cancelled("Everything mode was cancelled; finished embeddings are kept.")


# ---------------------------------------------------------------------------------- prompts → masks


def decode_prompts(
    predictor: Predictor,
    embedding: Embedding,
    wanted: ProposedPrompts,
    config: EverythingConfig,
    *,
    best_only: bool,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
) -> list[MaskRecord]:
    """Decode prompts and return the masks that pass the filters, in order of the prompts.

    Parameters
    ----------
    predictor, embedding, wanted
        What is decoded.
    config
        Filled by `resolve_config`. Predicted IoU must be above its threshold, then stability at or
        above its own; 0 switches a filter off.
    best_only
        Of several candidates of a prompt only the one of highest predicted IoU counts.
    on_progress, cancelled
        Called and asked within a batch, too.
    """
    found: dict[int, list[MaskRecord]] = {}
    batch_size = int(given(config.points_per_batch))
    for batch in predictor.batches(embedding, wanted.prompts, batch_size):
        for part in _parts(batch, predictor.device):
            check_cancelled(cancelled)
            masks = predictor.decode_windows(
                embedding, wanted.prompts.take(part), multimask=wanted.multimask
            )
            if best_only:
                masks = masks.best()
            for row, prompt in enumerate(part):
                found[int(prompt)] = _good_masks(masks, row, wanted, int(prompt), config)
            if on_progress is not None:
                on_progress(Progress(len(found), len(wanted.prompts), "decoding"))
    # Batches may come in any order; that of the prompts decides between equal scores.
    return [record for prompt in sorted(found) for record in found[prompt]]


def _parts(batch: IntArray, device: str) -> Iterator[IntArray]:
    step = _PROMPTS_PER_LOOK if device == "cpu" else len(batch)
    for start in range(0, len(batch), step):
        yield batch[start : start + step]


def _good_masks(
    masks: Masks, row: int, wanted: ProposedPrompts, prompt: int, config: EverythingConfig
) -> list[MaskRecord]:
    """Masks of one prompt that pass the filters, in order of the candidates."""
    point = None
    if wanted.points is not None:
        y, x = (float(value) for value in wanted.points[prompt])
        point = (y, x)
    confidence = None if wanted.confidence is None else float(wanted.confidence[prompt])
    candidates = range(masks.predicted_iou.shape[1])
    found = (_good_mask(masks, row, c, point, confidence, config) for c in candidates)
    return [record for record in found if record is not None]


def _good_mask(
    masks: Masks,
    row: int,
    candidate: int,
    point: tuple[float, float] | None,
    confidence: float | None,
    config: EverythingConfig,
) -> MaskRecord | None:
    """One candidate as a record, or None if it does not pass the filters."""
    iou_threshold = given(config.predicted_iou_threshold)
    if iou_threshold > 0.0 and not masks.predicted_iou[row, candidate] > iou_threshold:
        return None
    record = record_from_masks(
        masks,
        row,
        candidate,
        stability_offset=config.stability_offset,
        point=point,
        confidence=confidence,
    )
    good = record.area > 0 and record.stability >= given(config.stability_threshold)
    return record if good else None


def instance_records(masks: Masks, config: EverythingConfig) -> list[MaskRecord]:
    """Instances that a network found by itself, as records; ``predicted_iou`` is its confidence."""
    threshold = given(config.confidence_threshold)
    return [
        record
        for row in range(len(masks))
        if masks.predicted_iou[row, 0] >= threshold
        and (record := _good_mask(masks, row, 0, None, None, config)) is not None
    ]


# -------------------------------------------------------------------------------------- duplicates


def without_cut(records: Sequence[MaskRecord], view: Box, region: Box) -> list[MaskRecord]:
    """Records that do not come close to a side of the view that is no side of the region."""
    if not records or view == region:
        return list(records)
    cut = near_inner_edge(_boxes(records), _corners(view), _corners(region))
    return [record for record, is_cut in zip(records, cut, strict=True) if not is_cut]


def suppress_boxes(records: Sequence[MaskRecord], config: EverythingConfig) -> list[MaskRecord]:
    """Suppress duplicates as SAM does, by boxes; best predicted IoU first."""
    kept = _box_nms(records, [r.predicted_iou for r in records], given(config.nms_iou))
    containment = given(config.nms_containment)
    return mask_nms(kept, 1.0, containment) if containment < 1.0 else kept


def suppress_masks(records: Sequence[MaskRecord], config: EverythingConfig) -> list[MaskRecord]:
    """Suppress duplicates by pixels; best score first."""
    iou, containment = given(config.nms_iou), given(config.nms_containment)
    if iou >= 1.0 and containment >= 1.0:  # nothing can be a duplicate
        return sorted(records, key=lambda record: -record.score)
    return mask_nms(records, iou, containment)


def merge_crops(
    records: Sequence[MaskRecord], crops: Sequence[Box], config: EverythingConfig
) -> list[MaskRecord]:
    """Of masks that several crops found, keep that of the smallest crop.

    Parameters
    ----------
    records
        Masks of all crops.
    crops
        The crop of each mask.
    config
        ``crop_nms_iou`` is the box IoU above which two masks are the same.
    """
    scores = [1.0 / (crop.size_yx[0] * crop.size_yx[1]) for crop in crops]
    return _box_nms(records, scores, config.crop_nms_iou)


def clean_grid_records(
    records: Sequence[MaskRecord], tile: Tile, config: EverythingConfig
) -> list[MaskRecord]:
    """Remove small regions as SAM does: of masks that are now alike the unchanged stays."""
    if given(config.min_region_area_px) == 0 or not records:
        return list(records)
    cleaned, changed = _clean(records, tile, config)
    iou = max(given(config.nms_iou), config.crop_nms_iou)
    return _box_nms(cleaned, (~changed).astype(np.float32), iou)


def clean_mask_records(
    records: Sequence[MaskRecord], tile: Tile, config: EverythingConfig
) -> list[MaskRecord]:
    """Remove small regions, nothing else."""
    return _clean(records, tile, config)[0]


def _clean(
    records: Sequence[MaskRecord], tile: Tile, config: EverythingConfig
) -> tuple[list[MaskRecord], AnyArray]:
    least = int(given(config.min_region_area_px))
    return clean_records(records, least, _seen_background(tile, least))


def _seen_background(tile: Tile, beyond: int) -> Box:
    """Region of a tile; where the image goes on behind its side, background does so, too."""
    core, padded = tile.core, tile.padded
    return Box(
        padded.y0 - beyond * (core.y0 != padded.y0),
        padded.x0 - beyond * (core.x0 != padded.x0),
        padded.y1 + beyond * (core.y1 != padded.y1),
        padded.x1 + beyond * (core.x1 != padded.x1),
    )


def box_corners(records: Sequence[MaskRecord]) -> FloatArray:
    """Half-open boxes of records, (N, 4) float32."""
    corners = [_corners(record.box) for record in records]
    return np.array(corners, dtype=np.float32).reshape(-1, 4)


def _box_nms(
    records: Sequence[MaskRecord], scores: Sequence[float] | AnyArray, iou: float
) -> list[MaskRecord]:
    kept = box_nms(_boxes(records), np.asarray(scores, dtype=np.float32), iou)
    return [records[int(i)] for i in kept]


def _boxes(records: Sequence[MaskRecord]) -> FloatArray:
    """Boxes as SAM's mask generator has them: from the first to the last pixel's centre."""
    return box_corners(records) - np.array((0, 0, 1, 1), dtype=np.float32)


def _corners(box: Box) -> tuple[int, int, int, int]:
    return (box.y0, box.x0, box.y1, box.x1)
