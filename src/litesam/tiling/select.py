"""Which tile serves a prompt.

The decoder sees one tile. The best one shows the most surroundings of what was pointed at: the tile
in whose padded box the prompt has the largest distance to the nearest inner edge. Edges on the
plane's border do not count, because no other tile sees further there.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from litesam.errors import ConfigError, PromptError
from litesam.types import Box, PointLabel, PointPrompt, Prompts, Tile

if TYPE_CHECKING:
    from collections.abc import Sequence

#: (y0, x0, y1, x1) in pixel edges: pixel i covers i … i + 1, so a point at its centre has the
#: coordinate i + 0.5.
_Extent = tuple[float, float, float, float]


def tile_for_prompts(tiles: Sequence[Tile], prompts: Prompts) -> Tile:
    """Choose the tile that serves all prompts of one object.

    Parameters
    ----------
    tiles
        All tiles of the plane, see `litesam.tiling.make_tiles`.
    prompts
        Prompts in image pixels.

    Returns
    -------
    Tile
        The tile whose padded box holds all points and the box with the largest margin. If none
        holds them all, background points are left out; if still none does (a box larger than a
        tile, clicks far apart), it is the tile whose core holds the centre of the box, without a
        box of the foreground points. Such a tile does not contain all of the prompts.

    Raises
    ------
    PromptError
        If a point or the whole box lies outside the plane, or if a mask prompt alone leaves the
        place open.
    ConfigError
        If there are no tiles.
    """
    if not isinstance(prompts, Prompts):
        raise PromptError(
            f"Got {prompts!r}; prompts are needed, such as Prompts(points=(PointPrompt(y, x),))."
        )
    if not tiles:
        raise ConfigError(
            "There are no tiles to choose from; make them with litesam.tiling.make_tiles."
        )
    plane = _plane_of(tiles)
    _check_inside(prompts, plane)
    if len(tiles) == 1:
        return tiles[0]
    box = _box_extent(prompts, plane)
    foreground = [p for p in prompts.points if p.label == PointLabel.FOREGROUND]
    centre = _centre(_union(box, ()) or _union(None, foreground) or _union(None, prompts.points))
    for points in (prompts.points, foreground):
        extent = _union(box, points)
        if extent is None:
            continue
        best = max(tiles, key=lambda tile: _rank(tile, extent, centre, plane))
        if _margin(best.padded, extent, plane) >= 0:
            return best
    return max(tiles, key=lambda tile: _margin(tile.core, (*centre, *centre), plane))


def without_far_background(prompts: Prompts, tile: Tile) -> Prompts:
    """Leave out the background points that the tile does not show: they say nothing there."""
    box = tile.padded

    def stays(point: PointPrompt) -> bool:
        return point.label != PointLabel.BACKGROUND or (
            box.y0 - 0.5 <= point.y <= box.y1 - 0.5 and box.x0 - 0.5 <= point.x <= box.x1 - 0.5
        )

    points = tuple(filter(stays, prompts.points))
    return prompts if len(points) == len(prompts.points) else replace(prompts, points=points)


def _plane_of(tiles: Sequence[Tile]) -> Box:
    """Smallest rectangle that holds all tiles."""
    return Box(
        min(t.padded.y0 for t in tiles),
        min(t.padded.x0 for t in tiles),
        max(t.padded.y1 for t in tiles),
        max(t.padded.x1 for t in tiles),
    )


def _check_inside(prompts: Prompts, plane: Box) -> None:
    where = f"the plane of {plane.y1 - plane.y0} × {plane.x1 - plane.x0} px (height × width)"
    for point in prompts.points:
        y, x = point.y + 0.5, point.x + 0.5
        if point.label != PointLabel.PADDING and not (
            plane.y0 <= y <= plane.y1 and plane.x0 <= x <= plane.x1
        ):
            raise PromptError(
                f"Point (y={point.y:g}, x={point.x:g}) lies outside {where}; move or remove it."
            )
    box = prompts.box
    if box is not None and not (
        box.y0 < plane.y1 and box.y1 > plane.y0 and box.x0 < plane.x1 and box.x1 > plane.x0
    ):
        raise PromptError(
            f"Box (y0={box.y0:g}, x0={box.x0:g}, y1={box.y1:g}, x1={box.x1:g}) lies outside "
            f"{where}; move or "
            "remove it."
        )


def _box_extent(prompts: Prompts, plane: Box) -> _Extent | None:
    """Part of the box prompt that lies in the plane."""
    box = prompts.box
    if box is None:
        return None
    return (
        max(box.y0, plane.y0),
        max(box.x0, plane.x0),
        min(box.y1, plane.y1),
        min(box.x1, plane.x1),
    )


def _union(box: _Extent | None, points: Sequence[PointPrompt]) -> _Extent | None:
    """Bounding rectangle of the box and the points, None if there is neither."""
    corners = [(p.y + 0.5, p.x + 0.5) for p in points if p.label != PointLabel.PADDING]
    if box is not None:
        corners += [box[:2], box[2:]]
    if not corners:
        return None
    ys, xs = zip(*corners, strict=True)
    return (min(ys), min(xs), max(ys), max(xs))


def _centre(extent: _Extent | None) -> tuple[float, float]:
    if extent is None:
        raise PromptError(
            "A mask prompt alone does not say which of several tiles is meant; add a point or a "
            "box."
        )
    return ((extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2)


def _margin(box: Box, extent: _Extent, plane: Box) -> float:
    """Distance to the nearest edge of the box inside the plane; negative where it sticks out."""
    return min(
        math.inf if box.y0 == plane.y0 else extent[0] - box.y0,
        math.inf if box.x0 == plane.x0 else extent[1] - box.x0,
        math.inf if box.y1 == plane.y1 else box.y1 - extent[2],
        math.inf if box.x1 == plane.x1 else box.x1 - extent[3],
    )


def _rank(
    tile: Tile, extent: _Extent, centre: tuple[float, float], plane: Box
) -> tuple[float, float, int]:
    """Preference: margin in the padded box, margin of the centre in the core, first tile."""
    return (
        _margin(tile.padded, extent, plane),
        _margin(tile.core, (*centre, *centre), plane),
        -tile.index,
    )
