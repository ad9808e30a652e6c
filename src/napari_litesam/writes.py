"""Objects → pixels of a Labels layer, and back: every write is a `Change` that can be taken back.

What is written where is the engine's to say (`litesam.objects`); here it meets napari's layers. No
Qt.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels

from litesam import objects
from litesam.objects import Change, Commit
from litesam.session import Action
from napari_litesam.label_axes import array_of, channels_of, raw_array_of, within, without
from napari_litesam.pyramid_labels import PyramidLabels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from litesam.types import BoolArray, MaskRecord

#: A new object of which a smaller share is free of other objects is one of them, found again.
MIN_FREE_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """What one step did to a layer.

    Attributes
    ----------
    layer
        The Labels layer.
    change
        Its pixels, before and after.
    actions
        The same for the session that is written down.
    objects
        Number of objects that it made or changed.
    what
        What it was, for people; "": so many objects, or a stroke.
    """

    layer: Labels
    change: Change
    actions: tuple[Action, ...] = ()
    objects: int = 1
    what: str = ""


class LabelWriter:
    """Writes into Labels layers, and knows which changes are its own.

    Attributes
    ----------
    writing
        Whether a layer is being changed here and not by the user.
    """

    def __init__(self) -> None:
        self.writing = False
        self._largest: WeakKeyDictionary[Labels, int] = WeakKeyDictionary()

    def next_id(self, layer: Labels) -> int:
        """Return the smallest id above all that the layer has or had since it was first asked."""
        if layer not in self._largest:
            self._largest[layer] = objects.next_id(array_of(layer)) - 1
        return self._largest[layer] + 1

    def known_next_id(self, layer: Labels) -> int | None:
        """Return `next_id` if it is known without reading the layer."""
        return self._largest[layer] + 1 if layer in self._largest else None

    def has(self, layer: Labels, number: int) -> bool:
        """Return whether a layer has an object; it is read if one had such an id."""
        return number < self.next_id(layer) and objects.has_id(array_of(layer), number)

    def forget(self, layer: Labels) -> None:
        """The layer got another array."""
        self._largest.pop(layer, None)

    def note(self, layer: Labels, change: Change) -> None:
        """Take note of ids that a change brings."""
        if layer in self._largest and not change.empty:
            self._largest[layer] = max(self._largest[layer], int(change.after.max()))

    def commit(
        self,
        layer: Labels,
        mask: BoolArray,
        index: tuple[int, ...] | None,
        *,
        number: int | None = None,
        reopened: bool = False,
        policy: str = "never_overwrite",
    ) -> Commit:
        """Write one object.

        Parameters
        ----------
        layer
            Labels layer with axes (plane axes, Y, X).
        mask
            (H, W) bool.
        index
            Plane; None in a 2-D layer.
        number
            Id, for example of an object that is there and grows; None: the next id.
        reopened
            That object was opened again: it has these pixels in the plane, and no others.
        policy
            One of `litesam.objects.COMMIT_POLICIES`.

        Raises
        ------
        ImageError
            If the mask does not fit the layer, or its dtype has no further id.
        """
        commit = objects.commit_mask(
            array_of(layer),
            mask,
            index or (),
            number=self.next_id(layer) if number is None else number,
            policy=policy,
            reopened=reopened,
        )
        self.write(layer, commit.change)
        return commit

    def commit_all(
        self,
        layer: Labels,
        found: Sequence[MaskRecord],
        index: tuple[int, ...] | None,
        *,
        policy: str = "never_overwrite",
        min_free_share: float = MIN_FREE_SHARE,
        first: int | None = None,
    ) -> Commit:
        """Write many objects of a plane under the next ids.

        Parameters
        ----------
        layer, index, policy
            As in `commit`.
        found
            The objects.
        min_free_share
            Objects of which a smaller share is free of other objects are left out, so that no
            slivers appear around objects that are there already.
        first
            Id to begin with, if it is above all that are there.

        Raises
        ------
        ImageError
            If the objects do not fit the layer, or its dtype cannot hold the new ids.
        """
        start = max(self.next_id(layer), first or 0)
        # First who gets pixels, then numbers for them: no id is left out.
        tried = objects.commit_labels(
            array_of(layer),
            found,
            index or (),
            numbers=range(start, start + len(found)),
            policy=policy,
            min_free_share=min_free_share,
        )
        gaps = sum(number == 0 for number in tried.ids)
        if gaps:
            ids = iter(range(start, start + len(found)))
            numbers = [next(ids) if number else 0 for number in tried.ids]
            kept = [record for record, number in zip(found, numbers, strict=True) if number]
            commit = objects.commit_labels(
                array_of(layer),
                kept,
                index or (),
                numbers=[number for number in numbers if number],
                policy=policy,
                min_free_share=0.0,
            )
            tried = Commit(
                commit.change, tuple(numbers), commit.pixels, tried.refused_px, commit.overwritten
            )
        self.write(layer, tried.change)
        return tried

    def write(self, layer: Labels, change: Change) -> None:
        """Write a change."""
        self._set(layer, change, change.after)
        self.note(layer, change)

    def withdraw(self, layer: Labels, change: Change) -> Change:
        """Take a change back where its pixels still are as it left them; return what that
        changed.
        """
        return self._set(layer, change, change.before, only=change.after)

    def write_again(self, layer: Labels, change: Change) -> Change:
        """Do a change again that was withdrawn, where pixels are as they were before it; return
        what that changed.
        """
        return self._set(layer, change, change.after, only=change.before)

    def _set(
        self,
        layer: Labels,
        change: Change,
        values: npt.NDArray[Any],
        only: npt.NDArray[Any] | None = None,
    ) -> Change:
        """Set the pixels that a change changes; ``only`` where they have these values now."""
        wanted = change.changed
        now = None if only is None else np.array(array_of(layer)[change.slices])
        if now is not None:
            wanted &= now == only
        inside = np.nonzero(wanted)
        if not inside[0].size:
            return objects.change_of(change.before, change.before, _corner(change))
        where = tuple(axis + start for axis, (start, _) in zip(inside, change.region, strict=True))
        with self._own():
            if layer.multiscale and not isinstance(layer, PyramidLabels):
                # Its levels are views of one array, which napari itself does not write.
                array_of(layer)[where] = values[inside]
                layer.refresh()
            else:
                if not layer.visible:
                    # napari draws what it writes, also into the view of a layer that was hidden
                    # from the start and has none yet.
                    layer.set_view_slice()
                indices = within(layer, where, np.zeros_like(where[0]))
                layer.data_setitem(indices, values[inside])
        if now is None:
            return change
        return objects.change_of(now, np.where(wanted, values, now), _corner(change))

    @contextmanager
    def _own(self) -> Iterator[None]:
        before, self.writing = self.writing, True
        try:
            yield
        finally:
            self.writing = before


def _corner(change: Change) -> tuple[int, ...]:
    """Where the region of a change begins."""
    return tuple(start for start, _ in change.region)


def stroke_of(layer: Labels, atoms: Sequence[Any]) -> Change:
    """Return what a stroke of napari's tools changes.

    Parameters
    ----------
    layer
        The Labels layer. napari tells about a stroke after it and about a fill before it: both are
        the same here.
    atoms
        What ``Labels.events.paint`` tells: edits in order, each either (indices, old values, new
        values) or an object with ``slice_key``, ``mask`` (None: all of it), ``old_values`` and
        ``new_value``.
    """
    array, axis = raw_array_of(layer), channels_of(layer)
    regions = [_region_of(atom, array.shape) for atom in atoms]
    low = np.min([[start for start, _ in region] for region in regions], axis=0)
    high = np.max([[stop for _, stop in region] for region in regions], axis=0)
    before = np.array(array[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))])
    edits = list(zip(atoms, regions, strict=True))
    for atom, region in reversed(edits):
        _put(before, atom, region, low, old=True)
    after = before.copy()
    for atom, region in edits:
        _put(after, atom, region, low, old=False)
    if axis is not None:
        before, after = before.squeeze(axis), after.squeeze(axis)
    return objects.change_of(before, after, tuple(int(at) for at in without(layer, low)))


def _put(
    window: npt.NDArray[Any],
    atom: Any,
    region: Sequence[tuple[int, int]],
    low: npt.NDArray[Any],
    *,
    old: bool,
) -> None:
    """Write the old or the new values of an edit into a window that begins at ``low``."""
    if not hasattr(atom, "slice_key"):
        indices, before, after = atom
        where = tuple(np.asarray(axis) - at for axis, at in zip(indices, low, strict=True))
        window[where] = before if old else after
        return
    part = window[
        tuple(
            slice(start - int(at), stop - int(at))
            for (start, stop), at in zip(region, low, strict=True)
        )
    ]
    values = atom.old_values if old else atom.new_value
    if atom.mask is None:
        part[...] = np.reshape(values, part.shape) if old else values
    else:
        part[np.reshape(atom.mask, part.shape)] = values


def _region_of(atom: Any, shape: Sequence[int]) -> list[tuple[int, int]]:
    """(start, stop) along each axis of an edit."""
    if not hasattr(atom, "slice_key"):
        return [(int(np.min(axis)), int(np.max(axis)) + 1) for axis in atom[0]]
    bounds = []
    for key, size in zip(atom.slice_key, shape, strict=True):
        start, stop, _ = key.indices(int(size)) if isinstance(key, slice) else (key, key + 1, 1)
        bounds.append((int(start), int(stop)))
    return bounds
