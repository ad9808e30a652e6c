"""Tiles partition the plane, and each prompt gets the tile that shows most around it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litesam.errors import ConfigError, ImageError, PromptError
from litesam.tiling import make_tiles, tile_for_prompts
from litesam.types import Box, BoxPrompt, PointLabel, PointPrompt, Prompts, Tile, TilingConfig

#: Small tiles, so that planes of a few hundred pixels have many of them.
SMALL = TilingConfig(tile_px=64, halo_px=10, single_up_to_px=64)


@st.composite
def _tilings(draw: st.DrawFn) -> tuple[tuple[int, int], TilingConfig, tuple[Tile, ...]]:
    tile = draw(st.integers(64, 120))
    config = TilingConfig(
        tile_px=tile,
        halo_px=draw(st.integers(0, (tile - 1) // 2)),
        single_up_to_px=draw(st.integers(64, 200)),
    )
    shape = (draw(st.integers(1, 300)), draw(st.integers(1, 300)))
    if config.tile_px - 2 * config.halo_px < 6:  # one-pixel cores make thousands of tiles
        shape = (shape[0] % 150 + 1, shape[1] % 150 + 1)
    return shape, config, make_tiles(shape, config)


@given(_tilings())
def test_cores_partition_the_plane(tiling: tuple) -> None:
    shape, _, tiles = tiling
    covered = np.zeros(shape, dtype=int)
    for tile in tiles:
        assert min(tile.core.size_yx) > 0
        covered[tile.core.slices] += 1
    assert (covered == 1).all()


@given(_tilings())
def test_padded_boxes_hold_their_core_and_lie_in_the_plane(tiling: tuple) -> None:
    (height, width), _, tiles = tiling
    for tile in tiles:
        core, padded = tile.core, tile.padded
        assert 0 <= padded.y0 <= core.y0 < core.y1 <= padded.y1 <= height
        assert 0 <= padded.x0 <= core.x0 < core.x1 <= padded.x1 <= width


@given(_tilings())
def test_halo_is_at_least_what_was_asked_wherever_the_plane_goes_on(tiling: tuple) -> None:
    (height, width), config, tiles = tiling
    for tile in tiles:
        core, padded = tile.core, tile.padded
        assert padded.y0 == 0 or core.y0 - padded.y0 >= config.halo_px
        assert padded.x0 == 0 or core.x0 - padded.x0 >= config.halo_px
        assert padded.y1 == height or padded.y1 - core.y1 >= config.halo_px
        assert padded.x1 == width or padded.x1 - core.x1 >= config.halo_px


@given(_tilings())
def test_tiles_have_equal_size_and_number_row_by_row(tiling: tuple) -> None:
    shape, config, tiles = tiling
    if max(shape) <= config.single_up_to_px:
        assert len(tiles) == 1
        assert tiles[0].padded == tiles[0].core == Box(0, 0, *shape)
    else:
        expected = (min(shape[0], config.tile_px), min(shape[1], config.tile_px))
        assert {tile.padded.size_yx for tile in tiles} == {expected}
    assert [tile.index for tile in tiles] == list(range(len(tiles)))
    corners = [(tile.core.y0, tile.core.x0) for tile in tiles]
    assert corners == sorted(corners)


@given(_tilings())
def test_no_tile_could_be_left_out(tiling: tuple) -> None:
    (height, width), config, tiles = tiling
    stride = config.tile_px - 2 * config.halo_px
    rows, columns = len({t.core.y0 for t in tiles}), len({t.core.x0 for t in tiles})
    for count, length in ((rows, height), (columns, width)):
        assert count == 1 or (count - 1) * stride + 2 * config.halo_px < length


def test_plane_up_to_the_limit_is_one_tile() -> None:
    assert len(make_tiles((768, 300))) == 1
    assert len(make_tiles((769, 300))) == 2


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (-1, 4)])
def test_empty_plane_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="no pixels"):
        make_tiles(shape)


# ------------------------------------------------------------------------------------- which tile


def _visible_around(tile: Tile, y: float, x: float, shape: tuple[int, int]) -> float:
    """Distance from a pixel to the nearest edge behind which there is more of the plane."""
    box = tile.padded
    sides = [
        math.inf if box.y0 == 0 else y + 0.5 - box.y0,
        math.inf if box.x0 == 0 else x + 0.5 - box.x0,
        math.inf if box.y1 == shape[0] else box.y1 - y - 0.5,
        math.inf if box.x1 == shape[1] else box.x1 - x - 0.5,
    ]
    return min(sides)


@given(_tilings(), st.floats(0, 1), st.floats(0, 1))
def test_point_gets_the_tile_with_the_largest_margin(tiling: tuple, v: float, u: float) -> None:
    shape, config, tiles = tiling
    y, x = v * (shape[0] - 1), u * (shape[1] - 1)
    chosen = tile_for_prompts(tiles, Prompts(points=(PointPrompt(y, x),)))
    margin = _visible_around(chosen, y, x, shape)
    assert margin == max(_visible_around(tile, y, x, shape) for tile in tiles)
    assert margin >= min(config.halo_px, 0.5)
    box = chosen.padded
    assert box.y0 <= y < box.y1
    assert box.x0 <= x < box.x1


@given(_tilings(), st.floats(0, 1), st.floats(0, 1), st.floats(1, 90), st.floats(1, 90))
def test_box_gets_a_tile_that_holds_it_if_there_is_one(
    tiling: tuple, v: float, u: float, height: float, width: float
) -> None:
    shape, _, tiles = tiling
    y0, x0 = v * (shape[0] - 1), u * (shape[1] - 1)
    box = BoxPrompt(y0, x0, min(y0 + height, shape[0]), min(x0 + width, shape[1]))

    def holds(tile: Tile) -> bool:
        p = tile.padded
        return p.y0 <= box.y0 and p.x0 <= box.x0 and p.y1 >= box.y1 and p.x1 >= box.x1

    chosen = tile_for_prompts(tiles, Prompts(box=box))
    if any(holds(tile) for tile in tiles):
        assert holds(chosen)


def test_point_on_tile_seam_uses_tile_with_larger_margin() -> None:
    left, right = make_tiles((64, 108), SMALL)  # padded 0–64 and 44–108, seam at 54
    assert (left.padded.x1, right.padded.x0) == (64, 44)
    assert tile_for_prompts((left, right), Prompts(points=(PointPrompt(30, 53),))) == left
    assert tile_for_prompts((left, right), Prompts(points=(PointPrompt(30, 54),))) == right


def test_box_larger_than_a_tile_gets_the_tile_of_its_centre() -> None:
    tiles = make_tiles((300, 300), SMALL)
    chosen = tile_for_prompts(tiles, Prompts(box=BoxPrompt(20, 60, 180, 290)))
    assert chosen.core.y0 <= 100 < chosen.core.y1
    assert chosen.core.x0 <= 175 < chosen.core.x1


def test_far_background_point_does_not_decide() -> None:
    tiles = make_tiles((300, 300), SMALL)
    click = PointPrompt(20, 20)
    far = PointPrompt(280, 280, PointLabel.BACKGROUND)
    alone = tile_for_prompts(tiles, Prompts(points=(click,)))
    assert tile_for_prompts(tiles, Prompts(points=(click, far))) == alone


def test_points_too_far_apart_get_the_tile_of_their_centre() -> None:
    tiles = make_tiles((300, 300), SMALL)
    points = (PointPrompt(0, 0), PointPrompt(299, 299))
    chosen = tile_for_prompts(tiles, Prompts(points=points))
    assert chosen.core.y0 <= 149.5 < chosen.core.y1
    assert chosen.core.x0 <= 149.5 < chosen.core.x1


def test_background_point_alone_is_served() -> None:
    tiles = make_tiles((300, 300), SMALL)
    point = PointPrompt(150, 150, PointLabel.BACKGROUND)
    box = tile_for_prompts(tiles, Prompts(points=(point,))).padded
    assert box.y0 <= 150 < box.y1


@pytest.mark.parametrize("yx", [(-1, 5), (5, -0.6), (300, 5), (5, 299.6)])
@pytest.mark.parametrize("shape", [(300, 300)])
def test_point_outside_the_plane_is_refused(
    yx: tuple[float, float], shape: tuple[int, int]
) -> None:
    with pytest.raises(PromptError, match="outside the plane of 300 × 300"):
        tile_for_prompts(make_tiles(shape, SMALL), Prompts(points=(PointPrompt(*yx),)))


def test_box_outside_the_plane_is_refused_and_one_that_sticks_out_is_not() -> None:
    tiles = make_tiles((300, 300), SMALL)
    with pytest.raises(PromptError, match="outside"):
        tile_for_prompts(tiles, Prompts(box=BoxPrompt(-9, -9, 0, 0)))
    assert tile_for_prompts(tiles, Prompts(box=BoxPrompt(-9, -9, 20, 20))) == tiles[0]


def test_mask_prompt_alone_needs_a_single_tile() -> None:
    prompts = Prompts(low_res_mask=np.zeros((8, 8), np.float32))
    single = make_tiles((50, 50), SMALL)
    assert tile_for_prompts(single, prompts) == single[0]
    with pytest.raises(PromptError, match="add a point or a box"):
        tile_for_prompts(make_tiles((300, 300), SMALL), prompts)


def test_no_tiles_is_an_error() -> None:
    with pytest.raises(ConfigError, match="make_tiles"):
        tile_for_prompts((), Prompts(points=(PointPrompt(1, 1),)))
