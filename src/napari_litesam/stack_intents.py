"""What a user can ask of whole stacks: label them, carry objects through them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_litesam.image_axes import plane_axes
from napari_litesam.label_axes import show_place
from napari_litesam.label_layer import ON_DISK
from napari_litesam.requests import NotReady, Scene, resolve_plane
from napari_litesam.state import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from napari_litesam.committer import Committer, Outcome
    from napari_litesam.current_object import CurrentObject, Shown
    from napari_litesam.propagation import Propagation
    from napari_litesam.reports import Reporter
    from napari_litesam.state import PluginState
    from napari_litesam.volume_jobs import VolumeJobs


class StackIntents:
    """A part of `Intents`, which has all that is named here.

    Attributes
    ----------
    volume, propagation
        Whole stacks, labelled on the disk; objects that are carried through them.
    """

    state: PluginState
    viewer: ViewerModel
    volume: VolumeJobs
    propagation: Propagation
    _committer: Committer
    _current: CurrentObject
    _reporter: Reporter
    _note: str

    def label_volume(self) -> None:
        """Label every slice of the stack and link the objects, in the worker, on the disk."""
        level = self.volume.level()
        settings = replace(self.state.settings, level=level.number)
        self.volume.start(resolve_plane(settings, self._scene()), level)

    def pause_volume(self) -> None:
        """Stop labelling the stack; what is labelled is kept."""
        self._note = self.volume.pause()
        self._schedule()

    def copy_volume(self) -> None:
        """Bring the labels of the stack into memory, to correct them."""
        self.volume.complete.copy()

    def open_volume(self, path: str) -> None:
        """Show the labels of a stack that were written before, and take up their objects."""
        self.volume.open(path)

    def doubt_object(self, step: int) -> None:
        """Go to the next object of the labelled stack in the order of confidence, or back.

        0: to the least sure of all.
        """
        reason = self.volume.complete.reasons(running=self.volume.lane.busy).get("volume_least")
        doubt = None if reason else self.volume.complete.review.step(step)
        if doubt is None:
            self._reporter.refuse(reason or "There are no further objects that way.")
            return
        show_place(self.viewer, doubt.layer, doubt.position)
        if doubt.corrects:
            self.state.select({doubt.number})
        doubt.layer.selected_label = doubt.number
        slices = ", ".join(map(str, doubt.at))
        text = f"Object {doubt.number}, {doubt.place} of {doubt.of}: confidence "
        text += f"{doubt.confidence:.2f}"
        text += f"; its least sure slice is {slices}." if slices else "."
        if not doubt.corrects:
            name = doubt.layer.name
            on_disk = ON_DISK in doubt.layer.metadata
            text += f" To change it, {'correct a copy' if on_disk else f'choose {name!r}'}."
        self._note = text
        self.state.report(Level.READY, self._note)
        self._schedule()

    def propagate(self) -> None:
        """Carry the object of the prompts, or else the chosen ones, through the stack."""
        plane = resolve_plane(self.state.settings, self._scene())
        shown = self._current.ready
        reasons = self.propagation.reasons(plane, shown=shown is not None)
        if isinstance(plane, NotReady) or "volume_carry" in reasons:
            self._reporter.refuse(reasons["volume_carry"])
            return
        if shown is not None:
            self.state.select(self._commit_first(shown))
        if self.state.selected:
            self.propagation.start(plane, sorted(self.state.selected))

    def propagate_file(self, path: str) -> None:
        """Carry the objects of a prompts file through the stack."""
        plane = resolve_plane(self.state.settings, self._scene())
        reasons = self.propagation.reasons(plane, shown=True)
        if isinstance(plane, NotReady) or "volume_file" in reasons:
            self._reporter.refuse(reasons["volume_file"])
        else:
            self.propagation.start_file(plane, path)

    def propagate_again(self) -> None:
        """Take up corrections of objects that were carried."""
        plane = resolve_plane(self.state.settings, self._scene())
        reasons = self.propagation.reasons(plane, shown=False)
        if isinstance(plane, NotReady):
            self._reporter.refuse(plane.reason)
        elif "volume_again" in reasons:
            self._reporter.refuse(reasons["volume_again"])
        else:
            self.propagation.again(plane)

    def show_worst(self) -> None:
        """Go to the slice where a carried object is most likely wrong."""
        worst = self.propagation.worst()
        if worst is None:
            self._reporter.refuse("There is no slice to doubt: carry objects first.")
            return
        number, at, confidence = worst
        self.show_slice(at)
        self.state.select({number})
        self._note = f"Slice {at}: object {number}, confidence {confidence:.2f}."
        self.state.report(Level.READY, self._note)
        self._schedule()

    def show_slice(self, number: int) -> None:
        """Show a slice of the stack."""
        image, plane = self.state.settings.image, resolve_plane(self.state.settings, self._scene())
        if image is None or isinstance(plane, NotReady) or not plane.index:
            return
        axis = plane_axes(image)[-1]
        at = np.array(image.world_to_data(self.viewer.dims.point[-image.ndim :]), dtype=float)
        at[axis] = number
        world = image.data_to_world(at)
        place = axis + self.viewer.dims.ndim - image.ndim
        self.viewer.dims.set_point(place, float(world[axis]))

    def _commit_first(self, shown: Shown) -> set[int]:
        """Commit the object of the prompts; return its id, or ids."""
        outcome = self._follow(partial(self._committer.commit, shown))
        return set() if outcome is None else set(outcome.ids)

    # ------------------------------------------------------------------------------ of the whole

    def _scene(self) -> Scene:
        raise NotImplementedError

    def _schedule(self) -> None:
        raise NotImplementedError

    def _follow(self, intent: Callable[[], Outcome]) -> Outcome | None:
        raise NotImplementedError
