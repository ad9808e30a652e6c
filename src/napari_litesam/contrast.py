"""Which intensities the model sees as black and white: percentiles of the plane, or what the user
sees. Pure functions; no Qt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from litesam.types import NormalizeConfig
from napari_litesam.image_axes import pixels
from napari_litesam.state import Contrast, Look

if TYPE_CHECKING:
    from napari.layers import Image

#: Percentiles of the choice `Contrast.STRONG`.
STRONG = NormalizeConfig(low_percentile=2.0, high_percentile=98.0)
#: The engine's limits of gamma; napari's slider ends at 0.2 and 2.
_GAMMAS = (0.05, 20.0)


def look_of(image: Image) -> Look:
    """Return how a layer shows its intensities now."""
    low, high = (float(v) for v in image.contrast_limits)
    return Look((low, high), float(np.clip(image.gamma, *_GAMMAS)))


def normalize_for(image: Image, contrast: Contrast, look: Look | None = None) -> NormalizeConfig:
    """Return what the engine has to do with the intensities of a layer.

    Parameters
    ----------
    image
        The layer.
    contrast
        The user's choice.
    look
        How the layer was shown when that was last looked at; None: now. Colours have neither
        contrast limits nor gamma in napari: 8-bit ones are as they are, others use the range of
        their type, floats 0 to 1.
    """
    if contrast is Contrast.STRONG:
        return STRONG
    if contrast is Contrast.AUTO:
        return NormalizeConfig()
    if image.rgb:
        dtype = np.dtype(pixels(image).dtype)
        if dtype == np.uint8:
            return NormalizeConfig()
        top = float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0
        return NormalizeConfig(limits=(0.0, top))
    look = look_of(image) if look is None else look
    if not look.limits[0] < look.limits[1]:
        return NormalizeConfig()
    return NormalizeConfig(limits=look.limits, gamma=look.gamma)


def contrast_of(normalize: NormalizeConfig) -> Contrast | None:
    """Return the choice that gives this; None: there is none."""
    if normalize.limits is not None:
        return Contrast.LAYER
    return {NormalizeConfig(): Contrast.AUTO, STRONG: Contrast.STRONG}.get(normalize)
