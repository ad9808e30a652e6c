"""Read Points and Shapes layers that napari saved as CSV files.

Points: ``index,axis-0,axis-1,…`` and the layer's features as further columns, of which two are
looked at: ``object`` (points of one plane with the same value describe one object) and ``label``
(``negative``, ``0`` or ``-``: beside the object). Without ``object`` each point is an object of its
own, or, where a plane has negative points, all points of the plane describe one object.

Shapes: ``index,shape-type,vertex-index,axis-0,axis-1,…``; each shape is an object. Rectangles are
boxes; polygons, ellipses and rotated rectangles are outlines; paths and lines are scribbles.

Axes before the last two are planes of a stack. In napari pixel 0 spans -0.5 to 0.5; the half-open
box of that pixel is 0 to 1 here: edges of boxes move by half a pixel.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from litesam.errors import PromptError, ReadError
from litesam.types import (
    BoxPrompt,
    Drawing,
    PointLabel,
    PointPrompt,
    Polygon,
    Scribble,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from litesam.types import AnyArray

    Planes = dict[tuple[int, ...], list[Drawing]]

_AXIS = re.compile(r"axis-\d+")
_LABELS = {
    **dict.fromkeys(("positive", "1", "1.0", "+", "true", ""), PointLabel.FOREGROUND),
    **dict.fromkeys(("negative", "0", "0.0", "-", "false"), PointLabel.BACKGROUND),
}
_ELLIPSE_VERTICES = 64


def is_napari_csv(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as napari's CSV files of points and shapes do."""
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            header = [cell.strip() for cell in file.readline().split(",")]
    except (OSError, UnicodeDecodeError):
        return False
    return header[:1] == ["index"] and "axis-0" in header and "axis-1" in header


def read_napari_csv(path: str | os.PathLike[str]) -> dict[tuple[int, ...], list[Drawing]]:
    """Read a Points or Shapes layer; the files are described in the module's documentation.

    Returns
    -------
    dict
        For each plane what was drawn, one entry per object, in the order of first appearance. The
        key is the place in the leading axes.

    Raises
    ------
    ReadError
        If the file cannot be read or is no such file.
    PromptError
        If a row is wrong (the message names the line), or there are none.
    """
    source = Path(path)
    if not is_napari_csv(source):
        raise ReadError(
            f"{source} is no Points or Shapes layer of napari: its first line must be "
            "index,axis-0,axis-1,… or index,shape-type,vertex-index,axis-0,axis-1,…"
        )
    with source.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = list(csv.reader(file))
    columns = [name.strip() for name in header]
    axes = [place for place, name in enumerate(columns) if _AXIS.fullmatch(name)]
    table = [(number, row) for number, row in enumerate(rows, start=2) if any(row)]
    if not table:
        raise PromptError(f"{source} has a header but no rows; save a layer that is not empty.")
    for number, row in table:
        if len(row) < len(columns):
            raise PromptError(f"{source}, line {number}: {len(row)} cells for {len(columns)}.")
    positions = np.array([[_number(source, n, row[a]) for a in axes] for n, row in table])
    if "shape-type" in columns:
        return _shapes(source, columns, table, positions)
    return _points(source, columns, table, positions)


def _points(
    source: Path, columns: list[str], table: Sequence[tuple[int, list[str]]], positions: AnyArray
) -> Planes:
    groups: dict[tuple[int, ...], dict[str, list[PointPrompt]]] = defaultdict(dict)
    for (number, row), position in zip(table, positions, strict=True):
        text = row[columns.index("label")].strip().lower() if "label" in columns else ""
        if text not in _LABELS:
            raise PromptError(
                f"{source}, line {number}: label is {text!r}; use positive or negative."
            )
        name = row[columns.index("object")].strip() if "object" in columns else f"line {number}"
        point = PointPrompt(float(position[-2]), float(position[-1]), _LABELS[text])
        groups[_plane(position)].setdefault(name, []).append(point)
    planes: Planes = {}
    for index, objects in groups.items():
        members = list(objects.values())
        negative = any(p.label == PointLabel.BACKGROUND for points in members for p in points)
        if "object" not in columns and negative:
            members = [[point for points in members for point in points]]
        planes[index] = [Drawing(points=tuple(points)) for points in members]
    return planes


def _shapes(
    source: Path, columns: list[str], table: Sequence[tuple[int, list[str]]], positions: AnyArray
) -> Planes:
    kinds: dict[str, str] = {}
    vertices: dict[str, list[AnyArray]] = defaultdict(list)
    lines: dict[str, int] = {}
    for (number, row), position in zip(table, positions, strict=True):
        name = row[columns.index("index")]
        kinds[name] = row[columns.index("shape-type")].strip().lower()
        lines.setdefault(name, number)
        vertices[name].append(position)
    planes: Planes = {}
    for name, kind in kinds.items():
        where = f"{source}, line {lines[name]}"
        path = np.array(vertices[name])
        places = {_plane(vertex) for vertex in path}
        if len(places) != 1:
            raise PromptError(f"{where}: the shape lies in {len(places)} planes; it must be one.")
        try:
            planes.setdefault(places.pop(), []).append(_shape(kind, path[:, -2:]))
        except PromptError as error:
            raise PromptError(f"{where}: {error}") from error
    return planes


def _shape(kind: str, path: AnyArray) -> Drawing:
    low, high = path.min(axis=0), path.max(axis=0)
    if kind == "rectangle" and _is_upright(path):
        return Drawing(box=BoxPrompt(*(float(v) + 0.5 for v in (*low, *high))))
    if kind == "ellipse" and len(path) == 4:  # napari keeps the corners of the box around it
        centre = path.mean(axis=0)
        angle = np.arange(_ELLIPSE_VERTICES) * (2 * np.pi / _ELLIPSE_VERTICES)
        first, second = (path[1] - path[0]) / 2, (path[3] - path[0]) / 2
        path = centre + np.outer(np.cos(angle), first) + np.outer(np.sin(angle), second)
    vertices = tuple((float(y), float(x)) for y, x in path)
    if kind in ("polygon", "rectangle", "ellipse"):
        return Drawing(polygons=(Polygon(vertices),))
    if kind in ("path", "line"):
        return Drawing(scribbles=(Scribble(vertices),))
    raise PromptError(
        f"the shape-type is {kind!r}; known are rectangle, ellipse, polygon, path and line."
    )


def _is_upright(path: AnyArray) -> bool:
    """Whether four corners are those of a rectangle along the axes."""
    return all(len(np.unique(np.round(path[:, axis], 6))) == 2 for axis in (0, 1))


def _plane(position: AnyArray) -> tuple[int, ...]:
    return tuple(round(float(value)) for value in position[:-2])


def _number(source: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise PromptError(f"{source}, line {line}: {text!r} is no number of pixels.")
    return value
