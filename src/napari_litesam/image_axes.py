"""What the axes of an image layer mean: slices, time, channels.

The names are the layer's own (``axis_labels``): napari shows them beside its sliders, every panel
sees the same, and other layers can be made alike. Where the layer has none they are guessed. Pure
functions of a layer, but for `name_axis`; no Qt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.layers import Image

#: A leading axis of at most this length, of which nothing else is known, counts channels.
MAX_CHANNELS = 4
#: What the panel offers for an axis, with a word for it.
MEANINGS = (("Z", "slices"), ("T", "time"), ("C", "channels"), ("P", "other"))
#: Letters for axes that nothing is known of, from the last to the first.
_SPARE = "ZTPQRUVWABDEFGHIJKLMNO"
_NAMES = {
    "C": ("c", "ch", "channel", "channels", "wavelength", "lambda", "λ"),
    "Z": ("z", "depth", "slice", "slices", "plane", "planes"),
    "T": ("t", "time", "times", "frame", "frames"),
    # The engine reads S as samples of a colour; scenes and positions are another axis of a stack.
    "P": ("p", "s", "position", "positions", "scene", "series", "well"),
}
_LETTERS = {name: letter for letter, names in _NAMES.items() for name in names}


def pixels(image: Image) -> Any:
    """Return the array of an image layer; level 0 if it is multiscale."""
    return image.data[0] if image.multiscale else image.data


def axes_letters(image: Image) -> str:
    """Axes of the layer's array as the engine names them: one letter each, such as ``"TZYX"``.

    The last two of the layer are Y and X; behind them come the colours of an RGB image. Before them
    count, in this order: the layer's own names; its units (seconds are time); and for channels a
    length of at most `MAX_CHANNELS` along an axis without a scale of its own. All others are
    slices, then time.
    """
    leading = [_named(label) for label in tuple(image.axis_labels)[: image.ndim - 2]]
    for axis, letter in enumerate(leading):
        if letter in leading[:axis]:
            leading[axis] = ""  # each letter once
    for axis, unit in enumerate(tuple(image.units)[: image.ndim - 2]):
        if not leading[axis] and "T" not in leading and _is_time(unit):
            leading[axis] = "T"
    if not image.rgb and "C" not in leading:
        for axis in reversed(range(len(leading))):
            if not leading[axis] and _may_count_channels(image, axis):
                leading[axis] = "C"
                break
    spare = iter(letter for letter in _SPARE if letter not in leading)
    for axis in reversed(range(len(leading))):
        leading[axis] = leading[axis] or next(spare)
    return "".join(leading) + "YX" + ("C" if image.rgb else "")


def channel_axis(image: Image) -> int | None:
    """Data axis that counts channels: the last of an RGB image, else that of the letter C."""
    at = axes_letters(image).find("C")
    return None if at < 0 else at


def plane_axes(image: Image) -> tuple[int, ...]:
    """Data axes that choose a plane: all but the channels and the last two of the layer."""
    skipped = channel_axis(image)
    return tuple(axis for axis in range(image.ndim - 2) if axis != skipped)


def name_axis(image: Image, axis: int, letter: str) -> None:
    """Call an axis of the layer by a letter; an axis that had that letter takes its old one.

    All axes of the layer get the names that were in use, so that nothing is guessed from then on.
    """
    letters = list(axes_letters(image)[: image.ndim])
    if letter in letters:
        letters[letters.index(letter)] = letters[axis]
    letters[axis] = letter
    image.axis_labels = tuple(one.lower() for one in letters)


def channel_choices(image: Image | None) -> tuple[tuple[str, int | None], ...]:
    """Return (text, channel) pairs that the channel chooser offers; one entry means that there is
    no choice.
    """
    if image is None:
        return (("–", None),)
    axis = channel_axis(image)
    if axis is None:
        return (("The plane shown", None),)
    count = int(pixels(image).shape[axis])
    if image.rgb:
        names = ("Red", "Green", "Blue")[:count]
        return (("All colours", None), *((name, i) for i, name in enumerate(names)))
    return (("The channel shown", None), *((f"Channel {i}", i) for i in range(count)))


def level_choices(image: Image | None) -> tuple[tuple[str, int], ...]:
    """Return (text, level) pairs of a multiscale layer; one entry means that there is no choice."""
    if image is None or not image.multiscale:
        return (("Full", 0),)
    sizes = [array.shape[image.ndim - 2 : image.ndim] for array in image.data]
    names = (f"{i}: {h:,} × {w:,} px" for i, (h, w) in enumerate(sizes))
    return tuple((name, level) for level, name in enumerate(names))


def _named(label: object) -> str:
    """Letter of an axis name; "" for napari's numbers and for names that say nothing."""
    name = str(label).strip().lower()
    if name in _LETTERS:
        return _LETTERS[name]
    return name.upper() if len(name) == 1 and name in _SPARE.lower() else ""


def _is_time(unit: Any) -> bool:
    return bool(getattr(unit, "dimensionality", None) == {"[time]": 1})


def _may_count_channels(image: Image, axis: int) -> bool:
    length = int(pixels(image).shape[axis])
    unit = str(tuple(image.units)[axis])
    scaled = float(image.scale[axis]) != 1.0 or unit not in ("pixel", "1", "")
    return 2 <= length <= MAX_CHANNELS and not scaled
