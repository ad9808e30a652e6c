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
#: So many places are looked at, on three planes if there are as many, of a grid of at most so many
#: along each side of a plane; how varied a place is says a window of so many pixels in its middle.
_PLACES, _GRID, _VARIED_PX = 3, 5, 256
#: What varies by less than this share of the most varied place of its plane holds noise.
_EMPTY = 0.5
#: A tile that differs by less than this share from the one that was looked at is good enough.
_CLOSE = 0.2


def estimate_diameter(source: VolumeSource, plan: Plan, predictor: Predictor) -> float:
    """Estimate the usual diameter of the objects by a look at a few places.

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
            "No objects were found in the places that were looked at, so their diameter cannot be "
            "estimated; give it in pixels."
        )
    return diameter


def look(
    source: VolumeSource, plan: Plan, predictor: Predictor, side: int
) -> tuple[npt.NDArray[np.float64], float]:
    """Find the objects of three squares, on three planes if there are so many: the most varied of a
    grid of them, as the middle of a slide may be empty.

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

    areas, sure = [], []
    for plane, box in _places(source, side):
        raw = source.read(plane, box)
        labels, records, *_ = find_in_region(raw, plan, predictor, None, colour=source.colour)
        areas.append(np.bincount(labels.ravel())[1:])
        sure += [record.predicted_iou * record.stability for record in records]
    diameters = np.sqrt(np.concatenate(areas) * 4 / np.pi)
    return diameters, float(np.mean(sure)) if sure else 0.0


def _places(source: VolumeSource, side: int) -> list[tuple[int, Box]]:
    """Planes and squares that are looked at."""
    height, width = (min(side, length) for length in source.plane_shape)
    grid = [
        Box(y, x, y + height, x + width)
        for y in _starts(source.plane_shape[0], height)
        for x in _starts(source.plane_shape[1], width)
    ]
    planes = sorted({source.planes // 4, source.planes // 2, source.planes * 3 // 4})
    each = -(-_PLACES // len(planes))
    found = []
    for plane in planes:
        chosen = grid
        if len(grid) > each:
            varied = [_variation(source, plane, box) for box in grid]
            order = sorted(range(len(grid)), key=lambda i: (-varied[i], i))[:each]
            empty = _EMPTY * varied[order[0]]
            chosen = [grid[i] for i in sorted(order) if varied[i] >= empty]
        found += [(plane, box) for box in chosen]
    return found


def _starts(length: int, size: int) -> list[int]:
    """Where squares begin that lie evenly in a side, from border to border; one: in the middle."""
    count = min(_GRID, length // size)
    if count < 2:
        return [(length - size) // 2]
    return [round(i * (length - size) / (count - 1)) for i in range(count)]


def _variation(source: VolumeSource, plane: int, box: Box) -> float:
    """Standard deviation of the pixels in the middle of a square."""
    height, width = (min(_VARIED_PX, size) for size in box.size_yx)
    y = box.y0 + (box.size_yx[0] - height) // 2
    x = box.x0 + (box.size_yx[1] - width) // 2
    pixels = np.asarray(source.read(plane, Box(y, x, y + height, x + width)), dtype=np.float32)
    finite = pixels[np.isfinite(pixels)]
    return float(finite.std()) if finite.size else 0.0
