"""Metrics of instance segmentation, as the microscopy literature defines them.

Two label images are compared by the IoU of every pair of objects. At a threshold t a predicted
object is a true positive if it can be assigned, one to one, to a true object with IoU >= t. The
score ``TP / (TP + FP + FN)`` is called average precision in this field (2018 Data Science Bowl;
Schmidt et al. 2018, "Cell Detection with Star-convex Polygons", Sec. 3); its mean over the
thresholds 0.50, 0.55 … 0.95 is mSA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

#: Thresholds of mSA.
MSA_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


def mask_iou(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """IoU of two masks of one shape; 1 if both are empty."""
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 1.0


def iou_matrix(
    true: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer]
) -> npt.NDArray[np.float64]:
    """IoU of every pair of objects of two label images.

    Parameters
    ----------
    true, predicted
        Labels of one shape, any number of axes; 0 is background, other values need not be
        consecutive.

    Returns
    -------
    ndarray
        (N true objects, N predicted objects), in ascending order of their labels.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if true.shape != predicted.shape:
        raise ValueError(
            f"The label images have shapes {true.shape} and {predicted.shape}; they must be equal."
        )
    true_names, true_index = np.unique(true, return_inverse=True)
    predicted_names, predicted_index = np.unique(predicted, return_inverse=True)
    shape = (len(true_names), len(predicted_names))
    flat = true_index.ravel() * shape[1] + predicted_index.ravel()
    overlap = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
    union = overlap.sum(axis=1, keepdims=True) + overlap.sum(axis=0, keepdims=True) - overlap
    objects = np.ix_(true_names != 0, predicted_names != 0)
    iou: npt.NDArray[np.float64] = (overlap / union)[objects]
    return iou


def count_matches(iou: npt.NDArray[np.float64], threshold: float) -> int:
    """Largest number of one-to-one pairs with IoU >= ``threshold``."""
    good = iou >= threshold
    if not good.any():
        return 0
    rows, columns = linear_sum_assignment(good, maximize=True)
    return int(good[rows, columns].sum())


def average_precision(
    true: npt.NDArray[np.integer],
    predicted: npt.NDArray[np.integer],
    thresholds: Sequence[float] = MSA_THRESHOLDS,
) -> npt.NDArray[np.float64]:
    """``TP / (TP + FP + FN)`` of one image at each threshold.

    Returns
    -------
    ndarray
        One value per threshold; 1 where neither image has an object.
    """
    iou = iou_matrix(true, predicted)
    values = []
    for threshold in thresholds:
        matches = count_matches(iou, threshold)
        total = sum(iou.shape) - matches
        values.append(matches / total if total else 1.0)
    return np.array(values)


def mean_segmentation_accuracy(
    true: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer]
) -> float:
    """MSA: mean of `average_precision` over the thresholds 0.50, 0.55 … 0.95."""
    return float(average_precision(true, predicted).mean())
