"""Cut a plane into tiles and say which tile serves a prompt; pure geometry, no pixels."""

from __future__ import annotations

from litesam.tiling.choose import closer_tile, first_tile, has_mask
from litesam.tiling.closer import box_on_plane, closer_side, closer_window, is_same
from litesam.tiling.grid import make_tiles
from litesam.tiling.select import tile_for_prompts, without_far_background
from litesam.tiling.widen import find_whole, is_cut, tile_for_object

__all__ = [
    "box_on_plane",
    "closer_side",
    "closer_tile",
    "closer_window",
    "find_whole",
    "first_tile",
    "has_mask",
    "is_cut",
    "is_same",
    "make_tiles",
    "tile_for_object",
    "tile_for_prompts",
    "without_far_background",
]
