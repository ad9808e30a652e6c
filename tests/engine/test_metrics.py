"""Metrics against cases that can be computed by hand."""

import numpy as np
import pytest

from litesam.evaluation.metrics import (
    MSA_THRESHOLDS,
    average_precision,
    average_recall,
    boundary_iou,
    boundary_width,
    count_matches,
    iou_matrix,
    iou_matrix_of_records,
    mask_iou,
    mean_segmentation_accuracy,
)
from litesam.types import Box, MaskRecord


def _strip(*runs):
    """One row of labels from (label, length) pairs."""
    return np.concatenate([np.full(length, label) for label, length in runs])[None]


def test_iou_matrix_of_known_overlaps():
    true = _strip((1, 4), (2, 4), (0, 2))
    predicted = _strip((7, 6), (0, 2), (9, 2))
    # 7 covers all of 1 (4 of 6) and half of 2 (2 of 8); 9 covers nothing true.
    np.testing.assert_allclose(iou_matrix(true, predicted), [[4 / 6, 0], [2 / 8, 0]])


def test_iou_matrix_without_objects_is_empty():
    empty = np.zeros((3, 3), int)
    assert iou_matrix(empty, empty).shape == (0, 0)
    assert iou_matrix(empty, np.eye(3, dtype=int)).shape == (0, 1)


def test_iou_matrix_refuses_other_shapes():
    with pytest.raises(ValueError, match="must be equal"):
        iou_matrix(np.zeros((2, 2), int), np.zeros((2, 3), int))


def test_average_precision_counts_false_positives_and_negatives():
    true = _strip((1, 10), (2, 10), (3, 10))
    predicted = _strip((1, 8), (0, 2), (2, 10), (0, 10))
    # IoU 0.8 and 1.0, one object missed: TP / (TP + FP + FN)
    ap = average_precision(true, predicted, (0.5, 0.8, 0.85))
    np.testing.assert_allclose(ap, [2 / 3, 2 / 3, 1 / 4])


def test_msa_is_the_mean_over_ten_thresholds():
    true, predicted = _strip((1, 20)), _strip((1, 15), (0, 5))
    assert len(MSA_THRESHOLDS) == 10
    # IoU 0.75 passes 0.50, 0.55 … 0.75: six of ten
    assert mean_segmentation_accuracy(true, predicted) == pytest.approx(0.6)


def test_perfect_and_empty_images_score_one():
    true = _strip((1, 5), (0, 2), (2, 5))
    np.testing.assert_array_equal(average_precision(true, true), 1.0)
    empty = np.zeros_like(true)
    np.testing.assert_array_equal(average_precision(empty, empty), 1.0)
    np.testing.assert_array_equal(average_precision(true, empty), 0.0)


def test_labels_need_not_be_consecutive_and_may_be_permuted():
    true = _strip((5, 6), (900, 6))
    np.testing.assert_array_equal(average_precision(true, _strip((3, 6), (1, 6))), 1.0)


def test_matching_is_one_to_one_and_as_large_as_possible():
    # Taking the best pair first (0.9) would leave row 1 without a partner.
    iou = np.array([[0.9, 0.6], [0.6, 0.0]])
    assert count_matches(iou, 0.5) == 2
    assert count_matches(iou, 0.7) == 1


def test_mask_iou_of_two_empty_masks_is_one():
    empty = np.zeros((2, 2), bool)
    assert mask_iou(empty, empty) == 1.0
    assert mask_iou(empty, ~empty) == 0.0


def test_boundary_iou_looks_at_the_outline_alone():
    square = np.zeros((30, 30), bool)
    square[5:25, 5:25] = True
    holed = square.copy()
    holed[10:20, 10:20] = False
    # Up to 5 px from the outline both are the same ring of 20² - 10² pixels; the hole of the second
    # has an outline of its own, which lies in that ring, too.
    assert boundary_iou(square, holed, 5) == 1.0
    # Within 2 px: rings of 20² - 16² = 144; the second has 14² - 10² = 96 more around its hole.
    assert boundary_iou(square, holed, 2) == pytest.approx(144 / (144 + 96))


def test_boundary_iou_of_a_shifted_square():
    square = np.zeros((30, 30), bool)
    square[5:15, 5:15] = True
    shifted = np.roll(square, 1, axis=1)
    # Rings of 36 pixels, 1 px wide: the two horizontal sides share 9 each, the vertical ones none.
    assert boundary_iou(square, shifted, 1) == pytest.approx(18 / (36 + 36 - 18))
    # Wider than the squares: their IoU.
    assert boundary_iou(square, shifted, 9) == pytest.approx(90 / 110)
    assert boundary_iou(square & False, square & False, 1) == 1.0


def test_the_rim_of_the_image_is_an_outline():
    full = np.ones((10, 10), bool)
    ring = full.copy()
    ring[1:9, 1:9] = False
    assert boundary_iou(full, ring, 1) == 1.0


def test_width_of_the_boundary_is_two_per_cent_of_the_diagonal():
    assert boundary_width((300, 400)) == 10
    assert boundary_width((8, 8)) == 1


def _record(y0, x0, y1, x1, score):
    box = Box(y0, x0, y1, x1)
    return MaskRecord(box, np.ones(box.size_yx, bool), score, 1.0, score)


def test_records_are_compared_with_labels_though_they_overlap():
    true = np.zeros((10, 10), int)
    true[0:4, 0:4] = 3
    true[6:10, 6:10] = 8
    records = [_record(0, 0, 4, 4, 0.9), _record(0, 0, 4, 8, 0.8), _record(5, 6, 10, 10, 0.7)]
    np.testing.assert_allclose(
        iou_matrix_of_records(true, records), [[1.0, 0.5, 0.0], [0.0, 0.0, 16 / 20]]
    )


def test_average_recall_counts_the_best_records_only():
    true = np.zeros((10, 10), int)
    true[0:4, 0:4] = 1
    true[6:10, 6:10] = 2
    records = [_record(5, 6, 10, 10, 0.7), _record(0, 0, 4, 4, 0.9)]
    # The first is found at all ten thresholds; the second, IoU 0.8, at seven of them.
    assert average_recall(true, records) == pytest.approx((10 + 7) / 20)
    assert average_recall(true, records, top_n=1) == pytest.approx(0.5)
    assert average_recall(true * 0, records) == 1.0
    assert average_recall(true, []) == 0.0
