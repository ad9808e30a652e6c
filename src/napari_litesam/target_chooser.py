"""The chooser of the Labels layer that receives objects; what cannot receive them says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal

from napari_litesam.rows import Chooser, refill, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Labels
    from qtpy.QtWidgets import QWidget

    from napari_litesam.viewer_layers import Candidacy


class TargetChooser(Chooser):
    """Lists all Labels layers of the user's; those that do not fit cannot be chosen.

    Attributes
    ----------
    chosen
        The layer that the user chose; None: a new one.
    """

    chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.activated.connect(lambda _row: self.chosen.emit(self.currentData()))

    def show_layers(self, layers: Sequence[Candidacy], chosen: Labels | None) -> None:
        """List layers, the one that is in use chosen."""
        refill(
            self, [("New layer", None), *((one.layer.name, one.layer) for one in layers)], chosen
        )
        for row, one in enumerate(layers, start=1):
            text = f"{one.layer.name}: {one.reason or one.caution}".rstrip(": ")
            self.setItemData(row, wrapped(text), Qt.ItemDataRole.ToolTipRole)
            if one.reason is not None:
                self.model().item(row).setEnabled(False)
