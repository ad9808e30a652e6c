"""What a person drew about an object, as it was drawn: shapes, beside the points and the box.

A model gets points, a box and logits made of it; those are the prompts of an action, and replay
uses nothing else. The shapes are kept so that they can be seen and changed again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from litesam.errors import ConfigError
from litesam.types import PointLabel, Prompts

#: Kinds of shapes and the numbers of vertices that they can have (None: any more).
SHAPE_VERTICES: dict[str, tuple[int, int | None]] = {
    "rectangle": (4, 4),
    "polygon": (3, None),
    "ellipse": (4, 4),
    "line": (2, 2),
    "path": (1, None),
}


@dataclass(frozen=True, slots=True)
class DrawnShape:
    """One shape in a plane.

    Attributes
    ----------
    kind
        One of `SHAPE_VERTICES`. Polygons and ellipses are outlines, lines and paths scribbles.
    vertices
        (y, x) pixels of the plane, integers are pixel centres; of an ellipse the four corners
        around it.
    label
        Whether it is on the object or beside it.

    Raises
    ------
    ConfigError
        If the kind is unknown, or the vertices are too few, too many or no numbers.
    """

    kind: str
    vertices: tuple[tuple[float, float], ...]
    label: PointLabel = PointLabel.FOREGROUND

    def __post_init__(self) -> None:
        if self.kind not in SHAPE_VERTICES:
            known = ", ".join(map(repr, SHAPE_VERTICES))
            raise ConfigError(f"There is no shape {self.kind!r}; choose one of {known}.")
        least, most = SHAPE_VERTICES[self.kind]
        count = len(self.vertices)
        if count < least or (most is not None and count > most):
            needed = f"{least}" if most == least else f"{least} or more"
            raise ConfigError(f"A shape {self.kind!r} has {needed} vertices, not {count}.")
        if not all(math.isfinite(value) for vertex in self.vertices for value in vertex):
            raise ConfigError(f"A vertex of a shape {self.kind!r} is not finite.")
        if self.label not in (PointLabel.FOREGROUND, PointLabel.BACKGROUND):
            raise ConfigError("A shape is on the object (1) or beside it (0).")


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What was drawn about one object in one plane.

    Attributes
    ----------
    shapes
        In the order in which they were drawn; rectangles only besides the box of the prompts.
    prompts
        The points that were clicked and the box that counts; None: neither.
    """

    shapes: tuple[DrawnShape, ...] = ()
    prompts: Prompts | None = None

    def __post_init__(self) -> None:
        if not self.shapes and self.prompts is None:
            raise ConfigError("Nothing was drawn; give shapes, or points and a box.")
