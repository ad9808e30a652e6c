from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.records import record, rectangle
from litesam.merge import near_inner_edge, stitch_tiles
from litesam.tiling import make_tiles
from litesam.types import Box, MaskRecord, Tile, TilingConfig

#: Two tiles of 8 rows: cores 0–10 and 10–20, halos of 4 columns.
LEFT = Tile(0, Box(0, 0, 8, 10), Box(0, 0, 8, 14))
RIGHT = Tile(1, Box(0, 10, 8, 20), Box(0, 6, 8, 20))
SHAPE = (8, 20)


def stitch(left: list[MaskRecord], right: list[MaskRecord], **options: float) -> list[MaskRecord]:
    options = {"edge_px": 0, **options}
    return stitch_tiles([left, right], [LEFT, RIGHT], SHAPE, **options)  # type: ignore[arg-type]


def test_object_in_both_halos_stays_once_and_as_its_owner_saw_it() -> None:
    left, right = rectangle(2, 7, 5, 10, score=0.5), rectangle(2, 7, 5, 11, score=0.9)
    assert stitch([left], [right]) == [left]  # the centre is at 8.5 and 9: the left core
    left, right = rectangle(2, 10, 5, 13, score=0.9), rectangle(2, 10, 5, 13, score=0.5)
    assert stitch([left], [right]) == [right]


def test_object_that_its_owner_missed_stays() -> None:
    seen = rectangle(2, 7, 5, 9)
    assert stitch([], [seen]) == [seen]


def test_part_that_a_neighbour_saw_of_a_whole_gives_way() -> None:
    whole, part = rectangle(1, 5, 6, 11), rectangle(1, 7, 3, 9, score=0.9)
    assert stitch([whole], [part]) == [whole]


def test_nested_objects_of_their_own_tiles_stay_both() -> None:
    cell, nucleus = rectangle(1, 6, 7, 13), rectangle(2, 10, 5, 12)
    assert len(stitch([cell], [nucleus])) == 2


def test_cut_object_gives_way_to_the_complete_version() -> None:
    cut, complete = rectangle(2, 9, 5, 14, score=0.9), rectangle(2, 9, 5, 17, score=0.3)
    assert stitch([cut], [complete]) == [complete]


def test_object_at_the_border_of_the_plane_is_not_cut() -> None:
    at_border = rectangle(0, 0, 8, 3)
    assert stitch([at_border], []) == [at_border]


def test_object_that_both_tiles_cut_is_joined() -> None:
    left, right = rectangle(2, 2, 5, 14, score=0.4), rectangle(2, 6, 5, 18, score=0.8)
    (joined,) = stitch([left], [right])
    assert joined.box == Box(2, 2, 5, 18)
    assert joined.crop.all()
    assert joined.score == pytest.approx(0.6)


def test_cut_objects_that_disagree_in_the_overlap_are_not_joined() -> None:
    upper, lower = rectangle(0, 2, 3, 14), rectangle(4, 6, 8, 18)
    assert [r.box for r in stitch([upper], [lower])] == [upper.box, lower.box]


def test_cut_object_without_counterpart_stays_only_with_its_owner() -> None:
    own, foreign = rectangle(0, 1, 2, 14), rectangle(6, 11, 8, 14)
    assert stitch([own, foreign], []) == [own]


def test_masks_that_end_just_before_the_border_count_as_cut() -> None:
    left, right = rectangle(2, 5, 5, 13), rectangle(2, 6, 5, 18)
    assert len(stitch([left], [right])) == 2
    (joined,) = stitch([left], [right], edge_px=1)
    assert joined.box == Box(2, 5, 5, 18)


def test_one_tile_changes_nothing() -> None:
    records = [rectangle(0, 0, 8, 8), rectangle(0, 0, 8, 8)]
    tile = Tile(0, Box(0, 0, 8, 8), Box(0, 0, 8, 8))
    assert stitch_tiles([records], [tile], (8, 8)) == records


def test_near_inner_edge_spares_the_sides_of_the_plane() -> None:
    boxes = [(0, 0, 3, 3), (4, 6, 6, 9), (2, 16, 5, 20), (2, 10, 5, 13)]
    near = near_inner_edge(boxes, (0, 6, 8, 20), (0, 0, 8, 20), tolerance_px=1)
    assert near.tolist() == [False, True, False, False]


TILING = TilingConfig(tile_px=64, halo_px=16, single_up_to_px=64)


def _seen_by(tile: Tile, plane: np.ndarray) -> list[MaskRecord]:
    """What a perfect model reports of a tile."""
    box = tile.padded
    crop = plane[box.slices]
    return [record(crop == label, at=(box.y0, box.x0)) for label in np.unique(crop) if label]


@given(
    st.lists(
        st.tuples(st.integers(0, 140), st.integers(0, 110), st.integers(6, 90), st.integers(6, 90)),
        max_size=5,
    )
)
def test_perfect_tiles_give_the_plane_back_whatever_the_size_of_objects(
    rectangles: list[tuple[int, int, int, int]],
) -> None:
    plane = np.zeros((150, 120), dtype=np.int32)
    for number, (y, x, height, width) in enumerate(rectangles, start=1):
        region = plane[y : y + height, x : x + width]
        if not region.any() and min(region.shape) >= 6:  # thinner ones may be all within edge_px
            region[...] = number
    tiles = make_tiles(plane.shape, TILING)
    stitched = stitch_tiles([_seen_by(tile, plane) for tile in tiles], tiles, plane.shape)
    expected = [record(plane == label) for label in np.unique(plane) if label]
    assert sorted((r.box.slices, r.area) for r in stitched) == sorted(
        (r.box.slices, r.area) for r in expected
    )
