"""From settings and layers to one frozen request for a worker, or the reason why not.

Pure functions of their arguments; no Qt, no model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import Dims

from litesam.models.registry import get_spec
from litesam.preprocess import Composite
from litesam.types import (
    BoxPrompt,
    Drawing,
    EverythingConfig,
    NormalizeConfig,
    PointLabel,
    PointPrompt,
    Polygon,
    Prompts,
    Scribble,
)
from napari_litesam.colours import composite_of, why_not_composed
from napari_litesam.contrast import normalize_for
from napari_litesam.drawn_shapes import around
from napari_litesam.image_axes import axes_letters, channel_axis, pixels, plane_axes
from napari_litesam.prompt_layers import PromptLayers
from napari_litesam.stains import Colours
from napari_litesam.state import Where, Words
from napari_litesam.variants import why_not

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.layers import Image

    from napari_litesam.state import Settings


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
        Array-like with all pixels (of the chosen level of a multiscale layer); of several layers
        that are seen as colours their composite.
    axes
        One letter per axis of ``data``.
    channel
        Index along C, or None.
    shape_yx
        Size of a plane, pixels of level 0: the frame of prompts and objects.
    planes
        Lengths of the leading axes that choose a plane (of level 0).
    normalize
        Mapping of intensities.
    layer
        The array (level 0) that the layer holds; tells images from each other.
    colours
        What the composite is made of; None: the layer alone is seen.
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
    normalize: NormalizeConfig = field(default_factory=NormalizeConfig)
    layer: Any = None
    colours: Colours | None = None

    @property
    def reduced(self) -> bool:
        """Whether ``data`` is another level than that of prompts and objects."""
        return self.layer is not None and self.layer is not self.data

    @property
    def model_key(self) -> tuple[str, str, str | None]:
        """Equal for sources that use the same predictor."""
        return (self.model, self.device, self.weights)

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for sources of the same pixels and model."""
        pixels = self.data.key if isinstance(self.data, Composite) else id(self.data)
        return (pixels, self.axes, self.channel, self.normalize, *self.model_key)


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
    """One object of a plane: that of the prompts, or, if there are none, that fits the words.

    Attributes
    ----------
    plane, words
        Where, and the words.
    prompts
        Points and box; None if there are none.
    each
        What is said about several objects, if every prompt is one of its own.
    drawing
        All that is said, if scribbles or outlines are among it; points and box as well.
    """

    plane: PlaneRequest
    prompts: Prompts | None
    words: Words | None = None
    each: tuple[Prompts, ...] = ()
    drawing: Drawing | None = None

    @property
    def prompted(self) -> bool:
        """Whether something was pointed at or drawn; otherwise words are asked."""
        return self.prompts is not None or self.drawing is not None

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for the same question."""
        if self.drawing is not None:
            drawn = self.drawing
            return (self.plane.key, drawn.points, drawn.box, drawn.scribbles, drawn.polygons)
        if self.prompts is None:
            return (self.plane.key, self.words)
        if self.each:
            return (self.plane.key, tuple((one.points, one.box) for one in self.each))
        return (self.plane.key, self.prompts.points, self.prompts.box)


@dataclass(frozen=True, slots=True, eq=False)
class EverythingRequest:
    """All objects of a plane; of ``boxes`` one each, if there are any; of ``region``, and of
    ``outline`` inside it, those whose middle lies in it.
    """

    plane: PlaneRequest
    proposals: str | None
    config: EverythingConfig
    boxes: tuple[BoxPrompt, ...] = ()
    region: BoxPrompt | None = None
    outline: Polygon | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """What the viewer shows: its sliders and the prompt layers."""

    dims: Dims
    prompts: PromptLayers | None = None


# --------------------------------------------------------------------------------------------- axes


def plane_index(image: Image, dims: Dims) -> dict[int, int] | NotReady:
    """Return the pixel index at the sliders for each data axis in front of the plane, the channels
    among them.
    """
    if dims.ndisplay != 2:
        return NotReady("Lite-SAM works on 2-D planes; switch the viewer from 3-D to 2-D display.")
    if set(dims.displayed) != {dims.ndim - 2, dims.ndim - 1}:
        return NotReady(
            "Lite-SAM works on the last two axes; roll the viewer's axes back until they are shown."
        )
    position = np.asarray(image.world_to_data(dims.point))
    index: dict[int, int] = {}
    for axis in range(image.ndim - 2):
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
    at = plane_index(image, scene.dims)
    if isinstance(at, NotReady):
        return at
    source = source_of(settings, at)
    if isinstance(source, NotReady):
        return source
    return PlaneRequest(source, tuple(at[axis] for axis in plane_axes(image)) or None)


def source_of(settings: Settings, at: Mapping[int, int]) -> ImageSource | NotReady:
    """Return the chosen image as the model sees it.

    ``at``: the index at the sliders for each data axis, which chooses a channel where the user did
    not.
    """
    image = settings.image
    assert image is not None
    looked_at = look_at(settings)
    if isinstance(looked_at, NotReady):
        return looked_at
    full = pixels(image)
    height, width = full.shape[image.ndim - 2 : image.ndim]
    channel, along = settings.channel, channel_axis(image)
    if along is None or settings.colours is not None:
        channel = None
    elif channel is None or channel >= full.shape[along]:
        channel = at.get(along)
    axes = plane_axes(image)
    return ImageSource(
        data=looked_at.data,
        axes=looked_at.axes,
        channel=channel,
        shape_yx=(int(height), int(width)),
        planes=tuple(int(full.shape[axis]) for axis in axes),
        model=settings.model,
        device=settings.device,
        weights=settings.weights,
        normalize=looked_at.normalize,
        layer=looked_at.layer,
        colours=settings.colours,
    )


@dataclass(frozen=True, slots=True, eq=False)
class LookedAt:
    """What the model sees: pixels of the chosen level and of level 0, axes and contrast."""

    data: Any
    layer: Any
    axes: str
    normalize: NormalizeConfig


def look_at(settings: Settings) -> LookedAt | NotReady:
    """Return what the model sees of the chosen image: its layer, or the colours of several."""
    image, colours = settings.image, settings.colours
    assert image is not None
    if colours is None:
        normalize = normalize_for(image, settings.contrast, settings.look)
        data = level_of(image, settings.level)
        return LookedAt(data, pixels(image), axes_letters(image), normalize)
    reason = why_not_composed(image, colours)
    if reason is not None:
        return NotReady(reason, warns=True)
    level = min(settings.level, len(image.data) - 1) if image.multiscale else 0
    full, data = (composite_of(colours, at, settings.contrast, settings.looks) for at in (0, level))
    # Each colour has its contrast already.
    return LookedAt(data, full, full.axes, NormalizeConfig())


def same_pixels(one: Any, other: Any) -> bool:
    """Whether two arrays, or composites, show the same pixels; their contrast may differ."""
    if isinstance(one, Composite) and isinstance(other, Composite):
        own, others = (
            [part and (id(part.image), part.axes, part.channel) for part in image.parts]
            for image in (one, other)
        )
        return own == others
    return one is other


def channel_shown(image: Image, dims: Dims) -> tuple[int, int] | None:
    """Return the data axis of the channels and the channel at its slider; None for an image
    without such an axis in front of its planes.
    """
    axis = channel_axis(image)
    if axis is None or axis >= image.ndim - 2 or dims.ndisplay != 2:
        return None
    at = round(float(np.asarray(image.world_to_data(dims.point))[axis]))
    return (axis, at) if 0 <= at < pixels(image).shape[axis] else None


def level_of(image: Image, level: int) -> Any:
    """Return the array of a level of a multiscale layer; the layer's array of any other."""
    return image.data[min(level, len(image.data) - 1)] if image.multiscale else image.data


def resolve(settings: Settings, scene: Scene) -> SegmentRequest | NotReady:
    """Return what to ask the model about the current object."""
    plane = resolve_plane(settings, scene)
    if isinstance(plane, NotReady):
        return plane
    if scene.prompts is None or settings.image is None:
        return NotReady("Choose a tool: Positive, Negative or Box.")
    index = current_index(settings, plane)
    prompts = scene.prompts.on_plane(settings.image, index)
    scribbles, outlines = scene.prompts.strokes_on_plane(settings.image, index)
    if prompts is None and not scribbles and not outlines:
        words = settings.words
        if words is not None and words.index == plane.index and takes_words(settings.model):
            return SegmentRequest(plane, None, words)
        return NotReady("Ready: click on an object, or draw a box around it.")
    inside = None if prompts is None else _inside(prompts, plane.source.shape_yx)
    if isinstance(inside, NotReady):
        return inside
    each: tuple[Prompts, ...] = ()
    if settings.each and inside is not None:
        drawn = scene.prompts.boxes_on_plane(settings.image, index)
        each = one_each(inside, [box for one in drawn if (box := _cut(one, plane.source.shape_yx))])
    for said in each or (inside,):
        refusal = None if said is None else why_not(get_spec(settings.model), said)
        if refusal is not None:
            return NotReady(refusal, warns=True)
    if each or not (scribbles or outlines):
        return SegmentRequest(plane, inside, each=each)
    strokes = _strokes_inside(scribbles, plane.source.shape_yx)
    if isinstance(strokes, NotReady):
        return strokes
    points, box = ((), None) if inside is None else (inside.points, inside.box)
    return SegmentRequest(plane, inside, drawing=Drawing(points, box, strokes, outlines))


def one_each(prompts: Prompts, boxes: Sequence[BoxPrompt]) -> tuple[Prompts, ...]:
    """Return what is said about each of several objects; empty if it is one object.

    Every box is an object, with the positive points inside it; so is every other positive point. A
    negative point belongs to the object that is nearest.

    Parameters
    ----------
    prompts
        All points of the plane.
    boxes
        All boxes of the plane.
    """
    own: list[list[PointPrompt]] = [[] for _ in boxes]
    middles = [((box.y0 + box.y1) / 2, (box.x0 + box.x1) / 2) for box in boxes]
    frames: list[BoxPrompt | None] = list(boxes)
    for point in prompts.points:
        if point.label != PointLabel.FOREGROUND:
            continue
        inside = [
            number
            for number, box in enumerate(boxes)
            if box.y0 <= point.y < box.y1 and box.x0 <= point.x < box.x1
        ]
        if inside:
            own[inside[-1]].append(point)
            continue
        own.append([point])
        frames.append(None)
        middles.append((point.y, point.x))
    if len(own) < 2:
        return ()
    for point in prompts.points:
        if point.label == PointLabel.BACKGROUND:
            far = [(y - point.y) ** 2 + (x - point.x) ** 2 for y, x in middles]
            own[int(np.argmin(far))].append(point)
    return tuple(
        Prompts(points=tuple(points), box=box) for points, box in zip(own, frames, strict=True)
    )


def takes_words(model: str) -> bool:
    """Whether a model finds objects by words."""
    return "text" in get_spec(model).prompts


def resolve_everything(settings: Settings, scene: Scene) -> EverythingRequest | NotReady:
    """Return what to ask for all objects of the plane."""
    plane = resolve_plane(settings, scene)
    if isinstance(plane, NotReady):
        return plane
    boxes: tuple[BoxPrompt, ...] = ()
    outlines: tuple[Polygon, ...] = ()
    if scene.prompts is not None and settings.image is not None:
        index = current_index(settings, plane)
        _, outlines = scene.prompts.strokes_on_plane(settings.image, index)
        drawn = (
            _cut(box, plane.source.shape_yx)
            for box in scene.prompts.boxes_on_plane(settings.image, index)
        )
        boxes = tuple(box for box in drawn if box is not None)
    region: BoxPrompt | None = None
    outline: Polygon | None = None
    if settings.where is Where.VIEW and settings.image is not None:
        region = _cut(visible_field(settings.image), plane.source.shape_yx)
        if region is None:
            return NotReady("The canvas shows nothing of the image; move it back into view.")
    elif settings.where is Where.BOX:
        region = boxes[-1] if boxes else None
        if outlines:
            outline = outlines[-1]
            region = _cut(around(outline), plane.source.shape_yx)
        if region is None:
            return NotReady("Draw the region first (▭ Box, ◯ Lasso), or let it look elsewhere.")
    chosen = settings.proposals or get_spec(settings.model).proposals[0]
    # A box that says where to look is none that is to be filled.
    if chosen != "boxes" or settings.where is Where.BOX:
        boxes = ()
    return EverythingRequest(plane, settings.proposals, settings.everything, boxes, region, outline)


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
    return dict(zip(plane_axes(settings.image), plane.index or (), strict=True))


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


def _strokes_inside(
    scribbles: Sequence[Scribble], shape_yx: tuple[int, int]
) -> tuple[Scribble, ...] | NotReady:
    """Return the vertices of scribbles that lie on the image; refuse scribbles without any."""
    height, width = shape_yx
    found = []
    for scribble in scribbles:
        path = tuple(
            (min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0))
            for y, x in scribble.path
            if -0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5
        )
        if not path:
            return NotReady("A scribble lies outside the image; move it, delete it or undo it.")
        found.append(Scribble(path, scribble.label))
    return tuple(found)


def _cut(box: BoxPrompt, shape_yx: tuple[int, int]) -> BoxPrompt | None:
    """Return the part of a box that lies on the image; None if there is none."""
    y0, x0 = max(box.y0, 0.0), max(box.x0, 0.0)
    y1, x1 = min(box.y1, float(shape_yx[0])), min(box.x1, float(shape_yx[1]))
    return None if y1 <= y0 or x1 <= x0 else BoxPrompt(y0, x0, y1, x1)
