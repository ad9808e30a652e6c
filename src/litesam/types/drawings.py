"""What a person draws to say which object is meant: strokes, outlines, an existing mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

from litesam.errors import PromptError
from litesam.types.arrays import BoolArray
from litesam.types.prompts import BoxPrompt, PointLabel, PointPrompt
from litesam.types.regions import Box

Path = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Scribble:
    """A stroke on the object, or beside it: a path of (y, x) image pixels, one vertex or more."""

    path: Path
    label: PointLabel = PointLabel.FOREGROUND

    def __post_init__(self) -> None:
        _check_path(self.path, 1, "scribble")


@dataclass(frozen=True, slots=True)
class Polygon:
    """An outline around the object, drawn as a polygon or with a lasso: (y, x) image pixels.

    ``label`` BACKGROUND: what is inside is not the object.
    """

    path: Path
    label: PointLabel = PointLabel.FOREGROUND

    def __post_init__(self) -> None:
        _check_path(self.path, 3, "polygon")


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """Everything drawn about **one** object, in image pixels.

    Attributes
    ----------
    points, box
        As in `Prompts`.
    scribbles, polygons
        Strokes and outlines, on the object or beside it.
    mask
        An existing mask: bounding box in the plane and bool pixels inside it.
    """

    points: tuple[PointPrompt, ...] = ()
    box: BoxPrompt | None = None
    scribbles: tuple[Scribble, ...] = ()
    polygons: tuple[Polygon, ...] = ()
    mask: tuple[Box, BoolArray] | None = None

    def __post_init__(self) -> None:
        if self.mask is not None and (
            self.mask[1].shape != self.mask[0].size_yx or not self.mask[1].any()
        ):
            raise PromptError("The mask is empty or does not fit its box; give its bounding box.")
        if not (self.points or self.box or self.scribbles or self.polygons or self.mask):
            raise PromptError("Nothing is drawn; give a point, a box, a scribble or an outline.")


def _check_path(path: Path, least: int, what: str) -> None:
    if len(path) < least:
        raise PromptError(f"A {what} of {len(path)} vertices is none; it needs {least} at least.")
    if not all(math.isfinite(value) for vertex in path for value in vertex):
        raise PromptError(f"A vertex of the {what} is not finite; give (y, x) in pixels.")
