"""The part of the panel with the committed objects: their table, and what can be done to them."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelectionModel,
    QModelIndex,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHeaderView,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_litesam.rows import side_by_side, wrapped
from napari_litesam.sections import Section
from napari_litesam.state import PluginState

if TYPE_CHECKING:
    from collections.abc import Callable

    from litesam.objects import ObjectRow
    from napari_litesam.intents import Intents

_HEADS = ("id", "area", "IoU", "stab.", "model", "HQ")
_TIPS = (
    "Value in the Labels layer.",
    "Pixels, or square units where the layer has a scale; of times the mean.",
    "What the model thought of the mask: predicted IoU.",
    "Stability: how little the mask changes with the threshold, at most 1.",
    "The model that made it; none for what was painted or was there before.",
    "✓: made with the HQ decoder.",
)
#: The column that gives room to the others.
_MODEL = 4
#: Beside a number, and for the arrow of the column that the table is sorted by at first.
_MARGIN_PX, _ARROW_PX = 12, 8
#: What each button does: name, text, what for.
_BUTTONS = (
    (
        "reopen",
        "Open again",
        "Bring the prompts of the chosen object back and refine it under its "
        "id. ({reopen_here}: the object under the mouse)",
    ),
    (
        "delete_objects",
        "Delete",
        "Delete the chosen objects in all planes. ({delete_here}: the object under the mouse)",
    ),
    (
        "merge_objects",
        "Merge",
        "Make one object of the chosen ones; the smallest id stays. ({select_here}: "
        "choose the object under the mouse)",
    ),
    ("split_object", "Split", "Cut an object in two: first click once on each of its parts."),
    ("fill_holes", "Fill holes", "Fill the holes of the chosen objects in this plane."),
    (
        "remove_islands",
        "Islands",
        "Keep only the largest part of the chosen objects in this plane.",
    ),
    ("smooth", "Smooth", "Smooth the outlines of the chosen objects in this plane."),
    (
        "commit_into",
        "Join",
        "Give the previewed object the id of the chosen one, for example in the next slice. "
        "({commit_into})",
    ),
    (
        "export",
        "Export…",
        "Write the objects into a file: labels (.tif, .ome.tif, .ome.zarr, "
        ".png), a table (.csv) or COCO (.json).",
    ),
)
_FILTERS = (
    "TIFF labels (*.tif *.tiff);;OME-TIFF labels (*.ome.tif);;OME-Zarr labels (*.ome.zarr);;"
    "PNG labels (*.png);;Table (*.csv);;COCO (*.json)"
)
_ENDINGS = re.compile(r"\*(\.[a-z.]+)")


class ObjectsSection(Section):
    """A folding section with the table of objects.

    Attributes
    ----------
    exported
        Path of the file to write.
    """

    exported = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            "Objects",
            "objects_section",
            parent,
            tip="The committed objects: see, measure, refine, merge, split and export them.",
        )
        self._quiet = False
        self._state = PluginState()
        self._fly_to: Callable[[int], None] = lambda _number: None
        self._rows = _Rows(self)
        self._sorted = QSortFilterProxyModel(self)
        self._sorted.setSourceModel(self._rows)
        self._sorted.setSortRole(Qt.ItemDataRole.UserRole)
        self.table = QTableView(self)
        self.table.setObjectName("objects_table")
        self.table.setModel(self._sorted)
        self.table.setSortingEnabled(True)
        self.table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(20)
        header = self.table.horizontalHeader()
        header.setMinimumSectionSize(20)
        header.setSectionResizeMode(_MODEL, QHeaderView.ResizeMode.Stretch)
        self._fit_columns(())
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setFixedHeight(180)
        self.table.setToolTip(
            wrapped("Click on a row to see the object; Ctrl-click and Shift-click choose several.")
        )
        self.table.clicked.connect(self._on_clicked)
        self.table.selectionModel().selectionChanged.connect(self._on_selection)
        self.buttons: dict[str, QPushButton] = {}
        content = QWidget(self)
        rows = QVBoxLayout(content)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(self.table)
        made = [self._button(*about) for about in _BUTTONS]
        rows.addLayout(side_by_side(*made[:3]))
        rows.addLayout(side_by_side(*made[3:6]))
        rows.addLayout(side_by_side(*made[6:]))
        self.addWidget(content)

    def follow(self, intents: Intents) -> None:
        """Show the objects of a panel, and ask for what the user wants with them."""
        self._state = intents.state
        self._fly_to = intents.fly_to
        self._state.objects_changed.connect(self.show_objects)
        self._state.selection_changed.connect(self.show_selected)
        for name in ("reopen", "delete_objects", "merge_objects", "split_object", "commit_into"):
            self._bind(name, getattr(intents, name))
        for name in ("fill_holes", "remove_islands", "smooth"):
            self._bind(name, partial(intents.mend_objects, name))
        self._bind("export", self._ask_for_file)
        self.exported.connect(lambda path: intents.export(path))

    def _bind(self, name: str, intent: Callable[[], None]) -> None:
        self.buttons[name].clicked.connect(lambda _=False: intent())

    def show_objects(self, rows: tuple[ObjectRow, ...]) -> None:
        """Show these objects."""
        selected = self._selected()
        self._quiet = True
        try:
            self._rows.replace(rows)
        finally:
            self._quiet = False
        self.show_selected(selected)
        self._fit_columns(rows)
        count = f"Objects · {len(rows):,}" if rows else "Objects"
        self.setText(count)

    def _fit_columns(self, rows: tuple[ObjectRow, ...]) -> None:
        """Make the columns of numbers as wide as their longest number, and the model gets the rest.

        Qt's own measure keeps room for an arrow in every head, which a narrow panel has not.
        """
        metrics = self.table.fontMetrics()
        longest = list(_HEADS)
        longest[2:_MODEL] = ["0.00", max("stab.", "0.00", key=metrics.horizontalAdvance)]
        if rows:
            values = [_values(row)[:2] for row in rows]
            for column in range(2):
                shown = _shown(max(value[column] for value in values))
                longest[column] = max(longest[column], shown, key=metrics.horizontalAdvance)
        for column, text in enumerate(longest):
            if column != _MODEL:
                arrow = _ARROW_PX if column == 0 else 0
                width = metrics.horizontalAdvance(text) + _MARGIN_PX + arrow
                self.table.setColumnWidth(column, width)

    def show_selected(self, numbers: frozenset[int]) -> None:
        """Select the rows of these objects."""
        if numbers == self._selected():
            return
        model = self.table.selectionModel()
        flag = QItemSelectionModel.SelectionFlag
        self._quiet = True
        try:
            model.clearSelection()
            first: QModelIndex | None = None
            for number in sorted(numbers):
                place = self._rows.place_of(number)
                if place is not None:
                    index = self._sorted.mapFromSource(self._rows.index(place, 0))
                    model.select(index, flag.Select | flag.Rows)
                    first = first or index
            if first is not None:
                self.table.scrollTo(first)
        finally:
            self._quiet = False

    def _button(self, name: str, text: str, tip: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setObjectName(name)
        button.setToolTip(wrapped(tip))
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        # Three of them share the width of the panel.
        button.setStyleSheet("padding-left: 2px; padding-right: 2px")
        self.buttons[name] = button
        return button

    def _selected(self) -> frozenset[int]:
        indices = self.table.selectionModel().selectedRows()
        return frozenset(
            self._rows.rows[self._sorted.mapToSource(index).row()].id for index in indices
        )

    def _on_selection(self, *_: Any) -> None:
        if not self._quiet:
            self._state.select(self._selected())

    def _on_clicked(self, index: QModelIndex) -> None:
        self._fly_to(self._rows.rows[self._sorted.mapToSource(index).row()].id)

    def _ask_for_file(self) -> None:
        path, chosen = QFileDialog.getSaveFileName(self, "Export objects", "", _FILTERS)
        if path:
            ending = chosen.partition("(*")[2].partition(" ")[0].rstrip(")")
            known = path.lower().endswith(tuple(_ENDINGS.findall(_FILTERS)))
            self.exported.emit(path if known else path + ending)


class _Rows(QAbstractTableModel):  # type: ignore[misc]  # qtpy is untyped
    """Objects as Qt's tables want them."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.rows: tuple[ObjectRow, ...] = ()
        self._places: dict[int, int] = {}

    def replace(self, rows: tuple[ObjectRow, ...]) -> None:
        """Show other objects."""
        self.beginResetModel()
        self.rows = rows
        self._places = {row.id: place for place, row in enumerate(rows)}
        self.endResetModel()

    def place_of(self, number: int) -> int | None:
        """Row of an object."""
        return self._places.get(number)

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Return the number of objects."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, _parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Return the number of columns."""
        return len(_HEADS)

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = 0
    ) -> Any:
        """Return the head of a column and its help."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return _HEADS[section]
        return _TIPS[section] if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return what a cell shows, or what it is sorted by."""
        row = self.rows[index.row()]
        value = _values(row)[index.column()]
        if role == Qt.ItemDataRole.UserRole:
            return -1.0 if value is None else value
        if role == Qt.ItemDataRole.DisplayRole:
            return _shown(value)
        if role == Qt.ItemDataRole.ToolTipRole:
            return _about(row)
        if role == Qt.ItemDataRole.TextAlignmentRole and not isinstance(value, str):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None


def _values(row: ObjectRow) -> tuple[Any, ...]:
    """Cells of an object, to sort by."""
    details = row.details
    area: float = row.area_px if row.area is None else row.area
    if row.times > 1:
        area /= row.times
    hq = "✓" if details.hq else ""
    return (row.id, area, details.predicted_iou, details.stability, details.model or "", hq)


def _about(row: ObjectRow) -> str:
    """All that is known of an object, for a tooltip."""
    details = row.details
    parts = [f"Object {row.id}: {row.area_px:,} px"]
    mean = ""
    if row.times > 1:
        parts.append(f"in {row.times} times")
        mean = "mean "
    if row.area is not None and row.area != row.area_px:
        parts.append(f"{mean}area {row.area / row.times:,.2f}")
    if row.volume is not None:
        parts.append(f"{mean}volume {row.volume / row.times:,.2f}")
    if row.planes and row.planes[0]:
        first, last = (":".join(map(str, plane)) for plane in (row.planes[0], row.planes[-1]))
        parts.append(f"plane {first}" if first == last else f"planes {first} to {last}")
    if details.predicted_iou is not None:
        parts.append(f"predicted IoU {details.predicted_iou:.3f}")
    if details.stability is not None:
        parts.append(f"stability {details.stability:.3f}")
    if details.model:
        parts.append(f"by {details.model}{' (HQ)' if details.hq else ''}")
    return ", ".join(parts) + "."


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
