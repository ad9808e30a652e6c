"""A call at the end of the present event, before anything is drawn; or one after that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QCoreApplication, QEvent, QObject, QTimer, Signal

if TYPE_CHECKING:
    from collections.abc import Callable

#: Qt.EventPriority.HighEventPriority, a number in all bindings; drawing is of low priority.
_HIGH = 1


class Soon(QObject):  # type: ignore[misc]  # qtpy is untyped
    """Calls back once, however often it was asked, when the present event is done.

    A timer of no interval waits until Qt has drawn what changed, which takes tens of milliseconds
    without a GPU: the model would begin with a click only after the click's point is on the canvas.

    Attributes
    ----------
    timeout
        The call.
    """

    timeout = Signal()
    _KIND = QEvent.Type(QEvent.registerEventType())

    def __init__(self) -> None:
        super().__init__()
        self._asked = False
        self._afterwards: list[Callable[[], None]] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._follow_up)

    def start(self) -> None:
        """Ask for the call."""
        if not self._asked:
            self._asked = True
            QCoreApplication.postEvent(self, QEvent(self._KIND), _HIGH)

    def hurry(self) -> None:
        """Call now if it was asked."""
        if self._asked:
            self._asked = False
            self.timeout.emit()

    def after_drawing(self, call: Callable[[], None]) -> None:
        """Make another call when what changes now has been drawn.

        Two things that take long are better done with a pause between them, in which the window
        answers.
        """
        self._afterwards.append(call)
        self._timer.start(0)

    def stop(self) -> None:
        """Take all of it back."""
        self._asked = False
        self._timer.stop()
        self._afterwards.clear()

    def isActive(self) -> bool:  # noqa: N802  (as of a QTimer)
        """Whether a call is to come."""
        return self._asked or bool(self._afterwards)

    def _follow_up(self) -> None:
        while self._afterwards:
            self._afterwards.pop(0)()

    def event(self, event: QEvent) -> bool:
        """Call."""
        if event.type() == self._KIND:
            self.hurry()
            return True
        return bool(super().event(event))
