"""Metrics of label volumes, against cases that can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from litesam.evaluation import average_precision, iou_matrix, mean_segmentation_accuracy


def volume_of(*boxes: tuple[int, slice, slice, slice]) -> np.ndarray:
    volume = np.zeros((8, 10, 12), dtype=np.int32)
    for label, *where in boxes:
        volume[tuple(where)] = label
    return volume


TRUE = volume_of(
    (1, slice(0, 4), slice(0, 5), slice(0, 5)),  # 4 · 5 · 5 = 100 voxels
    (2, slice(4, 8), slice(5, 10), slice(0, 10)),  # 4 · 5 · 10 = 200
)


def test_iou_is_that_of_voxels() -> None:
    predicted = volume_of(
        (7, slice(0, 2), slice(0, 5), slice(0, 5)),  # half of object 1
        (3, slice(2, 8), slice(5, 10), slice(0, 10)),  # object 2 and two slices more: 300
    )
    # In the order of labels: 3, then 7.
    np.testing.assert_allclose(iou_matrix(TRUE, predicted), [[0, 0.5], [200 / 300, 0]])
    # 0.5 is reached by both, 0.55, 0.60 and 0.65 by one of 2 + 2 - 1 = 3.
    assert mean_segmentation_accuracy(TRUE, predicted) == pytest.approx((1 + 3 / 3) / 10)


def test_right_slices_with_wrong_links_are_wrong_in_3d() -> None:
    # Every slice is perfect, but the numbers change half-way: two halves for each object.
    predicted = TRUE.copy()
    predicted[2:4][TRUE[2:4] == 1] = 5
    predicted[6:8][TRUE[6:8] == 2] = 6
    per_slice = [mean_segmentation_accuracy(t, p) for t, p in zip(TRUE, predicted, strict=True)]
    assert per_slice == [1.0] * 8
    # At 0.5 one half of each counts: TP 2, FP 2, FN 0; above it none does.
    np.testing.assert_allclose(average_precision(TRUE, predicted, (0.5, 0.55)), [0.5, 0.0])


def test_labels_of_other_slices_are_not_the_same_object_by_accident() -> None:
    # Slice-wise numbers that were never linked: label 1 is an object here and another there.
    predicted = np.where(TRUE > 0, 1, 0)
    np.testing.assert_allclose(iou_matrix(TRUE, predicted), [[100 / 300], [200 / 300]])
    assert average_precision(TRUE, predicted, (0.6,))[0] == pytest.approx(1 / 2)


@pytest.mark.parametrize("axes", [(2, 0, 1), (1, 2, 0), (0, 2, 1)])
def test_the_order_of_axes_does_not_matter(axes: tuple[int, int, int]) -> None:
    random = np.random.default_rng(0)
    predicted = np.where(random.random(TRUE.shape) < 0.8, TRUE, 0)
    assert mean_segmentation_accuracy(TRUE, predicted) == mean_segmentation_accuracy(
        TRUE.transpose(axes), predicted.transpose(axes)
    )


def test_equal_volumes_score_one_and_empty_ones_too() -> None:
    assert mean_segmentation_accuracy(TRUE, TRUE[::1] * 10) == 1.0
    assert mean_segmentation_accuracy(TRUE * 0, TRUE * 0) == 1.0
    assert mean_segmentation_accuracy(TRUE, TRUE * 0) == 0.0
