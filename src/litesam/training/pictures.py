"""Pictures without labels, read when they are wanted: what distillation learns from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, overload

import numpy as np

from litesam.errors import ReadError
from litesam.io import read_image
from litesam.io.labelled_folder import split_names
from litesam.io.readers import stem
from litesam.preprocess import Plane, to_rgb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Endings of images; folders that end so, too (OME-Zarr).
_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".npy", ".zarr")
#: Planes that are kept in memory.
_KEPT = 16


class Pictures(Sequence[Plane]):
    """The pictures of files, one plane each.

    Parameters
    ----------
    paths
        Images of two dimensions, or RGB.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self._read = lru_cache(maxsize=_KEPT)(_read)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Plane: ...

    @overload
    def __getitem__(self, index: slice) -> Pictures: ...

    def __getitem__(self, index: int | slice) -> Plane | Pictures:
        if isinstance(index, slice):
            return Pictures(self.paths[index])
        return self._read(self.paths[index])


def find_pictures(folder: Path) -> Pictures:
    """Find the pictures of a folder.

    Parameters
    ----------
    folder
        A folder of images, a data set (``images/``), or a folder of data sets. Of a data set with
        ``index.csv`` only those of the split ``train`` count.

    Raises
    ------
    ReadError
        If there are none.
    """
    sets = [one for one in (folder, *sorted(folder.glob("*"))) if (one / "images").is_dir()]
    paths = [path for one in sets for path in _of_set(one)] or list(_images(folder))
    if not paths:
        raise ReadError(
            f"{folder} holds no images; give a folder of images ({', '.join(_SUFFIXES)}), or of "
            "data sets with images/."
        )
    return Pictures(paths)


def _of_set(folder: Path) -> Iterator[Path]:
    index = folder / "index.csv"
    names = set(split_names(index, "train")) if index.exists() else None
    for path in _images(folder / "images"):
        if names is None or stem(path) in names:
            yield path


def _images(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith("."):
            yield path


def _read(path: Path) -> Plane:
    array = np.asarray(read_image(path).array)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] > 4):
        raise ReadError(
            f"{path} has the shape {array.shape}; one plane is needed, (H, W) or (H, W, 3). Save "
            "the planes of a stack as files of their own."
        )
    return to_rgb(array)
