"""Propose → decode → filter → suppress duplicates → stitch → paint.

`find_objects` does a plane, tile by tile, `label_plane` paints what it finds, `segment_everything`
starts from an image. What differs from SAM's automatic mask
generator: objects at the borders of tiles are not dropped but settled by
`litesam.merge.stitch_tiles`, which sees both sides of a seam.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litesam.embedder import Embedder
from litesam.everything.closer import LOOKS, closer_tiles
from litesam.everything.decoding import check_cancelled, given
from litesam.everything.defaults import resolve_config
from litesam.everything.proposals import choose_proposals
from litesam.everything.sources import find_boxes, share_boxes, shared_proposer
from litesam.everything.tile import Sight, ask, find_in_tile, largest_first
from litesam.merge import paint_labels, stitch_tiles
from litesam.predictors import as_predictor
from litesam.predictors.interrupts import interruptible
from litesam.preprocess import extract_plane, to_rgb
from litesam.tiling import make_tiles
from litesam.types import NormalizeConfig, Progress, Tile, TilingConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from litesam.everything.sources import BoxSource
    from litesam.frames import FloatArray
    from litesam.predictors import Predictor
    from litesam.preprocess import AnyPlane
    from litesam.store import EmbeddingStore
    from litesam.types import (
        Box,
        Embedding,
        EverythingConfig,
        HqMode,
        IsCancelled,
        LabelArray,
        MaskRecord,
        OnProgress,
        Proposals,
    )

#: Steps of the progress that one tile counts as.
_STEPS_PER_TILE = 100


# ---------------------------------------------------------------------------------------- one plane


def find_objects(
    predictor: Predictor,
    embedder: Embedder,
    plane: AnyPlane,
    tiles: Sequence[Tile],
    proposals: str | None = None,
    config: EverythingConfig | None = None,
    *,
    boxes: BoxSource | None = None,
    proposer: Predictor | None = None,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
) -> list[MaskRecord]:
    """Find the objects of one plane, tile by tile; their masks may overlap.

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
    boxes
        Boxes of the caller: (N, 4) (y0, x0, y1, x1) in pixels of the plane, or a function that
        returns them for the (H, W, 3) uint8 pixels of the plane. Each is decoded in the tile that
        shows it best, a box larger than a tile in parts.
    proposer
        Whose AutoPPN proposes; None: the model's own or, where it has none, Lite-SAM's with the
        bundled weights, loaded once.
    on_progress
        Called after each tile and, within a tile, after each call of the decoder.
    cancelled
        Asked before each tile and each call of the decoder. Embeddings made so far stay in the
        store.

    Returns
    -------
    list of MaskRecord
        Without duplicates: no object stands twice because several tiles or crops saw it. Tiles in
        which nothing is proposed are not encoded.

    Raises
    ------
    ConfigError
        If the model cannot propose in this way.
    PromptError
        If ``boxes`` are no boxes or one lies outside the plane.
    Cancelled
        If ``cancelled`` said so.
    """
    proposals = choose_proposals(predictor.spec, proposals, with_boxes=boxes is not None)
    config = resolve_config(predictor.spec, proposals, config)
    shared: Sequence[FloatArray | None] = [None] * len(tiles)
    asked = None
    proposed: Sequence[Proposals | None] = [None] * len(tiles)
    if boxes is not None:
        shared = share_boxes(find_boxes(boxes, plane.rgb), tiles)
    elif proposals in ("auto_ppn", "boxes"):
        asked = _asked_embedder(predictor, embedder, proposer)
        if config.small_objects == "closer":
            first = _propose(asked or embedder, plane, tiles, config, on_progress, cancelled)
            closer = closer_tiles(predictor.spec, plane.shape_yx, tiles, list(first.values()))
            if closer is None:
                proposed = [first.get(number) for number in range(len(tiles))]
            else:
                tiles, proposed = closer, [None] * len(closer)
                shared = [None] * len(closer)
    total = len(tiles) * _STEPS_PER_TILE
    per_tile = []
    for number, (tile, mine, found) in enumerate(zip(tiles, shared, proposed, strict=True)):
        done = number * _STEPS_PER_TILE
        message = f"tile {number + 1} of {len(tiles)}"
        check_cancelled(cancelled)
        _report(on_progress, done, total, message)
        sight = _sight(embedder, asked, plane, tile, mine, config, found)
        within = None if on_progress is None else _within(on_progress, done, total, message)
        with interruptible(cancelled):
            found_here = find_in_tile(predictor, sight, tile, proposals, config, within, cancelled)
        per_tile.append(found_here)
    records = stitch_tiles(per_tile, tiles, plane.shape_yx)
    many = "1 object" if len(records) == 1 else f"{len(records)} objects"
    _report(on_progress, total, total, many)
    return largest_first(records) if proposals == "boxes" else records


def _asked_embedder(
    predictor: Predictor, embedder: Embedder, proposer: Predictor | None
) -> Embedder | None:
    """Embedder of the model whose AutoPPN is asked, on the same store; None: the model itself."""
    if proposer is None:
        if predictor.spec.proposer is None:
            return None
        proposer = shared_proposer(predictor.spec.proposer, predictor.device)
    return Embedder(proposer, embedder.store)


def _propose(
    asked: Embedder,
    plane: AnyPlane,
    tiles: Sequence[Tile],
    config: EverythingConfig,
    on_progress: OnProgress | None,
    cancelled: IsCancelled | None,
) -> dict[int, Proposals]:
    """What AutoPPN finds in each tile, or in some, by their places in the sequence."""
    found = {}
    looked_at = range(0, len(tiles), -(-len(tiles) // LOOKS))
    for done, number in enumerate(looked_at):
        check_cancelled(cancelled)
        _report(on_progress, done, len(looked_at), "how large the objects are")
        with interruptible(cancelled):
            found[number] = ask(asked.predictor, asked.embed(plane, tiles[number]), config)
    return found


def _sight(
    embedder: Embedder,
    asked: Embedder | None,
    plane: AnyPlane,
    tile: Tile,
    boxes: FloatArray | None,
    config: EverythingConfig,
    found: Proposals | None,
) -> Sight:
    def embed(region: Box) -> Embedding:
        return embedder.embed(plane, Tile(tile.index, region, region))

    if found is not None:
        return Sight(embed, lambda: found, boxes)
    if asked is None:
        return Sight(embed, boxes=boxes)
    other = asked

    def propose() -> Proposals:
        return ask(other.predictor, other.embed(plane, tile), config)

    return Sight(embed, propose, boxes)


def label_plane(
    predictor: Predictor,
    embedder: Embedder,
    plane: AnyPlane,
    tiles: Sequence[Tile],
    proposals: str | None = None,
    config: EverythingConfig | None = None,
    *,
    boxes: BoxSource | None = None,
    proposer: Predictor | None = None,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
) -> tuple[LabelArray, tuple[MaskRecord, ...]]:
    """Find the objects of one plane and paint them; see `find_objects` for the parameters.

    Returns
    -------
    tuple
        (H, W) int32 labels 1 … N, 0 for background, and the N records in order of their labels;
        box and pixels of a record are those painted.
    """
    proposals = choose_proposals(predictor.spec, proposals, with_boxes=boxes is not None)
    config = resolve_config(predictor.spec, proposals, config)
    records = find_objects(
        predictor,
        embedder,
        plane,
        tiles,
        proposals,
        config,
        boxes=boxes,
        proposer=proposer,
        on_progress=on_progress,
        cancelled=cancelled,
    )
    labels, painted = paint_labels(
        records,
        plane.shape_yx,
        config.overlap_policy or "score",
        min_area_px=config.min_area_px,
        min_visible=given(config.min_visible),
    )
    return labels, tuple(painted)


# ----------------------------------------------------------------------------------------- an image


def segment_everything(
    image: Any,
    model: str | Predictor = "lite_sam",
    proposals: str | None = None,
    config: EverythingConfig | None = None,
    *,
    boxes: BoxSource | None = None,
    proposer: Predictor | None = None,
    axes: str | None = None,
    index: tuple[int, ...] | int | None = None,
    channel: int | None = None,
    normalize: NormalizeConfig | None = None,
    tiling: TilingConfig | None = None,
    store: EmbeddingStore | None = None,
    device: str = "auto",
    weights: str | Path | None = None,
    hq: HqMode = False,
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
        ``"grid"`` (a regular grid of points, as SAM does), ``"auto_ppn"`` (places and boxes that
        Lite-SAM's proposal network finds), ``"boxes"`` (boxes alone, of that network or yours, as
        MobileSAMv2 does), ``"instances"`` (what the network finds by itself, as FastSAM does) or
        None for the model's default.
    config
        Parameters; None: the model's defaults.
    boxes, proposer
        Boxes of your own, such as those of a detector, or another model whose AutoPPN is asked; see
        `find_objects`.
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
    device, weights, hq
        For a model given by name, see `litesam.load_predictor`.
    on_progress, cancelled
        Callbacks, see `find_objects`.

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
    PromptError
        If ``boxes`` are no boxes or one lies outside the plane.
    Cancelled
        If ``cancelled`` said so.

    Examples
    --------
    >>> labels, records = segment_everything(image)  # doctest: +SKIP
    >>> labels.max() == len(records)  # doctest: +SKIP
    True
    """
    predictor = as_predictor(model, weights, device, hq)
    # fail before the image is read
    choose_proposals(predictor.spec, proposals, with_boxes=boxes is not None)
    raw = extract_plane(image, axes=axes, index=index, channel=channel)
    plane = to_rgb(raw, normalize or NormalizeConfig())
    return label_plane(
        predictor,
        Embedder(predictor, store),
        plane,
        make_tiles(plane.shape_yx, tiling or TilingConfig()),
        proposals,
        config,
        boxes=boxes,
        proposer=proposer,
        on_progress=on_progress,
        cancelled=cancelled,
    )


# ----------------------------------------------------------------------------------------- progress


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
