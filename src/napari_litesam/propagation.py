"""Objects of one slice carried through the stack, in a worker, and written as one step.

How they are followed is the engine's (`litesam.volume.propagate`). What came of it is kept, so that
a correction runs only what depends on it, until other objects are carried or the image changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from litesam.objects import Change, change_of
from litesam.types import AnyArray, Box
from napari_litesam.jobs import Lane
from napari_litesam.label_axes import array_of
from napari_litesam.propagation_jobs import carry, carry_file, carry_on
from napari_litesam.requests import ImageSource, NotReady, PlaneRequest
from napari_litesam.state import Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.types import BoolArray, PropagateConfig
    from litesam.volume.propagated import Propagated
    from napari_litesam.committer import Committer
    from napari_litesam.reports import Reporter
    from napari_litesam.segmenters import SegmenterPool
    from napari_litesam.state import PluginState, Settings

_RUNNING = "Objects are being carried through the stack; wait or cancel it."
_NOTHING_YET = "No object was carried through the stack yet."

#: Object and slice → (H, W) mask.
Known = dict[tuple[int, int], "BoolArray"]


@dataclass(frozen=True, slots=True)
class Confidence:
    """What the panel shows of objects that were carried.

    Attributes
    ----------
    length, shown
        Slices of the stack, and the one that the viewer shows.
    values
        By slice, the lowest confidence of the objects there.
    prompted
        Slices on which an object is known.
    """

    length: int = 0
    shown: int = 0
    values: tuple[tuple[int, float], ...] = ()
    prompted: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class _Carried:
    """Objects that were carried, and what of them was written.

    Attributes
    ----------
    result
        The engine's `Propagated`, whose room is loaded when it is needed.
    source, target, others
        Image, layer, and where the axes before the last one stay.
    origin, after
        What was written: (slice, y, x) where the region begins, and its labels, (slices, h, w).
    """

    result: Any
    source: ImageSource
    target: Labels
    others: tuple[int, ...]
    origin: tuple[int, int, int]
    after: AnyArray

    def written(self, number: int) -> AnyArray:
        """What was written of one slice, (H, W)."""
        plane = np.zeros(self.result.shape[1:], dtype=self.after.dtype)
        z, y, x = self.origin
        depth, height, width = self.after.shape
        if z <= number < z + depth:
            plane[y : y + height, x : x + width] = self.after[number - z]
        return plane


class Propagation:
    """Carries objects through a stack.

    Attributes
    ----------
    lane
        The worker.
    changed
        A `Confidence`.
    done
        A sentence about objects that were carried.
    failed
        A `LiteSamError`.
    """

    changed = Signal(Confidence)
    done = Signal(str)
    failed = Signal(object)

    def __init__(
        self,
        state: PluginState,
        pool: SegmenterPool,
        committer: Committer,
        reporter: Reporter,
    ) -> None:
        self._state = state
        self._pool = pool
        self._committer = committer
        self._reporter = reporter
        self.lane = Lane("propagate")
        self.confidence = Confidence()
        self._carried: _Carried | None = None

    # -------------------------------------------------------------------------------------- intents

    def start(self, plane: PlaneRequest, numbers: Sequence[int]) -> None:
        """Carry objects from the slice shown through the stack, in both directions."""
        target = self._state.settings.target
        if target is None or plane.index is None:
            self._reporter.refuse(_NOTHING_YET)
            return
        pixels = np.asarray(array_of(target)[plane.index])
        known: Known = {
            (number, plane.index[-1]): pixels == number
            for number in numbers
            if (pixels == number).any()
        }
        if not known:
            self._reporter.refuse(_no_object(None))
            return
        others = tuple(plane.index[:-1])
        self._state.report(Level.BUSY, f"Carrying {len(known)} object(s) through the stack")
        self.lane.submit(
            partial(carry, self._pool, plane.source, others, known, self._config),
            partial(self._on_done, plane, target, None),
            self.failed.emit,
        )

    def start_file(self, plane: PlaneRequest, path: str) -> None:
        """Carry the objects of a prompts file through the stack, under new ids."""
        if plane.index is None:
            self._reporter.refuse(_NOTHING_YET)
            return
        others = tuple(plane.index[:-1])
        self._state.report(Level.BUSY, f"Carrying the objects of {Path(path).name}")
        self.lane.submit(
            partial(carry_file, self._pool, plane.source, others, path, self._config),
            partial(self._on_file, plane, self._state.settings),
            self.failed.emit,
        )

    def again(self, plane: PlaneRequest) -> None:
        """Take up corrections of carried objects: only what depends on them runs again.

        With other options than before all of it runs again, from all slices that are known.
        """
        carried = self._carried
        if carried is None or self._state.settings.target is not carried.target:
            self._reporter.refuse(_NOTHING_YET)
            return
        known = self._corrections(carried, plane)
        if carried.result.state.config != self._config:
            self._anew(carried, plane, known)
            return
        if not known:
            self._reporter.refuse(
                "Nothing was corrected: go to the worst slice, open the object again "
                "({reopen_here}), refine and commit it, or paint; or change the options."
            )
            return
        slices = ", ".join(str(number) for number in sorted({number for _, number in known}))
        self._state.report(Level.BUSY, f"Carrying on from slice {slices}")
        self.lane.submit(
            partial(carry_on, carried.result, known),
            partial(self._on_done, plane, carried.target, carried),
            self.failed.emit,
        )

    def _anew(self, carried: _Carried, plane: PlaneRequest, corrections: Known) -> None:
        """Carry all objects again, with other options."""
        shape = carried.result.shape[1:]
        known = {
            place: record.mask(shape) for place, record in carried.result.state.known.items()
        } | corrections
        self._state.report(Level.BUSY, "Carrying the objects again, with other options")
        self.lane.submit(
            partial(carry, self._pool, carried.source, carried.others, known, self._config),
            partial(self._on_done, plane, carried.target, carried),
            self.failed.emit,
        )

    @property
    def _config(self) -> PropagateConfig:
        return self._state.settings.propagate

    def worst(self) -> tuple[int, int, float] | None:
        """Return object, slice and confidence where it is most likely wrong."""
        carried = self._carried
        if carried is None:
            return None
        found = []
        for number in carried.result.objects:
            at = carried.result.worst_slice(number)
            if at is not None:
                found.append((carried.result.confidence[number][at], at, number))
        if not found:
            return None
        value, at, number = min(found)
        return number, at, value

    def place(self, number: int) -> tuple[int, ...] | None:
        """Return the index of a slice among the planes."""
        return None if self._carried is None else (*self._carried.others, number)

    @property
    def target(self) -> Labels | None:
        """The layer with the carried objects."""
        return None if self._carried is None else self._carried.target

    # -------------------------------------------------------------------------------------- showing

    def look(self, plane: PlaneRequest | NotReady) -> None:
        """Bring what is shown up to date."""
        carried = self._carried
        if carried is not None and (
            isinstance(plane, NotReady) or plane.source.layer is not carried.source.layer
        ):
            carried = self._carried = None
        confidence = Confidence()
        if not isinstance(plane, NotReady) and plane.index:
            confidence = Confidence(plane.source.planes[-1], plane.index[-1])
            if carried is not None and plane.index[:-1] == carried.others:
                confidence = _summed(carried.result, plane.source.planes[-1], plane.index[-1])
        if confidence != self.confidence:
            self.confidence = confidence
            self.changed.emit(confidence)

    def reasons(self, plane: PlaneRequest | NotReady, *, shown: bool) -> dict[str, str]:
        """Return the reason by name of each control that cannot be used now.

        ``shown``: there is an object in the preview.
        """
        found: dict[str, str] = {}
        if isinstance(plane, NotReady):
            found["volume_carry"] = plane.reason
        elif not plane.index:
            found["volume_carry"] = "The image has one plane; open a stack."
        elif plane.source.reduced:
            found["volume_carry"] = "Objects are carried in the full resolution; choose level 0."
        elif self.lane.busy:
            found["volume_carry"] = _RUNNING
        if "volume_carry" in found:
            found["volume_file"] = found["volume_carry"]
        elif not shown and not self._state.selected:
            found["volume_carry"] = _no_object(self._state.settings.target)
        if self._carried is None:
            found["volume_again"] = found["volume_worst"] = _NOTHING_YET
        elif self.lane.busy:
            found["volume_again"] = _RUNNING
        elif self._state.settings.target is not self._carried.target:
            found["volume_again"] = (
                f"The carried objects are in {self._carried.target.name!r}; choose that layer."
            )
        return found

    def forget(self, layer: Any) -> None:
        """A layer is gone, or has other pixels from elsewhere."""
        if self._carried is not None and layer is self._carried.target:
            self._carried = None

    def close(self) -> None:
        """Stop."""
        self.lane.close()

    # -------------------------------------------------------------------------------------- replies

    def _on_file(self, plane: PlaneRequest, before: Settings, result: Propagated) -> None:
        """Write the objects of a file, which no layer has yet, under numbers that are free."""
        now, target = self._state.settings, before.target
        if now.target is target and now.image is before.image:
            target = self._committer.target(plane)
            result = result.renumbered(self._committer.writer.next_id(target))
        self._on_done(plane, target, None, result, fresh=True)

    def _on_done(
        self,
        plane: PlaneRequest,
        target: Labels | None,
        before: _Carried | None,
        result: Propagated,
        *,
        fresh: bool = False,
    ) -> None:
        """Write what was found, as one step; ``fresh``: also where objects are known."""
        if target is None or self._state.settings.target is not target:
            self._reporter.refuse(
                "Another Labels layer was chosen meanwhile; nothing was written. Carry the objects "
                "again."
            )
            return
        assert plane.index is not None
        others = tuple(plane.index[:-1])
        policy = self._state.settings.policy
        previous = None if before is None else before.result
        origin, old, new = _painted(array_of(target), result, previous, others, policy, fresh=fresh)
        change = change_of(
            old.reshape(*(1,) * len(others), *old.shape),
            new.reshape(*(1,) * len(others), *new.shape),
            (*others, *origin),
        )
        self._write(plane, change, len(result.objects))
        self._carried = _Carried(result, plane.source, target, others, origin, new)
        slices = len({at for values in result.confidence.values() for at in values})
        text = f"{len(result.objects)} object(s) carried through {slices} slices."
        worst = self.worst()
        if worst is not None:
            text += f" Look at slice {worst[1]} first: object {worst[0]}, {worst[2]:.2f}."
        self.done.emit(text)

    def _write(self, plane: PlaneRequest, change: Change, objects: int) -> None:
        from litesam.session import record_change

        if not change.empty:
            self._committer.edit(
                plane,
                change,
                (record_change(change),),
                objects,
                what=f"{objects} carried object(s)",
            )

    def _corrections(self, carried: _Carried, plane: PlaneRequest) -> Known:
        """Carried objects that are not as they were written, by slice; not where they are gone."""
        known: Known = {}
        array = array_of(carried.target)
        first, depth = carried.origin[0], carried.after.shape[0]
        slices = set(range(first, first + depth))
        if plane.index is not None and tuple(plane.index[:-1]) == carried.others:
            slices.add(plane.index[-1])
        for at in sorted(slices):
            now, written = np.asarray(array[(*carried.others, at)]), carried.written(at)
            for number in carried.result.objects:
                mask = now == number
                if mask.any() and not np.array_equal(mask, written == number):
                    known[number, at] = mask
        return known


def _no_object(target: Labels | None) -> str:
    if target is None:
        return "There is no object in this slice: click on one."
    return (
        "No object is chosen: click on one, or choose committed ones with {select_here} over them "
        "in this slice, or in the table."
    )


def _summed(result: Propagated, length: int, shown: int) -> Confidence:
    """Lowest confidence of each slice."""
    lowest: dict[int, float] = {}
    for values in result.confidence.values():
        for at, value in values.items():
            lowest[at] = min(value, lowest.get(at, 1.0))
    prompted = frozenset(at for slices in result.seeds.values() for at in slices)
    return Confidence(length, shown, tuple(sorted(lowest.items())), prompted)


def _painted(
    array: Any,
    result: Propagated,
    previous: Propagated | None,
    others: tuple[int, ...],
    policy: str,
    *,
    fresh: bool = False,
) -> tuple[tuple[int, int, int], AnyArray, AnyArray]:
    """Return origin, labels before and labels after of the region that carried objects lie in.

    On slices where an object is known it stays as it is, unless it is fresh: nowhere yet. Pixels
    of others stay theirs, unless the policy is to overwrite.
    """
    reached = _reached(result, previous)
    box = _hull([result, *([] if previous is None else [previous])])
    first, last = min(reached), max(reached)
    region = (*others, slice(first, last + 1), *box.slices)
    before = np.array(array[region])
    after = before.copy()
    for at, numbers in reached.items():
        plane = after[at - first]
        wanted = result.labels(at)[box.slices]
        moving = [number for number in numbers if fresh or at not in result.seeds[number]]
        plane[np.isin(plane, moving)] = 0
        free = np.isin(wanted, moving)
        if policy != "overwrite":
            free &= plane == 0
        else:
            known = [number for number in result.objects if at in result.seeds[number]]
            free &= ~np.isin(plane, [] if fresh else known)
        plane[free] = wanted[free]
    return (first, box.y0, box.x0), before, after


def _reached(result: Propagated, previous: Propagated | None) -> dict[int, list[int]]:
    """Objects by slice that are there, or were before."""
    found: dict[int, set[int]] = {}
    for one in (result, previous):
        for number, values in () if one is None else one.confidence.items():
            for at in values:
                found.setdefault(at, set()).add(number)
    return {at: sorted(numbers) for at, numbers in sorted(found.items())}


def _hull(results: Sequence[Propagated]) -> Box:
    """Box that holds all masks."""
    boxes = [record.box for one in results for record in one.state.known.values()]
    boxes += [
        kept.box for one in results for masks in one.state.parts.values() for kept in masks.values()
    ]
    return Box(
        min(box.y0 for box in boxes),
        min(box.x0 for box in boxes),
        max(box.y1 for box in boxes),
        max(box.x1 for box in boxes),
    )
