"""A call at the end of the present event, before anything is drawn."""

from __future__ import annotations

from qtpy.QtCore import QCoreApplication, QEvent, QObject, Signal

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

    def start(self) -> None:
        """Ask for the call."""
        if not self._asked:
            self._asked = True
            QCoreApplication.postEvent(self, QEvent(self._KIND), _HIGH)

    def stop(self) -> None:
        """Take it back."""
        self._asked = False

    def isActive(self) -> bool:  # noqa: N802  (as of a QTimer)
        """Whether the call is to come."""
        return self._asked

    def event(self, event: QEvent) -> bool:
        """Call."""
        if event.type() == self._KIND:
            if self._asked:
                self._asked = False
                self.timeout.emit()
            return True
        return bool(super().event(event))
