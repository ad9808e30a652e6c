"""Read prompts from a CSV file.

The first line names the columns, in any order, in capitals or not:

``t``, ``z``
    Place in a stack: time point and slice, from 0. Leave out what the image has not.
``object``
    Which object the row speaks about (any text). Rows of one plane with the same object belong
    together: any number of points, at most one box. Without this column each row is an object.
``kind``
    ``point`` or ``box``. Without this column, the filled cells decide.
``y``, ``x``
    Point, pixels; 0 is the centre of the first pixel.
``label``
    Point: 1 on the object (also ``+``, or empty), 0 beside it (also ``-``).
``y0``, ``x0``, ``y1``, ``x1``
    Box: rows y0 <= y < y1, columns x0 <= x < x1.

Cells are separated by commas, or, as spreadsheets of some languages write them, by semicolons or
tabs, and the decimal sign may then be a comma. The text is UTF-8, UTF-16 with its mark, or Latin.
Empty lines and lines that begin with ``#`` are skipped. Example::

    z,object,kind,y,x,label,y0,x0,y1,x1
    12,a,point,40.5,61,1,,,,
    12,a,point,52,61,0,,,,
    12,b,box,,,,10,20,35,48
"""

from __future__ import annotations

import codecs
import csv
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from litesam.errors import PromptError, ReadError
from litesam.types import BoxPrompt, PointLabel, PointPrompt, Prompts

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

_POINT, _BOX = ("y", "x"), ("y0", "x0", "y1", "x1")
_COLUMNS = ("t", "z", "object", "kind", *_POINT, "label", *_BOX)
_LABELS = {
    "": PointLabel.FOREGROUND,
    "1": PointLabel.FOREGROUND,
    "+": PointLabel.FOREGROUND,
    "0": PointLabel.BACKGROUND,
    "-": PointLabel.BACKGROUND,
}
#: A whole number, also as tables write it that have empty cells: 3.0.
_WHOLE = re.compile(r"(\d+)(?:\.0*)?")
_DECIMAL_COMMA = re.compile(r"^([+-]?\d*),(\d+)$")


@dataclass
class _Object:
    """What was said about one object so far."""

    points: list[PointPrompt] = field(default_factory=list)
    box: BoxPrompt | None = None


class PromptedObjects(NamedTuple):
    """Objects of a prompts file, each with its prompts on all planes.

    Attributes
    ----------
    axes
        Letters of the columns that say where: "", "Z", "T" or "TZ".
    objects
        By name, in the order of first appearance: prompts by place along these axes.
    """

    axes: str
    objects: dict[str, dict[tuple[int, ...], Prompts]]


def read_prompted_objects(path: str | os.PathLike[str]) -> PromptedObjects:
    """Read a prompts file whose objects may be prompted on several planes.

    Raises
    ------
    ReadError, PromptError
        See `read_prompts_csv`.
    """
    place, planes = _read(Path(path))
    found: dict[str, dict[tuple[int, ...], Prompts]] = {}
    for index, objects in planes.items():
        for name, one in objects.items():
            found.setdefault(name, {})[index] = Prompts(tuple(one.points), one.box)
    return PromptedObjects("".join(place).upper(), found)


def read_prompts_csv(path: str | os.PathLike[str]) -> dict[tuple[int, ...], list[Prompts]]:
    """Read a prompts file; the columns are described in the module's documentation.

    Returns
    -------
    dict
        For each plane its prompts, one entry per object, in the order of first appearance. The key
        is the place in the leading axes: ``()`` without columns t and z, ``(z,)``, ``(t,)`` or
        ``(t, z)``.

    Raises
    ------
    ReadError
        If the file is missing, is not text, or has no header with known columns.
    PromptError
        If a row is wrong (the message names the line), or there are no rows.
    """
    _, planes = _read(Path(path))
    return {
        index: [Prompts(tuple(one.points), one.box) for one in objects.values()]
        for index, objects in planes.items()
    }


def _read(source: Path) -> tuple[list[str], dict[tuple[int, ...], dict[str, _Object]]]:
    """Columns of places, and objects by place and name."""
    lines = _lines(source)
    if not lines:
        raise ReadError(
            f"{source} is empty; a prompts file begins with a header such as object,kind,y,x,label."
        )
    (_, header), *rows = lines
    columns = _checked_header(source, header)
    place: list[str] = [name for name in ("t", "z") if name in columns]
    planes: dict[tuple[int, ...], dict[str, _Object]] = {}
    for number, cells in rows:
        where = f"{source}, line {number}"
        if len(cells) > len(columns) and any(cells[len(columns) :]):
            raise PromptError(f"{where}: {len(cells)} cells for {len(columns)} columns.")
        row = dict(zip(columns, cells + [""] * (len(columns) - len(cells)), strict=False))
        index = tuple(_whole(row[name], name, where) for name in place)
        name = row.get("object", "") if "object" in columns else f"line {number}"
        if not name:
            raise PromptError(f"{where}: the cell object is empty; name the object, for example 1.")
        try:
            _add(planes.setdefault(index, {}).setdefault(name, _Object()), row, where)
        except PromptError as error:
            if str(error).startswith(where):
                raise
            raise PromptError(f"{where}: {error}") from error
    if not planes:
        raise PromptError(f"{source} has a header but no prompts; add at least one line.")
    return place, planes


def _lines(source: Path) -> list[tuple[int, list[str]]]:
    """Line numbers and stripped cells of all lines that say something."""
    text = _text(source)
    first = next(
        (line for line in text.splitlines() if line.strip(" ,;\t")[:1] not in ("", "#")), ""
    )
    # Spreadsheets of some languages write semicolons, because their decimal sign is the comma.
    delimiter = next((sign for sign in (",", ";", "\t") if sign in first), ",")
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    lines = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if delimiter != ",":
                stripped = [_DECIMAL_COMMA.sub(r"\1.\2", cell) for cell in stripped]
            if any(stripped) and not stripped[0].startswith("#"):
                lines.append((reader.line_num, stripped))
    except csv.Error as error:
        raise ReadError(f"{source}, line {reader.line_num}: {error}.") from error
    return lines


def _text(source: Path) -> str:
    """Text of a file, in the encodings of spreadsheets."""
    try:
        content = source.read_bytes()
    except OSError as error:
        raise ReadError(f"The prompts file {source} cannot be read: {error.strerror}.") from error
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "cp1252", "latin-1"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise ReadError(
        f"The prompts file {source} cannot be read: it is not a text file (UTF-8). Save it as CSV."
    )


def _checked_header(source: Path, header: list[str]) -> list[str]:
    columns = [name.lower() for name in header]
    unknown = [name for name in columns if name not in _COLUMNS]
    if unknown or len(set(columns)) != len(columns):
        raise ReadError(
            f"{source}: the header has unknown or repeated columns "
            f"({', '.join(unknown) or header}); "
            f"known are {', '.join(_COLUMNS)}."
        )
    if not set(_POINT) <= set(columns) and not set(_BOX) <= set(columns):
        raise ReadError(
            f"{source}: the header needs the columns y, x (points) or y0, x0, y1, x1 (boxes)."
        )
    return columns


def _add(target: _Object, row: Mapping[str, str], where: str) -> None:
    """Add one row to its object."""
    kind = row.get("kind", "").lower() or _guess_kind(row, where)
    if kind == "point":
        label = row.get("label", "")
        if label not in _LABELS:
            raise PromptError(
                f"{where}: label is {label!r}; use 1 (on the object) or 0 (beside it)."
            )
        y, x = (_number(row, name, where) for name in _POINT)
        target.points.append(PointPrompt(y, x, _LABELS[label]))
    elif kind == "box":
        if target.box is not None:
            raise PromptError(
                f"{where}: a second box for the same object; an object has at most one."
            )
        y0, x0, y1, x1 = (_number(row, name, where) for name in _BOX)
        target.box = BoxPrompt(y0, x0, y1, x1)
    else:
        raise PromptError(f"{where}: kind is {kind!r}; use point or box.")


def _guess_kind(row: Mapping[str, str], where: str) -> str:
    is_point = any(row.get(name) for name in _POINT)
    is_box = any(row.get(name) for name in _BOX)
    if is_point == is_box:
        what = "a point and a box" if is_point else "neither a point nor a box"
        raise PromptError(
            f"{where}: the row has {what}; fill y, x or y0, x0, y1, x1, or name the kind."
        )
    return "point" if is_point else "box"


def _number(row: Mapping[str, str], name: str, where: str) -> float:
    text = row.get(name, "")
    try:
        return float(text)
    except ValueError:
        raise PromptError(f"{where}: {name} is {text!r}; a number of pixels is needed.") from None


def _whole(text: str, name: str, where: str) -> int:
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        raise PromptError(f"{where}: {name} is {text!r}; a whole number from 0 is needed.")
    return int(whole.group(1))
