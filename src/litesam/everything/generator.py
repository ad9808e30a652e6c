"""Propose → decode → filter → suppress duplicates → stitch → paint.

`generate` does one tile, `label_plane` one plane, `segment_everything` an image. Source of filters
and order of the grid mode: the automatic mask generator of Segment Anything (Kirillov et al. 2023;
reference implementation Apache-2.0). What differs: objects at the borders of tiles are not dropped
here but settled by `litesam.merge.stitch_tiles`, which sees both sides of a seam.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.embedder import Embedder
from litesam.errors import Cancelled, ConfigError
from litesam.everything.proposals import PROPOSALS, choose_proposals, propose
from litesam.merge import box_nms, mask_nms, paint_labels, record_from_masks, stitch_tiles
from litesam.predictors import load_predictor
from litesam.preprocess import extract_plane, to_rgb
from litesam.tiling import make_tiles
from litesam.types import EverythingConfig, NormalizeConfig, Progress, TilingConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.everything.proposals import ProposedPrompts
    from litesam.predictors import Predictor
    from litesam.preprocess import Plane
    from litesam.store import EmbeddingStore
    from litesam.types import (
        Embedding,
        IsCancelled,
        LabelArray,
        MaskRecord,
        Masks,
        ModelSpec,
        OnProgress,
        Tile,
    )

#: What None in a config means where the model's spec does not say otherwise.
_DEFAULTS: dict[str, dict[str, Any]] = {
    # thresholds of SAM's automatic mask generator
    "grid": {
        "predicted_iou_threshold": 0.88,
        "stability_threshold": 0.95,
        "confidence_threshold": 0.0,
        "prompt_kind": "point",
        "nms_containment": 1.0,
        "overlap_policy": "score",
        "min_visible": 0.25,
    },
    "auto_ppn": {
        # chosen on training images of four data sets, see docs/model-card-lite-sam.md
        "predicted_iou_threshold": 0.4,
        "stability_threshold": 0.0,
        "confidence_threshold": 0.4,
        "prompt_kind": "both",
        "nms_containment": 1.0,
        "overlap_policy": "score",
        "min_visible": 0.5,
    },
}

#: Steps of the progress that one tile counts as.
_STEPS_PER_TILE = 100


def resolve_config(
    spec: ModelSpec, proposals: str, config: EverythingConfig | None = None
) -> EverythingConfig:
    """Return the config with every None replaced by the model's default.

    ``spec.everything`` may hold the defaults by option name, and, with precedence, under the name
    of the proposals: ``{"stability_threshold": 0.9, "grid": {"stability_threshold": 0.95}}``.

    Raises
    ------
    ConfigError
        If ``spec.everything`` holds a value outside the option's limits.
    """
    config = EverythingConfig() if config is None else config
    own = {name: value for name, value in spec.everything.items() if name not in PROPOSALS}
    defaults = {**_DEFAULTS[proposals], **own, **spec.everything.get(proposals, {})}
    missing = {
        option.name: defaults[option.name]
        for option in fields(config)
        if getattr(config, option.name) is None
    }
    return replace(config, **missing)


def generate(
    predictor: Predictor,
    embedding: Embedding,
    tile: Tile,
    proposals: str | None = None,
    config: EverythingConfig | None = None,
    *,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
) -> list[MaskRecord]:
    """Find the objects of one tile.

    Parameters
    ----------
    predictor
        Predictor of the embedding's model.
    embedding
        Of the tile's padded box.
    tile
        The tile; places outside its core are left to its neighbours.
    proposals
        ``"grid"``, ``"auto_ppn"`` or None for the model's default.
    config
        Parameters; None: defaults.
    on_progress
        Called after each batch with the number of prompts decoded.
    cancelled
        Asked before each batch.

    Returns
    -------
    list of MaskRecord
        Without duplicates, best score first, in image pixels. Empty if nothing was found.

    Raises
    ------
    ConfigError
        If the model cannot propose in this way.
    Cancelled
        If ``cancelled`` said so.

    Notes
    -----
    Grid: three masks per point; predicted IoU above its threshold; stability at or above its own;
    box NMS by predicted IoU. (A threshold of 0 switches a filter off.) AutoPPN: the best mask per
    proposal; the same filters; mask NMS by the score that joins confidence and predicted IoU.
    """
    proposals = choose_proposals(predictor.spec, proposals)
    config = resolve_config(predictor.spec, proposals, config)
    _check_cancelled(cancelled)
    wanted = propose(predictor, embedding, tile, proposals, config)
    if wanted is None:
        return []
    found: dict[int, list[MaskRecord]] = {}
    for index in predictor.batches(embedding, wanted.prompts, config.points_per_batch):
        _check_cancelled(cancelled)
        masks = predictor.decode_windows(
            embedding, wanted.prompts.take(index), multimask=wanted.multimask
        )
        if proposals != "grid":
            masks = masks.best()
        for row, prompt in enumerate(index):
            found[int(prompt)] = _good_masks(masks, row, wanted, int(prompt), config)
        if on_progress is not None:
            on_progress(Progress(len(found), len(wanted.points), "decoding"))
    # Batches may come in any order; that of the prompts decides between equal scores.
    records = [record for prompt in sorted(found) for record in found[prompt]]
    if proposals == "grid":
        return _sam_nms(records, config)
    return mask_nms(records, config.nms_iou, _given(config.nms_containment))


def label_plane(
    predictor: Predictor,
    embedder: Embedder,
    plane: Plane,
    tiles: Sequence[Tile],
    proposals: str | None = None,
    config: EverythingConfig | None = None,
    *,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
) -> tuple[LabelArray, tuple[MaskRecord, ...]]:
    """Find the objects of one plane, tile by tile, and paint them.

    Parameters
    ----------
    predictor
        Predictor of the embedder's model.
    embedder
        Gives the embeddings of the tiles, from its store or encoded now.
    plane, tiles
        The plane and its tiles.
    proposals, config
        As in `generate`.
    on_progress
        Called after each tile and, within a tile, after each batch.
    cancelled
        Asked before each tile and each batch. Embeddings made so far stay in the store.

    Returns
    -------
    tuple
        (H, W) int32 labels 1 … N, 0 for background, and the N records in order of their labels;
        box and pixels of a record are those painted.
    """
    proposals = choose_proposals(predictor.spec, proposals)
    config = resolve_config(predictor.spec, proposals, config)
    shape = plane.shape_yx
    total = len(tiles) * _STEPS_PER_TILE
    per_tile = []
    for number, tile in enumerate(tiles):
        _check_cancelled(cancelled)
        done = number * _STEPS_PER_TILE
        message = f"tile {number + 1} of {len(tiles)}"
        _report(on_progress, done, total, message)
        embedding = embedder.embed(plane, tile)
        within = None if on_progress is None else _within(on_progress, done, total, message)
        per_tile.append(
            generate(
                predictor,
                embedding,
                tile,
                proposals,
                config,
                on_progress=within,
                cancelled=cancelled,
            )
        )
    records = stitch_tiles(per_tile, tiles, shape)
    labels, painted = paint_labels(
        records,
        shape,
        config.overlap_policy or "score",
        min_area_px=config.min_area_px,
        min_visible=_given(config.min_visible),
    )
    _report(on_progress, total, total, f"{len(painted)} objects")
    return labels, tuple(painted)


def segment_everything(
    image: Any,
    model: str | Predictor = "lite_sam",
    proposals: str | None = None,
    config: EverythingConfig | None = None,
    *,
    axes: str | None = None,
    index: tuple[int, ...] | int | None = None,
    channel: int | None = None,
    normalize: NormalizeConfig | None = None,
    tiling: TilingConfig | None = None,
    store: EmbeddingStore | None = None,
    device: str = "auto",
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
) -> tuple[LabelArray, tuple[MaskRecord, ...]]:
    """Label every object of one plane of an image.

    Parameters
    ----------
    image
        Any array-like: 2-D, RGB(A), channels, or a stack of which ``index`` picks a plane.
    model
        Name of a model, or a loaded predictor.
    proposals
        ``"auto_ppn"`` (places that the model's own network finds), ``"grid"`` (a regular grid of
        points, as SAM does) or None for the model's default.
    config
        Parameters; None: the model's defaults.
    axes
        Meaning of the image's axes, such as ``"YX"``, ``"YXC"`` or ``"ZYX"``; None: guessed.
    index
        Leading indices of the plane in a stack.
    channel
        Channel of a multi-channel image.
    normalize
        Mapping of intensities to 0–255; None: percentiles of the plane.
    tiling
        How a large plane is cut; None: defaults.
    store
        Where embeddings are kept; None: in memory for this call.
    device
        Torch device for a model given by name.
    on_progress, cancelled
        Callbacks, see `label_plane`.

    Returns
    -------
    tuple
        (H, W) int32 labels 1 … N, 0 for background, and the N records in order of their labels.
        Without any object the labels are all 0 and there are no records. The same input gives the
        same result.

    Raises
    ------
    ImageError
        If image, axes and index give no plane.
    ConfigError
        If the model cannot propose in this way.
    Cancelled
        If ``cancelled`` said so.

    Examples
    --------
    >>> labels, records = segment_everything(image)  # doctest: +SKIP
    >>> labels.max() == len(records)  # doctest: +SKIP
    True
    """
    predictor = load_predictor(model, device=device) if isinstance(model, str) else model
    choose_proposals(predictor.spec, proposals)  # fail before the image is read
    raw = extract_plane(image, axes=axes, index=index, channel=channel)
    plane = to_rgb(raw, normalize or NormalizeConfig())
    tiles = make_tiles(plane.shape_yx, tiling or TilingConfig())
    return label_plane(
        predictor,
        Embedder(predictor, store),
        plane,
        tiles,
        proposals,
        config,
        on_progress=on_progress,
        cancelled=cancelled,
    )


def _good_masks(
    masks: Masks, row: int, wanted: ProposedPrompts, prompt: int, config: EverythingConfig
) -> list[MaskRecord]:
    """Masks of one prompt that pass the filters, in order of the candidates."""
    y, x = (float(value) for value in wanted.points[prompt])
    confidence = None if wanted.confidence is None else float(wanted.confidence[prompt])
    iou_threshold = _given(config.predicted_iou_threshold)
    stability_threshold = _given(config.stability_threshold)
    good = []
    for candidate in range(masks.predicted_iou.shape[1]):
        if iou_threshold > 0.0 and not masks.predicted_iou[row, candidate] > iou_threshold:
            continue
        record = record_from_masks(
            masks,
            row,
            candidate,
            stability_offset=config.stability_offset,
            point=(y, x),
            confidence=confidence,
        )
        if record.area and record.stability >= stability_threshold:
            good.append(record)
    return good


def _sam_nms(records: Sequence[MaskRecord], config: EverythingConfig) -> list[MaskRecord]:
    """Box NMS of SAM's mask generator: boxes reach from first to last pixel centre."""
    boxes = np.array(
        [(r.box.y0, r.box.x0, r.box.y1 - 1, r.box.x1 - 1) for r in records], dtype=np.float32
    )
    scores = np.array([record.predicted_iou for record in records], dtype=np.float32)
    kept = [records[int(i)] for i in box_nms(boxes, scores, config.nms_iou)]
    containment = _given(config.nms_containment)
    return mask_nms(kept, 1.0, containment) if containment < 1.0 else kept


def _given(value: float | None) -> float:
    """Value of an option that `resolve_config` has filled."""
    if value is None:
        raise ConfigError("An option of everything mode has no value; use resolve_config first.")
    return value


def _check_cancelled(cancelled: IsCancelled | None) -> None:
    if cancelled is not None and cancelled():
        raise Cancelled("Everything mode was cancelled; finished embeddings are kept.")


def _report(on_progress: OnProgress | None, done: int, total: int, message: str) -> None:
    if on_progress is not None:
        on_progress(Progress(done, total, message))


def _within(on_progress: OnProgress, start: int, total: int, message: str) -> OnProgress:
    """Progress callback for one tile that continues the progress of the plane."""

    def report(progress: Progress) -> None:
        share = progress.done * _STEPS_PER_TILE // max(progress.total, 1)
        what = f"{message}, {progress.done} of {progress.total} prompts"
        on_progress(Progress(start + share, total, what))

    return report
