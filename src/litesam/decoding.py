"""Prompts, each in its tile → calls of a decoder: those of one tile and kind go together."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from litesam.merge import record_from_masks, segment_result
from litesam.predictors.base import check_prompt_kinds
from litesam.tiling import without_far_background
from litesam.types import PointLabel, PromptBatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from litesam.embedder import Embedder
    from litesam.merge import SegmentResult
    from litesam.preprocess import AnyPlane
    from litesam.types import Embedding, MaskRecord, Prompts, Tile

#: Prompts that are decoded at once.
_BATCH = 64


def decode_object(
    embedder: Embedder,
    plane: AnyPlane,
    prompts: Prompts,
    tile: Tile,
    multimask: bool | None = None,
) -> SegmentResult:
    """Return the object of some prompts as it is seen in one tile, which is embedded for it.

    Parameters
    ----------
    embedder, plane
        What embeds, with the model that decodes, and the plane.
    prompts
        In pixels of the plane; background points outside of the tile are left out.
    tile
        Where to look.
    multimask
        Decode three candidates; None: for a single point without box or mask.

    Raises
    ------
    PromptError
        If the model does not take such prompts, or so many points.
    """
    prompts = without_far_background(prompts, tile)
    batch = prompts.to_batch()
    check_prompt_kinds(batch, embedder.predictor.spec)  # before it embeds, which takes seconds
    masks = embedder.predictor.decode(
        embedder.embed(plane, tile),
        batch,
        multimask=prompts.is_ambiguous if multimask is None else multimask,
    )
    best = int(masks.predicted_iou[0].argmax())
    return segment_result(masks, best, _first_foreground(prompts), plane.shape_yx, tile)


def decode_objects(
    embedder: Embedder, plane: AnyPlane, prompts: Sequence[Prompts], where: Mapping[int, Tile]
) -> Iterator[dict[int, MaskRecord]]:
    """Yield the objects of many prompts, some at a time.

    Parameters
    ----------
    embedder, plane
        What embeds, with the model that decodes, and the plane.
    prompts
        In pixels of the plane.
    where
        Tiles by number of the prompts that are to be decoded.

    Yields
    ------
    dict of int to MaskRecord
        Objects by number of their prompts.
    """
    groups: dict[tuple[Any, ...], list[tuple[int, Prompts]]] = defaultdict(list)
    for number, tile in where.items():
        one = without_far_background(prompts[number], tile)
        kind = (len(one.points), one.box is not None, *getattr(one.low_res_mask, "shape", ()))
        groups[(tile, *kind)].append((number, one))
    for (tile, *_), members in groups.items():
        embedding = embedder.embed(plane, tile)
        for start in range(0, len(members), _BATCH):
            yield _decode_alike(embedder, embedding, members[start : start + _BATCH])


def _decode_alike(
    embedder: Embedder, embedding: Embedding, members: Sequence[tuple[int, Prompts]]
) -> dict[int, MaskRecord]:
    """Objects of prompts of one tile that have the same number of points and so on."""
    first = members[0][1]
    batch = PromptBatch.concatenate([one.to_batch() for _, one in members])
    masks = embedder.predictor.decode(embedding, batch, multimask=first.is_ambiguous).best()
    return {
        number: record_from_masks(masks, row, point=_first_foreground(one))
        for row, (number, one) in enumerate(members)
    }


def _first_foreground(prompts: Prompts) -> tuple[float, float] | None:
    found = (p for p in prompts.points if p.label == PointLabel.FOREGROUND)
    return next(((point.y, point.x) for point in found), None)
