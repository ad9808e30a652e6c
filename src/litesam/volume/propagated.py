"""What propagation starts from and what it gives: seeds, and masks by object and slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from litesam.errors import ImageError, PromptError
from litesam.types import (
    AnyArray,
    BoolArray,
    Box,
    LabelArray,
    MaskRecord,
    Prompts,
    PropagateConfig,
)
from litesam.volume.projection import Reference, Stack


@dataclass(frozen=True, slots=True, eq=False)
class Seed:
    """One object on one slice, as a person knows it.

    Attributes
    ----------
    object
        Its number, 1 or more; the label that it gets.
    slice
        The slice.
    prompts
        Points and box, pixels of the plane; or
    mask
        (H, W) bool: the object itself, such as a mask that was accepted or painted.
    """

    object: int
    slice: int
    prompts: Prompts | None = None
    mask: BoolArray | None = None

    def __post_init__(self) -> None:
        if (self.prompts is None) == (self.mask is None):
            raise PromptError(
                f"Object {self.object} on slice {self.slice} needs prompts or a mask, one of them."
            )
        if self.object < 1:
            raise PromptError(f"Object {self.object} is no label; number objects from 1 on.")


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A mask of one slice, a bit a pixel."""

    box: Box
    bits: AnyArray
    confidence: float

    @classmethod
    def of(cls, record: MaskRecord, confidence: float) -> Kept:
        """Keep a mask."""
        return cls(record.box, np.packbits(record.crop), confidence)

    def record(self) -> MaskRecord:
        """Return the mask; its score is the confidence."""
        height, width = self.box.size_yx
        flat = np.unpackbits(self.bits, count=height * width)
        crop = flat.reshape(height, width).astype(np.bool_)
        return MaskRecord(self.box, crop, self.confidence, 0.0, self.confidence)


#: The part of an object's way between two prompted slices; None: to where it is lost.
Part = tuple[int, int | None, int | None]


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What was computed, by object and place.

    Attributes
    ----------
    stack, config
        The slices, and the parameters.
    known
        Masks of prompted slices, by object and slice.
    references
        What the model makes of them.
    parts
        Masks by slice of each part of an object's way.
    """

    stack: Stack
    config: PropagateConfig
    known: Mapping[tuple[int, int], MaskRecord]
    references: Mapping[tuple[int, int], Reference]
    parts: Mapping[Part, Mapping[int, Kept]]


@dataclass(frozen=True, slots=True, eq=False)
class Propagated:
    """Objects carried through a stack; labels are painted slice by slice when they are asked for.

    Attributes
    ----------
    shape
        (slices, H, W).
    seeds
        Prompted slices of each object.
    confidence
        For each object, by slice, in [0, 1]; 1 on prompted slices. Slices without the object are
        absent.
    state
        What `corrected` goes on from.
    """

    shape: tuple[int, int, int]
    seeds: Mapping[int, tuple[int, ...]]
    confidence: Mapping[int, Mapping[int, float]]
    state: State = field(repr=False)

    @property
    def objects(self) -> tuple[int, ...]:
        """Numbers of the objects."""
        return tuple(self.seeds)

    def worst_slice(self, object_: int) -> int | None:
        """Return the slice of lowest confidence, the first of equal ones; None if all of its slices
        are prompted.
        """
        rest = {z: c for z, c in self.confidence[object_].items() if z not in self.seeds[object_]}
        return min(rest, key=lambda z: (rest[z], z), default=None)

    def mask(self, object_: int, number: int) -> BoolArray:
        """Return the (H, W) mask of one object on one slice, other objects aside."""
        kept = self._find(object_, number)
        if kept is None:
            return np.zeros(self.shape[1:], dtype=np.bool_)
        return kept.mask(self.shape[1:])

    def labels(self, number: int) -> LabelArray:
        """Return one slice, (H, W) int32: the numbers of the objects, 0 for background.

        Raises
        ------
        ImageError
            If there is no such slice.
        """
        if not 0 <= number < self.shape[0]:
            raise ImageError(f"Slice {number} is outside 0 … {self.shape[0] - 1}.")
        found = [(record, name) for name in self.objects if (record := self._find(name, number))]
        labels = np.zeros(self.shape[1:], dtype=np.int32)
        for record, name in sorted(found, key=lambda one: (one[0].score, -one[1])):
            labels[record.box.slices][record.crop] = name
        return labels

    def renumbered(self, first: int) -> Propagated:
        """Return the same with the numbers ``first``, ``first + 1`` … for the objects in order."""
        name = {old: first + place for place, old in enumerate(self.objects)}
        state = replace(
            self.state,
            known={(name[one], at): mask for (one, at), mask in self.state.known.items()},
            references={(name[one], at): it for (one, at), it in self.state.references.items()},
            parts={(name[one], a, b): masks for (one, a, b), masks in self.state.parts.items()},
        )
        return replace(
            self,
            seeds={name[one]: slices for one, slices in self.seeds.items()},
            confidence={name[one]: values for one, values in self.confidence.items()},
            state=state,
        )

    def slices(self) -> Iterator[tuple[int, LabelArray]]:
        """Yield (slice, labels) of all slices with objects, in order; nothing else is kept."""
        used = sorted({z for by_slice in self.confidence.values() for z in by_slice})
        for number in used:
            yield number, self.labels(number)

    def _find(self, object_: int, number: int) -> MaskRecord | None:
        known = self.state.known.get((object_, number))
        if known is not None:
            return replace(known, score=1.0)
        for low, high in ways(self.seeds[object_]):
            kept = self.state.parts[object_, low, high].get(number)
            if kept is not None:
                return kept.record()
        return None


def ways(slices: Sequence[int]) -> list[tuple[int | None, int | None]]:
    """Between which prompted slices an object goes."""
    ends: list[int | None] = [None, *sorted(slices), None]
    return list(pairwise(ends))
