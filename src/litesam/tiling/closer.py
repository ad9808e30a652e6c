"""Objects that are small in their tile: looked at again in smaller windows, which enlarge them.

A network sees a tile at the size of its input. A whole plane in one tile may show it nuclei of 15
pixels: too few for their outlines, and too close to tell neighbours apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from litesam.tiling.widen import common_area, place_window
from litesam.types import Box, PointLabel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.types import MaskRecord, ModelSpec, Prompts, Tile

#: Objects whose boxes the network sees smaller than this, model pixels, are looked at closer …
SMALL_PX = 25.0
#: … so that they have this size. Chosen on cells of three kinds, see
#: docs/decisions/0009-closer-looks.md.
_GOOD_PX = 40.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How much closer a look is worth its time.

    Attributes
    ----------
    least
        Objects must be seen larger by this factor.
    most
        Pixels of an image are enlarged no more than so often.
    """

    least: float
    most: float


#: Everything mode: less than about one step of the sides is not worth the time. Three steps make
#: 192 px of an input of 512 px, so the largest factor is 2.67 there.
_WHOLE_PLANE = Effort(1.3, 2.0 * math.sqrt(2.0))
#: A click is answered twice, in a window that may have to be embedded: for less than about two
#: steps the answer is hardly better, and comes late; larger windows serve more clicks.
_ONE_OBJECT = Effort(1.75, 2.0)
#: Sides of windows are such as the model's input, or larger or smaller by powers of √2, in
#: multiples of this many image pixels: so that few kinds of windows serve all objects.
_STEP_PX = 16
#: Tiles have this side at least (`litesam.types.TilingConfig`).
_SMALLEST_PX = 64
#: Windows begin at multiples of this share of their side, so that few serve many objects.
_GRID = 2
#: An object, or a box, has at most this share of the side of its window.
_SHARE = 0.4
#: The closer view shows the same object if this share of the smaller of the two masks is common.
_SAME = 0.5


def closer_side(
    spec: ModelSpec, diameter_px: float, side_px: int, effort: Effort = _WHOLE_PLANE
) -> int | None:
    """Return the side of tiles in which objects that are small in a tile are seen well.

    Parameters
    ----------
    spec
        The model that looks.
    diameter_px
        Of the objects, as the side of a square of their boxes' area, image pixels.
    side_px
        Longest side of the tile, image pixels.
    effort
        How much larger they must be seen, and may be.

    Returns
    -------
    int or None
        Image pixels; None: the objects are not small, or cannot be seen much larger.
    """
    scale = _scale(spec, side_px)
    if diameter_px * scale >= SMALL_PX:
        return None
    steps = math.floor(2.0 * math.log2(min(_GOOD_PX / diameter_px, effort.most)) + 1e-9)
    side = _side(spec, steps)
    while side * (spec.max_enlargement or math.inf) < spec.frame_px:  # the rest would be padding
        steps -= 1
        side = _side(spec, steps)
    return side if _scale(spec, side) >= effort.least * scale else None


def closer_window(
    spec: ModelSpec, box: Box, prompts: Prompts, tile: Tile, shape_yx: tuple[int, int]
) -> Tile | None:
    """Return the window in which a small object is seen well.

    Parameters
    ----------
    spec
        The model that looks.
    box
        Of the object, image pixels.
    prompts
        What is said about it.
    tile
        Where it was, or would be, seen.
    shape_yx
        Height and width of the plane.

    Returns
    -------
    Tile or None
        Its index is -1. None: the object is not small, it cannot be seen much larger, or the window
        would not show all that is said about it.
    """
    height, width = box.size_yx
    if height < 1 or width < 1:
        return None
    diameter, seen = math.sqrt(height * width), max(tile.padded.size_yx)
    side = closer_side(spec, diameter, seen, _ONE_OBJECT)
    if side is None or max(height, width) > _SHARE * side:
        return None
    window = place_window(box, side, side // _GRID, shape_yx)
    shown = window.padded
    for point in prompts.points:
        inside = shown.y0 <= point.y < shown.y1 and shown.x0 <= point.x < shown.x1
        if point.label == PointLabel.FOREGROUND and not inside:
            return None
    return window


def box_on_plane(edges: Sequence[float], shape_yx: tuple[int, int]) -> Box:
    """Return the part of (y0, x0, y1, x1) that lies on a plane, in whole pixels."""
    y0, x0, y1, x1 = (round(float(edge)) for edge in edges)
    return Box(max(y0, 0), max(x0, 0), min(y1, shape_yx[0]), min(x1, shape_yx[1]))


def is_same(closer: MaskRecord, record: MaskRecord) -> bool:
    """Whether a closer view shows the object that was seen, or a part of what was taken for it."""
    smaller = min(closer.area, record.area)
    return smaller > 0 and common_area(closer, record) >= _SAME * smaller


def _side(spec: ModelSpec, steps: int) -> int:
    """Side of a window after so many steps of √2 below the model's input, image pixels."""
    side: int = math.ceil(spec.frame_px / 2.0 ** (steps / 2.0) / _STEP_PX) * _STEP_PX
    return max(side, _SMALLEST_PX)


def _scale(spec: ModelSpec, side: int) -> float:
    """Model pixels per image pixel of a square tile."""
    return float(spec.frame((side, side)).scale_yx[0])
