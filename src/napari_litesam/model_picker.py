"""The chooser of models: families, two lines a model, everything else in the tooltip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, QRect, QSize, Qt, Signal
from qtpy.QtGui import QFont, QFontMetrics, QPainter, QPalette, QWheelEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from napari_litesam.rows import Chooser
from napari_litesam.variants import details, grouped, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from litesam.types import ModelSpec
    from litesam.weights import WeightsStatus

_LINE_ROLE = Qt.ItemDataRole.UserRole + 1
_PADDING_PX = 3
_INDENT_PX = 12
_MAX_VISIBLE = 12
_DIM = 0.7


class ModelPicker(Chooser):
    """Models by family; the closed chooser always shows the model in use.

    Attributes
    ----------
    chosen
        Name of the model that the user chose.
    opened
        The list is about to be shown.
    """

    chosen = Signal(str)
    opened = Signal()

    def __init__(self, specs: Sequence[ModelSpec], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._specs = {spec.name: spec for spec in specs}
        self._in_use = ""
        self.setMaxVisibleItems(_MAX_VISIBLE)
        self.setItemDelegate(_TwoLines(self))
        # Row by row, a list scrolls by a whole row when the mouse comes to one that is cut off, and
        # the click then meets its neighbour.
        self.view().setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        for family, members in grouped(specs).items():
            self.addItem(family)
            header = self.model().item(self.count() - 1)
            header.setFlags(Qt.ItemFlag.NoItemFlags)
            for spec in members:
                self.addItem(spec.title, spec.name)
        self.stock({})
        self.activated.connect(self._on_activated)

    def stock(self, library: Mapping[str, WeightsStatus]) -> None:
        """Show which weights are there."""
        for row in range(self.count()):
            spec = self._specs.get(self.itemData(row))
            if spec is not None:
                status = library.get(spec.name)
                self.setItemData(row, one_line(spec, status), _LINE_ROLE)
                self.setItemData(row, details(spec, status), Qt.ItemDataRole.ToolTipRole)

    def show_model(self, name: str) -> None:
        """Show the model in use."""
        self._in_use = name
        self.setCurrentIndex(self.findData(name))

    def showPopup(self) -> None:  # noqa: N802
        """Widen the list until it shows both lines."""
        self.opened.emit()
        view = self.view()
        width = max(view.sizeHintForColumn(0), self.width())
        view.setMinimumWidth(width + view.verticalScrollBar().sizeHint().width() + 4)
        super().showPopup()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Scroll the panel; a slip of the wheel must not load another model."""
        event.ignore()

    def _on_activated(self, row: int) -> None:
        name = self.itemData(row)
        self.setCurrentIndex(self.findData(self._in_use))
        if name:
            self.chosen.emit(name)


class _TwoLines(QStyledItemDelegate):  # type: ignore[misc]
    """Title and, smaller and dimmer, one line of facts; families are bold."""

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:  # noqa: N802
        """Room for both lines."""
        metrics, line = _metrics(option), index.data(_LINE_ROLE)
        width = metrics.horizontalAdvance(index.data() or "")
        height = metrics.height() + 2 * _PADDING_PX
        if line:
            width = max(width, metrics.horizontalAdvance(line)) + _INDENT_PX
            height += metrics.height()
        return QSize(width + 6 * _PADDING_PX, height)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Paint one row on the background that the style gives it."""
        self.initStyleOption(option, index)
        option.text = ""
        widget = option.widget
        style = widget.style()
        style.drawControl(QStyle.ControlElement.CE_ItemViewItem, option, painter, widget)
        line, metrics = index.data(_LINE_ROLE), _metrics(option)
        inner = option.rect.adjusted(2 * _PADDING_PX, _PADDING_PX, -_PADDING_PX, -_PADDING_PX)
        selected = bool(option.state & QStyle.StateFlag.State_Selected) and line
        role = QPalette.ColorRole.HighlightedText if selected else QPalette.ColorRole.Text
        colour = widget.palette().color(QPalette.ColorGroup.Active, role)
        painter.save()
        font = QFont(widget.font())
        font.setBold(not line)
        painter.setFont(font)
        painter.setPen(colour)
        if line:
            inner.setLeft(inner.left() + _INDENT_PX)
        top = QRect(inner.left(), inner.top(), inner.width(), metrics.height())
        painter.drawText(top, Qt.AlignmentFlag.AlignLeft, index.data() or "")
        if line:
            painter.setOpacity(_DIM)
            painter.drawText(
                top.translated(0, metrics.height()),
                Qt.AlignmentFlag.AlignLeft,
                metrics.elidedText(line, Qt.TextElideMode.ElideRight, inner.width()),
            )
        painter.restore()


def _metrics(option: QStyleOptionViewItem) -> QFontMetrics:
    """Sizes of the font that the style sheet gives the list, which the option does not know."""
    font = QFont(option.widget.font())
    font.setBold(True)
    return QFontMetrics(font)
