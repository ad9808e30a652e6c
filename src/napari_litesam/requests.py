"""From settings and layers to one frozen request for a worker, or the reason why not.

Pure functions of their arguments; no Qt, no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import Dims

from litesam.models.registry import get_spec
from litesam.types import BoxPrompt, EverythingConfig, Prompts
from napari_litesam.prompt_layers import PromptLayers
from napari_litesam.state import Where, Words
from napari_litesam.variants import why_not

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Image

    from napari_litesam.state import Settings

#: A first axis of at most this length may be a channel axis.
MAX_CHANNELS = 4
_CHANNEL_LABELS = ("c", "ch", "channel", "channels")


@dataclass(frozen=True, slots=True)
class NotReady:
    """Nothing can be asked of the model now; ``reason`` is a sentence for the user.

    ``warns``: the user did what the model cannot follow.
    """

    reason: str
    warns: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ImageSource:
    """What a segmenter is made from.

    Attributes
    ----------
    data
        Array-like with all pixels (level 0 of a multiscale layer).
    axes
        One letter per axis of ``data``.
    channel
        Index along C, or None.
    shape_yx
        Size of a plane.
    planes
        Lengths of the leading axes that choose a plane.
    model, device, weights
        See `Settings`.
    """

    data: Any
    axes: str
    channel: int | None
    shape_yx: tuple[int, int]
    planes: tuple[int, ...]
    model: str
    device: str
    weights: str | None

    @property
    def model_key(self) -> tuple[str, str, str | None]:
        """Equal for sources that use the same predictor."""
        return (self.model, self.device, self.weights)

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for sources of the same pixels and model."""
        return (id(self.data), self.axes, self.channel, *self.model_key)


@dataclass(frozen=True, slots=True, eq=False)
class PlaneRequest:
    """One plane of an image: what *Embed* and *Everything* work on."""

    source: ImageSource
    index: tuple[int, ...] | None

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for the same plane of the same source."""
        return (self.source.key, self.index)


@dataclass(frozen=True, slots=True, eq=False)
class SegmentRequest:
    """One object of a plane: that of the prompts, or, if there are none, that fits the words."""

    plane: PlaneRequest
    prompts: Prompts | None
    words: Words | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for the same question."""
        if self.prompts is None:
            return (self.plane.key, self.words)
        return (self.plane.key, self.prompts.points, self.prompts.box)


@dataclass(frozen=True, slots=True, eq=False)
class EverythingRequest:
    """All objects of a plane; of ``boxes`` one each, if there are any; of ``region`` those whose
    middle lies in it.
    """

    plane: PlaneRequest
    proposals: str | None
    config: EverythingConfig
    boxes: tuple[BoxPrompt, ...] = ()
    region: BoxPrompt | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """What the viewer shows: its sliders and the prompt layers."""

    dims: Dims
    prompts: PromptLayers | None = None


# --------------------------------------------------------------------------------------------- axes


def pixels(image: Image) -> Any:
    """Return the array of an image layer; level 0 if it is multiscale."""
    return image.data[0] if image.multiscale else image.data


def channel_axis(image: Image, channel: int | None) -> int | None:
    """Data axis that the channel counts along: the last of an RGB image, else the first if a
    channel is chosen.
    """
    if image.rgb:
        return int(image.ndim)
    return None if channel is None else 0


def channel_choices(image: Image | None) -> tuple[tuple[str, int | None], ...]:
    """Return (text, channel) pairs that the channel chooser offers; one entry means that there is
    no choice.
    """
    if image is None:
        return (("–", None),)
    data = pixels(image)
    if image.rgb:
        names = ("Red", "Green", "Blue")[: data.shape[-1]]
        return (("All colours", None), *((name, i) for i, name in enumerate(names)))
    if not _may_have_channels(image):
        return (("The plane shown", None),)
    count = data.shape[0]
    return (("The plane shown", None), *((f"Channel {i} (axis 0)", i) for i in range(count)))


def _may_have_channels(image: Image) -> bool:
    """Whether axis 0 may count channels: it says so, or is short beside at least two other axes."""
    if image.ndim < 3:
        return False
    label = str(getattr(image, "axis_labels", ("",))[0]).lower()
    return label in _CHANNEL_LABELS or pixels(image).shape[0] <= MAX_CHANNELS


def plane_axes(image: Image, channel: int | None) -> tuple[int, ...]:
    """Data axes that choose a plane: all but the last two of the layer and the channel axis."""
    skipped = channel_axis(image, channel)
    return tuple(axis for axis in range(image.ndim - 2) if axis != skipped)


def axes_letters(image: Image, channel: int | None) -> str:
    """Axes of the layer's array as the engine names them."""
    letters = ["?"] * (image.ndim - 2) + ["Y", "X"]
    for axis, letter in zip(reversed(plane_axes(image, channel)), "ZTPQRUV", strict=False):
        letters[axis] = letter
    if image.rgb:
        letters.append("C")
    elif channel is not None:
        letters[0] = "C"
    return "".join(letters)


def plane_index(image: Image, channel: int | None, dims: Dims) -> dict[int, int] | NotReady:
    """Return the pixel index at the sliders for each data axis that chooses a plane."""
    if dims.ndisplay != 2:
        return NotReady("Lite-SAM works on 2-D planes; switch the viewer from 3-D to 2-D display.")
    if set(dims.displayed) != {dims.ndim - 2, dims.ndim - 1}:
        return NotReady(
            "Lite-SAM works on the last two axes; roll the viewer's axes back until they are shown."
        )
    position = np.asarray(image.world_to_data(dims.point))
    index: dict[int, int] = {}
    for axis in plane_axes(image, channel):
        at, length = round(float(position[axis])), int(pixels(image).shape[axis])
        if not 0 <= at < length:
            return NotReady(
                f"The slider of axis {axis} is at plane {at}; {image.name!r} has planes 0 to "
                f"{length - 1}. Move the slider back."
            )
        index[axis] = at
    return index


# ----------------------------------------------------------------------------------------- requests


def resolve_plane(settings: Settings, scene: Scene) -> PlaneRequest | NotReady:
    """Return the plane that the viewer shows."""
    image = settings.image
    if image is None:
        return NotReady("Open an image, or a sample: File ▸ Open Sample ▸ Lite-SAM.")
    if image.ndim < 2:
        return NotReady(f"{image.name!r} has {image.ndim} axis; an image with two is needed.")
    index = plane_index(image, settings.channel, scene.dims)
    if isinstance(index, NotReady):
        return index
    data = pixels(image)
    height, width = data.shape[image.ndim - 2 : image.ndim]
    source = ImageSource(
        data=data,
        axes=axes_letters(image, settings.channel),
        channel=settings.channel,
        shape_yx=(int(height), int(width)),
        planes=tuple(int(data.shape[axis]) for axis in index),
        model=settings.model,
        device=settings.device,
        weights=settings.weights,
    )
    return PlaneRequest(source, tuple(index.values()) or None)


def resolve(settings: Settings, scene: Scene) -> SegmentRequest | NotReady:
    """Return what to ask the model about the current object."""
    plane = resolve_plane(settings, scene)
    if isinstance(plane, NotReady):
        return plane
    if scene.prompts is None or settings.image is None:
        return NotReady("Choose a tool: Positive, Negative or Box.")
    prompts = scene.prompts.on_plane(settings.image, current_index(settings, plane))
    if prompts is None:
        words = settings.words
        if words is not None and words.index == plane.index and takes_words(settings.model):
            return SegmentRequest(plane, None, words)
        return NotReady("Ready: click on an object, or draw a box around it.")
    inside = _inside(prompts, plane.source.shape_yx)
    if isinstance(inside, NotReady):
        return inside
    refusal = why_not(get_spec(settings.model), inside)
    return SegmentRequest(plane, inside) if refusal is None else NotReady(refusal, warns=True)


def takes_words(model: str) -> bool:
    """Whether a model finds objects by words."""
    return "text" in get_spec(model).prompts


def resolve_everything(settings: Settings, scene: Scene) -> EverythingRequest | NotReady:
    """Return what to ask for all objects of the plane."""
    plane = resolve_plane(settings, scene)
    if isinstance(plane, NotReady):
        return plane
    boxes: tuple[BoxPrompt, ...] = ()
    if scene.prompts is not None and settings.image is not None:
        index = current_index(settings, plane)
        drawn = (
            _cut(box, plane.source.shape_yx)
            for box in scene.prompts.boxes_on_plane(settings.image, index)
        )
        boxes = tuple(box for box in drawn if box is not None)
    region: BoxPrompt | None = None
    if settings.where is Where.VIEW and settings.image is not None:
        region = _cut(visible_field(settings.image), plane.source.shape_yx)
        if region is None:
            return NotReady("The canvas shows nothing of the image; move it back into view.")
    elif settings.where is Where.BOX:
        if not boxes:
            return NotReady("Draw the box first (▭ Box), or let Everything look elsewhere.")
        region = boxes[-1]
    chosen = settings.proposals or get_spec(settings.model).proposals[0]
    # A box that says where to look is none that is to be filled.
    if chosen != "boxes" or settings.where is Where.BOX:
        boxes = ()
    return EverythingRequest(plane, settings.proposals, settings.everything, boxes, region)


def visible_field(image: Image) -> BoxPrompt:
    """Return the part of the plane that the canvas shows, in pixels (of level 0)."""
    corners = np.asarray(image.corner_pixels, dtype=float)[:, -2:]
    corners[1] += 1.0  # the last pixel is a part of the field
    if image.multiscale:
        factors = np.asarray(image.downsample_factors)[image.data_level]
        corners = corners * factors[image.ndim - 2 : image.ndim]
    (y0, x0), (y1, x1) = corners
    return BoxPrompt(float(y0), float(x0), float(y1), float(x1))


def current_index(settings: Settings, plane: PlaneRequest) -> Mapping[int, int]:
    """Pixel index of a plane by data axis of the image."""
    assert settings.image is not None
    return dict(zip(plane_axes(settings.image, settings.channel), plane.index or (), strict=True))


def _inside(prompts: Prompts, shape_yx: tuple[int, int]) -> Prompts | NotReady:
    """Cut the box to the image; refuse points outside of it."""
    height, width = shape_yx
    for point in prompts.points:
        if not (-0.5 <= point.y < height - 0.5 and -0.5 <= point.x < width - 0.5):
            return NotReady("A point lies outside the image; move it, delete it or undo it.")
    box = prompts.box
    if box is not None:
        box = _cut(box, shape_yx)
        if box is None:
            return NotReady("The box lies outside the image; move it, delete it or undo it.")
    points = tuple(
        type(p)(min(max(p.y, 0.0), height - 1.0), min(max(p.x, 0.0), width - 1.0), p.label)
        for p in prompts.points
    )
    return Prompts(points=points, box=box)


def _cut(box: BoxPrompt, shape_yx: tuple[int, int]) -> BoxPrompt | None:
    """Return the part of a box that lies on the image; None if there is none."""
    y0, x0 = max(box.y0, 0.0), max(box.x0, 0.0)
    y1, x1 = min(box.y1, float(shape_yx[0])), min(box.x1, float(shape_yx[1]))
    return None if y1 <= y0 or x1 <= x0 else BoxPrompt(y0, x0, y1, x1)
