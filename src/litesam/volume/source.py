"""The image of a long job: which axes it has, which part is meant, and regions of its planes.

Planes are counted through all axes of the stack, time before z. Workers open the image for
themselves, so what travels to them is a path; only an array in memory is sent as it is.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.errors import ConfigError, ImageError, LiteSamError, ReadError
from litesam.io import ImageData, open_image
from litesam.preprocess import estimate_limits, extract_plane
from litesam.preprocess.axes import used_axes
from litesam.types import Box, NormalizeConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litesam.types import AnyArray

#: Images of at most so many values are read completely for their contrast.
_FEW_VALUES = 4_000_000
#: Of larger ones so many windows of so many pixels are read, spread over planes and places.
_WINDOWS = 64
_WINDOW_PX = 256

Range = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """What of an image is labelled; all of it is part of a job's identity.

    Attributes
    ----------
    axes
        Meaning of the axes; None: from the file, or guessed.
    channel
        Channel of a multi-channel image.
    level
        Level of the pyramid of an OME-Zarr.
    ranges
        (letter, start, stop) of the axes T, Z, Y, X of which only a part is wanted, as resolved.
    """

    axes: str | None = None
    channel: int | None = None
    level: int = 0
    ranges: tuple[tuple[str, int, int], ...] = ()


class VolumeSource:
    """Planes of an image, read by regions.

    Parameters
    ----------
    image
        A path, an array-like, or an `ImageData` that is open.
    config
        What of it is meant.

    Attributes
    ----------
    image
        What the file says.
    axes
        Meaning of the image's axes, colours as C.
    label_axes
        Axes of the labels: those of T and Z that there are, Y, X.
    shape
        Shape of the labels.
    origin
        First position of each axis of the labels in the image.

    Raises
    ------
    ReadError
        If the file is no image.
    ImageError
        If axes, channel or ranges do not fit it.
    """

    def __init__(self, image: Path | Any, config: SourceConfig) -> None:
        self.config = config
        self._path = Path(image) if _is_path(image) else None
        self.image = _open(image, config.level)
        array = self.image.array
        letters = used_axes(array, config.axes or self.image.axes)
        self.axes = letters if "C" in letters else letters.replace("S", "C")
        unknown = sorted(set(self.axes) - set("TZCYX"))
        if unknown:
            raise ImageError(
                f"The axes {self.axes} cannot be labelled: {', '.join(unknown)} is unknown. Name "
                "the axes of the stack T or Z (axes=, --axes)."
            )
        leading = "".join(letter for letter in "TZ" if letter in self.axes)
        self.label_axes = leading + "YX"
        lengths = {letter: int(array.shape[self.axes.index(letter)]) for letter in self.label_axes}
        parts = {letter: (0, length) for letter, length in lengths.items()}
        parts |= {letter: (start, stop) for letter, start, stop in config.ranges}
        self.origin = tuple(parts[letter][0] for letter in self.label_axes)
        self.shape = tuple(parts[letter][1] - parts[letter][0] for letter in self.label_axes)
        self._letters = letters
        corner = self.read(0, Box(0, 0, 1, 1))  # a wrong channel is found here
        self.colour = corner.ndim == 3
        self.dtype = np.dtype(corner.dtype)

    @property
    def stack(self) -> tuple[int, ...]:
        """Lengths of the axes that choose a plane."""
        return self.shape[:-2]

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Height and width of a plane."""
        return (self.shape[-2], self.shape[-1])

    @property
    def planes(self) -> int:
        """Number of planes."""
        return math.prod(self.stack)

    @property
    def scale(self) -> tuple[float, ...] | None:
        """Spacing of the labels' pixels along each axis."""
        if self.image.scale is None:
            return None
        steps = dict(zip(self.axes, self.image.scale, strict=True))
        return tuple(steps[letter] for letter in self.label_axes)

    @property
    def translation(self) -> tuple[float, ...] | None:
        """Where the image's first pixel lies along each axis of the labels."""
        if self.image.translation is None:
            return None
        places = dict(zip(self.axes, self.image.translation, strict=True))
        return tuple(places[letter] for letter in self.label_axes)

    def index(self, plane: int) -> tuple[int, ...]:
        """Return the position of a plane in the labels."""
        return tuple(int(i) for i in np.unravel_index(plane, self.stack)) if self.stack else ()

    def name(self, plane: int) -> str:
        """Return a plane's name for people, counted in the image."""
        index = self.index(plane)
        if not index:
            return "the plane"
        places = zip(self.label_axes, index, self.origin, strict=False)
        return "plane " + ", ".join(f"{axis.lower()} = {i + first}" for axis, i, first in places)

    def read(self, plane: int, box: Box) -> AnyArray:
        """Return the pixels of a region: (h, w), or (h, w, 3) for colour.

        Raises
        ------
        ReadError
            If they cannot be read.
        """
        at = dict(zip(self.label_axes, self.index(plane), strict=False))
        first = dict(zip(self.label_axes, self.origin, strict=True))
        order = [letter for letter in self._letters if letter in at]
        index = tuple(at[letter] + first[letter] for letter in order)
        y, x = first["Y"], first["X"]
        region = (slice(box.y0 + y, box.y1 + y), slice(box.x0 + x, box.x1 + x))
        try:
            found = extract_plane(
                self.image.array, self._letters, index or None, self.config.channel, region=region
            )
            if self._path is None or self._path.exists():
                return found
            # Zarr takes chunks that are not there for empty ones.
            reason: BaseException = FileNotFoundError(f"{self._path} is not there any more")
        except ReadError as error:
            reason = error.__cause__ or error
        except LiteSamError:
            raise
        except Exception as error:  # codecs raise all kinds on a damaged chunk
            reason = error
        rows, columns = (f"{part.start}–{part.stop}" for part in region)
        raise ReadError(
            f"Rows {rows}, columns {columns} of {self.name(plane)} cannot be read "
            f"({type(reason).__name__}: {reason})."
        ) from reason

    # ------------------------------------------------------------------------------------- contrast

    @cached_property
    def sample(self) -> AnyArray:
        """Values from all over the image, flat; all of them if they are few."""
        height, width = self.plane_shape
        if self.planes * height * width * (3 if self.colour else 1) <= _FEW_VALUES:
            whole = Box(0, 0, height, width)
            parts = [self.read(plane, whole).reshape(-1) for plane in range(self.planes)]
            return np.concatenate(parts)
        planes = _spread(self.planes, min(self.planes, _WINDOWS))
        side = math.isqrt(max(1, _WINDOWS // len(planes)))
        values = [
            self.read(plane, Box(y, x, y + h, x + w)).reshape(-1)
            for plane in planes
            for y, h in _windows(height, side)
            for x, w in _windows(width, side)
        ]
        return np.concatenate(values)

    def resolve(self, normalize: NormalizeConfig) -> NormalizeConfig:
        """Return the contrast of all planes: fixed limits, from the same sample every time.

        8-bit colour stays as it is, unless limits are given.
        """
        from dataclasses import replace

        if normalize.limits is not None or (self.colour and self.dtype == np.uint8):
            return normalize
        low, high = estimate_limits(self.sample, normalize)
        if low >= high:  # a constant image: every plane is black
            return normalize
        return replace(normalize, limits=(float(low), float(high)))

    def fingerprint(self) -> str:
        """Return text that changes when another image lies under the same name."""
        digest = hashlib.sha256(repr((self.shape, str(self.dtype), self.label_axes)).encode())
        digest.update(np.ascontiguousarray(self.sample).tobytes())
        return digest.hexdigest()[:32]


def resolve_ranges(
    image: Path | Any, config: SourceConfig, ranges: Mapping[str, Range]
) -> SourceConfig:
    """Return the config with the parts of axes that are wanted, checked and counted from 0.

    Raises
    ------
    ConfigError
        If a part is empty, or of an axis that is not there.
    """
    from dataclasses import replace

    if not ranges:
        return config
    whole = VolumeSource(image, config)
    found = []
    for letter, (start, stop) in ranges.items():
        axis = letter.upper()
        if axis not in whole.label_axes:
            raise ConfigError(
                f"There is no axis {letter} to take a range of; the image has {whole.axes}."
            )
        length = whole.shape[whole.label_axes.index(axis)]
        first, last, _ = slice(start, stop).indices(length)
        if first >= last:
            raise ConfigError(
                f"The range {start if start is not None else ''}:{stop if stop is not None else ''}"
                f" of axis {axis} is empty; it has {length} positions, counted from 0, and the "
                "last one named is not part of it."
            )
        found.append((axis, first, last))
    return replace(config, ranges=tuple(sorted(found)))


def _is_path(image: Any) -> bool:
    return isinstance(image, str) or hasattr(image, "__fspath__")


def _open(image: Path | Any, level: int) -> ImageData:
    """What is known of an image file or an array."""
    if _is_path(image):
        return open_image(image, level)
    if level != 0:
        raise ConfigError("A level can be chosen of an OME-Zarr on disk only.")
    if isinstance(image, ImageData):
        return image
    array = image if hasattr(image, "shape") else np.asarray(image)
    return ImageData(array, None, None, "image")


def _spread(length: int, count: int) -> list[int]:
    """Positions in the middle of equal shares."""
    return [int((i + 0.5) * length / count) for i in range(count)]


def _windows(length: int, count: int) -> list[tuple[int, int]]:
    """(start, size) of windows in the middle of equal shares."""
    size = min(_WINDOW_PX, max(1, length // count))
    return [(max(0, min(p - size // 2, length - size)), size) for p in _spread(length, count)]
