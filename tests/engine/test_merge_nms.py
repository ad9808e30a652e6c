from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.records import draw, record, rectangle
from litesam.merge import box_nms, containment, intersection, mask_iou, mask_nms
from litesam.merge.nms import overlapping_pairs
from litesam.types import Box

BOXES = np.array([(0, 0, 4, 4), (0, 0, 4, 3), (0, 4, 4, 8), (0, 0, 4, 4)], dtype=float)


def test_box_nms_keeps_the_better_of_two_that_overlap_more_than_the_threshold() -> None:
    # Boxes 0 and 1 share 12 of 16, boxes 0 and 3 are equal.
    assert box_nms(BOXES, [0.5, 0.9, 0.1, 0.7], 0.7).tolist() == [1, 2]
    assert box_nms(BOXES, [0.5, 0.9, 0.1, 0.7], 0.76).tolist() == [1, 3, 2]


def test_box_nms_keeps_boxes_whose_iou_equals_the_threshold() -> None:
    assert box_nms(BOXES[:2], [0.9, 0.5], 0.75).tolist() == [0, 1]


def test_box_nms_prefers_the_first_of_equal_scores() -> None:
    assert box_nms(BOXES[[0, 3]], [0.5, 0.5], 0.5).tolist() == [0]


def test_box_nms_keeps_boxes_without_area() -> None:
    assert box_nms([(2, 2, 2, 6), (2, 2, 2, 6)], [0.1, 0.2], 0.5).tolist() == [1, 0]


def test_box_nms_of_nothing_is_nothing() -> None:
    assert box_nms(np.zeros((0, 4)), [], 0.5).tolist() == []


SQUARE = draw("""
    ........
    .####...
    .####...
    .####...
    .####...
    """)
RIGHT = draw("""
    ........
    ...####.
    ...####.
    ...####.
    ...####.
    """)
CORNER = draw("""
    ........
    .##.....
    .##.....
    """)


def test_overlap_of_masks_is_counted_on_the_overlap_of_their_boxes() -> None:
    assert intersection(SQUARE, RIGHT) == 8
    assert mask_iou(SQUARE, RIGHT) == 8 / 24
    assert containment(SQUARE, CORNER) == 1.0
    assert mask_iou(SQUARE, rectangle(6, 6, 8, 8)) == 0.0


masks = hnp.arrays(np.bool_, (8, 8))


@given(masks, masks)
def test_overlap_of_crops_equals_that_of_planes(a: np.ndarray, b: np.ndarray) -> None:
    first, second = record(a), record(b)
    assert intersection(first, second) == intersection(second, first) == (a & b).sum()
    assert mask_iou(first, second) == (a & b).sum() / max((a | b).sum(), 1)


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 4), max_size=12))
def test_pairs_are_those_of_boxes_that_share_pixels(corners: list[tuple[int, ...]]) -> None:
    boxes = [Box(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    planes = []
    for box in boxes:
        plane = np.zeros((10, 10), dtype=bool)
        plane[box.slices] = True
        planes.append(plane)
    assert overlapping_pairs(boxes) == [
        (i, j)
        for i in range(len(boxes))
        for j in range(i + 1, len(boxes))
        if (planes[i] & planes[j]).any()
    ]


def test_mask_nms_drops_the_worse_duplicate_and_sorts_by_score() -> None:
    duplicate = rectangle(1, 1, 5, 6, score=0.9)  # IoU 16 / 20 with the square
    other = rectangle(6, 0, 8, 2, score=0.95)
    assert mask_nms([SQUARE, duplicate, other], 0.7) == [other, duplicate]
    assert mask_nms([SQUARE, duplicate, other], 0.8) == [other, duplicate, SQUARE]


def test_mask_nms_compares_masks_and_not_boxes() -> None:
    frame = draw("""
        ####
        #..#
        #..#
        ####
        """)
    inside = rectangle(1, 1, 3, 3)
    upper = draw("""
        ###
        ##.
        #..
        """)
    lower = draw("""
        ..#
        .##
        ###
        """)
    assert len(mask_nms([frame, inside], 0.0)) == 2
    assert len(mask_nms([upper, lower], 0.4)) == 2  # the boxes are the same


@pytest.mark.parametrize("better_is_whole", [True, False])
def test_containment_drops_the_worse_of_nested_masks(better_is_whole: bool) -> None:
    whole = rectangle(0, 0, 8, 8, score=0.8 if better_is_whole else 0.6)
    part = rectangle(2, 2, 4, 4, score=0.7)
    assert len(mask_nms([whole, part], 0.5)) == 2
    assert mask_nms([whole, part], 0.5, max_containment=0.9) == [whole if better_is_whole else part]


@given(st.lists(st.tuples(masks, st.sampled_from([0.1, 0.5, 0.9])), max_size=6), st.floats(0, 1))
def test_what_mask_nms_keeps_does_not_overlap_and_what_it_drops_does(
    drawn: list[tuple[np.ndarray, float]], threshold: float
) -> None:
    records = [record(mask, score) for mask, score in drawn]
    kept = mask_nms(records, threshold)
    assert all(mask_iou(a, b) <= threshold for i, a in enumerate(kept) for b in kept[i + 1 :])
    for dropped in (r for r in records if not any(r is k for k in kept)):
        assert any(k.score >= dropped.score and mask_iou(k, dropped) > threshold for k in kept)
