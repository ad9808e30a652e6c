"""Any array-like + axes + index → one raw plane. The only place of the engine that reads dask, zarr
or HDF5 pixels.

Axes are named by one letter each, as in OME and tifffile: ``Y`` and ``X`` are spatial, ``C`` are
channels (``S``, samples, takes their place where it is present), every other letter (``T``, ``Z``,
…) is an axis of a stack. Only the asked plane is indexed, so lazy arrays read no other chunk.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.errors import ImageError, ReadError

if TYPE_CHECKING:
    from litesam.types import AnyArray

#: Longest first axis of a 3-D array that is taken for channels and not for slices.
_MAX_GUESSED_CHANNELS = 4
_COLOUR_CHANNELS = (3, 4)
#: dtype kinds of intensities: bool, signed and unsigned integers, floats.
_INTENSITY_KINDS = "biuf"

Index = int | Sequence[int] | None
#: Rows and columns of a plane.
Region = tuple[slice, slice]


def extract_plane(
    image: Any,
    axes: str | None = None,
    index: Index = None,
    channel: int | None = None,
    *,
    region: Region | None = None,
) -> AnyArray:
    """Read one plane of an image, or a region of one.

    Parameters
    ----------
    image
        Anything with ``shape``, ``dtype`` and numpy indexing (numpy, dask, zarr, h5py, …), or what
        ``numpy.asarray`` understands. Bool, integer or float.
    axes
        One letter per axis, such as ``"YX"``, ``"ZYX"``, ``"TCYX"``, ``"YXC"``. None: `guess_axes`.
    index
        Position on the axes that are neither Y, X nor channels, in their order: ``3`` or ``(3,)``
        for ``"ZYX"``, ``(t, z)`` for ``"TZYX"``. Axes of length one may be left out at the end.
        Negative values count from the end.
    channel
        Channel to read. None: a channel axis of length one is dropped; 3 or 4 channels *behind* Y
        and X (``"YXC"``) or on the axis ``S`` are colour, without alpha. In other cases a channel
        must be chosen.
    region
        Rows and columns to read; None: all. No other pixels are asked for.

    Returns
    -------
    numpy.ndarray
        (H, W) grey or (H, W, 3) colour, dtype of the image.

    Raises
    ------
    ImageError
        If axes, index or channel do not fit the image, or if it is empty or not made of real
        numbers.
    ReadError
        If the pixels of a lazy array cannot be read.
    """
    array = as_array_like(image)
    shape = tuple(int(n) for n in array.shape)
    _check_array(shape, np.dtype(array.dtype))
    letters = guess_axes(shape, array.dtype) if axes is None else _checked_axes(axes, shape)

    channel_letter = next((letter for letter in "SC" if letter in letters), "")
    stack = [i for i, letter in enumerate(letters) if letter not in f"YX{channel_letter}"]
    selection: list[int | slice] = [slice(None)] * len(shape)
    for axis, position in zip(stack, _positions(index, stack, letters, shape), strict=True):
        selection[axis] = position
    if region is not None:
        selection[letters.index("Y")], selection[letters.index("X")] = region
    kept = [letter for letter in letters if letter in "YX"]
    if not channel_letter:
        if channel is not None:
            raise ImageError(
                f"channel={channel} was given, but {_describe(shape, letters)} has no channel "
                "axis; leave "
                "channel out or name the axis C in axes."
            )
    else:
        channel_axis = letters.index(channel_letter)
        chosen = _channel_selection(channel, channel_axis, letters, shape)
        selection[channel_axis] = chosen
        if isinstance(chosen, slice):
            kept = [letter for letter in letters if letter in f"YX{channel_letter}"]

    try:
        plane = np.asarray(array[tuple(selection)])
    except (OSError, RuntimeError, ValueError) as error:
        # What a damaged chunk or a lost network drive raises in zarr, dask and h5py.
        raise ReadError(
            f"Plane {index if index is not None else ''} of {_describe(shape, letters)} cannot be "
            f"read ({error}); check the file or choose another plane."
        ) from error
    order = sorted(range(len(kept)), key=lambda i: f"YX{channel_letter}".index(kept[i]))
    return np.ascontiguousarray(plane.transpose(order))


def guess_axes(shape: Sequence[int], dtype: Any) -> str:
    """Guess the axes of an array from its shape.

    A last axis of 3 or 4 is colour (not for bool), a first axis of at most 4 is channels, other
    leading axes are slices and time: ``"YX"``, ``"YXC"``, ``"CYX"``, ``"ZYX"``, ``"ZYXC"``,
    ``"ZCYX"``, ``"CZYX"``, ``"TZYX"``, ``"TZYXC"``, ``"TZCYX"`` or ``"TCZYX"``.

    Raises
    ------
    ImageError
        If the array has fewer than 2 or more than 5 axes.
    """
    sizes = tuple(int(n) for n in shape)
    ndim = len(sizes)
    if ndim == 2:
        return "YX"
    if ndim < 2:
        raise ImageError(
            f"Image of shape {sizes} has {ndim} axes; 2 to 5 are needed, rows and columns last."
        )
    if ndim > 5:
        raise ImageError(
            f"Image of shape {sizes} has {ndim} axes; 2 to 5 can be guessed. Name them with "
            "axes=, one letter "
            "each, such as 'YX', 'ZYX' or 'TZCYX'."
        )
    if sizes[-1] in _COLOUR_CHANNELS and np.dtype(dtype) != np.bool_:
        return {3: "YXC", 4: "ZYXC", 5: "TZYXC"}[ndim]
    if ndim == 3:
        return "CYX" if sizes[0] <= _MAX_GUESSED_CHANNELS else "ZYX"
    if sizes[-3] <= _MAX_GUESSED_CHANNELS:
        return "ZCYX" if ndim == 4 else "TZCYX"
    if sizes[-4] <= _MAX_GUESSED_CHANNELS or ndim == 5:
        return "CZYX" if ndim == 4 else "TCZYX"
    return "TZYX"


def as_array_like(image: Any) -> Any:
    """Return the image itself if it can be indexed lazily, else a numpy array of it.

    Raises
    ------
    ImageError
        If it is no array, such as the path of a file.
    """
    if isinstance(image, (str, os.PathLike)):
        raise ImageError(
            f"Got the path {str(image)!r}, an array is needed; read the file first, with "
            "litesam.io.read_image(path).array."
        )
    if hasattr(image, "array") and hasattr(image, "axes") and not hasattr(image, "shape"):
        raise ImageError(
            f"Got {type(image).__name__}, an array is needed; give its .array, and axes=its .axes."
        )
    if hasattr(image, "shape") and hasattr(image, "dtype") and hasattr(image, "__getitem__"):
        try:
            np.dtype(image.dtype)
        except TypeError:  # dtypes of other libraries, such as torch: let them convert themselves
            pass
        else:
            return image
    try:
        return np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ImageError(
            f"Got {type(image).__name__}, which cannot be read as an image ({error}); give one "
            "array "
            "(of a pyramid: one level)."
        ) from error


def _check_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if dtype.kind not in _INTENSITY_KINDS:
        raise ImageError(
            f"Image of shape {shape} has dtype {dtype}; bool, integers or floats are needed. "
            "Convert it, for "
            "example with numpy.abs for complex images."
        )
    if 0 in shape:
        raise ImageError(f"Image of shape {shape} is empty; every axis needs at least one pixel.")


def _if_a_stack(letters: str) -> str:
    """Advice about three axes of which the first may have been taken for channels."""
    if letters != "CYX":
        return ""
    return " If these are slices or points in time, say so: 'ZYX' or 'TYX' (axes=, --axes)."


def _describe(shape: tuple[int, ...], letters: str) -> str:
    return f"the image of shape {shape} with axes {letters!r}"


def _checked_axes(axes: str, shape: tuple[int, ...]) -> str:
    """Upper-case letters, one per axis, with Y and X."""
    letters = str(axes).upper()
    problem = None
    if len(letters) != len(shape):
        problem = f"{len(letters)} letters for {len(shape)} axes"
    elif not letters.isalpha() or len(set(letters)) != len(letters):
        problem = "letters must be A–Z and different"
    elif "Y" not in letters or "X" not in letters:
        problem = "Y and X are needed"
    if problem is None:
        return letters
    raise ImageError(
        f"axes={axes!r} does not fit the image of shape {shape}: {problem}. Give one letter per "
        "axis, such as "
        "'YX', 'YXC', 'ZYX' or 'TZCYX'."
    )


def _positions(
    index: Index, stack: list[int], letters: str, shape: tuple[int, ...]
) -> tuple[int, ...]:
    """Non-negative position on each stack axis."""
    parts = () if index is None else index if isinstance(index, Sequence) else (index,)
    given = tuple(_integer(part, "index") for part in parts)
    names = ", ".join(f"{letters[axis]} (0–{shape[axis] - 1})" for axis in stack)
    missing = stack[len(given) :]
    if len(given) > len(stack) or any(shape[axis] > 1 for axis in missing):
        wanted = f"give index= with a position on {names}" if stack else "leave index out"
        raise ImageError(
            f"index={index!r} does not choose one plane of {_describe(shape, letters)}; {wanted}."
        )
    for axis, position in zip(stack, given, strict=False):
        if not -shape[axis] <= position < shape[axis]:
            raise ImageError(
                f"index={index!r} is outside {_describe(shape, letters)}; give a position on "
                f"{names}."
            )
    padded = (*given, *(0 for _ in missing))
    return tuple(i + shape[axis] if i < 0 else i for axis, i in zip(stack, padded, strict=True))


def _integer(value: Any, name: str) -> int:
    """Return an integer (numpy's too); anything else is refused by name."""
    try:
        return operator.index(value)
    except TypeError:
        raise ImageError(f"{name} contains {value!r}; whole numbers are needed.") from None


def _channel_selection(
    channel: int | None, axis: int, letters: str, shape: tuple[int, ...]
) -> int | slice:
    """One channel, or the three of a colour image."""
    count = shape[axis]
    if channel is None:
        if count == 1:
            return 0
        behind = axis > letters.index("Y") and axis > letters.index("X")
        if count in _COLOUR_CHANNELS and (letters[axis] == "S" or behind):
            return slice(0, 3)
        raise ImageError(
            f"Of {_describe(shape, letters)} one of {count} channels is needed; choose it with "
            f"channel=0 … channel={count - 1} (--channel).{_if_a_stack(letters)} For colour, 3 or "
            "4 channels come last: 'YXC'."
        )
    position = _integer(channel, "channel")
    if not -count <= position < count:
        raise ImageError(
            f"channel={channel} is outside {_describe(shape, letters)}; choose 0 … {count - 1}."
        )
    return position + count if position < 0 else position
