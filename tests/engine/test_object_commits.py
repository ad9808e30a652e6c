"""Committing masks into label arrays: policies, ids, exact undo."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from litesam.errors import ConfigError, ImageError
from litesam.objects import (
    COMMIT_POLICIES,
    apply_change,
    commit_labels,
    commit_mask,
    next_id,
    revert_change,
)
from litesam.types import Box, MaskRecord


def mask_of(rows: list[str]) -> np.ndarray:
    return np.array([[sign == "#" for sign in row] for row in rows])


def labels_of(rows: list[str], dtype: type = np.int32) -> np.ndarray:
    return np.array([[int(sign) for sign in row] for row in rows], dtype=dtype)


def committed(labels: np.ndarray, *args: object, **options: object) -> np.ndarray:
    result = labels.copy()
    apply_change(result, commit_mask(result, *args, **options).change)  # type: ignore[arg-type]
    return result


BEFORE = ["00000", "00900", "00900", "00900"]
MASK = ["#####", "#####", "#####", "....."]


@pytest.mark.parametrize(
    ("policy", "after"),
    [
        ("never_overwrite", ["11111", "11911", "11911", "00900"]),
        ("overwrite", ["11111", "11111", "11111", "00900"]),
        ("free_area", ["11111", "11911", "11911", "00900"]),
    ],
)
def test_policy_decides_about_pixels_of_others(policy: str, after: list[str]) -> None:
    labels = labels_of(BEFORE)
    result = committed(labels, mask_of(MASK), number=1, policy=policy)
    np.testing.assert_array_equal(result, labels_of(after))


def test_free_area_leaves_out_what_others_cut_off() -> None:
    labels = labels_of(["00900", "00900"])
    mask = mask_of(["#####", ".####"])
    np.testing.assert_array_equal(
        committed(labels, mask, number=1, policy="free_area"), labels_of(["00911", "00911"])
    )
    np.testing.assert_array_equal(committed(labels, mask, number=1), labels_of(["11911", "01911"]))


def test_commit_says_what_it_did() -> None:
    labels = labels_of(BEFORE)
    commit = commit_mask(labels, mask_of(MASK))
    assert (commit.ids, commit.pixels, commit.refused_px) == ((10,), 13, 2)
    assert (commit.objects, commit.overwritten) == (1, ())
    commit = commit_mask(labels, mask_of(MASK), policy="overwrite")
    assert (commit.pixels, commit.refused_px, commit.overwritten) == (15, 0, (9,))
    np.testing.assert_array_equal(labels, labels_of(BEFORE))  # nothing is written


def test_nothing_left_changes_nothing() -> None:
    labels = labels_of(["990"])
    commit = commit_mask(labels, mask_of(["##."]))
    assert (commit.ids, commit.pixels, commit.refused_px) == ((0,), 0, 2)
    assert commit.change.empty
    assert commit.change.pixels == 0
    apply_change(labels, commit.change)
    np.testing.assert_array_equal(labels, labels_of(["990"]))
    assert commit_mask(labels, np.zeros((1, 3), bool)).ids == (0,)


def test_reopened_object_gives_up_what_it_does_not_cover() -> None:
    labels = labels_of(["22203", "22203"])
    result = committed(labels, mask_of([".####", "....."]), number=2, reopened=True)
    np.testing.assert_array_equal(result, labels_of(["02223", "00003"]))
    grown = committed(labels, mask_of([".####", "....."]), number=2)
    np.testing.assert_array_equal(grown, labels_of(["22223", "22203"]))
    with pytest.raises(ConfigError, match="give it as number="):
        commit_mask(labels, mask_of([".####", "....."]), reopened=True)


def test_one_plane_of_a_stack_and_ids_over_all_planes() -> None:
    labels = np.zeros((2, 3, 2, 4), dtype=np.uint16)
    labels[1, 2, 0, 0] = 7
    commit = commit_mask(labels, mask_of([".##.", "...."]), (0, -2))
    assert commit.ids == (8,)
    assert commit.change.region == ((0, 1), (1, 2), (0, 1), (1, 3))
    apply_change(labels, commit.change)
    assert labels[0, 1, 0].tolist() == [0, 8, 8, 0]
    assert np.count_nonzero(labels) == 3


def test_lazy_labels() -> None:
    labels = zarr.create_array(store={}, shape=(2, 40, 50), chunks=(1, 16, 16), dtype="uint16")
    record = MaskRecord(Box(10, 20, 12, 23), np.ones((2, 3), bool), 1, 1, 1)
    commit = commit_mask(labels, record, (1,))
    apply_change(labels, commit.change)
    assert next_id(labels) == 2
    assert np.count_nonzero(labels[1]) == 6
    revert_change(labels, commit.change)
    assert not np.count_nonzero(labels[:])


def test_full_dtype_says_what_to_do() -> None:
    labels = np.full((1, 3), 255, dtype=np.uint8)
    labels[0, 0] = 0
    with pytest.raises(ImageError, match=r"no room for the id 256; uint8 goes up to 255.*int32"):
        commit_mask(labels, mask_of(["#.."]))
    with pytest.raises(ImageError, match="ids begin with 1"):
        commit_mask(labels, mask_of(["#.."]), number=0)


@pytest.mark.parametrize(
    ("labels", "mask", "index", "says"),
    [
        (np.zeros((4, 5), np.int32), np.zeros((5, 4), bool), (), "same size"),
        (np.zeros((4, 5), np.int32), np.zeros((4, 5), int), (), "bool mask"),
        (np.zeros((4, 5), np.float32), np.zeros((4, 5), bool), (), "whole numbers"),
        (np.zeros((2, 4, 5), np.int32), np.zeros((4, 5), bool), (), "does not choose a plane"),
        (np.zeros((2, 4, 5), np.int32), np.zeros((4, 5), bool), (2,), "does not choose a plane"),
        (
            np.zeros((4, 5), np.int32),
            MaskRecord(Box(3, 3, 5, 5), np.ones((2, 2), bool), 1, 1, 1),
            (),
            "belongs to another image",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    labels: np.ndarray, mask: object, index: tuple[int, ...], says: str
) -> None:
    with pytest.raises(ImageError, match=says):
        commit_mask(labels, mask, index)  # type: ignore[arg-type]


def test_unknown_policy_is_named() -> None:
    with pytest.raises(ConfigError, match="'never_overwrite', 'overwrite', 'free_area'"):
        commit_mask(np.zeros((1, 1), int), np.ones((1, 1), bool), policy="maybe")


def test_many_objects_at_once_leave_no_slivers() -> None:
    before = labels_of(["90000", "90000"])
    new = labels_of(["11220", "11223"])
    commit = commit_labels(before, new, min_free_share=0.6)
    assert commit.ids == (0, 10, 11)
    assert commit.pixels == 5
    apply_change(before, commit.change)
    np.testing.assert_array_equal(
        before,
        labels_of(["90000", "90000"])
        + labels_of(["00110", "00110"]) * 10
        + labels_of(["00000", "00001"]) * 11,
    )


def test_many_records_may_overlap() -> None:
    full = MaskRecord(Box(0, 0, 1, 4), np.ones((1, 4), bool), 1, 1, 1)
    part = MaskRecord(Box(0, 2, 1, 5), np.ones((1, 3), bool), 1, 1, 1)
    labels = np.zeros((1, 5), np.int32)
    first = commit_labels(labels, [full, part], numbers=[5, 3])
    apply_change(labels, first.change)
    assert labels.tolist() == [[5, 5, 5, 5, 3]]
    assert first.refused_px == 2
    labels[:] = 0
    apply_change(labels, commit_labels(labels, [full, part], policy="overwrite").change)
    assert labels.tolist() == [[1, 1, 2, 2, 2]]
    with pytest.raises(ConfigError, match="1 ids for 2 objects"):
        commit_labels(labels, [full, part], numbers=[5])


SMALL = st.tuples(st.integers(1, 6), st.integers(1, 6))


@given(st.data())
def test_undo_is_exact_and_others_are_safe(data: st.DataObject) -> None:
    shape = data.draw(SMALL)
    labels = data.draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, 3)))
    mask = data.draw(arrays.arrays(np.bool_, shape))
    policy = data.draw(st.sampled_from(sorted(COMMIT_POLICIES)))
    number = data.draw(st.integers(1, 5))
    reopened = data.draw(st.booleans())
    commit = commit_mask(labels, mask, number=number, policy=policy, reopened=reopened)
    after = labels.copy()
    apply_change(after, commit.change)
    others = (labels != 0) & (labels != number)
    if policy != "overwrite":
        np.testing.assert_array_equal(after[others], labels[others])
    assert not (after[(labels == 0) & ~mask]).any()
    assert commit.pixels + commit.refused_px == np.count_nonzero(mask)
    assert commit.change.pixels == np.count_nonzero(after != labels)
    revert_change(after, commit.change)
    np.testing.assert_array_equal(after, labels)


def test_undo_leaves_what_others_painted_meanwhile() -> None:
    labels = np.zeros((1, 5), np.int32)
    change = commit_mask(labels, mask_of(["#.#.#"])).change
    apply_change(labels, change)
    labels[0, 1] = 9
    revert_change(labels, change)
    assert labels.tolist() == [[0, 9, 0, 0, 0]]
    with pytest.raises(ImageError, match="another array"):
        apply_change(np.zeros((1, 4), np.int32), change)
    assert [list(axis) for axis in change.where()] == [[0, 0, 0], [0, 2, 4]]
