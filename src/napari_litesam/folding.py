"""Which sections of the panel are folded: as the user left them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from superqt import QCollapsible

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_litesam.state import PluginState


class Folding:
    """Unfolds the sections that the settings name, and notes what the user folds and unfolds.

    Parameters
    ----------
    panel
        All sections are its children; those with a name are followed.
    state
        Its settings.
    """

    def __init__(self, panel: QWidget, state: PluginState) -> None:
        self._state = state
        self._sections = {
            section.objectName(): section
            for section in panel.findChildren(QCollapsible)
            if section.objectName()
        }
        for section in self._sections.values():
            section.toggled.connect(self._note)
        state.settings_changed.connect(self._show)

    def _note(self, _unfolded: bool) -> None:
        # In the order of the panel, so that the same choice is the same text.
        names = [name for name, section in self._sections.items() if section.isExpanded()]
        self._state.update(unfolded=" ".join(names))

    def _show(self, changed: frozenset[str]) -> None:
        if "unfolded" not in changed:
            return
        wanted = self._state.settings.unfolded.split()
        for name, section in self._sections.items():
            if name in wanted and not section.isExpanded():
                section.expand(animate=False)
