"""Units of length: an image has one for all of its axes in space, files may have one for each."""

from __future__ import annotations

#: Metres of the units that files name, by their name in OME-Zarr.
METRES = {
    "picometer": 1e-12,
    "angstrom": 1e-10,
    "nanometer": 1e-9,
    "micrometer": 1e-6,
    "millimeter": 1e-3,
    "centimeter": 1e-2,
    "meter": 1.0,
}
_NAMES = {
    "pm": "picometer",
    "Å": "angstrom",
    "\u212b": "angstrom",
    "nm": "nanometer",
    "micron": "micrometer",
    "microns": "micrometer",
    "um": "micrometer",
    "µm": "micrometer",
    "\u03bcm": "micrometer",
    "\\u00b5m": "micrometer",  # ImageJ writes the escape
    "\\u00B5m": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
}


def unit_name(symbol: str | None) -> str | None:
    """Return the name of a unit as OME-Zarr has it; one that is not known stays as it is."""
    return _NAMES.get(symbol, symbol) if symbol else None


def factor_between(unit: str | None, wanted: str | None) -> float:
    """Return how many of the wanted unit one of another is; 1 if either is not known.

    Parameters
    ----------
    unit, wanted
        Names as in OME-Zarr; None: the file does not say, so it is taken as the wanted one.
    """
    if unit == wanted or unit not in METRES or wanted not in METRES:
        return 1.0
    return METRES[unit] / METRES[wanted]
