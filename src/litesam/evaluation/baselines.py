"""What needs no network: the methods that a model has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed

if TYPE_CHECKING:
    from litesam.types import AnyArray, LabelArray


def otsu_watershed(rgb: AnyArray) -> LabelArray:
    """Classical baseline: Otsu's threshold, then a watershed of the distance transform.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8. The polarity is that in which the foreground is the smaller part.

    Returns
    -------
    ndarray
        (H, W) int32 labels.
    """
    grey = gaussian(rgb.mean(axis=2), 1.0)
    if grey.max() <= grey.min():
        return np.zeros(grey.shape, dtype=np.int32)
    foreground = grey > threshold_otsu(grey)
    if foreground.mean() > 0.5:
        foreground = ~foreground
    distance = gaussian(ndimage.distance_transform_edt(foreground), 1.0)
    regions, _ = ndimage.label(foreground)
    peaks = peak_local_max(distance, min_distance=5, labels=regions, exclude_border=False)
    markers = np.zeros(grey.shape, dtype=np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels: LabelArray = watershed(-distance, markers, mask=foreground).astype(np.int32)
    return labels
