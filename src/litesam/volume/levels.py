"""Which level of a pyramid is labelled: the coarsest that still shows a network all it can see.

A tile with objects of a diameter has a size (`tiling_for`), and the network sees it at the size of
its input. Where the tile has more pixels than the input, the finest level only costs reading, and
the network sees it shrunken; a coarser level has these pixels averaged already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from litesam.io import open_levels
from litesam.preprocess.axes import used_axes
from litesam.types import TilingConfig
from litesam.volume.scale import estimate_diameter, ideal_tile_px, look
from litesam.volume.source import VolumeSource

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from litesam.io import ImageData
    from litesam.predictors import Predictor
    from litesam.volume.plan import Plan

#: A level with fewer slices is taken only if an object still spans so many of them.
_SLICES_OF_AN_OBJECT = 8
#: Levels that are smaller are not looked at for the size of objects.
_SMALLEST_PX = 64
#: A level of which the model is as sure as this share of the surest is as good.
_NEARLY = 0.95
#: A ratio so near to a whole number is that number: sizes of levels are rounded.
_CLOSE = 0.1


@dataclass(frozen=True, slots=True)
class LevelChoice:
    """A level of a pyramid.

    Attributes
    ----------
    level
        Its number, 0 is the finest.
    levels
        How many there are.
    axes
        Letters of the image's axes.
    factors
        How many pixels of level 0 one of its own has along each axis.
    diameter_px
        Diameter of the objects in its pixels.
    """

    level: int
    levels: int
    axes: str
    factors: tuple[float, ...]
    diameter_px: float

    def ranges(self, ranges: Iterable[tuple[str, int, int]]) -> dict[str, tuple[int, int]]:
        """Return parts of axes of level 0 as parts of this level, none smaller than they were."""
        factor = dict(zip(self.axes, self.factors, strict=True))
        return {
            axis: (math.floor(start / factor[axis]), math.ceil(stop / factor[axis]))
            for axis, start, stop in ranges
        }


def choose_level(
    path: str | os.PathLike[str],
    diameter_px: float,
    model: str = "lite_sam",
    *,
    axes: str | None = None,
) -> LevelChoice:
    """Choose the level of an image in which objects of a diameter are labelled.

    It is the coarsest level whose tiles for these objects (`tiling_for`) have at least as many
    pixels as the network's input: with Lite-SAM the coarsest in which they have 32 px. A level with
    fewer slices is taken only where the image says its scale and an object spans at least eight of
    them; one with fewer points in time or channels never.

    Parameters
    ----------
    path
        The image; one without levels has level 0.
    diameter_px
        Usual diameter of an object, pixels of level 0.
    model
        Name of the model.
    axes
        Meaning of the axes; None: from the file, or guessed.

    Returns
    -------
    LevelChoice
        The level.

    Raises
    ------
    ReadError, ImageError
        If it is no image, or the axes do not fit it.
    UnknownModelError
        If there is no such model.
    """
    images = open_levels(path)
    letters = used_axes(images[0].array, axes or images[0].axes)
    letters = letters if "C" in letters else letters.replace("S", "C")
    return choose_among(images, letters, diameter_px, model)


def choose_among(
    images: Sequence[ImageData], letters: str, diameter_px: float, model: str = "lite_sam"
) -> LevelChoice:
    """Choose among levels that are open; see `choose_level`.

    Parameters
    ----------
    images
        The levels, the finest first.
    letters
        Meaning of their axes.
    diameter_px, model
        As in `choose_level`.
    """
    from litesam.models.registry import get_spec

    needed = get_spec(model).input_px
    found = LevelChoice(0, len(images), letters, (1.0,) * len(letters), diameter_px)
    for number, image in enumerate(images[1:], start=1):
        factors = _factors(images[0], image)
        by_axis = dict(zip(letters, factors, strict=True))
        diameter = diameter_px / max(by_axis["Y"], by_axis["X"])
        others_stay = all(by_axis.get(axis, 1.0) == 1.0 for axis in "TC")
        if not others_stay or ideal_tile_px(diameter) < needed:
            continue
        slices_stay = by_axis.get("Z", 1.0) == 1.0
        if slices_stay or _slices(images[0], image, letters, diameter_px) >= _SLICES_OF_AN_OBJECT:
            found = LevelChoice(number, len(images), letters, factors, diameter)
    return found


def estimate_on_levels(path: str | os.PathLike[str], plan: Plan, predictor: Predictor) -> float:
    """Estimate the usual diameter of the objects of a pyramid.

    A network finds something of about the size that it knows at every scale. So each level is
    looked at with the default tile, and where the model is surest of what it finds (of levels that
    differ by less than 5 %, the finest) is where `estimate_diameter` begins.

    Parameters
    ----------
    path
        The image.
    plan
        A job with its level 0.
    predictor
        The model.

    Returns
    -------
    float
        Diameter in pixels of level 0.

    Raises
    ------
    ImageError
        If nothing is found.
    """
    images = open_levels(path)
    if len(images) == 1:
        return estimate_diameter(VolumeSource(path, plan.source), plan, predictor)
    looks: list[tuple[float, float, VolumeSource]] = []
    plan = replace(plan, tiling=TilingConfig(), canvas_px=TilingConfig().tile_px)
    for number, image in enumerate(images):
        axes = VolumeSource(path, replace(plan.source, level=number, ranges=())).axes
        factors = _factors(images[0], image)
        there = LevelChoice(number, len(images), axes, factors, 0.0)
        ranges = tuple((axis, *part) for axis, part in there.ranges(plan.source.ranges).items())
        source = VolumeSource(path, replace(plan.source, level=number, ranges=ranges))
        if number and min(source.plane_shape) < _SMALLEST_PX:
            break
        _, sure = look(source, plan, predictor, plan.canvas_px)
        looks.append((sure, max(factors[axes.index(axis)] for axis in "YX"), source))
    best = max(sure for sure, _, _ in looks)
    _, factor, source = next(one for one in looks if one[0] >= _NEARLY * best)
    return factor * estimate_diameter(source, plan, predictor)


def _factors(finest: ImageData, image: ImageData) -> tuple[float, ...]:
    """How many pixels of the finest level one of another has along each axis: by what the image
    says of its scale, or, where that is not said, by the sizes of the levels.
    """
    found = []
    for axis, (mine, other) in enumerate(zip(finest.array.shape, image.array.shape, strict=True)):
        ratio = mine / other
        if mine != other and finest.scale is not None and image.scale is not None:
            said = image.scale[axis] / finest.scale[axis]
            ratio = said if said > 1.0 else ratio
        found.append(float(round(ratio)) if abs(ratio - round(ratio)) < _CLOSE else ratio)
    return tuple(found)


def _slices(finest: ImageData, image: ImageData, letters: str, diameter_px: float) -> float:
    """How many slices of a level an object spans that is as high as wide; 0: nobody knows."""
    if finest.scale is None or image.scale is None:
        return 0.0
    return diameter_px * finest.scale[letters.index("Y")] / image.scale[letters.index("Z")]
