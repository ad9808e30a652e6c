"""What a session says of its layers, and which open ones it belongs to. Pure functions of layers
and sessions; no Qt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.layers import Image, Layer

from litesam.preprocess import Composite, CompositePart
from litesam.session import ImageReference, colour_references
from napari_litesam.image_axes import pixels, plane_axes
from napari_litesam.image_files import file_of
from napari_litesam.stains import Colours, Stain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from napari.layers import Labels

    from litesam.session import Session
    from napari_litesam.requests import ImageSource

_NO_FIT = "The image of the session is another one now; open the one that was annotated."
#: Settings of a session that the panel writes: names of layers.
IMAGE, COLOURS, LABELS = "image", "colours", "labels"
#: The level of a pyramid that is encoded, the id that the user chose for the next object, a review
#: of everything mode that was open, and words that were looked for, with the index of their plane.
LEVEL, NUMBER, REVIEW, WORDS = "level", "number", "review", "words"
#: Those that speak of something that is not committed.
UNCOMMITTED = (REVIEW, WORDS)


def is_begun(session: Session) -> bool:
    """Whether there is something in a session that is not committed."""
    return bool(session.drafts) or any(name in session.settings for name in UNCOMMITTED)


def committed(session: Session) -> Session:
    """Return what is committed of a session."""
    settings = {
        name: value
        for name, value in session.settings.items()
        if name not in (NUMBER, *UNCOMMITTED)
    }
    return replace(session, drafts=(), found=None, settings=settings)


class LayerNames:
    """The names that layers have, and those that they had in this window before: a session knows
    layers that are in no file by their names.
    """

    def __init__(self) -> None:
        self._names: WeakKeyDictionary[Layer, list[str]] = WeakKeyDictionary()

    def look(self, layers: Iterable[Layer]) -> list[tuple[str, str]]:
        """Take note of the names of now; return (old, new) of layers that were renamed."""
        renamed = []
        for layer in layers:
            names = self._names.setdefault(layer, [layer.name])
            if names[-1] != layer.name:
                renamed.append((names[-1], layer.name))
                names.append(layer.name)
        return renamed

    def had(self, layer: Layer, name: str | None) -> bool:
        """Whether a layer has or had a name."""
        return name == layer.name or name in self._names.get(layer, ())


@dataclass(frozen=True, slots=True, eq=False)
class Annotated:
    """The layers of a session.

    Attributes
    ----------
    image
        The image layer that was chosen.
    colours
        What was seen with it; None: it alone.
    data
        The array that was annotated: what a replay needs.
    """

    image: Image
    colours: Colours | None
    data: Any


def find_layers(session: Session, images: Sequence[Image], names: LayerNames) -> Annotated | None:
    """Return the open layers that a session belongs to; None if one of them is not open."""
    about = session.image
    if not about.colours:
        image = _layer_of(about, session.settings.get(IMAGE), images, names)
        return None if image is None else Annotated(image, None, pixels(image))
    stains: list[Stain | None] = []
    parts: list[CompositePart | None] = []
    for one, name in _colours(session):
        layer = None if one is None else _layer_of(one, name, images, names)
        if one is None:
            stains.append(None)
            parts.append(None)
        elif layer is None:
            return None
        else:
            stains.append(Stain(layer, one.channel))
            array = pixels(layer)
            parts.append(CompositePart(array, one.axes, one.channel, one.normalize, one.path))
    colours = Colours(tuple(stains))
    named = [layer for layer in colours.layers if layer.name == session.settings.get(IMAGE)]
    return Annotated((named or list(colours.layers))[0], colours, Composite(parts))


def missing_files(session: Session, images: Sequence[Image], names: LayerNames) -> Iterator[str]:
    """Yield the paths of images of a session that are not open, where it names a file."""
    for one, name in _references(session):
        if one.path is not None and _layer_of(one, name, images, names) is None:
            yield one.path


def why_not_open(session: Session, images: Sequence[Image], names: LayerNames) -> str:
    """Why a session cannot be opened now; "" if it can, as far as one can see."""
    if find_layers(session, images, names) is not None:
        return ""
    for one, name in _references(session):
        path = one.path
        if _layer_of(one, name, images, names) is not None or (path and Path(path).exists()):
            continue
        shape = " × ".join(map(str, one.shape))
        where = "" if path is None else f", which is not at {path} any more"
        text = f"Open the image first: {name or 'its image'!r}, {shape} {one.dtype}{where}."
        if name is not None and path is None and _fitting(one, images):
            text += f" If it is open under another name, call its layer {name!r}."
        return text
    return ""


def no_fit(session: Session, images: Sequence[Image], names: LayerNames) -> str:
    """Why a session cannot be opened although its files are there."""
    return why_not_open(session, images, names) or _NO_FIT


def _references(session: Session) -> Iterator[tuple[ImageReference, str | None]]:
    """Yield what a session says of each of its images, and the names of their layers."""
    if not session.image.colours:
        yield session.image, session.settings.get(IMAGE)
    for one, name in _colours(session):
        if one is not None:
            yield one, name


def _colours(session: Session) -> Iterator[tuple[ImageReference | None, str | None]]:
    """Yield red, green and blue of a session, and the names of their layers."""
    names = session.settings.get(COLOURS)
    known = names if isinstance(names, list) and len(names) == 3 else [None] * 3
    if session.image.colours:
        yield from zip(session.image.colours, known, strict=True)


def renamed(session: Session, old: str, new: str) -> dict[str, Any]:
    """Return the settings of a session, a layer of which has another name now."""

    def now(value: Any) -> Any:
        return new if value == old else value

    settings = {**session.settings}
    for name in (IMAGE, LABELS):
        if name in settings:
            settings[name] = now(settings[name])
    if isinstance(settings.get(COLOURS), list):
        settings[COLOURS] = [now(one) for one in settings[COLOURS]]
    return settings


def _fitting(about: ImageReference, images: Sequence[Image]) -> list[Image]:
    """Layers of the size and the type of an image."""
    return [
        layer
        for layer in images
        if tuple(pixels(layer).shape) == about.shape and str(pixels(layer).dtype) == about.dtype
    ]


def _layer_of(
    about: ImageReference, name: Any, images: Sequence[Image], names: LayerNames
) -> Image | None:
    """Return the layer of an image, by its file or its name."""
    fitting = _fitting(about, images)
    of_file = [
        layer for layer in fitting if about.path is not None and file_of(layer) == about.path
    ]
    # Of one file there may be several layers, the channels of it.
    for layers in (of_file, fitting):
        named = [layer for layer in layers if layer.name == name]
        named += [layer for layer in layers if names.had(layer, name)]
        if named:
            return named[0]
    return of_file[0] if of_file else None


def layer_names(image: Image, target: Labels | None, colours: Colours | None) -> dict[str, Any]:
    """Names of the layers of a session."""
    names: dict[str, Any] = {IMAGE: image.name}
    if colours is not None:
        names[COLOURS] = [one and one.layer.name for one in colours.stains]
    if target is not None:
        names[LABELS] = target.name
    return names


def about_image(image: Image, source: ImageSource) -> ImageReference:
    """Describe an image layer, or several that are seen as colours."""
    path = file_of(image)
    scale = tuple(float(step) for step in image.scale)
    if source.colours is not None:
        axes = (*plane_axes(image), image.ndim - 2, image.ndim - 1)
        scale = (*(scale[axis] for axis in axes), 1.0)
    elif image.rgb:
        scale = (*scale, 1.0)
    return ImageReference(
        None if path is None or source.colours is not None else str(path),
        source.axes,
        tuple(int(size) for size in source.layer.shape),
        str(source.layer.dtype),
        source.channel,
        source.normalize,
        scale=scale,
        unit=str(image.units[-1]),
        colours=colour_references(source.layer),
    )
