"""What a user can ask about a folder of images: a part of `Intents`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litesam.errors import LiteSamError

if TYPE_CHECKING:
    from napari_litesam.history import History
    from napari_litesam.plane_jobs import PlaneJobs
    from napari_litesam.propagation import Propagation
    from napari_litesam.reports import Reporter
    from napari_litesam.series import Series
    from napari_litesam.state import PluginState
    from napari_litesam.volume_jobs import VolumeJobs


class SeriesIntents:
    """Goes through the images of a folder."""

    series: Series
    propagation: Propagation
    volume: VolumeJobs
    state: PluginState
    _history: History
    _planes: PlaneJobs
    _reporter: Reporter

    def open_folder(self, folder: str) -> None:
        """Go through the images of a folder; see `Series`."""
        if self._may_leave():
            try:
                self.series.open_folder(folder)
            except LiteSamError as error:
                self._reporter.tell(error)

    def next_image(self) -> None:
        """Open the next image of the folder; the labels of this one are written."""
        self._go("next_image", 1)

    def previous_image(self) -> None:
        """Open the image before of the folder; the labels of this one are written."""
        self._go("previous_image", -1)

    def go_to_image(self, number: int) -> None:
        """Open an image of the folder, by its number from 0."""
        if self._may_leave():
            self.series.go_to(number)

    def _go(self, name: str, by: int) -> None:
        reason = self.series.reasons().get(name)
        if reason is not None:
            self._reporter.refuse(reason)
        elif self._may_leave():
            self.series.step(by)

    def _may_leave(self) -> bool:
        """Whether nothing is open that only the user can close."""
        self._catch_up()
        if self.series.place is None:
            return True
        now = self._history.moment_of(self.series.image)
        if self.propagation.lane.busy or self.volume.lane.busy:
            reason = (
                "Objects of this image are still being carried or labelled; wait, or cancel that."
            )
        elif self._planes.finding:
            reason = "The objects of this image are still being looked for; wait, or cancel that."
        elif not now.prompts.empty:
            reason = (
                "These prompts are not committed yet: commit the object ({commit}) or clear them "
                "({clear_prompts}), then go on."
            )
        elif now.words is not None:
            reason = (
                "The object that was found by words is not committed yet: commit it ({commit}) or "
                "clear the words ({clear_prompts}), then go on."
            )
        elif now.review is not None:
            reason = (
                "Candidates are under review: accept ({accept_all}) or discard ({discard}) them, "
                "then go on."
            )
        else:
            return True
        image = self.series.image
        if image is not None and image is not self.state.settings.image:
            reason = f"In {image.name}, which is not the chosen image now: {reason}"
        self._reporter.refuse(reason)
        return False

    # ------------------------------------------------------------------------------ of the whole

    def _catch_up(self) -> None:
        raise NotImplementedError
