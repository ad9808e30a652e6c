"""Cut a plane into tiles and say which tile serves a prompt; pure geometry, no pixels."""

from __future__ import annotations

from litesam.tiling.grid import make_tiles
from litesam.tiling.select import tile_for_prompts, without_far_background

__all__ = ["make_tiles", "tile_for_prompts", "without_far_background"]
