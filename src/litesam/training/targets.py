"""Training targets of AutoPPN and the prompts that stand for a user's.

Source: Fu et al. 2024 (arXiv 2407.08965), Sec. 3.2 (AutoPPN targets); Kirillov et al. 2023,
Appendix A "Training algorithm" (first prompts, box jitter, corrective points).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import regionprops_table

from litesam.frames import FloatArray
from litesam.models.auto_ppn import GROUP_BOUNDS
from litesam.types import AnyArray, LabelArray


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one crop.

    Attributes
    ----------
    labels
        (S, S) int32, 1..N.
    centrality
        (S, S) float32 in [0, 1]: distance to the object's edge over the largest such distance in
        the object.
    boxes
        (N, 4) float (y0, x0, y1, x1), half-open, model pixels.
    """

    labels: LabelArray
    centrality: FloatArray
    boxes: FloatArray


def describe_objects(labels: LabelArray) -> Objects:
    """Compute centrality and boxes of the objects 1..N of a label image."""
    count = int(labels.max(initial=0))
    padded = np.pad(labels, 1)
    inner = padded > 0
    for axis in (0, 1):
        differs = np.diff(padded, axis=axis) != 0
        low = [slice(None), slice(None)]
        high = [slice(None), slice(None)]
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        # A pixel beside another object is an edge pixel of both: touching objects get separate
        # peaks.
        inner[tuple(low)] &= ~differs
        inner[tuple(high)] &= ~differs
    distance = ndimage.distance_transform_edt(inner)[1:-1, 1:-1] + 1.0
    distance = np.where(labels > 0, distance, 0.0).astype(np.float32)
    if count == 0:
        return Objects(labels, distance, np.zeros((0, 4), np.float32))
    peaks = ndimage.maximum(distance, labels, index=np.arange(count + 1))
    peaks[0] = 1.0
    centrality = (distance / np.maximum(peaks, 1.0)[labels]).astype(np.float32)
    table = regionprops_table(labels, properties=("bbox",))
    boxes = np.stack([table[f"bbox-{i}"] for i in range(4)], axis=1).astype(np.float32)
    return Objects(labels, centrality, boxes)


@dataclass(frozen=True, slots=True)
class ProposalTargets:
    """AutoPPN targets of one crop on its output grid (h, w).

    Attributes
    ----------
    confidence
        (G, h, w) float32.
    valid
        (G, h, w) bool; False: no loss.
    sides
        (4, h, w) float32 distances left, top, right, bottom of the object under the cell, model
        pixels.
    groups
        (h, w) int64 size group of the object under the cell, -1 for background.
    """

    confidence: FloatArray
    valid: npt.NDArray[np.bool_]
    sides: FloatArray
    groups: npt.NDArray[np.int64]


def proposal_targets(
    objects: Objects, stride: int, input_px: int, *, exhaustive: bool
) -> ProposalTargets:
    """Build AutoPPN's targets on a grid of ``stride`` model pixels.

    Each cell takes the object under it whose centrality is largest in the cell. Background of a set
    that is not exhaustively labelled is ignored.
    """
    side = objects.labels.shape[0] // stride
    cells = objects.centrality.reshape(side, stride, side, stride).transpose(0, 2, 1, 3)
    flat = cells.reshape(side, side, -1)
    best = flat.argmax(axis=-1)
    centrality = np.take_along_axis(flat, best[..., None], -1)[..., 0]
    names = objects.labels.reshape(side, stride, side, stride).transpose(0, 2, 1, 3)
    names = np.take_along_axis(names.reshape(side, side, -1), best[..., None], -1)[..., 0]

    boxes = np.concatenate((np.zeros((1, 4), np.float32), objects.boxes))[names]  # (h, w, 4)
    longest = np.maximum(boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]) / input_px
    groups = np.searchsorted(np.asarray(GROUP_BOUNDS), longest, side="left").astype(np.int64)
    groups[names == 0] = -1
    own = groups[None] == np.arange(len(GROUP_BOUNDS))[:, None, None]
    confidence = np.where(own, centrality[None], 0.0).astype(np.float32)
    valid = np.broadcast_to((names > 0) | exhaustive, confidence.shape).copy()

    centre = np.arange(side, dtype=np.float32) * stride + (stride - 1) / 2
    y, x = centre[:, None], centre[None, :]
    sides = np.stack(
        (x - boxes[..., 1], y - boxes[..., 0], boxes[..., 3] - x, boxes[..., 2] - y)
    ).astype(np.float32)
    return ProposalTargets(confidence, valid, sides, groups)


def sample_point(objects: Objects, label: int, random: np.random.Generator) -> tuple[float, float]:
    """Draw a click (y, x) on an object: uniformly or, half of the time, near its centre."""
    y0, x0, y1, x1 = objects.boxes[label - 1].astype(int)
    inside = objects.labels[y0:y1, x0:x1] == label
    rows, columns = np.nonzero(inside)
    if random.random() < 0.5:
        pick = int(random.integers(len(rows)))
    else:
        weight = objects.centrality[y0:y1, x0:x1][rows, columns] ** 4
        pick = int(random.choice(len(rows), p=weight / weight.sum()))
    return float(rows[pick] + y0), float(columns[pick] + x0)


def jitter_box(box: AnyArray, side: int, random: np.random.Generator) -> FloatArray:
    """Move each side of a box by noise of 8 % of the box's side, at most 20 pixels, and keep it in
    the crop.
    """
    size = np.array([box[2] - box[0], box[3] - box[1]] * 2, dtype=np.float32)
    noise = np.clip(random.normal(0.0, 0.08, 4) * size, -20, 20)
    noise += random.uniform(-1.0, 1.0, 4)
    moved = np.clip(box + noise, 0, side)
    moved[2:] = np.maximum(moved[2:], moved[:2] + 1.0)
    return moved.astype(np.float32)
