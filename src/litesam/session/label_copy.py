"""Copies of labels in files beside a session: of what was there before it, where that is too much
to be written down as text.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.errors import Cancelled, WriteError
from litesam.io import atomic_path
from litesam.objects import revert_change
from litesam.session.actions import LabelsLoaded

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from litesam.objects import Change
    from litesam.session.values import Session

COPY_SUFFIX = ".labels.zarr"
#: Side of the tiles in which labels are read and written.
_TILE_PX = 1024


class LabelCopy:
    """A copy of labels as they are now, written tile by tile while they are worked on.

    First `read`, in any thread; then `complete`, with all that changed the labels since. Under its
    name the copy appears only when it is complete.

    Parameters
    ----------
    path
        A folder (Zarr), usually ends with `COPY_SUFFIX`.
    labels
        Any array of whole numbers that can be sliced, (leading axes, Y, X).
    """

    def __init__(self, path: str | os.PathLike[str], labels: Any) -> None:
        self.path = Path(path)
        self._labels = labels
        self._part = self.path.with_name(f"{self.path.name}.part")
        self._array: Any = None

    def read(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Read and write all of the labels; needs the memory of one tile.

        Raises
        ------
        WriteError
            If the disk refuses.
        Cancelled
            If ``cancelled`` said so.
        """
        import zarr

        labels = self._labels
        shape = tuple(int(size) for size in labels.shape)
        tile = (*(1 for _ in shape[:-2]), *(min(size, _TILE_PX) for size in shape[-2:]))
        try:
            self._part.parent.mkdir(parents=True, exist_ok=True)
            self._array = zarr.create_array(
                self._part, shape=shape, dtype=np.dtype(labels.dtype), chunks=tile, overwrite=True
            )
            for place in _tiles(shape, tile):
                if cancelled():
                    raise Cancelled("The copy of the labels was cancelled.")
                part = np.asarray(labels[place])
                if part.any():
                    self._array[place] = part
        except OSError as error:
            raise self._refused(error) from error

    def complete(self, changes: Sequence[Change] = ()) -> None:
        """Give pixels that were changed meanwhile the values that they had at first.

        ``changes``: in the order in which they were made.

        Raises
        ------
        WriteError
            If the disk refuses.
        """
        try:
            # Whether a tile was read before or after a change: the first one of a pixel says what
            # it was.
            for change in reversed(changes):
                if not change.empty:
                    window = np.asarray(self._array[change.slices])
                    whole = tuple((0, size) for size in window.shape)
                    revert_change(window, replace(change, region=whole))
                    self._array[change.slices] = window
            self._part.replace(self.path)
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> WriteError:
        return WriteError(f"{self.path} cannot be written: {error.strerror or error}.")


def remove_copy(path: str | os.PathLike[str]) -> None:
    """Delete a copy, complete or not, if there is one."""
    target = Path(path)
    for folder in (target, target.with_name(f"{target.name}.part")):
        shutil.rmtree(folder, ignore_errors=True)


def take_copies_along(session: Session, folder: Path, path: str | os.PathLike[str]) -> Session:
    """Return the session with the copies of labels that lie in a folder copied beside a file.

    Parameters
    ----------
    session
        Its copies lie in ``folder`` and are named from there.
    path
        The file that the session is to be written to.

    Raises
    ------
    WriteError
        If a copy is not there, or the disk refuses.
    """
    target = Path(path)
    actions = list(session.actions)
    for number, action in enumerate(actions):
        source = folder / getattr(action, "path", "")
        if not isinstance(action, LabelsLoaded) or source.parent != folder:
            continue
        if not source.exists():
            raise WriteError(
                "The labels that were there before are still being copied; save the session again "
                "in a moment."
            )
        beside = target.with_name(f"{target.stem}{f'-{number}' if number else ''}{COPY_SUFFIX}")
        with atomic_path(beside, overwrite=True) as part:
            shutil.copytree(source, part)
        actions[number] = replace(action, path=beside.name)
    return replace(session, actions=tuple(actions))


def named_from(session: Session, folder: Path) -> Session:
    """Return the session with the whole paths of its label files, which it names from a folder."""
    actions = tuple(
        replace(action, path=str((folder / action.path).absolute()))
        if isinstance(action, LabelsLoaded)
        else action
        for action in session.actions
    )
    return replace(session, actions=actions)


def _tiles(shape: Sequence[int], tile: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield the places of all tiles of an array."""
    starts = [range(0, size, step) for size, step in zip(shape, tile, strict=True)]
    for corner in product(*starts):
        yield tuple(slice(at, at + step) for at, step in zip(corner, tile, strict=True))
