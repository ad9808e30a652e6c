"""Delete, merge, split, fill, remove islands, smooth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from engine.threshold_predictor import discs
from litesam.errors import ConfigError, ImageError, PromptError
from litesam.objects import (
    Change,
    apply_change,
    delete_objects,
    fill_holes,
    merge_objects,
    remove_islands,
    revert_change,
    smooth_object,
    split_object,
)


def labels_of(rows: list[str]) -> np.ndarray:
    return np.array([[int(sign) for sign in row] for row in rows], dtype=np.int32)


def after(labels: np.ndarray, change: Change) -> np.ndarray:
    """Labels after the change; undo is checked on the way."""
    result = labels.copy()
    apply_change(result, change)
    back = result.copy()
    revert_change(back, change)
    np.testing.assert_array_equal(back, labels)
    return result


def test_delete_in_one_plane_or_in_all() -> None:
    labels = np.zeros((3, 4, 4), dtype=np.uint16)
    labels[0, 1, 1] = labels[2, 3, 3] = 5
    labels[1, 2, 2] = 6
    assert np.argwhere(after(labels, delete_objects(labels, [5], (2,)))).tolist() == [
        [0, 1, 1],
        [1, 2, 2],
    ]
    change = delete_objects(labels, [5])
    assert change.region == ((0, 3), (1, 4), (1, 4))
    assert np.argwhere(after(labels, change)).tolist() == [[1, 2, 2]]
    many = np.arange(12, dtype=np.int32).reshape(3, 4)
    left = after(many, delete_objects(many, range(1, 11)))
    assert np.argwhere(left).tolist() == [[2, 3]]
    with pytest.raises(ImageError, match="no object 7"):
        delete_objects(labels, [5, 7])
    with pytest.raises(ImageError, match=r"no object 6 in the plane \(0,\)"):
        delete_objects(labels, [6], (0,))


def test_merge_keeps_the_first_id() -> None:
    labels = labels_of(["1203", "1203"])
    merged = after(labels, merge_objects(labels, [2, 3]))
    np.testing.assert_array_equal(merged, labels_of(["1202", "1202"]))
    with pytest.raises(ConfigError, match="at least two"):
        merge_objects(labels, [2, 2])


def test_two_touching_discs_are_split_at_their_waist() -> None:
    _, truth = discs((40, 70), [(20, 22), (20, 44)], radius=12)
    labels = np.where(truth > 0, 4, 0).astype(np.int32)
    for first, second in (((20, 14), (20, 52)), ((12, 22), (28, 44)), ((20, 30), (20, 36))):
        split = after(labels, split_object(labels, 4, (first, second)))
        assert set(np.unique(split)) == {0, 4, 5}
        # The waist is the column half way between the two centres.
        assert np.flatnonzero((split == 4).any(axis=0)).max() in (32, 33)
        assert np.flatnonzero((split == 5).any(axis=0)).min() in (33, 34)
        np.testing.assert_array_equal(split > 0, labels > 0)


def test_split_without_a_waist_is_half_way_between_the_clicks() -> None:
    labels = np.zeros((21, 31), dtype=np.int32)
    labels[4:17, 3:28] = 2
    split = after(labels, split_object(labels, 2, ((10, 5), (10, 15)), new_number=9))
    assert set(np.unique(split)) == {0, 2, 9}
    line = np.zeros((3, 12), dtype=np.int32)
    line[1, 1:11] = 1  # one pixel thin: no depth
    split = after(line, split_object(line, 1, ((1, 2), (1, 9))))
    assert split[1].tolist() == [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0]
    _, disc = discs((40, 40), [(20, 20)], radius=15)
    split = after(disc, split_object(disc, 1, ((20, 15), (20, 25))))
    assert (split[20, 6:21] == 1).all()
    assert (split[20, 21:34] == 2).all()


def test_split_of_an_object_in_two_parts() -> None:
    labels = labels_of(["11011", "11011"])
    split = after(labels, split_object(labels, 1, ((0, 0), (1, 4))))
    np.testing.assert_array_equal(split, labels_of(["11022", "11022"]))


def test_split_needs_two_clicks_on_the_object() -> None:
    labels = np.array([[[1, 1, 0, 2]]])
    with pytest.raises(PromptError, match=r"\(y=0, x=2\) is not on the object 1"):
        split_object(labels, 1, ((0, 0), (0, 2)), (0,))
    with pytest.raises(PromptError, match="two different places"):
        split_object(labels, 1, ((0, 0), (0.2, 0.3)), (0,))
    with pytest.raises(ImageError, match="no object 3"):
        split_object(labels, 3, ((0, 0), (0, 1)), (0,))
    full = np.full((1, 2), 255, dtype=np.uint8)
    with pytest.raises(ImageError, match="no room for the id 256"):
        split_object(full, 255, ((0, 0), (0, 1)))


def test_holes_are_filled_up_to_a_size_and_never_over_others() -> None:
    labels = labels_of(["111111", "101001", "111001", "121111", "111110"])
    filled = after(labels, fill_holes(labels, 1))
    np.testing.assert_array_equal(
        filled, labels_of(["111111", "111111", "111111", "121111", "111110"])
    )
    filled = after(labels, fill_holes(labels, 1, max_area_px=1))
    np.testing.assert_array_equal(
        filled, labels_of(["111111", "111001", "111001", "121111", "111110"])
    )


def test_islands_go_up_to_a_size_and_the_largest_part_stays() -> None:
    labels = labels_of(["110010", "110000", "000110", "200110", "100110"])
    left = after(labels, remove_islands(labels, 1))
    np.testing.assert_array_equal(
        left, labels_of(["000000", "000000", "000110", "200110", "000110"])
    )
    left = after(labels, remove_islands(labels, 1, max_area_px=3))
    np.testing.assert_array_equal(
        left, labels_of(["110000", "110000", "000110", "200110", "000110"])
    )


def test_smoothing_takes_spikes_and_notches_and_is_bounded() -> None:
    labels = np.zeros((40, 40), dtype=np.int32)
    labels[10:30, 10:30] = 1
    labels[5:10, 20] = 1  # a spike
    labels[20, 10:13] = 0  # a notch
    labels[30:32, 10:30] = 2  # a neighbour
    smooth = after(labels, smooth_object(labels, 1, radius_px=2))
    assert not smooth[5:9, 20].any()
    assert (smooth[20, 11:13] == 1).all()
    np.testing.assert_array_equal(smooth == 2, labels == 2)
    mask = labels == 1
    edge = np.maximum(ndimage.distance_transform_edt(mask), ndimage.distance_transform_edt(~mask))
    assert edge[(smooth == 1) != mask].max() <= 2
    dot = labels_of(["000", "010", "000"])
    assert smooth_object(dot, 1).empty
    with pytest.raises(ConfigError, match="between 1 and 50"):
        smooth_object(dot, 1, radius_px=0)


@given(st.data())
def test_no_operation_touches_another_object(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    labels = data.draw(arrays.arrays(np.int32, shape, elements=st.integers(0, 2)))
    labels[0, 0] = 1
    for change in (
        fill_holes(labels, 1),
        remove_islands(labels, 1),
        smooth_object(labels, 1),
        delete_objects(labels, [1]),
    ):
        result = after(labels, change)
        np.testing.assert_array_equal(result == 2, labels == 2)
