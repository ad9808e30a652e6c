"""Where everything mode asks the decoder: a regular grid, or the places that AutoPPN finds.

Sources: the grid is that of SAM's automatic mask generator (Kirillov et al. 2023, "Segment
Anything", Sec. 5); AutoPPN is that of Lite-SAM (Fu et al. 2024, arXiv:2407.08965): points and boxes
of the proposal network, thinned by Point-NMS and cut to the best N inside the network, go to one
decoder pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from litesam.errors import ConfigError
from litesam.frames import FloatArray
from litesam.types import Box, PromptBatch

if TYPE_CHECKING:
    from litesam.predictors import Predictor
    from litesam.types import BoolArray, Embedding, EverythingConfig, ModelSpec, Tile

#: Ways to propose prompts.
PROPOSALS = ("auto_ppn", "grid")

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
        (P, 2) float, (y, x) image pixels: the place of each prompt.
    confidence
        (P,) confidence of the proposal network, or None for a grid.
    multimask
        Whether to ask for three candidates per prompt (a point alone is ambiguous, a box is not).
    """

    prompts: PromptBatch
    points: FloatArray
    confidence: FloatArray | None
    multimask: bool


def choose_proposals(spec: ModelSpec, proposals: str | None = None) -> str:
    """Return the way to propose prompts: the given one, or the model's default.

    Raises
    ------
    ConfigError
        If the name is unknown or the model cannot propose in this way.
    """
    if proposals is None:
        return spec.proposals[0]
    if proposals not in spec.proposals:
        possible = " or ".join(map(repr, spec.proposals))
        if proposals in PROPOSALS:
            raise ConfigError(
                f"Model {spec.name!r} cannot propose prompts with {proposals!r}; use "
                f"proposals={possible} or a model that has it, such as 'lite_sam'."
            )
        raise ConfigError(f"Proposals {proposals!r} are not known; use proposals={possible}.")
    return proposals


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


def propose(
    predictor: Predictor,
    embedding: Embedding,
    tile: Tile,
    proposals: str,
    config: EverythingConfig,
) -> ProposedPrompts | None:
    """Return the prompts for one tile, or None if there is nothing to ask.

    Only places in the tile's core or within `CORE_MARGIN_PX` of it, and large objects that reach
    into the core: those in the rest of the halo are the neighbours'.
    """
    if proposals == "grid":
        return _from_grid(embedding, tile, config)
    return _from_network(predictor, embedding, tile, config)


def _from_grid(
    embedding: Embedding, tile: Tile, config: EverythingConfig
) -> ProposedPrompts | None:
    region = _region(embedding)
    points = grid_points(region, config.points_per_side)
    points = points[_near_core(points, tile)]
    if len(points) == 0:
        return None
    return ProposedPrompts(_point_batch(points), points, confidence=None, multimask=True)


def _from_network(
    predictor: Predictor, embedding: Embedding, tile: Tile, config: EverythingConfig
) -> ProposedPrompts | None:
    found = predictor.propose(
        embedding,
        top_n=config.top_n,
        confidence_threshold=config.confidence_threshold or 0.0,
    )
    if found is None:
        raise ConfigError(
            f"Model {predictor.spec.name!r} proposes nothing itself; use proposals='grid'."
        )
    mine = _near_core(found.points, tile) | _through_core(found.boxes, tile)
    if not mine.any():
        return None
    points = _inside(found.points[mine], _region(embedding))
    boxes = _at_least_a_pixel(found.boxes[mine], points)
    prompts = {
        "point": lambda: _point_batch(points),
        "box": lambda: PromptBatch(boxes=boxes),
        "both": lambda: _point_batch(points, boxes),
    }[config.prompt_kind or "both"]()
    return ProposedPrompts(
        prompts, points, found.confidence[mine], multimask=config.prompt_kind == "point"
    )


def _region(embedding: Embedding) -> Box:
    """Region of the image that the embedding describes."""
    (y, x), (height, width) = embedding.frame.origin_yx, embedding.frame.size_yx
    return Box(y, x, y + height, x + width)


def _near_core(points: FloatArray, tile: Tile) -> BoolArray:
    """Which points lie in the tile's core or within the margin of it."""
    low = np.array([tile.core.y0, tile.core.x0]) - CORE_MARGIN_PX - 0.5
    high = np.array([tile.core.y1, tile.core.x1]) + CORE_MARGIN_PX - 0.5
    return np.asarray(((points >= low) & (points <= high)).all(axis=1))


def _through_core(boxes: FloatArray, tile: Tile) -> BoolArray:
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
    return PromptBatch(points=points[:, None], labels=labels, boxes=boxes)
