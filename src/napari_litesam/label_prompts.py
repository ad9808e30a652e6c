"""Labels that are there, in any layer, as prompts: what is under the mouse, and its outline. No Qt.

An outline lies in the layer of boxes like one that was drawn: it can be moved, reshaped, taken back
and kept in a session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels

from litesam.objects import connected_region
from litesam.prompting import outline
from litesam.session import Draft, DrawnShape
from napari_litesam.image_axes import plane_axes
from napari_litesam.label_axes import array_of, to_pixels, to_world

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari.layers import Image, Layer

_PLANE = 2


@dataclass(frozen=True, slots=True, eq=False)
class LabelThere:
    """A pixel with a label: the layer, the index of the pixel, and the label."""

    layer: Labels
    at: tuple[int, ...]
    label: int


def label_under(
    layers: Iterable[Layer], position: Sequence[float], besides: Iterable[Layer | None]
) -> LabelThere | None:
    """Return the label that is to be seen at a place.

    Parameters
    ----------
    layers
        All layers, bottom to top; hidden ones do not count.
    position
        The place, in the world.
    besides
        Layers that do not count.
    """
    left_out = [id(layer) for layer in besides]
    for layer in reversed(list(layers)):
        if not isinstance(layer, Labels) or not layer.visible or id(layer) in left_out:
            continue
        pixels = array_of(layer)
        if layer.ndim > len(position) or layer.ndim < _PLANE:
            continue
        at = tuple(round(float(v)) for v in to_pixels(layer, position))
        if all(0 <= place < size for place, size in zip(at, pixels.shape, strict=True)):
            label = int(np.asarray(pixels[at]))
            if label:
                return LabelThere(layer, at, label)
    return None


def outline_of(there: LabelThere, image: Image, index: Sequence[int]) -> Draft:
    """Return the outline of a label, in pixels of a plane of the image.

    Parameters
    ----------
    there
        A pixel of it; the part that is connected with that pixel counts.
    image
        The image, which may lie elsewhere and have other pixels than the labels.
    index
        Index of the plane.
    """
    *leading, y, x = there.at
    plane = array_of(there.layer)[tuple(leading)] if leading else array_of(there.layer)
    mask, box = connected_region(plane, (y, x))
    here = np.zeros(image.ndim)
    here[list(plane_axes(image))] = index
    world = np.asarray(image.data_to_world(here), dtype=float)
    shared = min(there.layer.ndim, image.ndim)
    vertices = []
    for vertex in outline(mask, box).path:
        theirs = to_world(there.layer, (*leading, *vertex))
        world[-shared:] = theirs[-shared:]
        y_image, x_image = image.world_to_data(world)[-_PLANE:]
        vertices.append((float(y_image), float(x_image)))
    return Draft(tuple(index), None, shapes=(DrawnShape("polygon", tuple(vertices)),))
