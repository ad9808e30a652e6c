from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.records import draw, record, rectangle
from litesam.errors import ConfigError
from litesam.merge import OVERLAP_POLICIES, paint_labels

SMALL = rectangle(2, 2, 4, 4, score=0.5)
LARGE = rectangle(1, 1, 5, 7, score=0.9)


def test_higher_score_keeps_contested_pixels() -> None:
    labels, records = paint_labels([rectangle(0, 0, 4, 5, 0.4), rectangle(0, 3, 4, 8, 0.6)], (8, 8))
    assert labels.dtype == np.int32
    assert labels[0].tolist() == [1, 1, 1, 2, 2, 2, 2, 2]
    assert [(r.label, r.area) for r in records] == [(1, 12), (2, 20)]


@pytest.mark.parametrize(
    ("policy", "inside"), [("score", 2), ("largest_first", 1), ("smallest_first", 2)]
)
def test_policy_decides_about_nested_masks(policy: str, inside: int) -> None:
    labels, _ = paint_labels([SMALL, LARGE], (8, 8), policy)
    # A mask that lies below a larger one altogether is gone, and the other moves up.
    gone = inside == 2
    assert labels[3, 3] == (1 if gone else inside)
    assert labels.max() == (1 if gone else 2)


def test_first_of_equal_masks_keeps_the_pixels() -> None:
    labels, _ = paint_labels([rectangle(0, 0, 2, 3), rectangle(0, 2, 2, 5)], (4, 8))
    assert labels[0].tolist() == [1, 1, 1, 2, 2, 0, 0, 0]


def test_unknown_policy_is_refused_with_the_possible_ones() -> None:
    with pytest.raises(ConfigError, match="'largest_first'"):
        paint_labels([], (8, 8), "random")


def test_no_masks_give_no_labels() -> None:
    labels, records = paint_labels([], (8, 8))
    assert not labels.any()
    assert records == []


def test_labels_count_from_start() -> None:
    labels, records = paint_labels([SMALL, rectangle(6, 6, 8, 8)], (8, 8), start=7)
    assert np.unique(labels).tolist() == [0, 7, 8]
    assert [r.label for r in records] == [7, 8]


def test_object_cut_in_two_keeps_its_largest_part() -> None:
    bar = rectangle(3, 0, 5, 8, score=0.4)
    cross = rectangle(0, 2, 8, 4, score=0.8)
    labels, (first, _) = paint_labels([bar, cross], (8, 8))
    assert labels[3].tolist() == [0, 0, 2, 2, 1, 1, 1, 1]
    assert (first.box.x0, first.area) == (4, 8)
    whole, _ = paint_labels([bar, cross], (8, 8), largest_part=False)
    assert whole[3].tolist() == [1, 1, 2, 2, 1, 1, 1, 1]


def test_mask_in_parts_that_lost_nothing_keeps_its_parts() -> None:
    dots = draw("""
        #...#
        .....
        #...#
        """)
    labels, _ = paint_labels([dots], (8, 8))
    assert np.count_nonzero(labels) == 4


def test_small_masks_take_no_pixels() -> None:
    labels, records = paint_labels(
        [rectangle(0, 0, 8, 8, 0.3), rectangle(2, 2, 4, 4, 0.9)], (8, 8), min_area_px=5
    )
    assert (labels == 1).all()
    assert len(records) == 1


def test_remains_below_the_least_area_or_share_are_dropped() -> None:
    loser, winner = rectangle(0, 0, 4, 8, 0.3), rectangle(0, 0, 4, 7, 0.9)
    for keep, options in (
        (2, {}),
        (1, {"min_area_px": 5}),
        (1, {"min_visible": 0.2}),
        (2, {"min_visible": 0.1}),
    ):
        labels, records = paint_labels([loser, winner], (8, 8), **options)
        assert len(records) == keep
        assert labels[0, 7] == (1 if keep == 2 else 0)
        assert labels[0, 0] == keep


drawn_masks = st.lists(
    st.tuples(hnp.arrays(np.bool_, (8, 8)), st.sampled_from([0.1, 0.5, 0.9])), max_size=6
)


@given(
    drawn_masks,
    st.sampled_from(sorted(OVERLAP_POLICIES)),
    st.integers(0, 6),
    st.booleans(),
    st.integers(1, 5),
)
def test_labels_and_records_agree(
    drawn: list[tuple[np.ndarray, float]], policy: str, least: int, largest: bool, start: int
) -> None:
    records = [record(mask, score) for mask, score in drawn]
    labels, painted = paint_labels(
        records, (8, 8), policy, start, min_area_px=least, largest_part=largest
    )
    union = np.any([mask for mask, _ in drawn], axis=0) if drawn else np.zeros((8, 8), dtype=bool)
    assert not labels[~union].any()
    assert [r.label for r in painted] == list(range(start, start + len(painted)))
    assert set(np.unique(labels)) - {0} == {r.label for r in painted}
    for r in painted:
        assert np.array_equal(labels == r.label, r.mask((8, 8)))
        assert r.area >= least


@given(drawn_masks)
def test_masks_apart_are_painted_as_they_are(drawn: list[tuple[np.ndarray, float]]) -> None:
    taken = np.zeros((8, 8), dtype=bool)
    apart = []
    for mask, score in drawn:
        apart.append(record(mask & ~taken, score))
        taken |= mask
    _, painted = paint_labels(apart, (8, 8))
    expected = [r for r in apart if r.area]
    assert [(p.box, p.area) for p in painted] == [(r.box, r.area) for r in expected]
