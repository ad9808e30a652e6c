"""Prompts in a session ↔ prompts in layers: (y, x) of a plane of the image ↔ data of the layers.

Pure functions of layers; no Qt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from litesam.prompting import bounding_box, central_click
from litesam.session import Draft, Drawn
from litesam.types import PointLabel, Prompts
from napari_litesam.drawn_shapes import Stroke
from napari_litesam.image_axes import plane_axes
from napari_litesam.prompt_layers import PromptSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari.layers import Image, Layer

    from litesam.types import BoolArray, MaskRecord
    from napari_litesam.prompt_layers import PromptLayers

Index = tuple[int, ...]


def planes_with_prompts(prompts: PromptLayers, image: Image, channel: int | None) -> list[Index]:
    """Return the indices of all planes of the image in which prompts lie."""
    axes = plane_axes(image)
    found = []
    for layer, positions in (
        (prompts.points, list(prompts.points.data)),
        (prompts.boxes, [np.mean(box, axis=0) for box in prompts.boxes.data]),
    ):
        for position in positions:
            at = image.world_to_data(layer.data_to_world(np.asarray(position, dtype=float)))
            index = tuple(round(float(at[axis])) for axis in axes)
            if index not in found:
                found.append(index)
    return sorted(found)


def drafts_of(
    prompts: PromptLayers, image: Image, channel: int | None, refined: tuple[int, Index] | None
) -> tuple[Draft, ...]:
    """Return what the layers say, plane by plane.

    ``refined``: id and plane of a committed object that was opened again.
    """
    axes = plane_axes(image)
    drafts = []
    for index in planes_with_prompts(prompts, image, channel):
        at = dict(zip(axes, index, strict=True))
        said, shapes = prompts.on_plane(image, at), prompts.shapes_on_plane(image, at)
        if said is not None or shapes:
            number = refined[0] if refined is not None and refined[1] == index else None
            drafts.append(Draft(index, said, number, shapes))
    return tuple(drafts)


def drawn_on_plane(prompts: PromptLayers, image: Image, index: Mapping[int, int]) -> Drawn | None:
    """Return what was drawn in one plane; None if there are no outlines and scribbles.

    ``index``: pixel index of the plane along each leading data axis of the image.
    """
    shapes = prompts.shapes_on_plane(image, index)
    if all(shape.kind == "rectangle" for shape in shapes):
        return None
    return Drawn(shapes, prompts.on_plane(image, index))


def snapshot_of(
    prompts: PromptLayers, image: Image, channel: int | None, drafts: Iterable[Draft]
) -> PromptSnapshot:
    """Return the contents of the layers that say what drafts say."""
    axes = plane_axes(image)
    points: list[tuple[float, ...]] = []
    signs: list[PointLabel] = []
    boxes: list[tuple[tuple[float, ...], ...]] = []
    strokes: list[Stroke] = []

    def place(layer: Layer, index: Sequence[int], y: float, x: float) -> tuple[float, ...]:
        at = np.zeros(image.ndim)
        at[list(axes)] = index
        at[-2:] = y, x
        world = image.data_to_world(at)
        return tuple(float(value) for value in layer.world_to_data(world))

    for draft in drafts:
        for shape in draft.shapes:
            corners = tuple(place(prompts.boxes, draft.index, y, x) for y, x in shape.vertices)
            if shape.kind == "rectangle":
                boxes.append(corners)
            else:
                strokes.append(Stroke(shape.kind, corners, shape.label))
        said = draft.prompts
        for point in () if said is None else said.points:
            points.append(place(prompts.points, draft.index, point.y, point.x))
            signs.append(point.label)
        box = None if said is None else said.box
        if box is not None:
            # The engine's box is half-open; in napari pixel 0 begins at -0.5.
            y0, x0, y1, x1 = (value - 0.5 for value in (box.y0, box.x0, box.y1, box.x1))
            around = ((y0, x0), (y0, x1), (y1, x1), (y1, x0))
            boxes.append(tuple(place(prompts.boxes, draft.index, y, x) for y, x in around))
    return PromptSnapshot(tuple(points), tuple(signs), tuple(boxes), tuple(strokes))


def prompts_from_mask(record: MaskRecord) -> Prompts:
    """Return what a person would say about an object that has no prompts: a click in its middle
    and a box around it.
    """
    mask: BoolArray = record.crop
    return Prompts(
        points=central_click(mask, record.box).points, box=bounding_box(mask, record.box).box
    )
