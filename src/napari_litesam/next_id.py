"""The id that the next object gets: the next free one, or one that the user typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from litesam.objects import check_id
from napari_litesam.committer import Outcome, taken
from napari_litesam.label_axes import array_of

if TYPE_CHECKING:
    from napari_litesam.history import History
    from napari_litesam.state import PluginState
    from napari_litesam.writes import LabelWriter


class NextId:
    """Knows the id of the next object, and lets the user choose it.

    A chosen id is a part of the history, as prompts are: undo takes the choice back, and a commit
    that is undone has it again.

    Attributes
    ----------
    changed
        The id that the panel shows.
    number
        The same.
    """

    changed = Signal(int)

    def __init__(self, state: PluginState, history: History, writer: LabelWriter) -> None:
        self._state = state
        self._history = history
        self._writer = writer
        self.number = 1
        state.objects_changed.connect(self.follow)

    def follow(self) -> None:
        """Bring what is shown up to date."""
        now = self._history.now
        number = self._automatic() if now.number is None else now.number
        reopened = self._history.refined(self._state.settings.target)
        if reopened is not None:
            number = reopened.id
        if number != self.number:
            self.number = number
            self.changed.emit(number)

    def choose(self, number: int) -> Outcome:
        """Give this id to the next object; one that is there is chosen in the table instead.

        Raises
        ------
        ImageError
            If the Labels layer has no room for it.
        """
        target = self._state.settings.target
        if target is not None:
            check_id(array_of(target), number)
            if self._writer.has(target, number):
                self._state.select({number})
                return Outcome(False, f"{taken(number)} New objects get id {self._automatic()}.")
        chosen = None if number == self._automatic() else number
        if chosen != self._history.now.number:
            self._history.number(chosen)
        return Outcome(True, f"The next object gets the id {number}.")

    def reasons(self) -> dict[str, str]:
        """Return why the id cannot be chosen now, by name of control."""
        reopened = self._history.refined(self._state.settings.target)
        if self._state.settings.image is None:
            return {"number": "There is no image."}
        if reopened is not None:
            return {"number": f"Object {reopened.id} is opened again and keeps its id."}
        return {}

    def _automatic(self) -> int:
        """Return the smallest id above all, without reading all pixels for it."""
        target = self._state.settings.target
        if target is None:
            return 1
        known = self._writer.known_next_id(target)
        return known or max((row.id for row in self._state.objects), default=0) + 1
