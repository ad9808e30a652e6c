"""How large a tile is, from how large the objects are.

A network sees a tile at the size of its input, whatever the tile's size in pixels: small tiles
enlarge small nuclei of a slide, large tiles show all of a large cell. So the tile is the scale.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from litesam.errors import ConfigError, ImageError
from litesam.io.units import METRES, factor_between, unit_name
from litesam.types import Box, TilingConfig

if TYPE_CHECKING:
    from litesam.predictors import Predictor
    from litesam.volume.plan import Plan
    from litesam.volume.source import VolumeSource

#: Objects of this diameter are seen best in the default tile of 512 px: nuclei of 13 px in two
#: volumes gave the best scores at 192–256 px (tests/benchmarks/bench_volume.py scale).
_GOOD_DIAMETER_PX = 32.0
_TILES_PX = (128, 4096)

_LENGTH = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(px|nm|um|µm|μm|mm)?\s*")


def tiling_for(diameter_px: float) -> TilingConfig:
    """Return tiles in which objects of a diameter meet the network at a good size.

    Parameters
    ----------
    diameter_px
        Usual diameter of an object, pixels.

    Raises
    ------
    ConfigError
        If it is no diameter.
    """
    if not 1.0 <= diameter_px <= 4096.0:
        raise ConfigError(
            f"A diameter of {diameter_px:g} px was given; objects have 1 to 4096 px. Check the "
            "unit and the scale of the image, or leave the diameter out."
        )
    tile = min(max(round(ideal_tile_px(diameter_px) / 32) * 32, _TILES_PX[0]), _TILES_PX[1])
    halo = min(max(round(1.25 * diameter_px), tile // 8), tile * 3 // 8, 1024)
    return TilingConfig(tile, halo, min(max(tile * 3 // 2, 64), 4096))


def ideal_tile_px(diameter_px: float) -> float:
    """Return the side of the tile in which objects of a diameter are seen best, without limits."""
    return TilingConfig().tile_px * diameter_px / _GOOD_DIAMETER_PX


def parse_length(text: str, scale: float | None, unit: str | None) -> float:
    """Return a length in pixels: "30", "30 px" or, where the image says its scale, "12 um".

    Parameters
    ----------
    text
        The length.
    scale, unit
        Size of a pixel, and its unit as OME-Zarr names it.

    Raises
    ------
    ConfigError
        If it is no length, or the image does not say how large a pixel is.
    """
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is no length; write 30 for pixels, or 12um.")
    number, symbol = float(match.group(1)), match.group(2)
    if symbol in (None, "px"):
        return number
    if scale is None or unit not in METRES:
        said = ""
        if scale is not None and unit is not None:
            said = f", in a unit that is known (it says {scale:g} {unit})"
        elif scale is not None:
            said = f": it says {scale:g} without a unit"
        raise ConfigError(
            f"The image does not say how large a pixel is{said}, so {text} cannot be converted; "
            "give the diameter in pixels, such as --object-diameter 30."
        )
    return number * factor_between(unit_name(symbol), unit) / scale


#: How often a diameter is estimated anew, with tiles of the one before.
_LOOKS = 3
#: A tile that differs by less than this share from the one that was looked at is good enough.
_CLOSE = 0.2


def estimate_diameter(source: VolumeSource, plan: Plan, predictor: Predictor) -> float:
    """Estimate the usual diameter of the objects by a look at the middle of three planes.

    What is found at one scale gives a diameter, the diameter another scale, at which is looked
    again, until they agree. Objects that a network takes apart at the first scale (large cells with
    a structure of their own) are underestimated: then give their diameter instead.

    Parameters
    ----------
    source, plan
        The image and a job with it; its tiles are where the search begins.
    predictor
        The model.

    Returns
    -------
    float
        Median diameter of a circle of the objects' area, pixels.

    Raises
    ------
    ImageError
        If nothing is found.
    """
    side, diameter = plan.tiling.tile_px, None
    for _ in range(_LOOKS):
        found, _ = look(source, plan, predictor, side)
        if len(found) == 0:
            break
        diameter = float(np.median(found))
        tiling = tiling_for(max(diameter, 1.0))
        if abs(tiling.tile_px - side) <= _CLOSE * tiling.tile_px:
            break
        plan = replace(plan, tiling=tiling, canvas_px=tiling.tile_px)
        side = tiling.tile_px
    if diameter is None:
        raise ImageError(
            "No objects were found in the middle of the image, so their diameter cannot be "
            "estimated; give it in pixels."
        )
    return diameter


def look(
    source: VolumeSource, plan: Plan, predictor: Predictor, side: int
) -> tuple[npt.NDArray[np.float64], float]:
    """Find the objects of a square in the middle of three planes.

    Parameters
    ----------
    source, plan, predictor
        As in `estimate_diameter`.
    side
        Of the square, pixels.

    Returns
    -------
    tuple
        (N,) diameters of circles of the objects' areas, pixels; and how sure the model is of them:
        the mean of predicted IoU times stability, 0 where nothing is found.
    """
    from litesam.volume.stages import find_in_region

    height, width = (min(side, length) for length in source.plane_shape)
    y, x = (source.plane_shape[0] - height) // 2, (source.plane_shape[1] - width) // 2
    box = Box(y, x, y + height, x + width)
    areas, sure = [], []
    for plane in sorted({source.planes // 4, source.planes // 2, source.planes * 3 // 4}):
        raw = source.read(plane, box)
        labels, records, *_ = find_in_region(raw, plan, predictor, None, colour=source.colour)
        areas.append(np.bincount(labels.ravel())[1:])
        sure += [record.predicted_iou * record.stability for record in records]
    diameters = np.sqrt(np.concatenate(areas) * 4 / np.pi)
    return diameters, float(np.mean(sure)) if sure else 0.0
