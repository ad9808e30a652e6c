"""Small objects are looked at again in smaller tiles, in which the network sees them larger.

AutoPPN finds them in large tiles all the same, so what it proposes says how large they are before
anything is decoded. Other tools ask for a diameter or estimate it for the same end (Stringer et al.
2021, Cellpose, *Nature Methods* 18:100).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from litesam.everything.defaults import resolve_config
from litesam.everything.tile import ask
from litesam.tiling import box_on_plane, closer_side, closer_window, first_tile, make_tiles
from litesam.types import PointPrompt, Prompts, TilingConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.embedder import Embedder
    from litesam.preprocess import AnyPlane
    from litesam.types import ModelSpec, Proposals, Tile

#: At most so many tiles of a plane, spread over it, are asked how large the objects are.
LOOKS = 25
#: Fewer proposals than this say nothing about the usual size.
_FEWEST = 4


def closer_tiles(
    spec: ModelSpec,
    plane_yx: tuple[int, int],
    tiles: Sequence[Tile],
    proposed: Sequence[Proposals],
) -> tuple[Tile, ...] | None:
    """Return smaller tiles if the objects are small in the given ones; None: they are not.

    Parameters
    ----------
    spec
        The model that decodes.
    plane_yx
        Size of the plane, pixels.
    tiles
        Tiles of the plane, or those of a part of it.
    proposed
        What was proposed in each of them, or in some.

    Returns
    -------
    tuple of Tile or None
        Tiles of the same plane, or those that meet the same part.
    """
    diameter = usual_diameter(proposed)
    if diameter is None:
        return None
    side = closer_side(spec, diameter, max(max(tile.padded.size_yx) for tile in tiles))
    if side is None:
        return None
    halo = min(max(round(1.25 * diameter), side // 8), side * 3 // 8)
    cores = [tile.core for tile in tiles]
    return tuple(
        tile
        for tile in make_tiles(plane_yx, TilingConfig(side, halo, side))
        if any(
            tile.core.y0 < core.y1
            and core.y0 < tile.core.y1
            and tile.core.x0 < core.x1
            and core.x0 < tile.core.x1
            for core in cores
        )
    )


def usual_diameter(proposed: Sequence[Proposals]) -> float | None:
    """Return the median side of the proposed boxes, image pixels; None where they are too few."""
    boxes = np.concatenate([found.boxes.reshape(-1, 4) for found in proposed])
    if len(boxes) < _FEWEST:
        return None
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    return float(np.median(np.sqrt(sides.prod(axis=1))))


def closer_windows(
    embedder: Embedder, plane: AnyPlane, tiles: Sequence[Tile], seen: Sequence[Tile]
) -> list[Tile]:
    """Return the windows in which clicks on small objects are answered, see `closer_window`.

    Parameters
    ----------
    embedder, plane
        What embeds, with the model that decodes, and the plane.
    tiles
        All tiles of the plane.
    seen
        Those in which AutoPPN is asked for objects; they are embedded.

    Returns
    -------
    list of Tile
        The windows of most objects first; empty for a model that does not look closer.
    """
    spec = embedder.predictor.spec
    if not spec.looks_closer or "auto_ppn" not in spec.proposals:
        return []
    config = resolve_config(spec, "auto_ppn", None)
    shape = plane.shape_yx
    counts: Counter[Tile] = Counter()
    for tile in seen:
        found = ask(embedder.predictor, embedder.embed(plane, tile), config)
        for (y, x), edges in zip(found.points, found.boxes, strict=True):
            core = tile.core
            if not (core.y0 <= y < core.y1 and core.x0 <= x < core.x1):
                continue  # another tile sees it better
            click = Prompts(points=(PointPrompt(float(y), float(x)),))
            box = box_on_plane(edges, shape)
            shown = first_tile(spec, tiles, click, shape)
            window = closer_window(spec, box, click, shown, shape)
            if window is not None:
                counts[window] += 1
    return [window for window, _ in counts.most_common()]
