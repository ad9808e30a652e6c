"""Images of any size, opened without reading their pixels: volumes, large planes, folders.

`read_image` reads small files at once and is what a window or a single image needs. `open_image` is
for long jobs: every worker process opens the file for itself, and whoever takes a region of the
array reads the chunks, tiles or pages of that region and no others.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.errors import ReadError
from litesam.io.ome_zarr import Pyramid, is_zarr, open_pyramid
from litesam.io.readers import ImageData, read_image, stem

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from litesam.types import AnyArray

_PLANE_ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".npy")
#: Planes of a folder that stay in memory: the blocks of a large one are read one after the other.
_PLANES_IN_MEMORY = 2


def open_image(path: str | os.PathLike[str], level: int = 0) -> ImageData:
    """Open an image so that regions of it can be read one by one.

    Parameters
    ----------
    path
        TIFF (BigTIFF, ImageJ, OME-TIFF), PNG, JPEG, ``.npy``, an OME-Zarr 0.4 or 0.5, a Zarr array,
        or a folder of images of one size: the planes of a stack, in the order of their names
        (numbers count as numbers: 9 before 10).
    level
        Level of the pyramid of an OME-Zarr, 0 is the finest.

    Returns
    -------
    ImageData
        Its array is indexed like a numpy array with whole numbers and slices.

    Raises
    ------
    ReadError
        If there is no readable image, no such level, or the files of a folder do not fit together.
    """
    source = Path(path)
    if source.is_dir():
        if is_zarr(source):
            return _open_zarr_level(source, level)
        image = open_folder(source)
    else:
        image = read_image(source)
        if hasattr(image.array, "dask"):
            image = _open_compressed_tiff(source, image)
    if level != 0:
        raise ReadError(f"{source} has no levels; only OME-Zarr images do. Leave the level out.")
    return image


def open_levels(path: str | os.PathLike[str]) -> tuple[ImageData, ...]:
    """Open all levels of an OME-Zarr's pyramid, the finest first; other images are one level.

    Raises
    ------
    ReadError
        See `open_image`.
    """
    source = Path(path)
    if source.is_dir() and is_zarr(source):
        pyramid = open_pyramid(source)
        return tuple(_image_of(source, pyramid, level) for level in range(len(pyramid.levels)))
    return (open_image(source),)


def _open_zarr_level(path: Path, level: int) -> ImageData:
    pyramid = open_pyramid(path)
    if not 0 <= level < len(pyramid.levels):
        raise ReadError(
            f"{path} has {len(pyramid.levels)} levels, counted from 0; there is no level {level}."
        )
    return _image_of(path, pyramid, level)


def _image_of(path: Path, pyramid: Pyramid, level: int) -> ImageData:
    """One level as an image of its own."""
    return ImageData(
        pyramid.levels[level],
        pyramid.axes,
        pyramid.scales[level],
        stem(path),
        pyramid.unit,
        pyramid.translations[level],
    )


# --------------------------------------------------------------------------------- compressed TIFF


class _TiffRegions:
    """Pixels of a TIFF of which only the tiles or strips of a region are decoded.

    tifffile offers the chunks of a file as a Zarr store; the file stays open as long as this.
    """

    def __init__(self, path: Path) -> None:
        import tifffile
        import zarr

        self._store = tifffile.imread(path, aszarr=True)
        weakref.finalize(self, self._store.close)
        node = zarr.open(self._store, mode="r")
        self._array: Any = node["0"] if isinstance(node, zarr.Group) else node
        self.shape: tuple[int, ...] = tuple(int(n) for n in self._array.shape)
        self.dtype: np.dtype[Any] = np.dtype(self._array.dtype)
        self.ndim = len(self.shape)

    def __getitem__(self, key: Any) -> AnyArray:
        return np.asarray(self._array[key])


def _open_compressed_tiff(path: Path, image: ImageData) -> ImageData:
    """The same image, read by tiles instead of by pages, where its axes stand as in the file."""
    try:
        array = _TiffRegions(path)
    except Exception as error:  # tifffile and its codecs raise all kinds on damaged files
        raise ReadError(f"{path} cannot be read as TIFF ({error}).") from error
    if array.shape != tuple(image.array.shape):  # colours in planes: the reader moved them
        return image
    return ImageData(array, image.axes, image.scale, image.name, image.unit)


# ------------------------------------------------------------------------------ folders of images


class _FolderStack:
    """Images of one size as a stack; an image is read when a region of it is asked for."""

    def __init__(self, files: Sequence[Path], plane: AnyArray) -> None:
        self._files = list(files)
        self._lock = threading.Lock()
        self._planes: OrderedDict[int, AnyArray] = OrderedDict()
        self.shape: tuple[int, ...] = (len(files), *plane.shape)
        self.dtype: np.dtype[Any] = np.dtype(plane.dtype)
        self.ndim = len(self.shape)

    def __getitem__(self, key: Any) -> AnyArray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, slice):
            numbers = range(*first.indices(len(self._files)))
            return np.stack([self._plane(number)[tuple(rest)] for number in numbers])
        return np.asarray(self._plane(range(len(self._files))[int(first)])[tuple(rest)])

    def _plane(self, number: int) -> AnyArray:
        with self._lock:
            found = self._planes.get(number)
        if found is not None:
            return found
        path = self._files[number]
        plane = read_image(path).array
        if plane.shape != self.shape[1:] or plane.dtype != self.dtype:
            raise ReadError(
                f"{path} is {plane.shape} {plane.dtype}, the first image of the folder is "
                f"{self.shape[1:]} {self.dtype}; all images of a stack have one size and type."
            )
        with self._lock:
            self._planes[number] = plane
            while len(self._planes) > _PLANES_IN_MEMORY:
                self._planes.popitem(last=False)
        return np.asarray(plane)


def open_folder(path: Path) -> ImageData:
    """Open the images of a folder as the slices of a stack.

    Raises
    ------
    ReadError
        If there are none, or the first is no plane.
    """
    files = image_files(path)
    if not files:
        raise ReadError(
            f"The folder {path} is no Zarr and holds no images "
            f"({', '.join(_PLANE_ENDINGS)}); name a file, an OME-Zarr or a folder of images."
        )
    first = read_image(files[0])
    plane = np.asarray(first.array)
    if plane.ndim not in (2, 3) or (plane.ndim == 3 and plane.shape[-1] not in (3, 4)):
        raise ReadError(
            f"{files[0]} has the shape {plane.shape}; the images of a folder are planes, grey or "
            "RGB. Name one of the files to segment it alone."
        )
    axes = "ZYX" if plane.ndim == 2 else "ZYXC"
    steps = first.scale if first.axes is None or first.scale is None else _in_plane(first)
    scale = None if steps is None else (1.0, *steps[:2], *((1.0,) if plane.ndim == 3 else ()))
    return ImageData(_FolderStack(files, plane), axes, scale, path.name, first.unit)


def image_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the images of a folder in the order of their names, in which numbers count as numbers.

    Raises
    ------
    ReadError
        If it is no folder, or may not be read.
    """
    try:
        found = [file for file in Path(folder).iterdir() if file.suffix.lower() in _PLANE_ENDINGS]
    except OSError as error:
        raise ReadError(
            f"{folder} cannot be listed: {error.strerror or error}; give a folder of images."
        ) from error
    return sorted((file for file in found if not file.name.startswith(".")), key=_natural)


def _in_plane(image: ImageData) -> tuple[float, ...]:
    steps = dict(zip(str(image.axes), image.scale or (), strict=True))
    return (steps.get("Y", 1.0), steps.get("X", 1.0))


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key in which numbers count as numbers."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]
