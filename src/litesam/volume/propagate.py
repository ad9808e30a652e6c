"""Objects that are prompted on a few slices, carried through a stack in both directions.

Each object has its own way. Beyond its first and last prompted slice it is followed until the model
loses it. Between two prompted slices it is followed from both, with the shape half-way between them
as a guide, and both ways are joined; it never stops there. In every slice all objects that are on
their way are decoded in one batch.

What one object does depends on its own prompts alone, so a correction runs again only from there to
the next prompted slices of the same object. Where masks of two objects meet, the pixels go to the
one of higher confidence, when the slice is painted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from litesam.errors import ImageError, PromptError
from litesam.types import MaskRecord, Progress, PropagateConfig
from litesam.volume.projection import (
    Reference,
    Stack,
    between,
    check,
    contrast,
    decoded,
    look,
    mixed,
    overlap,
    references,
    trimmed,
)
from litesam.volume.propagated import Kept, Part, Propagated, Seed, State, ways

if TYPE_CHECKING:
    from litesam.segmenter import Segmenter
    from litesam.types import IsCancelled, OnProgress

#: Confidence of a slice between prompted ones where the model lost the object: its shape is
#: interpolated.
_INTERPOLATED = 0.05
#: Confidence fades by this factor with every slice, as errors add up. Its rank correlation with the
#: true IoU is 0.85 on embryo16 and 0.77 on fib25 with it, 0.69 and -0.20 without (one prompted
#: slice).
_FADING = 0.95
#: How much the shape half-way between two prompted slices guides what is asked in between.
_GUIDE = 0.3
#: Trust (IoU on the prompted slice) from which on the decoder's masks are taken as they are, and at
#: which its word is worth least; that least weight.
_TRUSTED, _DOUBTED, _LEAST = 0.7, 0.4, 0.1


def propagate(
    segmenter: Segmenter,
    seeds: Sequence[Seed],
    *,
    axis: str | None = None,
    index: Sequence[int] | None = None,
    config: PropagateConfig | None = None,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
) -> Propagated:
    """Carry prompted objects through a stack, in both directions.

    Parameters
    ----------
    segmenter
        Holds the stack and the model.
    seeds
        Objects on slices, in any order; an object may be prompted on several slices.
    axis
        Letter of the axis to go through; None: the last one before Y and X.
    index
        Where the other axes of the stack stay: their positions, in order. None: there are none.
    config
        Parameters; None: the defaults.
    on_progress
        Told after each slice and direction.
    cancelled
        Asked before each slice, each embedding and each batch of objects.

    Returns
    -------
    Propagated
        It keeps the masks of the objects, a bit a pixel of their boxes, and no volume.

    Raises
    ------
    PromptError
        If there are no seeds, two for one object and slice, one outside of the stack, or one that
        makes no mask.
    ImageError
        If the image is no stack or ``index`` does not fit it.
    Cancelled
        If ``cancelled`` said so.
    """
    config = config or PropagateConfig()
    stack = _stack(segmenter, axis, index)
    _check_seeds(seeds, stack)
    sizes = [_size(seed, stack, cancelled) for seed in seeds]
    stack = stack.with_rim_for(float(np.median(sizes)), config.object_share)
    known = _known_masks(stack, seeds, cancelled)
    return _carried(stack, config, known, {}, {}, on_progress, cancelled)


def corrected(
    propagated: Propagated,
    seeds: Sequence[Seed],
    *,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
) -> Propagated:
    """Return the result with more, or other, prompted slices.

    Only what depends on them runs again: the ways of these objects from these slices to their next
    prompted slices, or to where the objects are lost. The result is that of `propagate` with all
    seeds (shown to the model at the same size).

    Parameters
    ----------
    propagated
        An earlier result; it stays as it is.
    seeds
        What is right on some slices; of an object that was prompted there already the new one
        counts. New objects may begin.
    on_progress, cancelled
        As for `propagate`.

    Raises
    ------
    PromptError, Cancelled
        As for `propagate`.
    """
    state = propagated.state
    _check_seeds(seeds, state.stack)
    news = _known_masks(state.stack, seeds, cancelled)
    known = {**state.known, **news}
    old = {key: value for key, value in state.references.items() if key not in news}
    parts = {
        part: masks
        for part, masks in state.parts.items()
        if not any((part[0], end) in news for end in part[1:] if end is not None)
    }
    return _carried(state.stack, state.config, known, old, parts, on_progress, cancelled)


# --------------------------------------------------------------------------------------- the seeds


def _stack(segmenter: Segmenter, axis: str | None, index: Sequence[int] | None) -> Stack:
    letters = [letter for letter in segmenter.axes if letter not in "CSYX"]
    if not letters:
        raise ImageError(
            f"An image with the axes {segmenter.axes} is one plane; objects are carried through "
            "stacks, such as ZYX."
        )
    chosen = letters[-1] if axis is None else axis.upper()
    if chosen not in letters:
        raise ImageError(
            f"There is no axis {chosen!r} in {segmenter.axes}; choose one of {', '.join(letters)}."
        )
    others = tuple(int(position) for position in index or ())
    if len(others) != len(letters) - 1:
        rest = ", ".join(letter for letter in letters if letter != chosen) or "none"
        raise ImageError(
            f"index has {len(others)} positions; {len(letters) - 1} are needed, for the axes that "
            f"stay ({rest})."
        )
    place = letters.index(chosen)
    length = int(segmenter.image.shape[segmenter.axes.index(chosen)])
    return Stack(segmenter, others[:place], others[place:], length)


def _known_masks(
    stack: Stack, seeds: Sequence[Seed], cancelled: IsCancelled | None
) -> dict[tuple[int, int], MaskRecord]:
    """Masks of seeds by object and slice."""
    known: dict[tuple[int, int], MaskRecord] = {}
    for seed in sorted(seeds, key=lambda seed: (seed.slice, seed.object)):
        check(cancelled)
        record = _mask_of(seed, stack, cancelled)
        if not record.area:
            raise PromptError(
                f"The prompt of object {seed.object} on slice {seed.slice} makes no mask; move it, "
                "or add a box."
            )
        known[seed.object, seed.slice] = record
    return known


def _check_seeds(seeds: Sequence[Seed], stack: Stack) -> None:
    if not seeds:
        raise PromptError("No object is prompted; give at least one seed.")
    places = set()
    for seed in seeds:
        if not 0 <= seed.slice < stack.length:
            raise PromptError(
                f"Object {seed.object} is prompted on slice {seed.slice}, outside 0 … "
                f"{stack.length - 1}."
            )
        if (seed.object, seed.slice) in places:
            raise PromptError(
                f"Object {seed.object} is prompted twice on slice {seed.slice}; put all of its "
                "points and its box into one prompt."
            )
        places.add((seed.object, seed.slice))


def _size(seed: Seed, stack: Stack, cancelled: IsCancelled | None) -> float:
    """Longest side of an object on its slice, pixels."""
    box = None if seed.prompts is None else seed.prompts.box
    if box is not None:
        return max(box.y1 - box.y0, box.x1 - box.x0)
    return float(max(_mask_of(seed, stack, cancelled).box.size_yx))


def _mask_of(seed: Seed, stack: Stack, cancelled: IsCancelled | None) -> MaskRecord:
    if seed.prompts is None:
        return _painted(seed, stack)
    return decoded(stack, seed.slice, seed.prompts, cancelled)


def _painted(seed: Seed, stack: Stack) -> MaskRecord:
    mask = np.asarray(seed.mask, dtype=np.bool_)
    if mask.shape != stack.segmenter.plane_shape:
        raise PromptError(
            f"The mask of object {seed.object} has shape {mask.shape}; planes have "
            f"{stack.segmenter.plane_shape}."
        )
    return trimmed(mask, (0, 0), 1.0, 1.0)


# ---------------------------------------------------------------------------------------- the ways


@dataclass(slots=True, eq=False)
class _Run:
    """One object on its way from a prompted slice in one direction."""

    part: Part
    step: int
    start: int
    last: int
    reference: Reference
    mask: MaskRecord
    guides: Mapping[int, MaskRecord]
    found: dict[int, MaskRecord] = field(default_factory=dict)
    pending: dict[int, MaskRecord] = field(default_factory=dict)
    stopped: bool = False

    @property
    def bounded(self) -> bool:
        """Whether it leads to another prompted slice, so that it does not stop."""
        return self.part[1] is not None and self.part[2] is not None

    def reaches(self, number: int) -> bool:
        """Whether its way leads through a slice."""
        inside = (number - self.start) * self.step > 0 and (self.last - number) * self.step >= 0
        return inside and not self.stopped


def _carried(
    stack: Stack,
    config: PropagateConfig,
    known: Mapping[tuple[int, int], MaskRecord],
    old_references: Mapping[tuple[int, int], Reference],
    old_parts: Mapping[Part, Mapping[int, Kept]],
    on_progress: OnProgress | None,
    cancelled: IsCancelled | None,
) -> Propagated:
    """Run what is not there yet, and join it."""
    seeds: dict[int, tuple[int, ...]] = {}
    for name in sorted({name for name, _ in known}):
        seeds[name] = tuple(sorted(number for other, number in known if other == name))
    wanted = [(name, *way) for name, slices in seeds.items() for way in ways(slices)]
    missing = [part for part in wanted if part not in old_parts]
    found = _references(stack, config, known, old_references, missing, cancelled)
    runs = [run for part in missing for run in _runs(stack, config, known, found, part)]
    _sweep(stack, config, runs, on_progress, cancelled)
    parts = {part: old_parts[part] for part in wanted if part in old_parts}
    for part in missing:
        parts[part] = _joined([run for run in runs if run.part == part])
    confidence = {}
    for name, slices in seeds.items():
        values = dict.fromkeys(slices, 1.0)
        for way in ways(slices):
            values |= {number: kept.confidence for number, kept in parts[name, *way].items()}
        confidence[name] = dict(sorted(values.items()))
    shape = (stack.length, *stack.segmenter.plane_shape)
    return Propagated(shape, seeds, confidence, State(stack, config, known, found, parts))


def _references(
    stack: Stack,
    config: PropagateConfig,
    known: Mapping[tuple[int, int], MaskRecord],
    old: Mapping[tuple[int, int], Reference],
    parts: Sequence[Part],
    cancelled: IsCancelled | None,
) -> dict[tuple[int, int], Reference]:
    """References of all prompted slices that the parts begin or end with."""
    found = dict(old)
    ends = {(part[0], end) for part in parts for end in part[1:] if end is not None}
    by_slice: dict[int, list[int]] = defaultdict(list)
    for name, number in sorted(ends - found.keys()):
        by_slice[number].append(name)
    for number, names in sorted(by_slice.items()):
        check(cancelled)
        records = [known[name, number] for name in names]
        made = references(stack, number, records, config, cancelled)
        found |= {(name, number): one for name, one in zip(names, made, strict=True)}
    return found


def _runs(
    stack: Stack,
    config: PropagateConfig,
    known: Mapping[tuple[int, int], MaskRecord],
    found: Mapping[tuple[int, int], Reference],
    part: Part,
) -> list[_Run]:
    """One way from each prompted end of a part."""
    name, low, high = part
    guides: dict[int, MaskRecord] = {}
    if low is not None and high is not None:
        shapes = between(known[name, low], known[name, high], high - low - 1)
        guides = {low + 1 + step: shape for step, shape in enumerate(shapes)}
    reach = config.max_slices or stack.length
    runs = []
    if low is not None:
        last = min(low + reach, stack.length - 1) if high is None else high - 1
        runs.append(_Run(part, 1, low, last, found[name, low], known[name, low], guides))
    if high is not None:
        last = max(high - reach, 0) if low is None else low + 1
        runs.append(_Run(part, -1, high, last, found[name, high], known[name, high], guides))
    return runs


def _sweep(
    stack: Stack,
    config: PropagateConfig,
    runs: Sequence[_Run],
    on_progress: OnProgress | None,
    cancelled: IsCancelled | None,
) -> None:
    """Go through the slices upwards, then downwards; all objects of a slice at once."""
    plans = []
    for step in (1, -1):
        here = [run for run in runs if run.step == step]
        reached = {z for run in here for z in range(run.start + step, run.last + step, step)}
        plans.append((here, sorted(reached, reverse=step < 0)))
    done, total = 0, sum(len(numbers) for _, numbers in plans)
    for here, numbers in plans:
        for number in numbers:
            check(cancelled)
            active = [run for run in here if run.reaches(number)]
            if active:
                _advance(stack, config, number, active, cancelled)
            done += 1
            if on_progress is not None:
                words = f"Slice {number}: {len(active)} objects on their way"
                on_progress(Progress(done, total, words))


def _advance(
    stack: Stack,
    config: PropagateConfig,
    number: int,
    runs: Sequence[_Run],
    cancelled: IsCancelled | None,
) -> None:
    """Take all objects to one more slice."""
    expected = [_expected(run, number) for run in runs]
    thresholds = [run.reference.threshold for run in runs]
    seen = look(stack, number, expected, thresholds, config, cancelled)
    for run, prior, record in zip(runs, expected, seen, strict=True):
        quality = _quality(stack, config, number, run, prior, record)
        fading = _FADING ** abs(number - run.start)
        if quality is not None:
            weight = _word(min(run.reference.trust, record.predicted_iou))
            run.mask = mixed([(record, weight), (prior, 1 - weight)], quality * fading)
            run.found |= {**run.pending, number: run.mask}
            run.pending.clear()
        elif run.bounded:
            run.mask = replace(prior, score=_INTERPOLATED * fading)
            run.found[number] = run.mask
        elif len(run.pending) < config.patience:
            run.pending[number] = replace(run.mask, score=_INTERPOLATED * fading)
        else:
            run.stopped = True


def _expected(run: _Run, number: int) -> MaskRecord:
    """What the object should look like: as before, and a little as half-way to its other end; the
    more so the less the model knows about it.
    """
    guide = run.guides.get(number)
    if guide is None or not guide.area:
        return run.mask
    word = _word(min(run.reference.trust, run.reference.predicted_iou))
    weight = max(_GUIDE, 1 - word)
    return mixed([(run.mask, 1 - weight), (guide, weight)], 0.0)


def _word(trust: float) -> float:
    """Weight of the decoder's mask beside what is expected."""
    share = (trust - _DOUBTED) / (_TRUSTED - _DOUBTED)
    return float(np.clip(_LEAST + (1 - _LEAST) * share, _LEAST, 1.0))


def _quality(
    stack: Stack,
    config: PropagateConfig,
    number: int,
    run: _Run,
    prior: MaskRecord,
    record: MaskRecord,
) -> float | None:
    """Confidence of a mask, None if the object is lost."""
    if not record.area:
        return None
    share = record.predicted_iou / max(run.reference.predicted_iou, 1e-6)
    common = overlap(record, prior)
    change = record.area / prior.area
    if (
        share < config.stop_quality
        or common < config.min_overlap
        or max(change, 1 / change) > config.max_area_change
    ):
        return None
    if run.reference.contrast and config.min_contrast > 0:
        left = contrast(stack, number, record)[0] / run.reference.contrast
        if left < config.min_contrast:
            return None
    return float(np.clip(record.predicted_iou, 0.0, 1.0) * np.sqrt(common))


def _joined(runs: Sequence[_Run]) -> dict[int, Kept]:
    """Masks of one part from its one or two ways."""
    if len(runs) == 1:
        return {z: Kept.of(mask, mask.score) for z, mask in sorted(runs[0].found.items())}
    up, down = runs
    kept = {}
    for number in sorted(up.found):
        first, second = up.found[number], down.found[number]
        share = (number - up.start) / (down.start - up.start)
        weights = ((1 - share) * first.score, share * second.score)
        agreement = overlap(first, second)
        score = float(np.average((first.score, second.score), weights=weights))
        joint = mixed([(first, weights[0]), (second, weights[1])], score)
        kept[number] = Kept.of(joint, score * float(np.sqrt(agreement)))
    return kept
