"""A plane that is too large to be read as a whole: regions are read when a tile needs them.

A slide of 20,000 × 20,000 pixels is 1.2 GB as RGB, and much slower to read over a network than the
one tile of it that serves a click. Contrast limits still belong to the whole plane: percentiles are
estimated from windows on a regular grid, so that a chunked array reads a few chunks only.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from litesam.preprocess.axes import plane_shape
from litesam.preprocess.intensity import Plane, apply_mapping, checked_plane, find_mapping, to_rgb
from litesam.preprocess.planes import extract_plane
from litesam.types import NormalizeConfig

if TYPE_CHECKING:
    from litesam.preprocess.planes import Index
    from litesam.types import AnyArray

#: Planes of more pixels are read by regions; up to here a plane takes at most 48 MiB as RGB.
LARGE_FROM_PX = 4096 * 4096
#: Windows along each side that percentiles are estimated from, and their size.
_WINDOWS = 5
_WINDOW_PX = 256
#: Regions that stay in memory: a click asks for the one of the click before.
_KEPT_BYTES = 64 * 2**20


class LargePlane:
    """A plane as the models see it, read by regions. Thread-safe.

    Parameters
    ----------
    image, axes, index, channel
        See `extract_plane`.
    shape_yx
        Height and width.
    config
        Percentiles or fixed contrast limits. None: the defaults.

    Attributes
    ----------
    shape_yx
        Height and width.
    fingerprint
        Text that fixes the intensity mapping.

    Raises
    ------
    ImageError
        If the plane cannot be chosen so, or what was read for its percentiles has no finite value.
    ReadError
        If pixels of a lazy array cannot be read.
    """

    def __init__(
        self,
        image: Any,
        axes: str,
        index: Index,
        channel: int | None,
        shape_yx: tuple[int, int],
        config: NormalizeConfig | None = None,
    ) -> None:
        self._image, self._axes, self._index, self._channel = image, axes, index, channel
        self.shape_yx = shape_yx
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, ...], npt.NDArray[np.uint8]] = OrderedDict()
        config = config or NormalizeConfig()
        corner = self._read(slice(0, 1), slice(0, 1))
        colour = corner.ndim == 3
        unchanged = corner.dtype == np.bool_ or (colour and corner.dtype == np.uint8)
        sample = corner if unchanged or config.limits is not None else self._sample()
        self._mapping = find_mapping(sample, corner.dtype, colour, config)
        self.fingerprint = self._mapping.fingerprint

    @property
    def rgb(self) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8, all of it, read now."""
        return apply_mapping(self._read(slice(None), slice(None)), self._mapping)

    def region(self, rows: slice, columns: slice) -> npt.NDArray[np.uint8]:
        """Return a part, (h, w, 3) uint8; only its pixels are read."""
        key = (*rows.indices(self.shape_yx[0]), *columns.indices(self.shape_yx[1]))
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        pixels = apply_mapping(self._read(rows, columns), self._mapping)
        with self._lock:
            self._kept[key] = pixels
            size = sum(region.nbytes for region in self._kept.values())
            while size > _KEPT_BYTES and len(self._kept) > 1:
                size -= self._kept.popitem(last=False)[1].nbytes
        return pixels

    def _read(self, rows: slice, columns: slice) -> AnyArray:
        raw = extract_plane(
            self._image, self._axes, self._index, self._channel, region=(rows, columns)
        )
        return checked_plane(raw)

    def _sample(self) -> AnyArray:
        """Values of windows on a regular grid; of an array in memory those of the whole plane."""
        if isinstance(self._image, np.ndarray):
            return self._read(slice(None), slice(None))
        windows = [
            self._read(rows, columns).reshape(-1)
            for rows in _windows(self.shape_yx[0])
            for columns in _windows(self.shape_yx[1])
        ]
        return np.concatenate(windows)


def open_plane(
    image: Any, axes: str, index: Index, channel: int | None, config: NormalizeConfig | None = None
) -> Plane | LargePlane:
    """Return a plane as the models see it: read as a whole, or by regions if it is large.

    Parameters and errors are those of `extract_plane` and `to_rgb`.
    """
    shape_yx = plane_shape(image, axes)
    if shape_yx[0] * shape_yx[1] > LARGE_FROM_PX:
        return LargePlane(image, axes, index, channel, shape_yx, config)
    return to_rgb(extract_plane(image, axes, index, channel), config)


def _windows(length: int) -> list[slice]:
    """Windows along one side, each in the middle of its share."""
    share = length / _WINDOWS
    size = min(_WINDOW_PX, max(1, int(share)))
    starts = (round((number + 0.5) * share - size / 2) for number in range(_WINDOWS))
    return [slice(start, start + size) for start in starts]
