"""Metrics of instance segmentation, as the microscopy literature defines them.

Two label images, or label volumes, are compared by the IoU of every pair of objects. At a threshold
t a predicted object is a true positive if it can be assigned, one to one, to a true object with
IoU >= t. The score ``TP / (TP + FP + FN)`` is called average precision in this field (2018 Data
Science Bowl; Schmidt et al. 2018, "Cell Detection with Star-convex Polygons", Sec. 3); its mean
over the thresholds 0.50, 0.55 … 0.95 is mSA. Average recall is that of COCO: the share of true
objects that are found, meant over the same thresholds. Boundary IoU is that of Cheng et al. 2021,
"Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", Eq. 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_cdt
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from litesam.types import MaskRecord

#: Thresholds of mSA.
MSA_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
#: Width of the boundary as a share of the image's diagonal (Cheng et al. 2021, Sec. 5).
BOUNDARY_SHARE = 0.02


def mask_iou(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """IoU of two masks of one shape; 1 if both are empty."""
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 1.0


def boundary_width(shape_yx: tuple[int, int], share: float = BOUNDARY_SHARE) -> int:
    """Width in pixels, at least 1, of the boundary in an image of that shape."""
    return max(1, round(share * float(np.hypot(*shape_yx))))


def boundary_iou(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], width_px: int
) -> float:
    """IoU of what two masks have within ``width_px`` of their own outlines.

    Parameters
    ----------
    first, second
        (H, W) masks of one shape. Outside the arrays there is background, as at the rim of an
        image.
    width_px
        Width of the boundary: pixels that as many erosions with a square of 3 × 3 take away. See
        `boundary_width`.

    Returns
    -------
    float
        In [0, 1]; 1 if both are empty. Objects thinner than twice the width are all boundary: then
        it is the IoU of the masks.
    """
    return mask_iou(_boundary(first, width_px), _boundary(second, width_px))


def _boundary(mask: npt.NDArray[np.bool_], width_px: int) -> npt.NDArray[np.bool_]:
    depth = distance_transform_cdt(np.pad(mask, 1), metric="chessboard")[1:-1, 1:-1]
    boundary: npt.NDArray[np.bool_] = mask & (depth <= width_px)
    return boundary


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


def iou_matrix_of_records(
    true: npt.NDArray[np.integer], records: Sequence[MaskRecord]
) -> npt.NDArray[np.float64]:
    """IoU of every true object with every record; records may overlap each other.

    Parameters
    ----------
    true
        (H, W) labels, 0 is background.
    records
        Objects in the same plane.

    Returns
    -------
    ndarray
        (N true objects, N records), true objects in ascending order of their labels.
    """
    names, index = np.unique(true, return_inverse=True)
    index = index.reshape(true.shape)
    areas = np.bincount(index.ravel(), minlength=len(names)).astype(np.float64)
    iou = np.zeros((len(names), len(records)))
    for column, record in enumerate(records):
        inside = index[record.box.slices][record.crop]
        overlap = np.bincount(inside, minlength=len(names))
        iou[:, column] = overlap / np.maximum(areas + record.area - overlap, 1.0)
    found: npt.NDArray[np.float64] = iou[names != 0]
    return found


def average_recall(
    true: npt.NDArray[np.integer],
    records: Sequence[MaskRecord],
    top_n: int = 1000,
    thresholds: Sequence[float] = MSA_THRESHOLDS,
) -> float:
    """AR@N: share of the true objects that are among the N best records, meant over thresholds.

    Parameters
    ----------
    true
        (H, W) labels, 0 is background.
    records
        Objects in the same plane; those of highest ``score`` count.
    top_n
        How many of them.
    thresholds
        Of IoU.

    Returns
    -------
    float
        In [0, 1]; 1 where there is nothing to be found.
    """
    best = sorted(records, key=lambda record: record.score, reverse=True)[:top_n]
    iou = iou_matrix_of_records(true, best)
    if not len(iou):
        return 1.0
    return float(np.mean([count_matches(iou, t) / len(iou) for t in thresholds]))


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
    """``TP / (TP + FP + FN)`` of one image, or of one volume in 3-D, at each threshold.

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
