"""Where the proposals of a plane come from when they are not the model's own.

AutoPPN belongs to Lite-SAM, but its places and boxes serve any decoder: a second small predictor
looks at the same tile (its embedding lies in the same store). Boxes may also come from the caller,
such as those of a detector.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from litesam.errors import PromptError
from litesam.predictors import load_predictor
from litesam.tiling import tile_for_prompts
from litesam.types import BoxPrompt, Prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.frames import FloatArray
    from litesam.predictors import Predictor
    from litesam.types import Tile

#: Boxes of the caller: (N, 4) (y0, x0, y1, x1) image pixels, or a function that finds them in the
#: (H, W, 3) uint8 pixels of the plane.
BoxSource = npt.ArrayLike | Callable[[npt.NDArray[np.uint8]], npt.ArrayLike]


@lru_cache(maxsize=2)
def shared_proposer(name: str, device: str) -> Predictor:
    """Return the predictor whose AutoPPN proposes for other models; loaded once and kept.

    Raises
    ------
    WeightsError
        If its weights are missing or damaged.
    """
    return load_predictor(name, device=device)


def check_boxes(boxes: npt.ArrayLike) -> FloatArray:
    """Return (N, 4) float32 boxes.

    Raises
    ------
    PromptError
        If they have another shape, are not finite or are empty.
    """
    try:
        array = np.asarray(boxes, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise PromptError(
            "Boxes are (N, 4) numbers (y0, x0, y1, x1) in image pixels; these are no numbers, or "
            "rows of different length."
        ) from error
    if array.size == 0:
        return np.zeros((0, 4), dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise PromptError(
            f"Boxes have the shape {array.shape}; (N, 4) is needed: y0, x0, y1, x1 in image pixels."
        )
    for number, (y0, x0, y1, x1) in enumerate(array.tolist()):
        try:
            BoxPrompt(y0, x0, y1, x1)
        except PromptError as error:
            raise PromptError(f"Box {number}: {error}") from error
    return array


def find_boxes(source: BoxSource, rgb: npt.NDArray[np.uint8]) -> FloatArray:
    """Return the caller's boxes for a plane of (H, W, 3) uint8 pixels.

    Raises
    ------
    PromptError
        If they are no boxes.
    """
    given: Any = source(rgb) if callable(source) else source
    return check_boxes(given)


def share_boxes(boxes: FloatArray, tiles: Sequence[Tile]) -> list[FloatArray]:
    """Give every box to the tile that shows most of its surroundings.

    A box that no tile shows as a whole goes to all tiles whose core it touches: each decodes its
    part, and the seams join them.

    Parameters
    ----------
    boxes
        (N, 4) image pixels.
    tiles
        All tiles of the plane.

    Returns
    -------
    list
        (n, 4) boxes of each tile.

    Raises
    ------
    PromptError
        If a box lies outside the plane; the message says which.
    """
    members: dict[int, list[int]] = {tile.index: [] for tile in tiles}
    height = max(tile.padded.y1 for tile in tiles)
    width = max(tile.padded.x1 for tile in tiles)
    for number, (y0, x0, y1, x1) in enumerate(boxes.tolist()):
        try:
            best = tile_for_prompts(tiles, Prompts(box=BoxPrompt(y0, x0, y1, x1)))
        except PromptError as error:
            raise PromptError(f"Box {number}: {error}") from error
        low, high = (max(y0, 0.0), max(x0, 0.0)), (min(y1, height), min(x1, width))
        if _holds(best, low, high):
            members[best.index].append(number)
            continue
        for tile in tiles:
            core = tile.core
            if y1 > core.y0 and x1 > core.x0 and y0 < core.y1 and x0 < core.x1:
                members[tile.index].append(number)
    return [boxes[members[tile.index]] for tile in tiles]


def _holds(tile: Tile, low: tuple[float, float], high: tuple[float, float]) -> bool:
    """Whether a rectangle lies in the tile."""
    box = tile.padded
    return box.y0 <= low[0] and box.x0 <= low[1] and high[0] <= box.y1 and high[1] <= box.x1
