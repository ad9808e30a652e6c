"""Metrics against cases that can be computed by hand."""

import numpy as np
import pytest

from litesam.evaluation.metrics import (
    MSA_THRESHOLDS,
    average_precision,
    count_matches,
    iou_matrix,
    mask_iou,
    mean_segmentation_accuracy,
)


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
