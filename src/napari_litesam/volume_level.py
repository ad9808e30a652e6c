"""Which level of a multiscale layer is labelled, and what the layer says of its pixels. No Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_litesam.image_axes import axes_letters, plane_axes

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_litesam.state import VolumeChoice


@dataclass(frozen=True, slots=True)
class VolumeLevel:
    """A level of an image.

    Attributes
    ----------
    number
        0 is the finest.
    factors
        How many pixels of level 0 one of its own has, along the axes of planes, Y and X.
    diameter_px
        Usual diameter of the objects in its pixels, 0 if it is not known.
    """

    number: int
    factors: tuple[float, ...]
    diameter_px: float

    def slices(self, first: int, last: int, length: int) -> tuple[int, int]:
        """Return slices of level 0, both ends included, as those of the level, of so many."""
        factor = self.factors[-3]
        start, stop = math.floor(first / factor), math.ceil((last + 1) / factor)
        start = min(start, length - 1)
        return start, min(max(stop, start + 1), length) - 1


def level_for(image: Image, choice: VolumeChoice, model: str) -> VolumeLevel:
    """Return the level of an image that is labelled: the wanted one, or one for the diameter."""
    count = len(image.data) if image.multiscale else 1
    diameter = float(choice.diameter_px)
    if choice.level is not None and choice.level < count:
        number = choice.level
    else:
        number = _fitting(image, diameter, model) if diameter and count > 1 else 0
    factors = factors_of(image, number)
    return VolumeLevel(number, factors, diameter / max(factors[-2:]))


def scale_of(
    image: Image, axes: str, level: VolumeLevel
) -> tuple[tuple[float, ...] | None, str | None, tuple[float, ...] | None]:
    """Return scale, unit and translation of a level, as the layer says them.

    Parameters
    ----------
    image
        The layer.
    axes
        Letters that they are wanted for; an axis that is none of planes has scale 1.
    level
        The level.

    Returns
    -------
    tuple
        None for what the layer does not say.
    """
    own = axes_letters(image)
    where = (*plane_axes(image), image.ndim - 2, image.ndim - 1)
    factors = {own[axis]: factor for axis, factor in zip(where, level.factors, strict=True)}
    steps = {own[axis]: float(image.scale[axis]) for axis in where}
    starts = {own[axis]: float(image.translate[axis]) for axis in where}
    unit = str(image.units[-1])
    scale = tuple(steps.get(axis, 1.0) * factors.get(axis, 1.0) for axis in axes)
    shift = tuple(
        starts.get(axis, 0.0) + steps.get(axis, 1.0) * (factors.get(axis, 1.0) - 1) / 2
        for axis in axes
    )
    said = set(steps.values()) != {1.0} or unit != "pixel"
    return (
        scale if said or level.number else None,
        None if unit == "pixel" else unit,
        shift if any(shift) else None,
    )


def _fitting(image: Image, diameter: float, model: str) -> int:
    """The level in which objects of a diameter (of level 0) have the size for a model."""
    from litesam.io import ImageData
    from litesam.volume.levels import choose_among

    letters = axes_letters(image)
    said = set(np.asarray(image.scale).tolist()) != {1.0}
    levels = []
    for number, array in enumerate(image.data):
        factors = np.ones(len(letters))
        factors[: image.ndim] = image.downsample_factors[number]
        steps = np.ones(len(letters))
        steps[: image.ndim] = image.scale
        scale = tuple(float(step) for step in steps * factors) if said else None
        levels.append(ImageData(array, letters, scale, image.name))
    return choose_among(levels, letters, diameter, model).level


def factors_of(image: Image, number: int) -> tuple[float, ...]:
    """Return the pixels of level 0 in one of a level, along the axes of planes, Y and X."""
    where = (*plane_axes(image), image.ndim - 2, image.ndim - 1)
    if not image.multiscale:
        return (1.0,) * len(where)
    return tuple(float(image.downsample_factors[number][axis]) for axis in where)
