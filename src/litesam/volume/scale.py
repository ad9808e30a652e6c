"""How large a tile is, from how large the objects are.

A network sees a tile at the size of its input, whatever the tile's size in pixels: small tiles
enlarge small nuclei of a slide, large tiles show all of a large cell. So the tile is the scale.
"""

from __future__ import annotations

import re

from litesam.errors import ConfigError
from litesam.types import TilingConfig

#: Objects of this diameter are seen best in the default tile of 512 px: nuclei of 13 px in two
#: volumes gave the best scores at 192–256 px (tests/benchmarks/bench_volume.py scale).
_GOOD_DIAMETER_PX = 32.0
_TILES_PX = (128, 4096)

_LENGTH = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(px|nm|um|µm|μm|mm)?\s*")
_METRES = {"nm": 1e-9, "um": 1e-6, "µm": 1e-6, "μm": 1e-6, "mm": 1e-3}
_UNITS = {"nanometer": 1e-9, "micrometer": 1e-6, "millimeter": 1e-3}


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
    default = TilingConfig()
    ideal = default.tile_px * diameter_px / _GOOD_DIAMETER_PX
    tile = min(max(round(ideal / 32) * 32, _TILES_PX[0]), _TILES_PX[1])
    halo = min(max(round(1.25 * diameter_px), tile // 8), tile * 3 // 8, 1024)
    return TilingConfig(tile, halo, min(max(tile * 3 // 2, 64), 4096))


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
    if scale is None or unit not in _UNITS:
        raise ConfigError(
            f"The image does not say how large a pixel is ({scale} {unit}), so {text} cannot be "
            "converted; give the diameter in pixels."
        )
    return number * _METRES[symbol] / (scale * _UNITS[unit])
