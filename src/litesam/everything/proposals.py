"""What everything mode asks the decoder: a grid of points, places that AutoPPN finds, boxes.

Sources: the grid is that of SAM's automatic mask generator (Kirillov et al. 2023, "Segment
Anything", Sec. 5); AutoPPN is that of Lite-SAM (Fu et al. 2024, arXiv:2407.08965): points and boxes
of the proposal network, thinned by Point-NMS and cut to the best N inside the network, go to one
decoder pass; boxes alone are the prompts of MobileSAMv2 (Zhang et al. 2023, arXiv:2312.09579).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from litesam.errors import ConfigError
from litesam.frames import FloatArray
from litesam.models.registry import MODELS
from litesam.types import PROPOSALS, Box, PromptBatch

if TYPE_CHECKING:
    from litesam.types import BoolArray, ModelSpec, Proposals, Tile

#: How far outside its core a tile still decodes proposals, pixels. Places further out are the
#: neighbour's; the margin is there because the two do not place a proposal on the very same pixel.
CORE_MARGIN_PX = 16

#: A proposed box this close to the border of the tile may belong to a cut object, pixels.
_BORDER_PX = 8


@dataclass(frozen=True, slots=True, eq=False)
class ProposedPrompts:
    """P prompts for the decoder and what is known about them.

    Attributes
    ----------
    prompts
        The batch.
    points
        (P, 2) float, (y, x) image pixels: the place of each prompt; None for boxes of the caller.
    confidence
        (P,) confidence of the proposal network, or None where there is none.
    multimask
        Whether to ask for three candidates per prompt (a point alone is ambiguous, a box is not).
    """

    prompts: PromptBatch
    points: FloatArray | None
    confidence: FloatArray | None
    multimask: bool


def choose_proposals(
    spec: ModelSpec, proposals: str | None = None, *, with_boxes: bool = False
) -> str:
    """Return the way to propose prompts: the given one, or the model's default.

    Parameters
    ----------
    spec
        The model.
    proposals
        One of `PROPOSALS`, or None.
    with_boxes
        The caller gives boxes: the default is then ``"boxes"``, and nothing else is possible.

    Raises
    ------
    ConfigError
        If the name is unknown, the model cannot propose in this way, or it does not use the boxes.
    """
    if proposals is None:
        proposals = "boxes" if with_boxes else spec.proposals[0]
    if proposals not in spec.proposals:
        possible = " or ".join(map(repr, spec.proposals))
        if proposals not in PROPOSALS:
            raise ConfigError(f"Proposals {proposals!r} are not known; use proposals={possible}.")
        others = [repr(model.name) for model in MODELS if proposals in model.proposals]
        hint = f" or a model that has it, such as {others[0]}" if others else ""
        raise ConfigError(
            f"Model {spec.name!r} cannot propose prompts with {proposals!r}"
            f"{_why(spec, proposals)}; use proposals={possible}{hint}."
        )
    if with_boxes and proposals != "boxes":
        raise ConfigError(
            f"Boxes were given, but proposals={proposals!r} do not use them; use "
            "proposals='boxes' or leave the boxes out."
        )
    return proposals


def _why(spec: ModelSpec, proposals: str) -> str:
    """Why a model lacks a way of proposing, for a message."""
    if proposals == "instances":
        return ", as its network only answers prompts and finds no objects by itself"
    if not spec.selects:
        return ""
    more = "; boxes can choose among them as prompts" if proposals == "boxes" else ""
    return f", as its network finds all objects by itself{more}"


# -------------------------------------------------------------------------------------- the prompts


def grid_points(region: Box, points_per_side: int) -> FloatArray:
    """Centres of an n × n grid of cells over a region.

    Returns
    -------
    FloatArray
        (n², 2) float32, (y, x) image pixels, row by row: origin + (i + 0.5) / n · size.
    """
    steps = (np.arange(points_per_side) + 0.5) / points_per_side
    y = region.y0 + steps * region.size_yx[0]
    x = region.x0 + steps * region.size_yx[1]
    return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)


def grid_prompts(view: Box, tile: Tile, points_per_side: int) -> ProposedPrompts | None:
    """Points of a grid over a view (the tile or a crop of it), or None if there are none.

    Only those in the tile's core or within `CORE_MARGIN_PX` of it; the rest of the halo is the
    neighbours'.
    """
    points = grid_points(view, points_per_side)
    points = points[near_core(points, tile)]
    if len(points) == 0:
        return None
    return ProposedPrompts(_point_batch(points), points, confidence=None, multimask=True)


def network_prompts(found: Proposals, tile: Tile, kind: str) -> ProposedPrompts | None:
    """Prompts from AutoPPN's places and boxes, or None if there are none for this tile.

    Parameters
    ----------
    found
        Proposals for the tile, in image pixels.
    tile
        Places in its core or within `CORE_MARGIN_PX` of it stay, and large objects that reach into
        the core: those in the rest of the halo are the neighbours'.
    kind
        What goes to the decoder: ``"point"``, ``"box"`` or ``"both"``.
    """
    mine = near_core(found.points, tile) | through_core(found.boxes, tile)
    if not mine.any():
        return None
    points = _inside(found.points[mine], tile.padded)
    boxes = _at_least_a_pixel(found.boxes[mine], points)
    prompts = {
        "point": lambda: _point_batch(points),
        "box": lambda: PromptBatch(boxes=boxes, boxes_are_guesses=True),
        "both": lambda: _point_batch(points, boxes),
    }[kind]()
    return ProposedPrompts(prompts, points, found.confidence[mine], multimask=kind == "point")


def box_prompts(boxes: FloatArray) -> ProposedPrompts | None:
    """Prompts from the caller's boxes of one tile, (P, 4) image pixels; None if there are none."""
    if len(boxes) == 0:
        return None
    return ProposedPrompts(PromptBatch(boxes=boxes), None, None, multimask=False)


# ----------------------------------------------------------------------------------- whose are they


def near_core(points: FloatArray, tile: Tile) -> BoolArray:
    """Which points lie in the tile's core or within the margin of it."""
    low = np.array([tile.core.y0, tile.core.x0]) - CORE_MARGIN_PX - 0.5
    high = np.array([tile.core.y1, tile.core.x1]) + CORE_MARGIN_PX - 0.5
    return np.asarray(((points >= low) & (points <= high)).all(axis=1))


def through_core(boxes: FloatArray, tile: Tile) -> BoolArray:
    """Which boxes reach from the core to the border of the tile.

    Of an object larger than the halo every tile sees another part and places its proposal in the
    middle of that part, which may be nobody's core; each tile must decode its part.
    """
    core, padded = tile.core, tile.padded
    low, high = boxes[:, :2], boxes[:, 2:]
    in_core = ((high > (core.y0, core.x0)) & (low < (core.y1, core.x1))).all(axis=1)
    at_border = (low <= np.array((padded.y0, padded.x0)) + _BORDER_PX).any(axis=1) | (
        high >= np.array((padded.y1, padded.x1)) - _BORDER_PX
    ).any(axis=1)
    return np.asarray(in_core & at_border)


def _inside(points: FloatArray, region: Box) -> FloatArray:
    """Points moved to the nearest pixel of the region (a network may point into the padding)."""
    low = np.array([region.y0, region.x0], dtype=np.float32)
    high = np.array([region.y1 - 1, region.x1 - 1], dtype=np.float32)
    return np.clip(points, low, high)


def _at_least_a_pixel(boxes: FloatArray, points: FloatArray) -> FloatArray:
    """Boxes that hold at least the pixel of their point (a network may regress an empty box)."""
    half = np.float32(0.5)
    low = np.minimum(boxes[:, :2], points - half)
    high = np.maximum(boxes[:, 2:], points + half)
    return np.concatenate([low, high], axis=1)


def _point_batch(points: FloatArray, boxes: FloatArray | None = None) -> PromptBatch:
    """One foreground point per prompt, with or without its box."""
    labels = np.ones((len(points), 1), dtype=np.int64)
    return PromptBatch(points[:, None], labels, boxes, boxes_are_guesses=True)
