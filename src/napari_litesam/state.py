"""What the user wants (`Settings`) and what is going on (`Status`), with signals.

The widget writes settings and shows both; the controller reads settings and writes the status.
There is one
`PluginState` per viewer. Nothing here knows Qt.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from psygnal import Signal

from litesam.types import EverythingConfig, ModelSpec, PointLabel, PropagateConfig, WeightsSpec
from napari_litesam.candidates import Filters
from napari_litesam.keys import with_keys
from napari_litesam.stains import Colours

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from litesam.objects import ObjectRow
    from litesam.weights import WeightsStatus


class Tool(Enum):
    """What a click or drag on the canvas makes."""

    POINT = "point"
    BOX = "box"
    LASSO = "lasso"
    SCRIBBLE = "scribble"
    PICK = "pick"
    NONE = "none"


class Where(Enum):
    """Where everything mode looks: in the whole plane, in what the canvas shows of it, or in the
    newest outline or box.
    """

    PLANE = "plane"
    VIEW = "view"
    BOX = "box"


class Contrast(Enum):
    """Which intensities the model sees as black and white: the 0.1 and 99.9 percentiles of the
    plane, its 2 and 98 percentiles, or the contrast limits and gamma of the layer.
    """

    AUTO = "auto"
    STRONG = "strong"
    LAYER = "layer"


@dataclass(frozen=True, slots=True)
class Look:
    """How a layer shows its intensities: contrast limits, in image units, and gamma."""

    limits: tuple[float, float]
    gamma: float = 1.0


class Level(Enum):
    """How a status is to be read."""

    READY = "ready"
    BUSY = "busy"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """What the user looks for, and the index of the plane in which.

    The same words given again are another value: they are looked for again.
    """

    text: str
    index: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class VolumeChoice:
    """How a whole stack is labelled.

    Attributes
    ----------
    first, last
        Slices, both of them part of it; ``last`` None: the last one there is.
    diameter_px
        Usual diameter of the objects, which chooses the size of the tiles; 0: tiles as they are.
    level
        Level of a multiscale image; None: the one that fits the diameter.
    min_extent, max_gap, max_shift_px
        See `litesam.types.LinkConfig`; objects shift in time only.
    tracks
        Link the objects of a time series of stacks through time, too.
    output
        Folder of the labels, ``….zarr``; "": one in the user's data folder.
    scheduler
        Address of a dask scheduler; "": this computer.
    anew
        Forget what an interrupted run has done, and replace labels that are there.
    """

    first: int = 0
    last: int | None = None
    diameter_px: int = 0
    level: int | None = None
    min_extent: int = 1
    max_gap: int = 1
    max_shift_px: int = 0
    tracks: bool = False
    output: str = ""
    scheduler: str = ""
    anew: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """Everything that the user chose.

    Attributes
    ----------
    image
        Image layer to segment.
    channel
        Channel of the image, or None: all colours of an RGB image, else the channel at the slider.
    colours
        Layers, or channels of one, that the model sees as red, green and blue; None: the image
        layer alone.
    level
        Level of a multiscale image that is encoded; prompts and objects are in pixels of level 0.
    contrast
        Which intensities the model sees as black and white.
    look
        How the layer shows its intensities, as far as the model is to know it; None: as it does
        now.
    looks
        The same for each layer of ``colours``.
    model, device, weights
        Name of the model, where it runs, and a weights file of the user's own (None: the managed
        file).
    sign
        Whether the next point or scribble is on the object or beside it.
    tool
        What the next click makes.
    words
        What to look for in a plane without points and boxes; None: nothing.
    target
        Labels layer that receives objects; None: a new one at the first commit.
    policy
        What becomes of pixels that belong to other objects: one of
        `litesam.objects.COMMIT_POLICIES`.
    ahead
        Embed in the background what the user looks at, then the rest of the image.
    hover
        Show what a click would give under the pointer.
    disk
        Keep embeddings in the user's cache folder and not in memory.
    all_planes
        *Embed* works on all planes of a stack and not only on the current one.
    each
        Every point and every box is an object of its own.
    at_once
        *Everything* writes into the Labels layer at once, without a review of the candidates.
    where
        The part of the plane in which *Everything* looks.
    proposals, everything
        Parameters of everything mode; ``proposals`` None is the model's own first choice.
    volume, propagate
        How a whole stack is labelled, and how objects are carried through it.
    keys
        The keys that the user changed; see `napari_litesam.keys.keys_in_use`.
    unfolded, folded
        Names of the sections of the panel that are unfolded, or folded, and are not at first.
    """

    image: Image | None = None
    channel: int | None = None
    colours: Colours | None = None
    level: int = 0
    contrast: Contrast = Contrast.AUTO
    look: Look | None = None
    looks: tuple[Look, ...] = ()
    model: str = "lite_sam"
    device: str = "auto"
    weights: str | None = None
    sign: PointLabel = PointLabel.FOREGROUND
    tool: Tool = Tool.POINT
    words: Words | None = None
    target: Labels | None = None
    policy: str = "never_overwrite"
    ahead: bool = False
    hover: bool = False
    disk: bool = False
    all_planes: bool = False
    at_once: bool = False
    each: bool = False
    where: Where = Where.PLANE
    proposals: str | None = None
    everything: EverythingConfig = field(default_factory=EverythingConfig)
    volume: VolumeChoice = field(default_factory=VolumeChoice)
    propagate: PropagateConfig = field(default_factory=PropagateConfig)
    keys: str = ""
    unfolded: str = ""
    folded: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """One line about what is going on; ``total`` 0 with level BUSY means that the length is not
    known.
    """

    level: Level
    text: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """Which of the decoder's masks is in the preview: its number from 0, of how many, and the
    predicted IoU.
    """

    number: int
    count: int
    predicted_iou: float


@dataclass(frozen=True, slots=True)
class ReviewStatus:
    """What the panel shows of a review: the filters, how many of all candidates are kept, how many
    were accepted and rejected by clicks, and the area of the largest candidate.
    """

    filters: Filters
    kept: int
    total: int
    accepted: int
    rejected: int
    largest: int


class Phase(Enum):
    """How far the change to another model is."""

    LOADING = "loading"
    ASKING = "asking"
    WORKING = "working"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """A model that the user chose and that is not in use yet.

    Attributes
    ----------
    spec
        The model.
    phase
        ``LOADING``: its files are there. ``ASKING``: files are missing, and the user may have them
        downloaded. ``WORKING``: they are being downloaded or imported. ``FAILED``: see ``text``.
    missing_bytes
        Size of the files that are missing; None if it is not known.
    licences
        Restrictive licences that the user has to accept before the download.
    downloadable, importable
        Whether a download or a file of the user's is of use.
    by_hand
        Missing files that no program can fetch.
    text
        A sentence for the user.
    done, total
        Progress; ``total`` 0: the length is not known.
    """

    spec: ModelSpec
    phase: Phase
    missing_bytes: int | None = None
    licences: tuple[WeightsSpec, ...] = ()
    downloadable: bool = True
    importable: bool = True
    by_hand: tuple[WeightsSpec, ...] = ()
    text: str = ""
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Unsaved:
    """A session of which the window was closed or crashed.

    Attributes
    ----------
    text
        What it is, for the user.
    others
        How many more there are.
    reason
        Why it cannot be brought back now; "" if it can.
    """

    text: str
    others: int = 0
    reason: str = ""


class PluginState:
    """Settings and status of one viewer, evented."""

    #: Names of the settings that changed.
    settings_changed = Signal(frozenset)
    status_changed = Signal(Status)
    #: Reasons by control name why it is disabled; a control that is not in it is enabled.
    disabled_changed = Signal(dict)
    #: The model that is to come, or None.
    offer_changed = Signal(object)
    #: What there is of the weights of each model, by name.
    library_changed = Signal(dict)
    #: The `Candidate` in the preview, or None.
    candidate_changed = Signal(object)
    #: The `ReviewStatus`, or None.
    review_changed = Signal(object)
    #: The objects of the Labels layer: a tuple of `litesam.objects.ObjectRow`.
    objects_changed = Signal(tuple)
    #: Ids of the objects that are chosen: a frozenset.
    selection_changed = Signal(frozenset)
    #: The `Unsaved` work that can be brought back, or None.
    unsaved_changed = Signal(object)

    def __init__(self) -> None:
        self._settings = Settings()
        self._status = Status(Level.READY, "")
        self._said = ""
        self._disabled: dict[str, str] = {}
        self._offer: Offer | None = None
        self._library: dict[str, WeightsStatus] = {}
        self._candidate: Candidate | None = None
        self._review: ReviewStatus | None = None
        self._objects: tuple[ObjectRow, ...] = ()
        self._selected: frozenset[int] = frozenset()
        self._unsaved: Unsaved | None = None

    @property
    def settings(self) -> Settings:
        """The settings as they are now."""
        return self._settings

    @property
    def status(self) -> Status:
        """The status as it is now."""
        return self._status

    @property
    def disabled(self) -> dict[str, str]:
        """Reason by control name."""
        return dict(self._disabled)

    @property
    def offer(self) -> Offer | None:
        """The model that is to come, or None."""
        return self._offer

    @property
    def library(self) -> Mapping[str, WeightsStatus]:
        """What there is of the weights of each model, by name; empty until it is known."""
        return dict(self._library)

    @property
    def candidate(self) -> Candidate | None:
        """Which of the decoder's masks is in the preview."""
        return self._candidate

    @property
    def review(self) -> ReviewStatus | None:
        """What is under review of everything mode."""
        return self._review

    @property
    def objects(self) -> tuple[ObjectRow, ...]:
        """The objects of the Labels layer, as they were measured last."""
        return self._objects

    @property
    def selected(self) -> frozenset[int]:
        """Ids of the objects that are chosen."""
        return self._selected

    @property
    def unsaved(self) -> Unsaved | None:
        """Work that can be brought back."""
        return self._unsaved

    def update(self, **changes: Any) -> None:
        """Change settings; `settings_changed` carries the names of those that really differ."""
        old = self._settings
        self._settings = replace(old, **changes)
        changed = frozenset(
            item.name
            for item in fields(Settings)
            if not _same(getattr(old, item.name), getattr(self._settings, item.name))
        )
        if changed:
            self.settings_changed.emit(changed)
        if "keys" in changed:
            self.report(self._status.level, self._said, self._status.done, self._status.total)

    def report(self, level: Level, text: str, done: int = 0, total: int = 0) -> None:
        """Set the status. ``{intent}`` in the text becomes the key that asks for it."""
        self._said = text
        status = Status(level, with_keys(text, self._settings.keys), done, total)
        if status != self._status:
            self._status = status
            self.status_changed.emit(status)

    def disable(self, reasons: dict[str, str]) -> None:
        """Set which controls are disabled and why."""
        if reasons != self._disabled:
            self._disabled = dict(reasons)
            self.disabled_changed.emit(dict(reasons))

    def propose(self, offer: Offer | None) -> None:
        """Set the model that is to come."""
        if offer is not self._offer:
            self._offer = offer
            self.offer_changed.emit(offer)

    def show_candidate(self, candidate: Candidate | None) -> None:
        """Set which of the decoder's masks is in the preview."""
        if candidate != self._candidate:
            self._candidate = candidate
            self.candidate_changed.emit(candidate)

    def show_review(self, review: ReviewStatus | None) -> None:
        """Set what is under review."""
        if review != self._review:
            self._review = review
            self.review_changed.emit(review)

    def list_objects(self, rows: tuple[ObjectRow, ...]) -> None:
        """Set the objects of the Labels layer."""
        if rows != self._objects:
            self._objects = rows
            self.objects_changed.emit(rows)

    def select(self, numbers: Iterable[int]) -> None:
        """Set which objects are chosen."""
        selected = frozenset(numbers)
        if selected != self._selected:
            self._selected = selected
            self.selection_changed.emit(selected)

    def offer_unsaved(self, unsaved: Unsaved | None) -> None:
        """Set the work that can be brought back."""
        if unsaved != self._unsaved:
            self._unsaved = unsaved
            self.unsaved_changed.emit(unsaved)

    def stock(self, library: Mapping[str, WeightsStatus]) -> None:
        """Set what there is of the weights."""
        if dict(library) != self._library:
            self._library = dict(library)
            self.library_changed.emit(dict(library))


def _same(old: Any, new: Any) -> bool:
    """Layers are compared by identity, values by equality."""
    return old is new or (type(old).__module__.split(".")[0] != "napari" and bool(old == new))
