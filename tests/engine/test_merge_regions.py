"""Small holes and islands of masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from litesam.merge import clean_records, remove_small_regions
from litesam.types import Box, MaskRecord

EIGHT = np.ones((3, 3), dtype=bool)
MASKS = arrays(np.bool_, st.tuples(st.integers(1, 14), st.integers(1, 14)))


def _record(mask: np.ndarray) -> MaskRecord:
    """The mask as everything mode holds it: its bounding box and the pixels inside."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return MaskRecord(Box(int(y0), int(x0), int(y1), int(x1)), mask[y0:y1, x0:x1], 0.9, 0.9, 0.9)


def _picture(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


def test_a_small_hole_is_filled_and_a_larger_one_stays() -> None:
    mask = _picture("#######", "#.#..##", "###..##", "#######")
    filled, changed = remove_small_regions(mask, 4, "holes")
    assert changed
    assert np.array_equal(filled, _picture("#######", "###..##", "###..##", "#######"))


def test_holes_touch_by_corners() -> None:
    mask = _picture("####", "#.##", "##.#", "####")
    assert not remove_small_regions(mask, 2, "holes")[1]
    assert remove_small_regions(mask, 3, "holes")[0].all()


def test_background_at_the_border_is_a_hole_too() -> None:
    mask = _picture(".###", "####", "###.")
    assert remove_small_regions(mask, 2, "holes")[0].all()


def test_a_mask_of_one_small_island_stays_but_counts_as_changed() -> None:
    """As in SAM's generator: such a mask gives way to one that was left alone."""
    mask = _picture("##", "..")
    left, changed = remove_small_regions(mask, 9, "islands")
    assert np.array_equal(left, mask)
    assert changed


def test_small_islands_go_and_of_small_ones_the_largest_stays() -> None:
    mask = _picture("#..##", "...##", "#....")
    kept = _picture("...##", "...##", ".....")
    assert np.array_equal(remove_small_regions(mask, 4, "islands")[0], kept)
    assert np.array_equal(remove_small_regions(mask, 100, "islands")[0], kept)
    assert remove_small_regions(mask, 1, "islands") == (mask, False)


@given(mask=MASKS, least=st.integers(0, 40))
def test_no_small_hole_is_left(mask: np.ndarray, least: int) -> None:
    filled, changed = remove_small_regions(mask, least, "holes")
    assert changed == (not np.array_equal(filled, mask))
    assert (filled >= mask).all()
    holes, _ = ndimage.label(~filled, structure=EIGHT)
    assert (np.bincount(holes.ravel())[1:] >= least).all()
    assert remove_small_regions(filled, least, "holes") == (filled, False)


@given(mask=MASKS, least=st.integers(0, 40))
def test_no_small_island_is_left_beside_the_largest(mask: np.ndarray, least: int) -> None:
    left, changed = remove_small_regions(mask, least, "islands")
    assert (left <= mask).all()
    assert left.any() == mask.any()
    islands, count = ndimage.label(left, structure=EIGHT)
    if count > 1:
        assert (np.bincount(islands.ravel())[1:] >= least).all()
    if not changed:
        assert left is mask


@given(mask=MASKS, least=st.integers(0, 60), offset=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_a_mask_in_its_box_becomes_what_the_whole_image_becomes(
    mask: np.ndarray, least: int, offset: tuple[int, int]
) -> None:
    image = np.pad(mask, [(offset[0], 3), (offset[1], 0)])
    if not image.any():
        return
    holes, filled = remove_small_regions(image, least, "holes")
    expected, removed = remove_small_regions(holes, least, "islands")
    (record,), (changed,) = clean_records([_record(image)], least, Box(0, 0, *image.shape))
    assert np.array_equal(record.mask(image.shape), expected)
    assert changed == (filled or removed)
    assert record.crop.any(axis=0)[[0, -1]].all()
    assert record.crop.any(axis=1)[[0, -1]].all()


def test_background_that_goes_on_behind_the_limit_is_not_small() -> None:
    record = _record(_picture("....", ".##.", "##..", "...."))
    whole = clean_records([record], 9, Box(0, 0, 3, 3))[0][0]
    assert whole.crop.all()
    beyond = clean_records([record], 9, Box(-9, -9, 12, 12))[0][0]
    assert np.array_equal(beyond.crop, record.crop)


def test_numbers_of_a_record_stay_and_the_order_too() -> None:
    first, second = _record(np.ones((3, 3), bool)), _record(_picture("###", "#.#", "###"))
    (a, b), changed = clean_records([first, second], 2, Box(0, 0, 9, 9))
    assert changed.tolist() == [False, True]
    assert a is first
    assert (b.predicted_iou, b.stability, b.score, b.area) == (0.9, 0.9, 0.9, 9)


@pytest.mark.parametrize("least", [0, 1])
def test_a_limit_of_at_most_one_pixel_changes_nothing(least: int) -> None:
    records = [_record(_picture("#.#", "...", "#.#"))]
    cleaned, changed = clean_records(records, least, Box(0, 0, 3, 3))
    assert cleaned == records
    assert not changed.any()
    assert clean_records([], 9, Box(0, 0, 3, 3))[0] == []
