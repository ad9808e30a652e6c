"""From a mask in one slice to the mask in the next: prompts, decoder, and how far to trust it.

Masks travel as `MaskRecord`, in pixels of the plane.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from litesam.errors import Cancelled
from litesam.merge import bridge, intersection
from litesam.merge.bridge import signed_distance
from litesam.preprocess import Plane
from litesam.prompting.from_masks import deepest_pixel
from litesam.tiling import tile_for_prompts
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

    from litesam.segmenter import Segmenter
    from litesam.types import IsCancelled, PropagateConfig

#: Logits of a mask that is given as a prompt: certain, but not more than a decoder would be.
_MASK_LOGIT = 4.0
#: The threshold that gives the object its known size on the prompted slice is looked for in this
#: range of logits.
_THRESHOLDS = 3.0
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

    def shown(self, number: int) -> tuple[Plane, tuple[Tile, ...]]:
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


def _batch(
    stack: Stack, records: Sequence[MaskRecord], frame: object, tile: Tile, config: PropagateConfig
) -> PromptBatch:
    raise NotImplementedError


def check(cancelled: IsCancelled | None) -> None:
    """Raise `Cancelled` if the work is to stop."""
    if cancelled is not None and cancelled():
        raise Cancelled("Propagation was cancelled; nothing of it is kept.")
