"""Where a model looks for the object of prompts: at first, and once more if it is small there."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING

from litesam.tiling.closer import box_on_plane, closer_window
from litesam.tiling.select import tile_for_prompts
from litesam.tiling.widen import tile_for_object

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.types import MaskRecord, ModelSpec, Prompts, Tile


def has_mask(prompts: Prompts) -> bool:
    """Whether a mask is fed back, which belongs to its tile."""
    return getattr(prompts, "low_res_mask", None) is not None


def first_tile(
    spec: ModelSpec, tiles: Sequence[Tile], prompts: Prompts, shape_yx: tuple[int, int]
) -> Tile:
    """Return where the object of the prompts is looked for first.

    Parameters
    ----------
    spec
        The model that looks.
    tiles
        All tiles of the plane.
    prompts
        In pixels of the plane.
    shape_yx
        Height and width of the plane.

    Returns
    -------
    Tile
        One of ``tiles``, or a window of its own: a wider one for a large object, a closer one for a
        small box.

    Raises
    ------
    PromptError, ConfigError
        See `tile_for_prompts`.
    """
    if has_mask(prompts):
        return tile_for_prompts(tiles, prompts)
    tile = tile_for_object(tiles, prompts, shape_yx)
    if prompts.box is None or not spec.looks_closer:
        return tile
    box = box_on_plane(astuple(prompts.box), shape_yx)
    return closer_window(spec, box, prompts, tile, shape_yx) or tile


def closer_tile(
    spec: ModelSpec, record: MaskRecord, prompts: Prompts, tile: Tile, shape_yx: tuple[int, int]
) -> Tile | None:
    """Return the window that shows an object larger that is small in its tile, if that is wanted.

    Parameters
    ----------
    spec
        The model that looks.
    record
        The object as it was seen in ``tile``.
    prompts, shape_yx
        As for `first_tile`.
    tile
        Where it was seen.
    """
    if not spec.looks_closer or tile.index < 0 or not record.area or has_mask(prompts):
        return None
    return closer_window(spec, record.box, prompts, tile, shape_yx)
