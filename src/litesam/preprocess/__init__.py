"""Image → normalised RGB plane: the first room of the pipe.

`planes` reads one plane of any array-like, `intensity` maps its intensities to 0–255, `large` does
both for the regions of a plane that is too large to be read as a whole, `composite` makes one image
of several. The mean and
standard deviation of a model belong to its spec, not here.
"""

from __future__ import annotations

from litesam.preprocess.composite import COLOURS, Composite, CompositePart, arrays_of
from litesam.preprocess.intensity import Plane, estimate_limits, to_rgb
from litesam.preprocess.large import LargePlane, open_plane
from litesam.preprocess.planes import as_array_like, extract_plane, guess_axes

#: What a network is shown: a plane in memory, or one of which regions are read when needed.
AnyPlane = Plane | LargePlane

__all__ = [
    "COLOURS",
    "AnyPlane",
    "Composite",
    "CompositePart",
    "LargePlane",
    "Plane",
    "arrays_of",
    "as_array_like",
    "estimate_limits",
    "extract_plane",
    "guess_axes",
    "open_plane",
    "to_rgb",
]
