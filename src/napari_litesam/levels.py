"""Between the levels of a multiscale image: prompts and objects are in pixels of level 0, whatever
level is encoded. Pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from litesam.types import (
    BoolArray,
    Box,
    BoxPrompt,
    Drawing,
    MaskRecord,
    PointPrompt,
    Polygon,
    Prompts,
    Scribble,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_litesam.requests import ImageSource


@dataclass(frozen=True, slots=True)
class Scaling:
    """Sizes of a plane, (H, W): of level 0 and of the level that is encoded."""

    full_yx: tuple[int, int]
    level_yx: tuple[int, int]

    @property
    def identity(self) -> bool:
        """Whether the levels are the same."""
        return self.full_yx == self.level_yx

    # Pixel centres are whole numbers; edges of boxes are half-open and scale without an offset.

    def prompts(self, prompts: Prompts) -> Prompts:
        """Return prompts in pixels of the level."""
        if self.identity:
            return prompts
        points = tuple(PointPrompt(*self._place(p.y, p.x), p.label) for p in prompts.points)
        return Prompts(points, None if prompts.box is None else self.box(prompts.box))

    def drawing(self, drawing: Drawing) -> Drawing:
        """Return a drawing without a mask in pixels of the level."""
        if self.identity:
            return drawing
        return Drawing(
            tuple(PointPrompt(*self._place(p.y, p.x), p.label) for p in drawing.points),
            None if drawing.box is None else self.box(drawing.box),
            tuple(
                Scribble(tuple(self._place(y, x) for y, x in one.path), one.label)
                for one in drawing.scribbles
            ),
            tuple(
                Polygon(tuple(self._place(y, x, cut=False) for y, x in one.path), one.label)
                for one in drawing.polygons
            ),
        )

    def _place(self, y: float, x: float, *, cut: bool = True) -> tuple[float, float]:
        """Pixel of the level for one of level 0; ``cut``: on the image."""
        (fy, fx), (height, width) = self._factors, self.level_yx
        at = ((y + 0.5) * fy - 0.5, (x + 0.5) * fx - 0.5)
        if not cut:
            return at
        return float(np.clip(at[0], 0, height - 1)), float(np.clip(at[1], 0, width - 1))

    def box(self, box: BoxPrompt) -> BoxPrompt:
        """Return a box in pixels of the level."""
        fy, fx = self._factors
        return BoxPrompt(box.y0 * fy, box.x0 * fx, box.y1 * fy, box.x1 * fx)

    def labels(self, labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a label image or mask of the level, (h, w), at level 0, (H, W)."""
        if self.identity:
            return labels
        return labels[self._rows(0)][:, self._rows(1)]

    def record(self, record: MaskRecord) -> MaskRecord:
        """Return an object of the level at level 0; only its bounding box is computed."""
        if self.identity:
            return record
        y0, y1, rows = self._part(0, record.box.y0, record.box.y1)
        x0, x1, columns = self._part(1, record.box.x0, record.box.x1)
        crop: BoolArray = record.crop[rows][:, columns]
        point = record.point
        if point is not None:
            fy, fx = self._factors
            point = ((point[0] + 0.5) / fy - 0.5, (point[1] + 0.5) / fx - 0.5)
        return replace(record, box=Box(y0, x0, y1, x1), crop=crop, point=point)

    @property
    def _factors(self) -> tuple[float, float]:
        (height, width), (h, w) = self.full_yx, self.level_yx
        return (h / height, w / width)

    def _rows(self, axis: int) -> npt.NDArray[np.intp]:
        """Pixel of the level under each of level 0, along one axis."""
        full, level = self.full_yx[axis], self.level_yx[axis]
        return np.minimum(((np.arange(full) + 0.5) * level / full).astype(np.intp), level - 1)

    def _part(self, axis: int, start: int, stop: int) -> tuple[int, int, npt.NDArray[np.intp]]:
        """First and one past the last pixel of level 0, and the pixels of the crop under them."""
        rows = self._rows(axis)
        first, last = (int(at) for at in np.searchsorted(rows, (start, stop)))
        return first, last, rows[first:last] - start


def scaling_of(source: ImageSource) -> Scaling:
    """Return the sizes of the levels of a source."""
    axes = source.axes
    level = (int(source.data.shape[axes.index("Y")]), int(source.data.shape[axes.index("X")]))
    return Scaling(source.shape_yx, level)


def level_index(source: ImageSource, index: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return the index of a plane in the level that is encoded, which may have fewer slices."""
    if index is None or not source.reduced:
        return index
    stack = [axis for axis, letter in enumerate(source.axes) if letter not in "CYX"]
    lengths = [int(source.data.shape[axis]) for axis in stack]
    return tuple(
        min(at * length // full, length - 1)
        for at, length, full in zip(index, lengths, source.planes, strict=True)
    )


@dataclass(frozen=True, slots=True)
class LevelPlace:
    """Where labels of a part of a level lie in the image.

    Attributes
    ----------
    factors
        How many pixels of level 0 one of the labels has, along each of their axes.
    origin
        Their first pixel in the level, along each of their axes.
    """

    factors: tuple[float, ...]
    origin: tuple[int, ...]

    def in_image(self, position: Sequence[float]) -> tuple[float, ...]:
        """Return the position in level 0 of one in the labels; pixel centres are whole numbers."""
        return tuple(
            float((at + first + 0.5) * factor - 0.5)
            for at, first, factor in zip(position, self.origin, self.factors, strict=True)
        )

    def span(self, axis: int, first: int, last: int, length: int) -> range:
        """Return the pixels of level 0, of so many, that lie on pixels of the labels."""
        factor, origin = self.factors[axis], self.origin[axis]
        edges = (round((at + origin) * factor) for at in (first, last + 1))
        start, stop = (min(max(edge, 0), length) for edge in edges)
        return range(start, stop)

    def under(self, axis: int, span: range, length: int) -> npt.NDArray[np.intp]:
        """Return the pixel of the labels, of so many, under each of level 0."""
        at = ((np.array(span, dtype=float) + 0.5) / self.factors[axis]).astype(np.intp)
        return np.clip(at - self.origin[axis], 0, length - 1)
