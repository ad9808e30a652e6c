"""A Labels layer over a large plane that napari's own tools can write to.

napari draws a pyramid by the level and the part that are in sight, and gives its brushes no array
to write to. The levels of the panel's pyramids are views of one array, so a stroke that is written
to level 0 is in all of them; what is left is to let the tools find that array, and to draw what is
in sight anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.layers._multiscale_data import MultiScaleData
from napari.layers.labels._labels_constants import Mode

from litesam.objects import connected_region

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Whether the tools of this napari write by regions; those of older ones cannot be helped.
CAN_PAINT = hasattr(Labels, "_paint_region_with_mask")


class _Levels(MultiScaleData):  # type: ignore[misc]  # napari is untyped
    """Levels of a pyramid; positions are those of level 0, as the tools mean them."""

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):
            return self._data[0][key]
        return self._data[key]

    def __setitem__(self, key: tuple[Any, ...], values: Any) -> None:
        self._data[0][key] = values


def _pick(layer: PyramidLabels, event: Any) -> None:
    """Choose the label under the pointer; napari's own picker takes the level for it."""
    position = tuple(int(v) for v in np.round(layer.world_to_data(event.position)))
    level = layer.data[0]
    inside = all(0 <= at < size for at, size in zip(position, level.shape, strict=True))
    layer.selected_label = int(level[position]) if inside else 0


class PyramidLabels(Labels):  # type: ignore[misc]  # napari is untyped
    """Labels whose levels are views of one array, to be drawn on as if it were that array.

    Parameters
    ----------
    data
        Levels, the finest first; each a view of the first.
    kwargs
        As of ``napari.layers.Labels``.
    """

    _drag_modes = {**Labels._drag_modes, Mode.PICK: _pick}  # noqa: RUF012, SLF001  (napari's)
    _data: Any
    _updated_slice: Any

    @property
    def data(self) -> Any:
        """The levels."""
        levels = self._data
        if not isinstance(levels, _Levels):
            levels = self._data = _Levels(levels)
        return levels

    @data.setter
    def data(self, data: Any) -> None:
        Labels.data.fset(self, data)

    @property
    def _type_string(self) -> str:
        """What napari saves and shows it as."""
        return "labels"

    def _reset_editable(self) -> None:
        self.editable = CAN_PAINT

    def _refresh_caches_from_region(self, *_args: Any) -> None:
        """What is in sight is drawn anew by `_partial_labels_refresh`."""

    def _partial_labels_refresh(self) -> None:
        if self._updated_slice is not None:
            self._updated_slice = None
            self.refresh(thumbnail=False, highlight=False, extent=False)

    def data_setitem(self, indices: tuple[Any, ...], value: Any, refresh: bool = True) -> None:
        """Set pixels of level 0 and write that to napari's history; see napari."""
        level = self.data[0]
        changed = level[indices] != value
        where = tuple(np.asarray(axis)[changed] for axis in indices)
        if not where or not where[0].size:
            return
        values = np.asarray(value, dtype=level.dtype)
        values = values[changed] if values.ndim else values
        self._save_history((where, level[where], values))
        level[where] = values
        if refresh:
            self.refresh(thumbnail=False, highlight=False, extent=False)

    def _get_flood_mask_and_bbox(
        self, coord: Sequence[float], new_label: int, dims_to_paint: list[int]
    ) -> Any:
        """Find what a fill changes, around the pointer and not in all of the plane."""
        if not self.contiguous or len(dims_to_paint) != 2:
            return super()._get_flood_mask_and_bbox(coord, new_label, dims_to_paint)
        place, level = tuple(int(v) for v in np.round(coord)), self.data[0]
        if not all(0 <= at < size for at, size in zip(place, level.shape, strict=True)):
            return None
        old = int(level[place])
        source = self._get_preserve_labels_source_label(new_label) if self.preserve_labels else old
        if old == new_label or old != source:
            return None
        key: list[Any] = list(place)
        for axis in dims_to_paint:
            key[axis] = slice(None)
        plane = level[tuple(key)]
        mask, box = connected_region(plane, (place[dims_to_paint[0]], place[dims_to_paint[1]]))
        low, high = np.array([box.y0, box.x0]), np.array([box.y1, box.x1])
        return mask, low, high, plane[box.slices]


@PyramidLabels.bind_key("m")  # type: ignore[untyped-decorator]  # napari is untyped
def _new_label(layer: PyramidLabels) -> None:
    """Choose the first label above all that are there; napari's own key wants one array."""
    layer.selected_label = int(layer.data[0].max()) + 1
