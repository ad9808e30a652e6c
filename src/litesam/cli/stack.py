"""The planes of an image file: which there are, and a segmenter with one contrast for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.errors import ImageError
from litesam.io import ImageData
from litesam.segmenter import Segmenter

if TYPE_CHECKING:
    import argparse

    from litesam.predictors import Predictor
    from litesam.store import EmbeddingStore


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """An image and those of its planes that a command works on.

    Attributes
    ----------
    image
        What was read.
    axes
        Meaning of its axes, colours as C.
    segmenter
        Gives planes and masks.
    indices
        The chosen planes; one entry ``()`` for an image that is no stack.
    shape, label_axes
        Shape and axes of the labels of all chosen planes: leading axes, Y, X; only Y, X for one
        plane.
    chosen
        The index that was asked for, or None for all planes.
    """

    image: ImageData
    axes: str
    segmenter: Segmenter
    indices: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]
    label_axes: str
    chosen: tuple[int, ...] | None

    @property
    def leading(self) -> str:
        """Letters of the axes of the stack."""
        return "".join(letter for letter in self.axes if letter not in "CYX")

    @property
    def scale(self) -> tuple[float, ...] | None:
        """Scale of the labels' axes."""
        if self.image.scale is None:
            return None
        steps = dict(zip(self.axes, self.image.scale, strict=True))
        return tuple(steps[letter] for letter in self.label_axes)

    def pixels(self) -> tuple[Any, str]:
        """Return the chosen part of the image, all channels, still lazy, and its axes."""
        if self.chosen is None:
            return self.image.array, self.axes
        positions = iter(self.chosen)
        key = tuple(slice(None) if letter in "CYX" else next(positions) for letter in self.axes)
        return self.image.array[key], "".join(c for c in self.axes if c in "CYX")


def open_planes(
    image: ImageData,
    args: argparse.Namespace,
    predictor: Predictor,
    store: EmbeddingStore | None,
) -> Planes:
    """Find the planes that the options ``--axes --index --channel --limits --per-plane`` choose.

    Raises
    ------
    ImageError
        If the options do not fit the image.
    """
    from litesam.preprocess import estimate_limits, extract_plane
    from litesam.segmenter import Segmenter
    from litesam.types import NormalizeConfig

    given = args.axes.upper() if args.axes else image.axes
    limits = None if args.limits is None else (args.limits[0], args.limits[1])
    normalize = NormalizeConfig(limits=limits)

    def segmenter_with(normalize: NormalizeConfig) -> Segmenter:
        return Segmenter(
            image.array, predictor, given, store, channel=args.channel, normalize=normalize
        )

    segmenter = segmenter_with(normalize)
    axes = segmenter.axes if "C" in segmenter.axes else segmenter.axes.replace("S", "C")
    places = [place for place, letter in enumerate(axes) if letter not in "CYX"]
    sizes = tuple(int(image.array.shape[place]) for place in places)
    chosen = _checked_index(args.index, sizes, axes)
    indices = (chosen,) if chosen is not None else tuple(np.ndindex(sizes))
    # One plane through the room that knows the rules: wrong channels are found before any work.
    first = extract_plane(image.array, segmenter.axes, indices[0] or None, args.channel)
    if len(indices) != 1 or int(np.prod(sizes)) > 1:
        is_grey = first.ndim == 2
        if limits is None and not args.per_plane and is_grey:
            grey = image.array
            if "C" in axes:
                grey = grey[(slice(None),) * axes.index("C") + (args.channel or 0,)]
            segmenter = segmenter_with(NormalizeConfig(limits=_distinct(estimate_limits(grey))))
    plane_shape = segmenter.plane_shape
    if chosen is not None:
        return Planes(image, axes, segmenter, indices, plane_shape, "YX", chosen)
    label_axes = "".join(axes[place] for place in places) + "YX"
    return Planes(image, axes, segmenter, indices, (*sizes, *plane_shape), label_axes, None)


def _checked_index(
    index: tuple[int, ...] | None, sizes: tuple[int, ...], axes: str
) -> tuple[int, ...] | None:
    """The plane that was asked for, counted from 0; a stack of one plane counts as that plane."""
    leading = "".join(letter for letter in axes if letter not in "CYX")
    if index is None:
        return (0,) * len(sizes) if sizes and max(sizes) == 1 else None
    if len(index) != len(sizes):
        wanted = f"{len(sizes)} numbers ({', '.join(leading)})" if sizes else "no --index"
        raise ImageError(
            f"--index has {len(index)} numbers, but an image with the axes {axes} needs {wanted}."
        )
    for position, size, letter in zip(index, sizes, leading, strict=True):
        if not -size <= position < size:
            raise ImageError(f"--index {position} on axis {letter} is outside 0 … {size - 1}.")
    return tuple(position % size for position, size in zip(index, sizes, strict=True))


def _distinct(limits: tuple[float, float]) -> tuple[float, float] | None:
    """Limits that differ; a constant stack has none."""
    low, high = float(limits[0]), float(limits[1])
    return (low, high) if low < high else None
