"""Masks and label images → the prompts that a person would give for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from litesam.errors import ConfigError
from litesam.merge import records_from_labels
from litesam.types import BoxPrompt, Drawing, PointPrompt, Polygon, Prompts

if TYPE_CHECKING:
    from litesam.types import BoolArray, Box

#: What each label of a label image becomes.
PROMPT_KINDS = ("point", "box", "both", "mask")
#: An outline keeps all turns that are farther than this from a straight line, as long as it has no
#: more vertices than that: a window draws them, and a network sees masks at a coarse scale.
_TOLERANCE_PX = 0.4
_MOST_VERTICES = 120
#: A triangle, and its first vertex again.
_LEAST_VERTICES = 4


def central_click(mask: BoolArray, box: Box) -> Prompts:
    """Click on the pixel of an object that is farthest from its edge.

    Parameters
    ----------
    mask
        The object's pixels in ``box``, not empty.
    box
        Where they lie in the plane.
    """
    y, x, _ = deepest_pixel(mask)
    return Prompts(points=(PointPrompt(y + box.y0, x + box.x0),))


def bounding_box(mask: BoolArray, box: Box) -> Prompts:
    """Box of an object; ``mask`` as in `central_click`."""
    del mask
    return Prompts(box=BoxPrompt(box.y0, box.x0, box.y1, box.x1))


def deepest_pixel(mask: BoolArray) -> tuple[float, float, float]:
    """Return (y, x) of the pixel farthest from the edge, and how far; the rim of the array is an
    edge. Zeros for an empty mask.
    """
    if not mask.any():
        return 0.0, 0.0, 0.0
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    distance = ndimage.distance_transform_edt(np.pad(mask[found], 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return (
        float(y) + found[0].start,
        float(x) + found[1].start,
        float(distance[y, x]),
    )


def outline(mask: BoolArray, box: Box) -> Polygon:
    """Return the outline around a mask, as a person would draw it; holes are no part of it.

    Parameters
    ----------
    mask
        (h, w) bool, one connected part.
    box
        Where it lies in the plane.

    Returns
    -------
    Polygon
        Between the pixels of the mask and those around them, with at most `_MOST_VERTICES`
        vertices: as exact as that allows.
    """
    from skimage.measure import approximate_polygon, find_contours

    contours = find_contours(np.pad(mask, 1).astype(np.float64), 0.5)
    around = max(contours, key=len)
    path, tolerance = around, _TOLERANCE_PX
    while True:
        simpler = approximate_polygon(around, tolerance)
        if len(simpler) < _LEAST_VERTICES:
            break
        path = simpler
        if len(path) <= _MOST_VERTICES:
            break
        tolerance *= 2
    # The last vertex is the first one again; one pixel was put around the mask.
    at = path[:-1] - 1.0 + (box.y0, box.x0)
    return Polygon(tuple((float(y), float(x)) for y, x in at))


def drawings_from_labels(labels: Any, kind: str = "both") -> dict[tuple[int, ...], list[Drawing]]:
    """Return what describes each object of a label image.

    Parameters
    ----------
    labels
        (plane axes, Y, X) integers, 0 is background; read plane by plane.
    kind
        ``"point"``: the pixel farthest from the edge. ``"box"``: the bounding box. ``"both"``.
        ``"mask"``: the box and the mask itself, for models that take masks.

    Returns
    -------
    dict
        For each plane with objects, by its index, one entry per label, in the order of the labels.

    Raises
    ------
    ConfigError
        If there is no such kind.
    ImageError
        If the labels are no integers from 0 on.
    """
    if kind not in PROMPT_KINDS:
        names = ", ".join(map(repr, PROMPT_KINDS))
        raise ConfigError(f"Labels cannot become {kind!r}; choose one of {names}.")
    found: dict[tuple[int, ...], list[Drawing]] = {}
    for index in np.ndindex(*labels.shape[:-2]):
        plane = np.asarray(labels[index] if index else labels[...])
        objects = [_drawing(record.crop, record.box, kind) for record in records_from_labels(plane)]
        if objects:
            found[index] = objects
    return found


def _drawing(mask: BoolArray, box: Box, kind: str) -> Drawing:
    if kind == "mask":
        return Drawing(mask=(box, mask))
    return Drawing(
        points=() if kind == "box" else central_click(mask, box).points,
        box=None if kind == "point" else bounding_box(mask, box).box,
    )
