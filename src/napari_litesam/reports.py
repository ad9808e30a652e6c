"""What the user is told when something cannot be done: in the status line and as a notification.

No Qt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.notifications import show_error, show_warning

from napari_litesam.state import Level

if TYPE_CHECKING:
    from litesam.errors import LiteSamError
    from napari_litesam.state import PluginState


class Reporter:
    """Tells errors, refusals and bugs."""

    def __init__(self, state: PluginState) -> None:
        self._state = state

    def tell(self, error: LiteSamError) -> None:
        """Tell an error that the user can do something about."""
        self._state.report(Level.ERROR, str(error))
        show_error(f"Lite-SAM: {error}")

    def refuse(self, reason: str) -> None:
        """Tell why an intent cannot be followed."""
        self._state.report(Level.WARNING, reason)
        show_warning(f"Lite-SAM: {self._state.status.text}")

    def bug(self, error: BaseException) -> None:
        """Tell what is no error of the user's; the exception itself surfaces in napari."""
        self._state.report(
            Level.ERROR,
            f"Unexpected {type(error).__name__}: {error}. This is a bug; please report it with the "
            "traceback of napari's notification.",
        )
