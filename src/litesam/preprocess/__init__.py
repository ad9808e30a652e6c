"""Image → normalised RGB plane: the first room of the pipe.

`planes` reads one plane of any array-like, `intensity` maps its intensities to 0–255. The mean and
standard deviation of a model belong to its spec, not here.
"""

from __future__ import annotations

from litesam.preprocess.intensity import Plane, estimate_limits, to_rgb
from litesam.preprocess.planes import extract_plane, guess_axes

__all__ = ["Plane", "estimate_limits", "extract_plane", "guess_axes", "to_rgb"]
