"""Several image layers, or channels of one, as the colours of the image that the model sees.

Nothing is copied: the composite is the engine's (`litesam.preprocess.Composite`), it reads the
layers' arrays where the model looks. No Qt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.preprocess import COLOURS, Composite, CompositePart
from napari_litesam.contrast import normalize_for
from napari_litesam.image_axes import axes_letters, channel_axis, pixels, plane_axes
from napari_litesam.image_files import file_of
from napari_litesam.label_layer import image_shape
from napari_litesam.prompt_layers import placement
from napari_litesam.stains import Colours, Stain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image

    from litesam.types import NormalizeConfig
    from napari_litesam.state import Contrast, Look

_PLACES = ("scale", "translate", "rotate", "shear", "affine")


def composite_of(
    colours: Colours, level: int, contrast: Contrast, looks: Sequence[Look | None] = ()
) -> Composite:
    """Return the image; the same one as long as layers and contrast are the same.

    Parameters
    ----------
    colours
        What it is made of.
    level
        Level of multiscale layers.
    contrast
        The user's choice; it holds for each layer by itself.
    looks
        How each of their layers was shown when that was last looked at.

    Raises
    ------
    ImageError
        If the layers do not go together; `why_not_composed` says it for people.
    """
    seen = dict(zip(colours.layers, looks, strict=False))
    parts: list[tuple[Any, str, int | None, NormalizeConfig] | None] = []
    for stain in colours.stains:
        if stain is None:
            parts.append(None)
            continue
        image = stain.layer
        array = image.data[level] if image.multiscale else image.data
        normalize = normalize_for(image, contrast, seen.get(image))
        parts.append((array, axes_letters(image), stain.channel, normalize))
    key = tuple(part and (id(part[0]), *part[1:]) for part in parts)
    if key not in colours.built:
        made = Composite(
            [
                None if part is None else CompositePart(*part, path=path_of(stain))
                for part, stain in zip(parts, colours.stains, strict=True)
            ]
        )
        if len(colours.built) > 8:  # a slider of the contrast was moved often
            colours.built.clear()
        # The arrays are kept beside it: their ids must not be used again.
        colours.built[key] = (made.arrays, made)
    return colours.built[key][1]


def path_of(stain: Stain | None) -> str | None:
    """File of a layer, if it has one."""
    return None if stain is None else file_of(stain.layer)


def stains_of(images: Sequence[Image]) -> tuple[Stain, ...]:
    """Return what can be a colour: layers without channels, and the channels of the others."""
    found: list[Stain] = []
    for image in images:
        axis = None if image.rgb else channel_axis(image)
        if image.rgb or image.ndim < 2:
            continue
        if axis is None:
            found.append(Stain(image))
        else:
            found += [Stain(image, channel) for channel in range(pixels(image).shape[axis])]
    return tuple(found)


def first_colours(image: Image, images: Sequence[Image]) -> Colours | None:
    """Return a first choice: the channels of the image, or it and the layers that fit it; None if
    there are not two of them.

    Layers that are shown in red, green or blue become that colour; the others get those that are
    left, in the order of the layer list.
    """
    found = [
        stain
        for stain in stains_of(images)
        if stain.layer is image
        or (channel_axis(image) is None and why_not_beside(image, stain.layer) is None)
    ]
    own = [stain for stain in found if stain.layer is image]
    found = found[: len(COLOURS)] if set(own) & set(found[: len(COLOURS)]) else own + found
    found = found[: len(COLOURS)]
    if len(found) < 2:
        return None
    stains: list[Stain | None] = [None] * len(COLOURS)
    left = []
    for stain in found:
        shown = str(stain.layer.colormap.name)
        at = COLOURS.index(shown) if stain.channel is None and shown in COLOURS else -1
        if at >= 0 and stains[at] is None:
            stains[at] = stain
        else:
            left.append(stain)
    for stain in left:
        stains[stains.index(None)] = stain
    return Colours(tuple(stains))


def why_not_composed(image: Image, colours: Colours) -> str | None:
    """Why an image cannot be seen in these colours; None if it can."""
    if not colours.given:
        return "Choose a layer for red, green or blue, or let the model see the image layer alone."
    for stain in colours.given:
        reason = why_not_beside(image, stain.layer)
        if reason is not None:
            return reason
        axis = channel_axis(stain.layer)
        count = 0 if axis is None else int(pixels(stain.layer).shape[axis])
        if (stain.channel is None) != (axis is None) or (stain.channel or 0) >= max(count, 1):
            return (
                f"{stain.layer.name!r} has other channels now; choose the colours of the image "
                "anew."
            )
    return None


def why_not_beside(image: Image, other: Image) -> str | None:
    """Why a layer cannot be a colour of an image; None if it can."""
    if other is image:
        return None
    if other.rgb:
        return f"{other.name!r} has colours itself; choose layers that are grey."
    wanted, got = _sizes(image), _sizes(other)
    if wanted != got:
        return (
            f"{other.name!r} has the axes {got}, {image.name!r} has {wanted}; layers of one image "
            "need the same shape and the same axes."
        )
    if image.multiscale != other.multiscale or (
        image.multiscale and [a.shape for a in image.data] != [b.shape for b in other.data]
    ):
        return (
            f"{other.name!r} and {image.name!r} are not pyramids of the same levels; layers of one "
            "image need that."
        )
    here, there = placement(image, 2), placement(other, 2)
    if any(not np.allclose(here[name], there[name]) for name in _PLACES):
        return (
            f"{other.name!r} lies elsewhere than {image.name!r} (scale, translation or rotation "
            "differ); layers of one image have to lie on each other."
        )
    return None


def _sizes(image: Image) -> str:
    """Axes and sizes without channels, for people: ``Z 12 × Y 512 × X 512``."""
    shape, letters = image_shape(image), axes_letters(image)
    axes = (*plane_axes(image), image.ndim - 2, image.ndim - 1)
    return " × ".join(f"{letters[axis]} {shape[axis]}" for axis in axes)
