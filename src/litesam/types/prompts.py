"""What a person or a network asks a decoder: points, boxes, masks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from litesam.errors import PromptError
from litesam.types.arrays import AnyArray, FloatArray

if TYPE_CHECKING:
    from collections.abc import Sequence


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
        for point in self.points:
            if not isinstance(point, PointPrompt):
                raise PromptError(
                    f"A point is {point!r}; write PointPrompt(y, x), or PointPrompt(y, x, "
                    "PointLabel.BACKGROUND) for one beside the object."
                )
        if self.box is not None and not isinstance(self.box, BoxPrompt):
            raise PromptError(f"The box is {self.box!r}; write BoxPrompt(y0, x0, y1, x1).")

    @property
    def is_ambiguous(self) -> bool:
        """Whether three candidates are worth having: a single point and nothing else."""
        return len(self.points) == 1 and self.box is None and self.low_res_mask is None

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
    boxes_are_guesses
        Whether an object may well go on outside of its box, as with those of a network or of the
        slice before; a box that somebody drew ends its object. Only Lite-SAM looks at it.
    """

    points: AnyArray | None = None
    labels: AnyArray | None = None
    boxes: AnyArray | None = None
    low_res_masks: AnyArray | None = None
    boxes_are_guesses: bool = False

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

    @classmethod
    def concatenate(cls, batches: Sequence[PromptBatch]) -> PromptBatch:
        """Return one batch of one or more that have the same fields and as many points a prompt."""

        def joined(name: str) -> AnyArray | None:
            arrays = [getattr(batch, name) for batch in batches]
            return None if arrays[0] is None else np.concatenate(arrays)

        return cls(
            joined("points"),
            joined("labels"),
            joined("boxes"),
            joined("low_res_masks"),
            batches[0].boxes_are_guesses,
        )

    def take(self, indices: npt.ArrayLike) -> PromptBatch:
        """Return the prompts of the given indices or slice, as another batch."""
        index = np.asarray(indices)
        return PromptBatch(
            points=None if self.points is None else self.points[index],
            labels=None if self.labels is None else self.labels[index],
            boxes=None if self.boxes is None else self.boxes[index],
            low_res_masks=None if self.low_res_masks is None else self.low_res_masks[index],
            boxes_are_guesses=self.boxes_are_guesses,
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
