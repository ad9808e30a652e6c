"""What a worker answers about the current object: its mask, its scores and how it was decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.types import BoolArray, MaskRecord, Prompts
from napari_litesam.levels import Scaling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.merge import SegmentResult


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """The object of a request.

    Attributes
    ----------
    mask
        (H, W) bool.
    record
        The same with its scores; None if there is no object.
    result
        The engine's ``SegmentResult`` with all candidates; None if words were asked.
    prompts
        What was decoded, in pixels of its level: of a drawing, what the model got.
    each
        The objects, if every prompt is one of its own; ``mask`` is where one of them is.
    scaling
        From its level to level 0; None: it is of level 0.
    """

    mask: BoolArray
    record: MaskRecord | None
    result: Any = None  # the class is the engine's, which loads torch: only in the worker
    scaling: Scaling | None = None
    each: tuple[MaskRecord, ...] = ()
    prompts: Prompts | None = None

    @property
    def candidates(self) -> int:
        """Number of masks to choose from."""
        return 1 if self.result is None else int(self.result.candidates)

    @property
    def candidate(self) -> int:
        """Which of them ``mask`` is."""
        return 0 if self.result is None else int(self.result.candidate)

    def with_candidate(self, candidate: int) -> Reply:
        """Return the same with another candidate, counted in a circle."""
        if self.result is None or candidate % self.candidates == self.candidate:
            return self
        return reply_of(self.result.with_candidate(candidate), self.scaling, self.prompts)


def reply_of(
    result: SegmentResult, scaling: Scaling | None = None, prompts: Prompts | None = None
) -> Reply:
    """Return the reply of a result."""
    if scaling is None or scaling.identity:
        return Reply(result.mask, result.record, result, prompts=prompts)
    record = scaling.record(result.record)
    return Reply(record.mask(scaling.full_yx), record, result, scaling, prompts=prompts)


def reply_of_each(records: Sequence[MaskRecord], scaling: Scaling) -> Reply:
    """Return the reply of several objects."""
    found = tuple(records if scaling.identity else map(scaling.record, records))
    mask = np.zeros(scaling.full_yx, dtype=np.bool_)
    for record in found:
        mask[record.box.slices] |= record.crop
    return Reply(mask, None, scaling=scaling, each=found)
