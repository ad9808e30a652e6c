"""A whole stack at once, in a worker: every slice labelled, and their objects linked, on the disk.

What is done, and how it survives, is the engine's (`litesam.volume`); here it meets the viewer: the
labels on the disk are a layer, which fills while they are made.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from litesam.session import sessions_dir
from napari_litesam.complete_labels import Complete, CompleteLabels
from napari_litesam.image_axes import level_choices
from napari_litesam.image_files import file_of
from napari_litesam.jobs import Lane
from napari_litesam.label_layer import LIVE, ON_DISK, lay_as, new_disk_layer
from napari_litesam.requests import ImageSource, NotReady, PlaneRequest
from napari_litesam.state import Level
from napari_litesam.volume_level import VolumeLevel, level_for, scale_of
from napari_litesam.volume_worker import Labelled, VolumeRequest, label_stack

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from litesam.errors import LiteSamError
    from litesam.types import Progress
    from napari_litesam.reports import Reporter
    from napari_litesam.segmenters import SegmenterPool
    from napari_litesam.state import PluginState
    from napari_litesam.viewer_layers import ViewerLayers

#: The layer is drawn again after so many seconds at the earliest.
_REDRAW_S = 0.5
#: So many levels are a choice.
_SEVERAL = 2
_RUNNING = "A volume is being labelled; pause it first."
_NO_STACK = "The image has one plane; open a stack."


@dataclass(frozen=True, slots=True)
class VolumeStatus:
    """What the panel shows of whole stacks.

    Attributes
    ----------
    letter, length
        Axis that is gone through and its number of slices; 0: there is no stack.
    output
        Where the labels go.
    begun
        An earlier run began there and was interrupted.
    levels
        Levels of the image, (text, number).
    """

    letter: str = "Z"
    length: int = 0
    output: str = ""
    begun: bool = False
    levels: tuple[tuple[str, int], ...] = ()


class VolumeJobs:
    """Labels whole stacks, and shows the labels on the disk.

    Attributes
    ----------
    lane
        The worker.
    complete
        Labels that are complete, and the review of their objects.
    changed
        A `VolumeStatus`.
    done
        A sentence about labels that are complete.
    failed
        A `LiteSamError`.
    """

    changed = Signal(VolumeStatus)
    done = Signal(str)
    failed = Signal(object)

    def __init__(
        self, state: PluginState, pool: SegmenterPool, layers: ViewerLayers, reporter: Reporter
    ) -> None:
        self._state = state
        self._pool = pool
        self._layers = layers
        self._reporter = reporter
        self.lane = Lane("volume")
        self.lane.progressed.connect(self._on_progress)
        self.status = VolumeStatus()
        self.complete = CompleteLabels(state, layers, reporter)
        self.complete.done.connect(self.done.emit)
        self.complete.failed.connect(self.failed.emit)
        self._request: VolumeRequest | None = None
        self._image: Image | None = None
        self._layer: Labels | None = None
        self._replaced: set[str] = set()
        self._drawn = 0.0

    # -------------------------------------------------------------------------------------- intents

    def level(self) -> VolumeLevel:
        """Return the level of the image that is labelled."""
        settings = self._state.settings
        if settings.image is None:
            return VolumeLevel(0, (1.0, 1.0, 1.0), 0.0)
        return level_for(settings.image, settings.volume, settings.model)

    def start(self, plane: PlaneRequest | NotReady, level: VolumeLevel) -> None:
        """Label the stack; what an interrupted run has done at the same place is not done again.

        Parameters
        ----------
        plane
            Any plane, as it is in the level.
        level
            See `level`.
        """
        reason = self.reasons(plane).get("volume_start")
        settings = self._state.settings
        if reason is not None or isinstance(plane, NotReady) or settings.image is None:
            self._reporter.refuse(reason or _NO_STACK)
            return
        source, image = plane.source, settings.image
        choice, length = settings.volume, source.planes[-1]
        planes = _planes(source)
        last = length - 1 if choice.last is None else min(choice.last, length - 1)
        first, last = level.slices(min(choice.first, last), last, planes[-1])
        output = choice.output or self.status.output
        choice = replace(choice, first=first, last=last, output=output, level=level.number)
        if choice.anew:
            self._replaced.add(output)
            # Once: a pause and a second start go on with it.
            self._state.update(volume=replace(settings.volume, anew=False))
        scale, unit, translation = scale_of(image, source.axes, level)
        self._request = VolumeRequest(
            source,
            _stack_letters(source),
            planes,
            choice,
            level.factors,
            scale,
            unit,
            translation,
            level.diameter_px,
            file_of(image),
            settings.proposals,
            settings.everything,
            output in self._replaced,
        )
        if self._layer is not None and self._layer.metadata.get(ON_DISK) != output:
            self._layer = None
        self.complete.let_go(output)
        self._image = image
        where = f" of level {level.number}" if level.number else ""
        self._state.report(Level.BUSY, f"Labelling {last - first + 1} slices{where}")
        self.lane.submit(
            partial(label_stack, self._pool, self._request), self._on_done, self._on_error
        )
        self.look(plane)

    def pause(self) -> str:
        """Stop after the slice that is being labelled; return a sentence about it."""
        if not self.lane.busy or self._request is None:
            return "No volume is being labelled."
        self.lane.cancel()
        name = Path(self._request.choice.output).name
        return f"Paused. The slices that are labelled are kept beside {name}; Continue goes on."

    def open(self, path: str) -> None:
        """Show labels that were written before; see `CompleteLabels.open`."""
        if self.lane.busy and self._request is not None and self._request.choice.output == path:
            self._reporter.refuse(_RUNNING)
        else:
            self.complete.open(path)

    # -------------------------------------------------------------------------------------- showing

    def look(self, plane: PlaneRequest | NotReady) -> None:
        """Bring the status up to date."""
        status = VolumeStatus()
        if not isinstance(plane, NotReady) and plane.source.planes:
            image = self._state.settings.image
            output = self._state.settings.volume.output
            if not output:
                running = self.lane.busy and self._request is not None
                output = (
                    self._request.choice.output
                    if running and self._request is not None
                    else _default_output("stack" if image is None else image.name)
                )
            letter = _stack_letters(plane.source)[-1]
            begun = Path(f"{output}.job").is_dir() and not self.lane.busy
            levels = level_choices(image)
            status = VolumeStatus(letter, plane.source.planes[-1], output, begun, levels)
        if status != self.status:
            self.status = status
            self.changed.emit(status)
        self.complete.review.look(plane)
        self.complete.look()

    def reasons(self, plane: PlaneRequest | NotReady) -> dict[str, str]:
        """Return the reason by name of each control that cannot be used now."""
        found: dict[str, str] = {}
        if isinstance(plane, NotReady):
            found["volume_start"] = plane.reason
        elif not plane.source.planes:
            found["volume_start"] = _NO_STACK
        elif set(_stack_letters(plane.source)) - set("TZ"):
            found["volume_start"] = (
                f"The axes are {plane.source.axes}; say in the image section which are slices (Z) "
                "and which are time (T)."
            )
        elif self.lane.busy:
            found["volume_start"] = _RUNNING
        if len(self.status.levels) < _SEVERAL:
            found["volume_level"] = "The image has one level."
        letters = "" if isinstance(plane, NotReady) else _stack_letters(plane.source)
        if "T" not in letters:
            found["volume_tracks"] = found["volume_shift"] = "The image has no axis of time (T)."
        elif letters == "T":
            found["volume_tracks"] = "Planes in time are linked through time in any case."
        elif not self._state.settings.volume.tracks:
            found["volume_shift"] = "Objects shift in time only; tick “tracks” first."
        if not self.lane.busy:
            found["volume_pause"] = "No volume is being labelled."
        return found | self.complete.reasons(running=self.lane.busy)

    def note_removed(self, layer: Any) -> None:
        """A layer left the viewer; its labels stay on the disk."""
        self.complete.note_removed(layer)
        if layer is self._layer:
            self._layer = None

    def close(self) -> None:
        """Stop; what is finished is kept, and the next start at the same place goes on."""
        self.lane.close()
        self.complete.close()

    # -------------------------------------------------------------------------------------- replies

    def _on_progress(self, progress: Progress) -> None:
        """Show what is labelled so far."""
        request, now = self._request, time.monotonic()
        if request is None or len(request.planes) != 1 or "labelled" not in progress.message:
            return
        if now - self._drawn < _REDRAW_S or progress.message.startswith("0 of"):
            return
        self._drawn = now
        path = Path(f"{request.choice.output}.job") / "planes.zarr"
        if self._layer is not None:
            if LIVE in self._layer.metadata:
                self._layer.refresh(thumbnail=False, highlight=False, extent=False)
                return
            if self._layer.multiscale:
                return  # of an earlier run; the new labels come when they are complete
        if (path / "zarr.json").exists():
            self._show(path, live=True)

    def _on_done(self, done: Labelled) -> None:
        request, result = self._request, done.result
        assert request is not None
        self._show(result.path, live=False)
        if self._image is not None and self._layer is not None:
            shown = Complete(self._image, self._layer, request.place, request.choice.output)
            self.complete.begin(shown, done.objects, done.tracks)
        level = request.choice.level
        where = f" of level {level}" if level else ""
        parts = f"{result.objects} objects in {result.planes} slices{where}"
        self.done.emit(f"{parts}, {result.seconds:.0f} s; the labels are {result.path}.")

    def _on_error(self, error: LiteSamError) -> None:
        self.failed.emit(error)

    def _show(self, path: Path, *, live: bool) -> None:
        """Show labels on the disk: what there is so far, or all."""
        from litesam.io.ome_zarr import open_pyramid

        request, image, layer = self._request, self._image, self._layer
        if request is None or image is None or image not in self._layers.images():
            return
        levels = open_pyramid(path).levels
        if layer is not None and len(levels) == 1 and not layer.multiscale:
            lay_as(layer, self._made(levels))
        else:
            if layer is not None:
                layer.visible = False
            layer = self._layer = self._made(levels)
            self._layers.insert(layer)
        self._layers.followers.add_labels(image, layer, request.place)
        if live:
            layer.metadata[LIVE] = True
        else:
            layer.metadata.pop(LIVE, None)

    def _made(self, levels: Any) -> Labels:
        assert self._request is not None
        assert self._image is not None
        request, image = self._request, self._image
        return new_disk_layer(image, levels, request.place, request.choice.output)


def _planes(source: ImageSource) -> tuple[int, ...]:
    """Lengths of the axes that choose a plane, in the level of the source."""
    return tuple(
        int(source.data.shape[axis])
        for axis, letter in enumerate(source.axes)
        if letter not in "CSYX"
    )


def _stack_letters(source: ImageSource) -> str:
    """Letters of the axes that choose a plane."""
    return "".join(letter for letter in source.axes if letter not in "CSYX")


def _default_output(name: str) -> str:
    """A folder in the user's data folder that holds no labels yet."""
    plain = re.sub(r"[^\w-]+", "-", name).strip("-")[:40] or "stack"
    folder = sessions_dir().parent / "volumes"
    number = 1
    while (path := folder / f"{plain}-{number}.ome.zarr").exists():
        number += 1
    return str(path)
