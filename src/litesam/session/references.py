"""What a session points at: its image, a model, and what a decoder said about a mask."""

from __future__ import annotations

from dataclasses import dataclass, field

from litesam.types import HqMode, NormalizeConfig, TilingConfig


@dataclass(frozen=True, slots=True)
class ImageReference:
    """The image of a session and how it is looked at.

    Attributes
    ----------
    path
        File, absolute or from the folder of the session's file; None: an image that is in no file.
    axes
        One letter for each axis of the array, as `litesam.Segmenter` takes them.
    shape, dtype
        Of the whole array.
    channel
        Channel of a multi-channel image.
    normalize, tiling
        Contrast and tiles that the model saw.
    scale, unit
        Spacing of the pixels along each axis, and its unit; None where unknown.
    colours
        Of a composite (`litesam.preprocess.Composite`) its red, green and blue, each with a file,
        contrast and channel of its own, None where a colour is left black. ``path`` is None then,
        and ``axes`` and ``shape`` are those of the composite. Empty for all other images.
    """

    path: str | None
    axes: str
    shape: tuple[int, ...]
    dtype: str
    channel: int | None = None
    normalize: NormalizeConfig = field(default_factory=NormalizeConfig)
    tiling: TilingConfig = field(default_factory=TilingConfig)
    scale: tuple[float, ...] | None = None
    unit: str | None = None
    colours: tuple[ImageReference | None, ...] = ()

    @property
    def label_axes(self) -> str:
        """Axes of the labels: the leading axes of the stack, Y, X."""
        return "".join(letter for letter in self.axes if letter not in "CSYX") + "YX"

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of the labels."""
        sizes = dict(zip(self.axes, self.shape, strict=True))
        return tuple(sizes[letter] for letter in self.label_axes)


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A model as `litesam.load_predictor` loads it.

    Attributes
    ----------
    name, hq, weights
        As in `litesam.load_predictor`; ``weights`` is a file of the user's own.
    weights_hash
        Hash of the weights that were used; None: not known.
    """

    name: str
    hq: HqMode = False
    weights: str | None = None
    weights_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a decoder said about a committed object, to show and to compare.

    Attributes
    ----------
    predicted_iou, stability
        Scores of the mask; None where there are none.
    mask_hash
        `litesam.session.mask_hash` of the mask before the commit; None: not noted.
    """

    predicted_iou: float | None = None
    stability: float | None = None
    mask_hash: str | None = None
