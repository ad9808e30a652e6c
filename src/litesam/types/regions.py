"""Rectangles and tiles of a plane."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open rectangle of whole pixels of the image plane."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def size_yx(self) -> tuple[int, int]:
        """Height and width."""
        return (self.y1 - self.y0, self.x1 - self.x0)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in a (H, W) array."""
        return (slice(self.y0, self.y1), slice(self.x0, self.x1))


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of a plane: its ``core`` (cores partition the plane), ``padded`` with the halo."""

    index: int
    core: Box
    padded: Box
