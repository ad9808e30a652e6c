"""Which sections of the panel are folded: as the user left them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_litesam.sections import Section

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_litesam.state import PluginState


class Folding:
    """Folds and unfolds the sections that the settings name, and notes what the user does.

    Parameters
    ----------
    panel
        All sections are its children.
    state
        Its settings.
    """

    def __init__(self, panel: QWidget, state: PluginState) -> None:
        self._state = state
        self._showing = False
        self._sections = {one.objectName(): one for one in panel.findChildren(Section)}
        for section in self._sections.values():
            section.toggled.connect(self._note)
        state.settings_changed.connect(self._show)

    def _note(self, _unfolded: bool) -> None:
        if self._showing:
            return
        # What is as at the first start is not noted, so that sections to come are as they are
        # meant. In the order of the panel: the same choice is the same text.
        other = {
            unfolded: " ".join(
                name
                for name, section in self._sections.items()
                if section.isExpanded() is unfolded and section.unfolded_at_first is not unfolded
            )
            for unfolded in (True, False)
        }
        self._state.update(unfolded=other[True], folded=other[False])

    def _show(self, changed: frozenset[str]) -> None:
        if not changed & {"unfolded", "folded"}:
            return
        settings = self._state.settings
        unfolded, folded = settings.unfolded.split(), settings.folded.split()
        self._showing = True
        for name, section in self._sections.items():
            wanted = name in unfolded or (section.unfolded_at_first and name not in folded)
            if wanted is not section.isExpanded():
                (section.expand if wanted else section.collapse)(animate=False)
        self._showing = False
