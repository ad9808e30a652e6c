"""Axes of an image, and which of them choose a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litesam.errors import ImageError
from litesam.preprocess.planes import guess_axes

if TYPE_CHECKING:
    from collections.abc import Sequence


def used_axes(image: Any, axes: str | None) -> str:
    """Return one capital letter per axis; None: guessed from shape and type.

    Raises
    ------
    ImageError
        If the letters do not fit the image.
    """
    shape = tuple(int(size) for size in image.shape)
    if axes is None:
        return guess_axes(shape, image.dtype)
    letters = str(axes).upper()
    if len(letters) != len(shape) or "Y" not in letters or "X" not in letters:
        raise ImageError(
            f"axes={axes!r} does not fit the image of shape {shape}; give one letter per axis, Y "
            "and X among them, such as 'YX', 'YXC' or 'ZYX'."
        )
    return letters


def plane_shape(image: Any, axes: str) -> tuple[int, int]:
    """Return height and width of every plane."""
    return (int(image.shape[axes.index("Y")]), int(image.shape[axes.index("X")]))


def plane_key(index: int | Sequence[int] | None) -> tuple[int, ...]:
    """Return the index of a plane as a tuple.

    Raises
    ------
    ImageError
        If it is made of something else than whole numbers.
    """
    if index is None:
        return ()
    parts = tuple(index) if hasattr(index, "__iter__") else (index,)
    try:
        return tuple(part.__index__() for part in parts)
    except AttributeError:
        raise ImageError(f"index={index!r} is no whole number; give (z,) or (t, z).") from None
