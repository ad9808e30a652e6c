"""Up to three grey images as the red, green and blue of one, which is computed where it is read.

Microscopes write each stain as a channel, often into a file of its own. A model that was trained on
colour sees nuclei and membranes better as two colours than as one of them alone. Contrast belongs
to each stain: the three have limits of their own.
"""

from __future__ import annotations

import itertools
import math
import operator
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from litesam.errors import ImageError
from litesam.preprocess.axes import used_axes
from litesam.preprocess.intensity import Plane
from litesam.preprocess.large import LargePlane, open_plane
from litesam.types import NormalizeConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The names of the three, in their order.
COLOURS = ("red", "green", "blue")
#: Planes (of one part each) that stay open, with the limits that were found for them.
_KEPT_PLANES = 6

#: One colour of a plane that is open: all of it, or what reads it by regions.
_Opened = npt.NDArray[np.uint8] | LargePlane


@dataclass(frozen=True, slots=True, eq=False)
class CompositePart:
    """What one colour of a composite is made of.

    Attributes
    ----------
    image
        Array-like; see `extract_plane`.
    axes
        One letter per axis.
    channel
        Which channel, if there is more than one.
    normalize
        Which of its intensities are black and full colour.
    path
        Its file, for sessions; None: it is in no file.
    """

    image: Any
    axes: str
    channel: int | None = None
    normalize: NormalizeConfig = field(default_factory=NormalizeConfig)
    path: str | None = None

    @property
    def stack(self) -> str:
        """Letters of the axes that choose a plane."""
        return "".join(letter for letter in self.axes if letter not in "CSYX")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape without channels: the axes of the stack, Y, X."""
        sizes = dict(zip(self.axes, self.image.shape, strict=True))
        return tuple(int(sizes[letter]) for letter in f"{self.stack}YX")


class Composite:
    """Grey images of one shape as the colours of an image, array-like and lazy. Thread-safe.

    It can be given wherever an image can: `litesam.Segmenter`, `litesam.label_volume`, sessions. No
    pixel is copied or read before it is asked for; percentiles are those of each part in the plane
    that is read.

    Parameters
    ----------
    parts
        Red, green and blue, in this order; None leaves a colour black, and so does a part that is
        absent at the end.

    Attributes
    ----------
    parts
        Always three.
    axes
        The axes of the stack, then ``"YXC"``.
    shape, dtype, ndim
        As of an array: the last axis has length 3, values are uint8.

    Raises
    ------
    ImageError
        If there is no part or more than three, if their shapes or stacks differ, or if a part is
        colour itself or one of its channels has to be chosen.

    Examples
    --------
    >>> import numpy as np
    >>> nuclei, membranes = np.eye(64), np.zeros((64, 64), np.uint16)
    >>> parts = [CompositePart(membranes, "YX"), None, CompositePart(nuclei, "YX")]
    >>> Composite(parts).shape
    (64, 64, 3)
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, parts: Sequence[CompositePart | None]) -> None:
        given = [part for part in parts if part is not None]
        if not given or len(parts) > len(COLOURS):
            raise ImageError(
                f"A composite of {len(parts)} parts, {len(given)} of them images, was asked for; "
                "give one to three: red, green and blue."
            )
        for part in given:
            _check_part(part)
        first = given[0]
        for part in given[1:]:
            if (part.stack, part.shape) != (first.stack, first.shape):
                raise ImageError(
                    f"The parts of a composite have the shapes {first.shape} ({first.stack}YX) and "
                    f"{part.shape} ({part.stack}YX); images of one shape are needed."
                )
        self.parts: tuple[CompositePart | None, ...] = (*parts, *[None] * (3 - len(parts)))
        self.axes = f"{first.stack}YXC"
        self.shape = (*first.shape, len(COLOURS))
        self.ndim = len(self.shape)
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[int, ...], _Opened] = OrderedDict()

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The arrays of the parts."""
        return tuple(part.image for part in self.parts if part is not None)

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for composites of the same arrays and contrast, as long as the arrays live."""
        return tuple(
            part and (id(part.image), part.axes, part.channel, part.normalize)
            for part in self.parts
        )

    def __repr__(self) -> str:
        return f"Composite(shape={self.shape}, axes={self.axes!r})"

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return Composite, (self.parts,)

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("A composite is computed; it cannot be had without a copy.")
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        """Return pixels, uint8; only the planes and regions that are asked for are read.

        Raises
        ------
        ImageError
            If the key is made of something else than whole numbers, slices and an ellipsis.
        IndexError
            If it is outside.
        """
        selection = _selection(key, self.shape)
        ranges = [
            range(one, one + 1) if isinstance(one, int) else range(*one.indices(size))
            for one, size in zip(selection, self.shape, strict=True)
        ]
        *stack, rows, columns, colours = ranges
        found = np.zeros([len(one) for one in ranges], np.uint8)
        planes = found.reshape(math.prod(map(len, stack)), *found.shape[-3:])
        for plane, index in zip(planes, itertools.product(*stack), strict=True):
            for number, colour in enumerate(colours):
                plane[..., number] = self._region(colour, index, rows, columns)
        kept = tuple(0 if isinstance(one, int) else slice(None) for one in selection)
        return found[kept]

    def _region(
        self, colour: int, index: tuple[int, ...], rows: range, columns: range
    ) -> npt.NDArray[np.uint8] | int:
        """One colour of a part of a plane, (h, w); 0 where it is left black."""
        part = self.parts[colour]
        if part is None or not len(rows) or not len(columns):
            return 0
        opened = self._opened(colour, part, index)
        (y, back_y), (x, back_x) = _forwards(rows), _forwards(columns)
        if isinstance(opened, LargePlane):
            inside = opened.region(slice(y.start, y.stop), slice(x.start, x.stop))[..., 0]
            inside = inside[:: y.step, :: x.step]
        else:
            inside = opened[y, x]
        return inside[:: -1 if back_y else 1, :: -1 if back_x else 1]

    def _opened(self, colour: int, part: CompositePart, index: tuple[int, ...]) -> _Opened:
        key = (colour, *index)
        with self._lock:
            if key in self._open:
                self._open.move_to_end(key)
                return self._open[key]
        plane = open_plane(part.image, part.axes, index or None, part.channel, part.normalize)
        # Of a grey plane the three colours are the same.
        opened: _Opened = (
            np.ascontiguousarray(plane.rgb[..., 0]) if isinstance(plane, Plane) else plane
        )
        with self._lock:
            self._open[key] = opened
            while len(self._open) > _KEPT_PLANES:
                self._open.popitem(last=False)
        return opened


def _check_part(part: CompositePart) -> None:
    """Refuse what is no grey image."""
    axes = used_axes(part.image, part.axes)
    at = next((axes.index(letter) for letter in "SC" if letter in axes), None)
    count = 1 if at is None else int(part.image.shape[at])
    if part.channel is None and count > 1:
        raise ImageError(
            f"A part of a composite has {count} channels (shape {tuple(part.image.shape)}, axes "
            f"{axes}); say which one (channel=)."
        )
    if part.channel is not None and not (at is not None and 0 <= part.channel < count):
        raise ImageError(
            f"Channel {part.channel} of a part of a composite is not there: its shape is "
            f"{tuple(part.image.shape)}, its axes are {axes}."
        )


def _selection(key: Any, shape: tuple[int, ...]) -> list[int | slice]:
    """A whole number (not negative) or a slice for every axis."""
    given = list(key) if isinstance(key, tuple) else [key]
    if not any(one is Ellipsis for one in given):
        given.append(Ellipsis)
    at = next(i for i, one in enumerate(given) if one is Ellipsis)
    missing = len(shape) - (len(given) - 1)
    if missing < 0:
        raise IndexError(f"{len(given) - 1} indices for an image of the shape {shape}.")
    given[at : at + 1] = [slice(None)] * missing
    return [_one(one, size) for one, size in zip(given, shape, strict=True)]


def _one(one: Any, size: int) -> int | slice:
    if isinstance(one, slice):
        return one
    try:
        at = operator.index(one)
    except TypeError:
        raise ImageError(
            f"A composite was indexed with {one!r}; whole numbers and slices are possible."
        ) from None
    if not -size <= at < size:
        raise IndexError(f"Index {at} is outside an axis of {size}.")
    return at + size if at < 0 else at


def _forwards(places: range) -> tuple[slice, bool]:
    """The same places in rising order, and whether they were falling."""
    rising = places if places.step > 0 else places[::-1]
    return slice(rising[0], rising[-1] + 1, rising.step), places.step < 0


def arrays_of(images: Iterable[Any]) -> tuple[Any, ...]:
    """Return the arrays that images consist of: of a composite those of its parts, too."""
    found: list[Any] = []
    for image in images:
        found.append(image)
        if isinstance(image, Composite):
            found.extend(image.arrays)
    return tuple(found)
