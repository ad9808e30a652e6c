"""Values that travel between the rooms of the engine: frozen dataclasses, validated once.

One coordinate rule: (y, x) in pixels of the named frame, integers are pixel centres, boxes are
half-open (y0, x0, y1, x1). numpy arrays at every boundary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from litesam.errors import ConfigError, PromptError
from litesam.frames import FloatArray, Frame

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
LabelArray = npt.NDArray[np.int32]
AnyArray = npt.NDArray[Any]

#: HQ off; SAM's logits and those of the HQ token, added; or those of the HQ token alone.
HqMode = bool | Literal["only"]

#: Logit of everything outside the window that a decoder looked at: "certainly not the object".
OUTSIDE_LOGIT = -32.0


# ------------------------------------------------------------------------------------------ prompts


class PointLabel(IntEnum):
    """What a point says about the object; the values are SAM's."""

    PADDING = -1
    BACKGROUND = 0
    FOREGROUND = 1


@dataclass(frozen=True, slots=True)
class PointPrompt:
    """A click at (y, x) image pixels: on the object (foreground) or beside it (background)."""

    y: float
    x: float
    label: PointLabel = PointLabel.FOREGROUND

    def __post_init__(self) -> None:
        if not (math.isfinite(self.y) and math.isfinite(self.x)):
            raise PromptError(f"Point ({self.y}, {self.x}) is not finite; give (y, x) in pixels.")


@dataclass(frozen=True, slots=True)
class BoxPrompt:
    """A box around the object, image pixels, half-open: rows y0 <= y < y1, columns x0 <= x < x1."""

    y0: float
    x0: float
    y1: float
    x1: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.y0, self.x0, self.y1, self.x1))):
            raise PromptError(f"Box {self} is not finite; give (y0, x0, y1, x1) in pixels.")
        if self.y1 <= self.y0 or self.x1 <= self.x0:
            raise PromptError(
                f"Box (y0={self.y0}, x0={self.x0}, y1={self.y1}, x1={self.x1}) is empty; "
                "y1 must exceed y0 and x1 must exceed x0."
            )


@dataclass(frozen=True, slots=True)
class Prompts:
    """Everything said about **one** object, in image pixels.

    Attributes
    ----------
    points
        Clicks on and beside the object.
    box
        A box around it.
    low_res_mask
        (h, w) float32 logits of an earlier decode of the same frame (see ``Masks.logits``).
    """

    points: tuple[PointPrompt, ...] = ()
    box: BoxPrompt | None = None
    low_res_mask: FloatArray | None = None

    def __post_init__(self) -> None:
        if not self.points and self.box is None and self.low_res_mask is None:
            raise PromptError("The prompt is empty; give at least one point or a box.")

    def to_batch(self) -> PromptBatch:
        """Return the array form with P = 1."""
        points = labels = boxes = masks = None
        if self.points:
            points = np.array([[(p.y, p.x) for p in self.points]], dtype=np.float32)
            labels = np.array([[int(p.label) for p in self.points]], dtype=np.int64)
        if self.box is not None:
            boxes = np.array([[self.box.y0, self.box.x0, self.box.y1, self.box.x1]], np.float32)
        if self.low_res_mask is not None:
            masks = self.low_res_mask[None]
        return PromptBatch(points=points, labels=labels, boxes=boxes, low_res_masks=masks)


@dataclass(frozen=True, slots=True, eq=False)
class PromptBatch:
    """P prompts, one object each, as arrays in image pixels.

    Attributes
    ----------
    points
        (P, N, 2) float, (y, x), or None.
    labels
        (P, N) int: 1 foreground, 0 background, -1 padding; required with points.
    boxes
        (P, 4) float, (y0, x0, y1, x1), or None.
    low_res_masks
        (P, h, w) float32 logits of an earlier decode, or None.
    """

    points: AnyArray | None = None
    labels: AnyArray | None = None
    boxes: AnyArray | None = None
    low_res_masks: AnyArray | None = None

    def __post_init__(self) -> None:
        as_array = object.__setattr__
        if self.points is not None:
            as_array(self, "points", np.asarray(self.points, dtype=np.float32))
        if self.labels is not None:
            as_array(self, "labels", np.asarray(self.labels, dtype=np.int64))
        if self.boxes is not None:
            as_array(self, "boxes", np.asarray(self.boxes, dtype=np.float32))
        if self.low_res_masks is not None:
            as_array(self, "low_res_masks", np.asarray(self.low_res_masks, dtype=np.float32))
        self._check_shapes()
        self._check_values()

    def _check_shapes(self) -> None:
        if self.points is None and self.boxes is None and self.low_res_masks is None:
            raise PromptError("The prompt is empty; give points, boxes or low-resolution masks.")
        if (self.points is None) != (self.labels is None):
            raise PromptError("Points and labels go together; one of them is missing.")
        counts = set()
        for name, array, ndim, last in (
            ("points", self.points, 3, 2),
            ("labels", self.labels, 2, None),
            ("boxes", self.boxes, 2, 4),
            ("low_res_masks", self.low_res_masks, 3, None),
        ):
            if array is None:
                continue
            if array.ndim != ndim or (last is not None and array.shape[-1] != last):
                wanted = {"points": "(P, N, 2)", "labels": "(P, N)", "boxes": "(P, 4)"}
                raise PromptError(
                    f"{name} has shape {array.shape}; {wanted.get(name, '(P, h, w)')} is needed."
                )
            counts.add(array.shape[0])
        if len(counts) > 1:
            raise PromptError(
                f"Points, boxes and masks disagree on the number of prompts: {counts}."
            )
        if self.points is not None and self.labels is not None:
            if self.points.shape[:2] != self.labels.shape:
                raise PromptError(
                    f"points {self.points.shape} and labels {self.labels.shape} do not match; "
                    "one label per point is needed."
                )
            if self.points.shape[1] == 0 and self.boxes is None and self.low_res_masks is None:
                raise PromptError("The prompt has no points; give at least one.")

    def _check_values(self) -> None:
        if self.points is not None and not np.isfinite(self.points).all():
            raise PromptError("Some point coordinates are NaN or infinite; remove them.")
        if self.labels is not None and not np.isin(self.labels, (-1, 0, 1)).all():
            raise PromptError(
                "Point labels must be 1 (foreground), 0 (background) or -1 (padding)."
            )
        if self.boxes is not None:
            if not np.isfinite(self.boxes).all():
                raise PromptError("Some box coordinates are NaN or infinite; remove them.")
            if (self.boxes[:, 2:] <= self.boxes[:, :2]).any():
                raise PromptError("Some boxes are empty; y1 > y0 and x1 > x0 are needed.")

    def __len__(self) -> int:
        for array in (self.points, self.boxes, self.low_res_masks):
            if array is not None:
                return int(array.shape[0])
        raise AssertionError("validated in __post_init__")

    def take(self, indices: npt.ArrayLike) -> PromptBatch:
        """Return the prompts of the given indices or slice, as another batch."""
        index = np.asarray(indices)
        return PromptBatch(
            points=None if self.points is None else self.points[index],
            labels=None if self.labels is None else self.labels[index],
            boxes=None if self.boxes is None else self.boxes[index],
            low_res_masks=None if self.low_res_masks is None else self.low_res_masks[index],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """Where a proposal network expects objects: N places, the most confident first.

    Attributes
    ----------
    points
        (N, 2) float32, (y, x) image pixels, one inside each expected object.
    boxes
        (N, 4) float32, (y0, x0, y1, x1) image pixels, the expected extent.
    confidence
        (N,) float32 in [0, 1], descending.
    """

    points: FloatArray
    boxes: FloatArray
    confidence: FloatArray

    def __len__(self) -> int:
        return int(self.points.shape[0])


# ------------------------------------------------------------------------- tiles, embeddings, masks


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open rectangle of whole pixels of the image plane."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def size_yx(self) -> tuple[int, int]:
        """Height and width."""
        return (self.y1 - self.y0, self.x1 - self.x0)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in a (H, W) array."""
        return (slice(self.y0, self.y1), slice(self.x0, self.x1))


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of a plane: its ``core`` (cores partition the plane), ``padded`` with the halo."""

    index: int
    core: Box
    padded: Box


@dataclass(frozen=True, slots=True)
class EmbeddingKey:
    """What an embedding depends on; two equal keys mean the same features.

    Attributes
    ----------
    model
        Name of the encoder.
    weights
        Hash of the encoder's weights.
    preprocessing
        Fingerprint of the intensity mapping, contrast limits included.
    content
        Hash of the pixels of *this tile* after preprocessing.
    region
        Padded tile (y0, x0, y1, x1) in its plane.
    """

    model: str
    weights: str
    preprocessing: str
    content: str
    region: tuple[int, int, int, int]

    def digest(self) -> str:
        """Return the key as 32 hexadecimal digits, usable as a file name."""
        parts = (self.model, self.weights, self.preprocessing, self.content, *map(str, self.region))
        return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """Encoder output of one region.

    Attributes
    ----------
    features
        Named arrays; ``features["image"]`` is (C, h, w) float32 in SAM-like models. Models with
        an HQ decoder add ``features["early"]``, (C', h, w) float16.
    frame
        Where the region lies in the image and in the model's input.
    model, weights
        Name and weights hash of the encoder that made it; models with another encoder refuse it.
    """

    features: Mapping[str, AnyArray]
    frame: Frame
    model: str
    weights: str

    @property
    def nbytes(self) -> int:
        """Bytes of all features."""
        return sum(int(array.nbytes) for array in self.features.values())


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Decoder output for P prompts with M candidates each.

    Attributes
    ----------
    logits
        (P, M, h, w) float32; mask = logits > 0. The low-resolution model frame (padding included),
        or, where ``origins`` is given, a window of it per prompt.
    predicted_iou
        (P, M) float32, the model's own estimate of each mask's IoU.
    frame
        The frame of the embedding.
    low_res_yx
        Size of the whole low-resolution frame.
    origins
        (P, 2) top-left (y, x) of each prompt's window in the low-resolution frame; None: the whole
        frame.
    limits
        (P, M, 4) boxes (y0, x0, y1, x1) in image pixels that each mask is cut to once it has the
        resolution of the image (pixel centres in the half-open box stay), or None. Instances of
        FastSAM end exactly at their boxes.
    """

    logits: FloatArray
    predicted_iou: FloatArray
    frame: Frame
    low_res_yx: tuple[int, int]
    origins: IntArray | None = None
    limits: FloatArray | None = None

    def __len__(self) -> int:
        return int(self.logits.shape[0])

    def whole(self) -> Masks:
        """Return the masks on the whole low-resolution frame; unseen pixels get `OUTSIDE_LOGIT`."""
        if self.origins is None:
            return self
        count, candidates, height, width = self.logits.shape
        full = np.full((count, candidates, *self.low_res_yx), OUTSIDE_LOGIT, dtype=np.float32)
        for p, (y, x) in enumerate(self.origins):
            full[p, :, y : y + height, x : x + width] = self.logits[p]
        return Masks(full, self.predicted_iou, self.frame, self.low_res_yx, limits=self.limits)

    def take(self, indices: npt.ArrayLike) -> Masks:
        """Return the masks of some prompts."""
        index = np.asarray(indices)
        return Masks(
            self.logits[index],
            self.predicted_iou[index],
            self.frame,
            self.low_res_yx,
            None if self.origins is None else self.origins[index],
            None if self.limits is None else self.limits[index],
        )

    def best(self) -> Masks:
        """Return the candidate of highest predicted IoU of each prompt (M = 1)."""
        rows = np.arange(len(self))
        columns = self.predicted_iou.argmax(axis=1)
        return Masks(
            self.logits[rows, columns][:, None],
            self.predicted_iou[rows, columns][:, None],
            self.frame,
            self.low_res_yx,
            self.origins,
            None if self.limits is None else self.limits[rows, columns][:, None],
        )

    def to_image(self, threshold: float = 0.0) -> BoolArray:
        """Return (P, M, H, W) bool masks of the frame's region, in image pixels.

        The logits are resampled as the frame says (`Frame.resampling`), then compared with
        ``threshold``. A logit equal to it is outside, also for EfficientSAM, whose reference
        implementation counts it in: with real weights no logit is exactly 0.
        """
        masks = self.whole()
        rows, columns = self.frame.resampling(self.low_res_yx)
        result = np.empty(
            (*masks.logits.shape[:2], rows.shape[0], columns.shape[0]), dtype=np.bool_
        )
        for p in range(len(self)):
            for m in range(masks.logits.shape[1]):
                result[p, m] = (rows @ masks.logits[p, m] @ columns.T) > threshold
                if self.limits is not None:
                    self._cut(result[p, m], p, m, self.frame.origin_yx, False)
        return result

    def _cut(
        self, values: AnyArray, prompt: int, candidate: int, origin: tuple[int, int], outside: Any
    ) -> None:
        """Overwrite values at image pixel ``origin`` and on that lie outside the mask's limits."""
        if self.limits is None:
            return
        y0, x0, y1, x1 = (float(limit) for limit in self.limits[prompt, candidate])
        y = np.arange(values.shape[0]) + origin[0]
        x = np.arange(values.shape[1]) + origin[1]
        values[(y < y0) | (y >= y1), :] = outside
        values[:, (x < x0) | (x >= x1)] = outside

    def crop_logits(
        self, prompt: int, candidate: int = 0, threshold: float = 0.0
    ) -> tuple[tuple[int, int], FloatArray]:
        """Return the part of one mask's logits, in image pixels, that can exceed ``threshold``.

        Only that part is resampled, so the cost follows the object and not the image.

        Returns
        -------
        tuple
            Image pixel (y, x) of the top-left value and (h, w) float32 logits; exact where they
            exceed ``threshold``, at most ``threshold`` elsewhere. (0, 0) values if none exceeds it.
        """
        if self.origins is not None and self.frame.upsampling == "bicubic":
            return self.take([prompt]).whole().crop_logits(0, candidate, threshold)
        logits = self.logits[prompt, candidate]
        reach = self.frame.reach(logits, threshold)
        if reach is None:
            return self.frame.origin_yx, np.zeros((0, 0), dtype=np.float32)
        rows, columns = self.frame.resampling(self.low_res_yx)
        oy, ox = self.frame.origin_yx
        if self.origins is not None:
            y, x = (int(v) for v in self.origins[prompt])
            y_image, rows = _window_rows(rows, y, logits.shape[0])
            x_image, columns = _window_rows(columns, x, logits.shape[1])
            oy, ox = oy + y_image, ox + x_image
        part = _inner_rows if self.frame.upsampling == "bicubic" else _partial_rows
        r0, rows = part(rows, reach[0])
        c0, columns = part(columns, reach[1])
        # What is cut off counts as the threshold itself, hence the subtraction.
        values = rows @ (logits[reach] - np.float32(threshold)) @ columns.T
        values = values + np.float32(threshold)
        self._cut(values, prompt, candidate, (oy + r0, ox + c0), OUTSIDE_LOGIT)
        return (oy + r0, ox + c0), values

    def crop(
        self, prompt: int, candidate: int = 0, threshold: float = 0.0
    ) -> tuple[Box, BoolArray]:
        """Return one mask as its bounding box in the image and the bool pixels inside it.

        An empty mask gives an empty box at the frame's origin. See `crop_logits`.
        """
        (oy, ox), logits = self.crop_logits(prompt, candidate, threshold)
        mask = logits > threshold
        if not mask.any():
            oy, ox = self.frame.origin_yx
            return Box(oy, ox, oy, ox), np.zeros((0, 0), dtype=np.bool_)
        y0, y1 = _span(mask.any(axis=1))
        x0, x1 = _span(mask.any(axis=0))
        return Box(oy + y0, ox + x0, oy + y1, ox + x1), mask[y0:y1, x0:x1]


def _span(flags: npt.ArrayLike) -> tuple[int, int]:
    """First and one past the last true index."""
    where = np.flatnonzero(flags)
    return int(where[0]), int(where[-1]) + 1


def _window_rows(matrix: FloatArray, start: int, length: int) -> tuple[int, FloatArray]:
    """Return the part of a resampling matrix for source pixels ``start : start + length``.

    The result is (first target pixel, matrix). All target pixels that touch the window stay, and
    weights that leave it are clamped to the window's edge: a window behaves like an image of its
    own.
    """
    first, window = _partial_rows(matrix, slice(start, start + length))
    outside = matrix[first : first + len(window)]
    missing = 1.0 - window.sum(axis=1)
    left = outside[:, :start].sum(axis=1)
    window[:, 0] += np.minimum(left, missing)
    window[:, -1] += np.maximum(missing - left, 0.0)
    return first, window


def _partial_rows(matrix: FloatArray, part: slice) -> tuple[int, FloatArray]:
    """Return the target pixels that touch some source pixels; other weights are dropped."""
    window = matrix[:, part]
    touched = np.flatnonzero(window.any(axis=1))
    if touched.size == 0:
        return 0, np.zeros((0, window.shape[1]), dtype=np.float32)
    first, last = int(touched[0]), int(touched[-1]) + 1
    return first, np.array(window[first:last])


def _inner_rows(matrix: FloatArray, part: slice) -> tuple[int, FloatArray]:
    """Return the target pixels that are mixed from some source pixels alone."""
    outside = matrix[:, : part.start].any(axis=1) | matrix[:, part.stop :].any(axis=1)
    inner = np.flatnonzero(~outside)
    if inner.size == 0:
        return 0, np.zeros((0, part.stop - part.start), dtype=np.float32)
    first, last = int(inner[0]), int(inner[-1]) + 1
    return first, matrix[first:last, part]


@dataclass(frozen=True, slots=True, eq=False)
class MaskRecord:
    """One segmented object.

    Attributes
    ----------
    box
        Bounding box in the image plane.
    crop
        Bool pixels inside the box.
    predicted_iou, stability
        The model's quality estimate and the IoU of the mask between two thresholds (SAM's stability
        score).
    score
        What overlaps are resolved by: the higher score wins.
    point
        (y, x) of the point prompt that made it, or None.
    label
        Its value in the label image, 0 while it has none.
    """

    box: Box
    crop: BoolArray
    predicted_iou: float
    stability: float
    score: float
    point: tuple[float, float] | None = None
    label: int = 0

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.crop))

    def mask(self, shape_yx: tuple[int, int]) -> BoolArray:
        """Return the (H, W) bool mask in a plane of that shape."""
        full = np.zeros(shape_yx, dtype=np.bool_)
        full[self.box.slices] = self.crop
        return full


# ----------------------------------------------------------------------------------------- progress


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long piece of work is: ``done`` of ``total`` steps, and what it does now."""

    done: int
    total: int
    message: str = ""


OnProgress = Callable[[Progress], None]
IsCancelled = Callable[[], bool]


# --------------------------------------------------------------------------------------- parameters


def option(default: Any, help_text: str, unit: str = "", **about: Any) -> Any:
    """Field of a config: default, help, unit, limits (``minimum``, ``maximum``, ``choices``), and
    ``advanced`` for what few people need, so that a window may fold it away.
    """
    return field(default=default, metadata={"help": help_text, "unit": unit, **about})


def _check_options(config: Any) -> None:
    """Raise `ConfigError` for the first field outside its declared limits."""
    for name, spec in config.__dataclass_fields__.items():
        value = getattr(config, name)
        if value is None:
            continue
        low, high = spec.metadata.get("minimum"), spec.metadata.get("maximum")
        choices = spec.metadata.get("choices")
        if choices is not None and value not in choices:
            raise ConfigError(
                f"{name} is {value!r}; choose one of {', '.join(map(repr, choices))}."
            )
        if (low is not None and value < low) or (high is not None and value > high):
            raise ConfigError(f"{name} is {value}; it must lie between {low} and {high}.")


@dataclass(frozen=True, slots=True)
class NormalizeConfig:
    """How intensities become 0–255."""

    low_percentile: float = option(
        0.1, "Darkest share that becomes black", "%", minimum=0.0, maximum=50.0
    )
    high_percentile: float = option(
        99.9, "Share above which all is white", "%", minimum=50.0, maximum=100.0
    )
    limits: tuple[float, float] | None = option(
        None, "Fixed contrast limits (low, high) in image units; they replace the percentiles"
    )

    def __post_init__(self) -> None:
        _check_options(self)
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise ConfigError(f"Contrast limits {self.limits} are empty; low must be below high.")


@dataclass(frozen=True, slots=True)
class TilingConfig:
    """How a plane larger than the model's input is cut."""

    tile_px: int = option(512, "Side of a tile, halo included", "px", minimum=64, maximum=4096)
    halo_px: int = option(64, "Overlap on each side of a tile", "px", minimum=0, maximum=1024)
    single_up_to_px: int = option(
        768,
        "Planes whose longest side is at most this are one tile",
        "px",
        minimum=64,
        maximum=4096,
    )

    def __post_init__(self) -> None:
        _check_options(self)
        if 2 * self.halo_px >= self.tile_px:
            raise ConfigError(
                f"A halo of {self.halo_px} px leaves nothing of a tile of {self.tile_px} px; "
                "the tile must be more than twice the halo."
            )


@dataclass(frozen=True, slots=True)
class EverythingConfig:
    """Parameters of everything mode; None means the model's own default."""

    points_per_side: int = option(32, "Grid: points along each side", minimum=1, maximum=256)
    points_per_batch: int | None = option(None, "Prompts decoded at once", minimum=1, maximum=1024)
    predicted_iou_threshold: float | None = option(
        None, "Drop masks whose predicted IoU is not above this", minimum=0.0, maximum=1.0
    )
    stability_threshold: float | None = option(
        None, "Drop masks whose stability score is below this", minimum=0.0, maximum=1.0
    )
    stability_offset: float = option(
        1.0, "Logit shift of the stability score", minimum=0.0, maximum=10.0
    )
    nms_iou: float | None = option(
        None,
        "Of two masks that overlap more than this the better stays; 1 keeps both",
        minimum=0.0,
        maximum=1.0,
    )
    confidence_threshold: float | None = option(
        None,
        "AutoPPN and instances: drop what has a confidence below this",
        minimum=0.0,
        maximum=1.0,
    )
    top_n: int = option(
        512, "AutoPPN: at most this many proposals per tile", minimum=1, maximum=4096
    )
    prompt_kind: Literal["point", "box", "both"] | None = option(
        None, "AutoPPN: what goes to the decoder", choices=("point", "box", "both")
    )
    min_area_px: int = option(0, "Drop objects smaller than this", "px", minimum=0)
    min_region_area_px: int | None = option(
        None,
        "Fill holes of a mask, and remove islands of it, that are smaller than this",
        "px",
        minimum=0,
        advanced=True,
    )
    nms_containment: float | None = option(
        None,
        "Of two masks the better stays if more than this share of the smaller lies in the other; "
        "1 keeps nested masks",
        minimum=0.0,
        maximum=1.0,
    )
    overlap_policy: Literal["score", "largest_first", "smallest_first"] | None = option(
        None,
        "Who keeps contested pixels: the better score, the smaller mask or the larger mask",
        choices=("score", "largest_first", "smallest_first"),
    )
    min_visible: float | None = option(
        None,
        "Drop objects of which overlaps leave less than this share",
        minimum=0.0,
        maximum=1.0,
    )
    crop_layers: int = option(
        0,
        "Grid: layers of crops that are looked at as well; layer i cuts a tile into 2^i x 2^i",
        minimum=0,
        maximum=4,
        advanced=True,
    )
    crop_overlap_ratio: float = option(
        512 / 1500,
        "Grid: overlap of the crops of layer 1, share of the shorter side; half of it in layer 2 …",
        minimum=0.0,
        maximum=0.9,
        advanced=True,
    )
    crop_points_downscale: int = option(
        1,
        "Grid: points along each side of a crop are divided by this once per layer",
        minimum=1,
        maximum=16,
        advanced=True,
    )
    crop_nms_iou: float = option(
        0.7,
        "Grid: of two masks of different crops whose boxes overlap more than this that of the "
        "smaller crop stays",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )

    def __post_init__(self) -> None:
        _check_options(self)


# ------------------------------------------------------------------------------------------- models


#: Ways in which everything mode knows what to ask the decoder: a regular grid of points; places and
#: boxes of AutoPPN; boxes alone, of AutoPPN or of the caller; or nothing is asked, because the
#: network finds instances by itself.
PROPOSALS = ("grid", "auto_ppn", "boxes", "instances")

#: Licences whose weights are fetched without a question.
PERMISSIVE_LICENCES = frozenset({"Apache-2.0", "BSD-3-Clause", "MIT"})


@dataclass(frozen=True, slots=True)
class WeightsSpec:
    """Where a model's weights come from.

    Attributes
    ----------
    file
        File name in the package (bundled) or of the official checkpoint.
    url
        Download address; None for bundled weights and for files that no program can fetch.
    sha256
        Expected hash; None where no trustworthy one is known.
    size_bytes
        Size of the file, or None if unknown.
    licence
        SPDX name of the weights' licence, or its own name.
    container
        Keys that lead to the state dict inside the file, outermost first; empty: the file is the
        state dict or wraps it in one of the usual ways.
    mirrors
        Other addresses of the same file, tried in this order.
    approx_bytes
        About this size, where ``size_bytes`` is not known.
    licence_url, licence_note
        Where the licence can be read, and what it means for the user, in one sentence.
    page
        Web page of a file that has no download address: the user gets it there by hand.
    parts
        For a file of several state dicts: the name of each and the prefix that its tensors have in
        the network.
    other_parts
        Whether the official file may hold tensors of parts that the network does not have (the
        first word of their names); they are left out.
    """

    file: str
    url: str | None
    sha256: str | None
    size_bytes: int | None
    licence: str
    container: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    approx_bytes: int | None = None
    licence_url: str | None = None
    licence_note: str | None = None
    other_parts: bool = False
    page: str | None = None
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def bundled(self) -> bool:
        """Whether the file is part of the installed package."""
        return self.url is None and self.page is None

    @property
    def permissive(self) -> bool:
        """Whether the licence allows any use, so that nobody has to be asked."""
        return self.licence in PERMISSIVE_LICENCES


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """All that is particular to one model.

    Attributes
    ----------
    name, title
        Short name for code and command line; name for people.
    family
        Predictor that runs it.
    builder
        ``"module:function"`` that builds the whole network; a string, so that listing models
        imports no torch.
    input_px
        Longest side of the picture that the network sees, model pixels.
    resize
        Rule from image to input: ``"longest_side"`` (aspect ratio kept, padded right and bottom to
        a square), ``"squash"`` (to a square) or ``"letterbox"`` (aspect ratio kept, centred
        padding to multiples of 32).
    pixel_mean, pixel_std
        RGB statistics on the 0–255 scale.
    feature_shapes
        Shape of each named feature for one input; empty where it depends on the image.
    prompts
        Prompts that the model takes: ``"point"``, ``"box"``, ``"mask"``, ``"text"`` (with the extra
        of that name).
    proposals
        Ways of everything mode (`PROPOSALS`), the default first.
    hq
        Name of the model to use with the HQ toggle on, or None.
    weights
        Where the weights come from.
    parameters
        Number of parameters of the whole model.
    paper
        Citation.
    everything
        Its own defaults of everything mode, see `litesam.everything.resolve_config`.
    encoder
        Name of the encoder. Models of the same encoder share embeddings while its weights are the
        same. Empty: the name of the model.
    prompt_px
        Side of the frame of prompts and masks, model pixels; None: ``input_px``.
    max_points
        Most points (a box counts as two) of one prompt; None: no limit.
    memory_bytes
        Resident memory that loading and encoding need, about.
    proposer
        Name of the model whose AutoPPN says where objects are; None: its own.
    encoder_from
        Name of the model, or of the encoder (`litesam.models.registry.ENCODERS`), whose weights
        file gives the image encoder; the model's own file then holds the other parts. None: the
        own file holds everything.
    """

    name: str
    title: str
    family: str
    builder: str
    input_px: int
    resize: Literal["longest_side", "squash", "letterbox"]
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    feature_shapes: Mapping[str, tuple[int, ...]]
    prompts: tuple[str, ...]
    proposals: tuple[str, ...]
    hq: str | None
    weights: WeightsSpec
    parameters: int
    paper: str
    everything: Mapping[str, Any] = field(default_factory=dict)
    encoder: str = ""
    prompt_px: int | None = None
    max_points: int | None = None
    memory_bytes: int = 500_000_000
    proposer: str | None = "lite_sam"
    encoder_from: str | None = None

    @property
    def encoder_name(self) -> str:
        """Name under which embeddings are kept."""
        return self.encoder or self.name

    @property
    def selects(self) -> bool:
        """Whether prompts choose among instances that the network finds once, at encoding."""
        return "instances" in self.proposals

    @property
    def frame_px(self) -> int:
        """Side of the frame of prompts and masks, model pixels."""
        return self.input_px if self.prompt_px is None else self.prompt_px
