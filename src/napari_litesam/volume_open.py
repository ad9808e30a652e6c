"""Labels of a volume that were written before: by another window, or by `litesam label`. No Qt.

Their table of objects lies beside them, and says where in the image they begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_litesam.image_axes import plane_axes
from napari_litesam.label_layer import image_shape
from napari_litesam.levels import LevelPlace
from napari_litesam.volume_level import factors_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image

    from napari_litesam.jobs import JobContext

#: The scale of labels is that of a level if it is so close to it, as a factor.
_CLOSE = 1.2


@dataclass(frozen=True, slots=True, eq=False)
class OpenedLabels:
    """Complete labels on the disk.

    Attributes
    ----------
    path
        Where they are.
    levels
        Arrays, the finest first.
    scale
        Spacing of their pixels, or None where they do not say it.
    objects, tracks
        The tables beside them, the engine's `VolumeObjects`, and `Tracks` or None.
    """

    path: str
    levels: tuple[Any, ...]
    scale: tuple[float, ...] | None
    objects: Any
    tracks: Any


def open_labels(path: str, _context: JobContext | None = None) -> OpenedLabels:
    """Open labels that `litesam.label_volume` has written; job of a worker.

    Raises
    ------
    ReadError
        If there are none.
    """
    from litesam.io.ome_zarr import open_pyramid
    from litesam.volume import read_objects, read_tracks

    folder = Path(path).expanduser()
    objects = read_objects(folder)
    pyramid = open_pyramid(folder)
    tracks = read_tracks(folder) if (folder / "tracks").is_dir() else None
    return OpenedLabels(str(folder), pyramid.levels, pyramid.scales[0], objects, tracks)


def place_in(image: Image, opened: OpenedLabels) -> LevelPlace | None:
    """Return where labels lie in an image; None if they do not fit into it.

    Which level they are of is told by their size, or by their scale beside that of the layer.
    """
    axes = (*plane_axes(image), image.ndim - 2, image.ndim - 1)
    objects = opened.objects
    if len(objects.shape) != len(axes):
        return None
    lengths, sizes = np.array(objects.shape), image_shape(image)
    size, ends = np.array([sizes[axis] for axis in axes]), lengths + objects.origin
    levels = [factors_of(image, n) for n in range(len(image.data) if image.multiscale else 1)]
    fitting = [one for one in levels if (ends <= _length(size, one)).all()]
    whole = [one for one in fitting if (lengths == _length(size, one)).all()]
    steps = np.asarray(image.scale)[list(axes)]
    if len(whole) != 1 and opened.scale is not None and not (steps == 1).all():
        ratio = np.asarray(opened.scale) / steps
        near = [one for one in fitting if _apart(ratio, one) < np.log(_CLOSE)]
        if near:
            fitting = near
        elif (np.round(ends * ratio) <= size).all():
            # Of a level that the viewer was not given.
            fitting = [tuple(float(factor) for factor in ratio)]
    found = whole if len(whole) == 1 else fitting
    return LevelPlace(found[0], tuple(objects.origin)) if found else None


def _length(size: Any, factors: Sequence[float]) -> Any:
    """Lengths of a level."""
    return np.ceil(size / np.asarray(factors) - 1e-6)


def _apart(ratio: Any, factors: Sequence[float]) -> float:
    """How far apart two scales are in the plane, as a logarithm."""
    return float(np.abs(np.log(ratio / np.asarray(factors))[-2:]).max())
