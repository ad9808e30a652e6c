"""Raw plane → 8-bit RGB plane.

Contrast limits belong to the whole plane, never to a tile: neighbouring tiles must show the same
grey value for the same intensity. Microscopy uses a small part of its range, so grey images are
stretched between two percentiles, 8-bit ones too. 8-bit colour (stained sections) is what the
models were trained on and passes unchanged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from litesam.errors import ImageError
from litesam.types import AnyArray, NormalizeConfig

#: Percentiles of larger arrays are estimated on a regular sub-sample of about this many values.
MAX_SAMPLE = 4_000_000
#: Changes when the mapping from intensities to 0–255 changes, so that old embeddings are not mixed
#: with new ones.
_VERSION = "intensity-1"
_BLOCK_VALUES = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A plane as the models see it.

    Attributes
    ----------
    rgb
        (H, W, 3) uint8.
    fingerprint
        Text that fixes the intensity mapping, resolved contrast limits included.
    """

    rgb: npt.NDArray[np.uint8]
    fingerprint: str

    def __post_init__(self) -> None:
        shape = self.rgb.shape
        if self.rgb.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ImageError(
                f"A plane of shape {shape} and dtype {self.rgb.dtype} was given; (H, W, 3) uint8 "
                "is needed, "
                "see litesam.preprocess.to_rgb."
            )

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Height and width."""
        return (int(self.rgb.shape[0]), int(self.rgb.shape[1]))

    def region(self, rows: slice, columns: slice) -> npt.NDArray[np.uint8]:
        """Return a part, (h, w, 3) uint8."""
        return self.rgb[rows, columns]


def estimate_limits(image: Any, config: NormalizeConfig | None = None) -> tuple[float, float]:
    """Find the contrast limits of a plane or of a whole image.

    Parameters
    ----------
    image
        Array-like of any shape, real numbers; all values count together, colour channels too. NaN
        and infinities are ignored. Of more than `MAX_SAMPLE` values a regular, deterministic
        sub-sample is used.
    config
        Percentiles, or fixed limits, which are returned as they are. None: the defaults.

    Returns
    -------
    tuple
        ``(low, high)`` in image units, ``low <= high``; they are equal only if the image is
        constant. Where the two percentiles coincide (nearly all pixels are equal) these are the
        minimum and the maximum.

    Raises
    ------
    ImageError
        If no value is finite.
    """
    config = config or NormalizeConfig()
    if config.limits is not None:
        return (float(config.limits[0]), float(config.limits[1]))
    values = _subsample(image)
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
        if values.dtype.itemsize < 4:
            values = values.astype(np.float32)  # half precision overflows inside the interpolation
    elif values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if values.size == 0:
        raise ImageError(
            f"Image of shape {tuple(image.shape)} has no finite value, only NaN or infinity; "
            "check how it was "
            "computed or choose another plane."
        )
    percentiles = (config.low_percentile, config.high_percentile)
    low, high = (float(v) for v in np.percentile(values, percentiles, method="nearest"))
    if low >= high:
        low, high = float(values.min()), float(values.max())
    return low, high


def to_rgb(plane: npt.ArrayLike, config: NormalizeConfig | None = None) -> Plane:
    """Map a raw plane to 8-bit RGB.

    Parameters
    ----------
    plane
        (H, W), (H, W, 3) or (H, W, 4) bool, integer or float. Alpha is dropped, grey is repeated
        three times, bool becomes black and white.
    config
        Percentiles or fixed contrast limits. None: the defaults.

    Returns
    -------
    Plane
        Values at or below the lower limit and NaN are 0, those at or above the upper limit are 255,
        linear between, or to the power of ``config.gamma``. A constant plane is black. Colour
        channels share their limits; 8-bit colour is unchanged unless ``config.limits`` or a gamma
        is given.

    Raises
    ------
    ImageError
        If the shape or dtype is another, the plane is empty, or no value is finite.
    """
    array = checked_plane(np.asarray(plane))
    config = config or NormalizeConfig()
    colour = array.ndim == 3
    mapping = find_mapping(array, array.dtype, colour, config)
    return Plane(apply_mapping(array, mapping), mapping.fingerprint)


@dataclass(frozen=True, slots=True)
class IntensityMapping:
    """From the intensities of a plane to 0–255.

    Attributes
    ----------
    colour
        Three channels, else one.
    limits
        What becomes 0 and 255; None: 8-bit values stay as they are.
    gamma
        Exponent between the limits.
    """

    colour: bool
    limits: tuple[float, float] | None
    gamma: float = 1.0

    @property
    def fingerprint(self) -> str:
        """Text that fixes the mapping."""
        kind = "colour" if self.colour else "grey"
        if self.limits is None:
            return f"{_VERSION};{kind};unchanged"
        low, high = self.limits
        text = f"{_VERSION};{kind};low={low!r};high={high!r}"
        return text if self.gamma == 1.0 else f"{text};gamma={self.gamma!r}"


def find_mapping(
    sample: Any, dtype: np.dtype[Any], colour: bool, config: NormalizeConfig
) -> IntensityMapping:
    """Return the mapping of a plane.

    Parameters
    ----------
    sample
        Its values, or enough of them for percentiles; not looked at where the config has limits.
    dtype, colour
        What the plane is made of.
    config
        Percentiles or fixed contrast limits, and gamma.

    Raises
    ------
    ImageError
        If no value is finite.
    """
    if colour and dtype == np.uint8 and config.limits is None:
        if config.gamma == 1.0:
            return IntensityMapping(colour, None)
        return IntensityMapping(colour, (0.0, 255.0), config.gamma)
    if dtype == np.bool_:
        low, high = config.limits or (0.0, 1.0)
    else:
        low, high = estimate_limits(sample, config)
    return IntensityMapping(colour, (float(low), float(high)), config.gamma)


def apply_mapping(array: AnyArray, mapping: IntensityMapping) -> npt.NDArray[np.uint8]:
    """Return a raw plane, (H, W) or (H, W, 3), or a region of one, as (H, W, 3) uint8."""
    if mapping.limits is None:
        return np.ascontiguousarray(array)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    scaled = _scale(array, *mapping.limits, mapping.gamma)
    rgb = scaled if mapping.colour else np.repeat(scaled[..., None], 3, axis=2)
    return np.ascontiguousarray(rgb)


def checked_plane(array: AnyArray) -> AnyArray:
    """Return (H, W) or (H, W, 3) of real numbers.

    Raises
    ------
    ImageError
        If it is something else, or empty.
    """
    if array.dtype.kind not in "biuf":
        raise ImageError(
            f"The plane has dtype {array.dtype}; bool, integers or floats are needed. Convert it "
            "first."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(
            f"A plane of shape {array.shape} was given; (H, W), (H, W, 3) or (H, W, 4) is needed. "
            "Choose one "
            "with litesam.preprocess.extract_plane."
        )
    if 0 in array.shape:
        raise ImageError(f"The plane of shape {array.shape} is empty; at least 1 × 1 is needed.")
    return array[..., :3] if array.ndim == 3 else array


def _subsample(image: Any) -> AnyArray:
    """At most about `MAX_SAMPLE` values, on a regular grid over all long axes; flat."""
    shape = tuple(int(n) for n in image.shape)
    size = math.prod(shape)
    if size <= MAX_SAMPLE:
        return np.asarray(image).reshape(-1)
    long = [n for n in shape if n > 4]  # never skip a colour channel
    step = math.ceil((size / MAX_SAMPLE) ** (1 / max(1, len(long))))
    grid = tuple(slice(None, None, step if n > 4 else 1) for n in shape)
    return np.asarray(image[grid]).reshape(-1)


def _scale(array: AnyArray, low: float, high: float, gamma: float = 1.0) -> npt.NDArray[np.uint8]:
    """Clip to the limits and map them to 0 and 255."""
    if array.dtype in (np.uint8, np.uint16):
        levels = np.arange(np.iinfo(array.dtype).max + 1)
        return _scale_block(levels, low, high, gamma)[array]
    result = np.empty(array.shape, dtype=np.uint8)
    rows = max(1, _BLOCK_VALUES // max(1, array[0].size))
    for start in range(0, array.shape[0], rows):
        block = slice(start, start + rows)
        result[block] = _scale_block(array[block], low, high, gamma)
    return result


def _scale_block(values: AnyArray, low: float, high: float, gamma: float) -> npt.NDArray[np.uint8]:
    # In double precision: 32-bit integers and offsets of large float images stay exact.
    clipped = np.clip(values.astype(np.float64), low, high)
    if low >= high:
        return np.zeros(values.shape, dtype=np.uint8)
    half = 0.5 if math.isinf(high - low) else 1.0  # limits near ±1.8e308
    scaled = (clipped * half - low * half) / (high * half - low * half)
    scaled = (scaled if gamma == 1.0 else scaled**gamma) * 255.0
    scaled[np.isnan(scaled)] = 0.0
    return np.rint(scaled).astype(np.uint8)
