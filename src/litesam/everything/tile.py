"""Everything mode on one tile: what is asked, what comes back, what is left of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from litesam.errors import ConfigError
from litesam.everything import decoding
from litesam.everything.crops import crop_boxes, points_per_side
from litesam.everything.decoding import check_cancelled, decode_prompts, given
from litesam.everything.defaults import resolve_config
from litesam.everything.proposals import (
    ProposedPrompts,
    box_prompts,
    choose_proposals,
    grid_prompts,
    near_core,
    network_prompts,
    through_core,
)
from litesam.everything.sources import check_boxes
from litesam.frames import FloatArray
from litesam.types import Box, Embedding, EverythingConfig, Progress, Proposals, Tile

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from litesam.predictors import Predictor
    from litesam.types import IsCancelled, MaskRecord, OnProgress


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What can be known about one tile.

    Attributes
    ----------
    embed
        Embeds a region: the tile or a crop of it.
    propose
        Asks another model's AutoPPN about the tile; None: the model's own.
    boxes
        The caller's boxes for this tile, or None.
    """

    embed: Callable[[Box], Embedding]
    propose: Callable[[], Proposals] | None = None
    boxes: FloatArray | None = None


def generate(
    predictor: Predictor,
    embedding: Embedding,
    tile: Tile,
    proposals: str | None = None,
    config: EverythingConfig | None = None,
    *,
    boxes: npt.ArrayLike | None = None,
    proposed: Proposals | None = None,
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
        One of ``"grid"``, ``"auto_ppn"``, ``"boxes"``, ``"instances"``, or None for the model's
        default.
    config
        Parameters; None: defaults.
    boxes
        (N, 4) boxes (y0, x0, y1, x1) in image pixels, all of which are decoded; with ``"boxes"``.
    proposed
        Places and boxes that another model's AutoPPN found in this tile (`Predictor.propose`);
        None: the model's own.
    on_progress
        Called after each call of the decoder with the number of prompts decoded.
    cancelled
        Asked before each call of the decoder.

    Returns
    -------
    list of MaskRecord
        Without duplicates, best score first (``"boxes"``: largest first), in image pixels. Empty if
        nothing was found.

    Raises
    ------
    ConfigError
        If the model cannot propose in this way, has no AutoPPN and got no proposals, or crops are
        wanted: they need the pixels, see `find_objects`.
    PromptError
        If ``boxes`` are no boxes or one lies outside the tile.
    Cancelled
        If ``cancelled`` said so.

    Notes
    -----
    Grid, as SAM's automatic mask generator: three masks per point; predicted IoU above its
    threshold; stability at or above its own; box NMS by predicted IoU; small regions. (A threshold
    of 0 switches a filter off.) AutoPPN: the best mask per proposal; the same filters; mask NMS by
    the score that joins confidence and predicted IoU. Boxes, as MobileSAMv2: one mask per box.
    Instances: those of the network.
    """
    checked = None if boxes is None else check_boxes(boxes)
    proposals = choose_proposals(predictor.spec, proposals, with_boxes=checked is not None)
    config = resolve_config(predictor.spec, proposals, config)
    if proposals == "grid" and config.crop_layers:
        raise ConfigError(
            "Crops need the pixels of the plane, but only an embedding was given; use "
            "find_objects, label_plane or segment_everything, or crop_layers=0."
        )
    foreign = predictor.spec.proposer
    if checked is None and proposals in ("auto_ppn", "boxes") and foreign and proposed is None:
        raise ConfigError(
            f"Model {predictor.spec.name!r} has no AutoPPN of its own; give proposed= (what "
            f"{foreign!r} proposes), or use find_objects, label_plane or segment_everything."
        )
    sight = Sight(
        lambda _: embedding, None if proposed is None else lambda: proposed, boxes=checked
    )
    return find_in_tile(predictor, sight, tile, proposals, config, on_progress, cancelled)


def find_in_tile(
    predictor: Predictor,
    sight: Sight,
    tile: Tile,
    proposals: str,
    config: EverythingConfig,
    on_progress: OnProgress | None,
    cancelled: IsCancelled | None,
) -> list[MaskRecord]:
    """Objects of one tile; nothing is embedded that is not needed."""
    check_cancelled(cancelled)
    if proposals == "grid":
        return _from_grid(predictor, sight, tile, config, on_progress, cancelled)
    if proposals == "instances":
        records = _instances(predictor, sight.embed(tile.padded), tile, config)
    else:
        wanted = _prompts(predictor, sight, tile, config)
        if wanted is None:
            return []
        check_cancelled(cancelled)
        records = decode_prompts(
            predictor,
            sight.embed(tile.padded),
            wanted,
            config,
            best_only=True,
            on_progress=on_progress,
            cancelled=cancelled,
        )
    records = decoding.clean_mask_records(records, tile, config)
    records = decoding.suppress_masks(records, config)
    return largest_first(records) if proposals == "boxes" else records


def _prompts(
    predictor: Predictor, sight: Sight, tile: Tile, config: EverythingConfig
) -> ProposedPrompts | None:
    """Prompts of the caller's boxes, or of what AutoPPN finds."""
    if sight.boxes is not None:
        return box_prompts(sight.boxes)
    found = (
        ask(predictor, sight.embed(tile.padded), config)
        if sight.propose is None
        else sight.propose()
    )
    return network_prompts(found, tile, config.prompt_kind or "both")


def ask(predictor: Predictor, embedding: Embedding, config: EverythingConfig) -> Proposals:
    """What a model's AutoPPN finds."""
    found = predictor.propose(
        embedding,
        top_n=config.top_n,
        confidence_threshold=given(config.confidence_threshold),
    )
    if found is None:
        raise ConfigError(f"Model {predictor.spec.name!r} proposes nothing; use proposals='grid'.")
    return found


def _from_grid(
    predictor: Predictor,
    sight: Sight,
    tile: Tile,
    config: EverythingConfig,
    on_progress: OnProgress | None,
    cancelled: IsCancelled | None,
) -> list[MaskRecord]:
    """All steps of SAM's automatic mask generator."""
    views = [
        (view, wanted)
        for layer, view in crop_boxes(tile.padded, config.crop_layers, config.crop_overlap_ratio)
        if (wanted := grid_prompts(view, tile, points_per_side(config, layer))) is not None
    ]
    total = sum(len(wanted.prompts) for _, wanted in views)
    records: list[MaskRecord] = []
    crops: list[Box] = []
    done = 0
    for view, wanted in views:
        check_cancelled(cancelled)
        found = decode_prompts(
            predictor,
            sight.embed(view),
            wanted,
            config,
            best_only=False,
            on_progress=_shifted(on_progress, done, total),
            cancelled=cancelled,
        )
        found = decoding.without_cut(found, view, tile.padded)
        found = decoding.suppress_boxes(found, config)
        records += found
        crops += [view] * len(found)
        done += len(wanted.prompts)
    if len(views) > 1:
        records = decoding.merge_crops(records, crops, config)
    return decoding.clean_grid_records(records, tile, config)


def _instances(
    predictor: Predictor, embedding: Embedding, tile: Tile, config: EverythingConfig
) -> list[MaskRecord]:
    """What the network itself finds, without what is the neighbours'."""
    find = getattr(predictor, "instances", None)
    if find is None:
        raise ConfigError(
            f"The predictor of {predictor.spec.name!r} finds no instances; use other proposals."
        )
    records = decoding.instance_records(find(embedding), config)
    if not records:
        return []
    boxes = decoding.box_corners(records)
    centres: FloatArray = (boxes[:, :2] + boxes[:, 2:] - np.float32(1)) / np.float32(2)
    mine = near_core(centres, tile) | through_core(boxes, tile)
    return [record for record, is_mine in zip(records, mine, strict=True) if is_mine]


def largest_first(records: Sequence[MaskRecord]) -> list[MaskRecord]:
    """Sort records by area; equal ones keep their order."""
    return sorted(records, key=lambda record: -record.area)


def _shifted(on_progress: OnProgress | None, before: int, total: int) -> OnProgress | None:
    """Progress callback for one of several lots of prompts."""
    if on_progress is None:
        return None
    tell = on_progress
    return lambda progress: tell(Progress(before + progress.done, total, progress.message))
