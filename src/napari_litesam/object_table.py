"""Objects of the chosen Labels layer, measured and exported in workers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QTimer

from litesam.errors import WriteError
from litesam.io import write_labels
from litesam.objects import (
    ObjectRow,
    PlaneSums,
    coco_document,
    measure_objects,
    write_coco,
    write_table,
)
from litesam.session import object_details
from napari_litesam.image_files import AboutLabels
from napari_litesam.jobs import JobContext, Lane
from napari_litesam.label_axes import array_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Labels

    from litesam.objects import ObjectDetails
    from napari_litesam.session_keeper import SessionKeeper
    from napari_litesam.state import PluginState

#: Objects are measured so long after the last change, milliseconds.
_DELAY_MS = 150
_TABLE, _COCO = (".csv",), (".json",)


class ObjectTable:
    """Measures the objects of a layer whenever they change, and writes them into files.

    Attributes
    ----------
    lane, exports
        The workers.
    exported
        A sentence about the file that was written.
    failed
        A `LiteSamError`.
    """

    exported = Signal(str)
    failed = Signal(object)

    def __init__(self, state: PluginState, keeper: SessionKeeper) -> None:
        self._state = state
        self._keeper = keeper
        self.lane = Lane("measure")
        self.exports = Lane("export")
        self._target: Labels | None = None
        self._known_planes = PlaneSums()
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self._measure)

    @property
    def idle(self) -> bool:
        """Whether the table is as the layer is."""
        return not self._timer.isActive() and self.lane.idle and self.exports.idle

    def measure(self, target: Labels | None) -> None:
        """Measure the objects of a layer, soon."""
        self._target = target
        self._timer.start()

    def export(self, target: Labels, path: str) -> None:
        """Write the objects of a layer; the ending of the name chooses what.

        ``.csv``: a table. ``.json``: COCO. Else a label image: ``.tif``, ``.ome.tif``, ``.png``,
        ``.ome.zarr``.
        """
        image = self._state.settings.image
        if image is None:
            return
        about = AboutLabels(target, image)
        self.exports.submit(
            partial(_export, array_of(target), about, path, self._details(target)),
            self.exported.emit,
            self.failed.emit,
        )

    def close(self) -> None:
        """Stop."""
        self._timer.stop()
        self.lane.close()
        self.exports.close()

    def _details(self, target: Labels) -> dict[int, ObjectDetails]:
        session = self._keeper.session(target)
        return {} if session is None else object_details(session)

    def _measure(self) -> None:
        target, image = self._target, self._state.settings.image
        if target is None or image is None:
            self.lane.cancel()
            self._state.list_objects(())
            return
        self.lane.submit(
            partial(
                _measure,
                array_of(target),
                AboutLabels(target, image),
                self._details(target),
                self._known_planes,
            ),
            self._on_measured,
            self.failed.emit,
        )

    def _on_measured(self, rows: tuple[ObjectRow, ...]) -> None:
        self._state.list_objects(rows)
        present = {row.id for row in rows}
        self._state.select(self._state.selected & present)


def _measure(
    labels: Any,
    about: AboutLabels,
    details: Mapping[int, ObjectDetails],
    known: PlaneSums,
    _context: JobContext,
) -> tuple[ObjectRow, ...]:
    """Measure objects; job of the worker."""
    return tuple(
        measure_objects(labels, about.axes, about.scale, details=details, known_planes=known)
    )


def _export(
    labels: Any,
    about: AboutLabels,
    path: str,
    details: Mapping[int, ObjectDetails],
    _context: JobContext,
) -> str:
    """Write a file; job of the worker."""
    target = Path(path)
    name = target.name.lower()
    if name.endswith(_TABLE):
        rows = measure_objects(labels, about.axes, about.scale, details=details, each_time=True)
        written = write_table(target, rows, about.axes, unit=about.unit, overwrite=True)
        count = len({row.id for row in rows})
        return f"The table of {count} objects was written: {written}."
    if name.endswith(_COCO):
        document = coco_document(labels, about.axes, file_name=about.image_name, details=details)
        return f"The objects were written as COCO: {write_coco(target, document, overwrite=True)}."
    if not name.endswith((".tif", ".tiff", ".png", ".zarr")):
        raise WriteError(
            f"{target.name!r} has no ending that says what to write; use .csv (table), .json "
            "(COCO), .tif, .ome.tif, .png or .ome.zarr (labels)."
        )
    written = write_labels(
        target, labels, about.file_axes, about.scale, unit=about.unit, overwrite=True
    )
    return f"The labels were written: {written}."
