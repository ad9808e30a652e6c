"""JSON objects → values of the types that are wanted; whatever is wrong is named with its place."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any, TypeVar

from litesam.errors import ConfigError, PromptError, ReadError
from litesam.types import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
_MISSING = object()


class Fields:
    """The fields of one JSON object, and its place in the file.

    Raises
    ------
    ReadError
        Wherever a field is not as it must be.
    """

    def __init__(self, value: Any, place: str) -> None:
        self.place = place
        if not isinstance(value, dict):
            raise ReadError(
                f"{self._title} is {_shown(value)}; an object with named fields is needed."
            )
        self._value = value

    def __contains__(self, name: str) -> bool:
        return self._value.get(name) is not None

    def get(self, name: str, read: Callable[[Any], T], default: Any = _MISSING) -> T:
        """Read a field; None and absent are the default."""
        value = self._value.get(name)
        if value is None:
            if default is _MISSING:
                raise ReadError(f"{self._title} has no field {name!r}; it is needed.")
            return default  # type: ignore[no-any-return]
        try:
            return read(value)
        except (TypeError, ValueError, ReadError, zlib.error) as error:
            raise ReadError(
                f"{self._inside(name)} is {_shown(value)}: {error or 'it is damaged'}"
            ) from error

    @property
    def _title(self) -> str:
        return self.place.removesuffix(": ")

    def _inside(self, name: str) -> str:
        """Place of a field."""
        return f"{self.place}{'' if self.place.endswith(': ') else '.'}{name}"

    def part(self, name: str) -> Fields:
        """Return the fields of an object inside."""
        return Fields(self.get(name, lambda value: value), self._inside(name))

    def parts(self, name: str, *, optional: bool = False) -> list[Fields]:
        """Return the fields of each object of a list inside."""
        items = self.get(name, items_of, [] if optional else _MISSING)
        return [Fields(item, f"{self._inside(name)}[{i}]") for i, item in enumerate(items)]

    def make(self, build: Callable[[], T]) -> T:
        """Build a value; what it refuses is an error of this place."""
        try:
            return build()
        except (ConfigError, PromptError) as error:
            raise ReadError(f"{self._title}: {error}") from error


def _shown(value: Any) -> str:
    """Return a value as a message shows it: its beginning."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def text_of(value: Any) -> str:
    """Return a text; like all below, TypeError or ValueError says what is needed instead."""
    if not isinstance(value, str):
        raise TypeError("a text is needed.")
    return value


def flag_of(value: Any) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise TypeError("true or false is needed.")
    return value


def whole_of(value: Any) -> int:
    """Return a whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("a whole number is needed.")
    return value


def number_of(value: Any) -> float:
    """Return a finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise TypeError("a number is needed.")
    return float(value)


def items_of(value: Any) -> list[Any]:
    """Return a list."""
    if not isinstance(value, list):
        raise TypeError("a list is needed.")
    return value


def mapping_of(value: Any) -> Mapping[str, Any]:
    """Return an object with named fields."""
    if not isinstance(value, dict):
        raise TypeError("an object with named fields is needed.")
    return value


def wholes_of(value: Any) -> tuple[int, ...]:
    """Return whole numbers."""
    return tuple(whole_of(item) for item in items_of(value))


def numbers_of(value: Any) -> tuple[float, ...]:
    """Return finite numbers."""
    return tuple(number_of(item) for item in items_of(value))


def pair_of(value: Any) -> tuple[float, float]:
    """Return two numbers."""
    y, x = numbers_of(value)
    return y, x


def whole_pair_of(value: Any) -> tuple[int, int]:
    """Return two whole numbers."""
    height, width = wholes_of(value)
    return height, width


def four_of(value: Any) -> tuple[float, float, float, float]:
    """Return four numbers."""
    y0, x0, y1, x1 = numbers_of(value)
    return y0, x0, y1, x1


def box_of(value: Any) -> Box:
    """Return a box (y0, x0, y1, x1)."""
    y0, x0, y1, x1 = wholes_of(value)
    if not (0 <= y0 <= y1 and 0 <= x0 <= x1):
        raise ValueError("a box (y0, x0, y1, x1) is needed.")
    return Box(y0, x0, y1, x1)
