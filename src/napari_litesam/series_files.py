"""Files of a folder of images and of their labels, and the bodies of jobs on them. No Qt."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.errors import ReadError, WriteError
from litesam.io import ImageData, image_files, read_image, read_labels, stem, write_labels
from litesam.session import Session, sessions_dir, take_copies_along, write_session
from napari_litesam.image_files import AboutLabels

if TYPE_CHECKING:
    from napari_litesam.jobs import JobContext

#: Folder of the labels: in that of the images, or beside it if that is called so, as in data sets.
_LABELS, _IMAGES = "labels", "images"
#: Endings of files of labels; the first is that of new ones.
_ENDINGS = (".tif", ".tiff", ".png")


class SeriesFiles:
    """Images of a folder in the order of their names, and where their labels are.

    Attributes
    ----------
    folder, labels_folder
        The folders.
    images, labels
        Files of the images and of their labels, which may not be there. Where two images differ by
        their endings alone, their labels keep these.
    labelled
        Which of them are there.

    Raises
    ------
    ReadError
        If there are no images, or the folder cannot be read.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.images = image_files(self.folder)
        if not self.images:
            raise ReadError(
                f"There are no images (TIFF, PNG, JPEG, .npy) in {folder}; choose another folder."
            )
        beside = self.folder.name.lower() == _IMAGES
        self.labels_folder = (self.folder.parent if beside else self.folder) / _LABELS
        there = set()
        if self.labels_folder.is_dir():
            there = {file.name for file in self.labels_folder.iterdir()}
        alike = Counter(stem(one) for one in self.images)
        names = [stem(one) if alike[stem(one)] == 1 else one.name for one in self.images]
        self.labels = [
            self.labels_folder
            / next((name + one for one in _ENDINGS if name + one in there), name + _ENDINGS[0])
            for name in names
        ]
        self.labelled = [file.name in there for file in self.labels]


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What a file of labels held when it was read or written last; no file: None twice.

    Attributes
    ----------
    digest
        Of the ids of all pixels.
    stamp
        Time and size of the file.
    """

    digest: bytes | None = None
    stamp: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """Labels that are to be in a file: a worker needs no layer for it."""

    array: Any
    about: AboutLabels
    path: Path
    session: Session | None
    known: OnDisk


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """An image and its labels, from their files; ``skipped``: images before that are damaged."""

    number: int
    image: ImageData
    labels: Any
    known: OnDisk
    skipped: tuple[str, ...] = ()


def write_changed(wanted: Wanted, _context: JobContext | None = None) -> OnDisk:
    """Write labels, and the session beside them, unless the file has them already.

    Raises
    ------
    WriteError
        If the disk refuses, or the file was changed by somebody else.
    """
    digest, path = _digest(wanted.array), wanted.path
    nothing = wanted.known.digest is None and not np.any(wanted.array)
    if nothing or digest == wanted.known.digest:
        return wanted.known
    there = _stamp(path)
    if there is not None and there != wanted.known.stamp:
        raise WriteError(
            f"{path} was changed by another program or window since it was opened here. Rename it, "
            "or put it elsewhere; then these labels are written."
        )
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise WriteError(
            f"The folder {path.parent} cannot be made: {error.strerror or error}. The labels are "
            "not written; what is open stays open."
        ) from error
    if wanted.session is not None:
        file = path.with_suffix(".session.json")
        session = take_copies_along(wanted.session, sessions_dir(), file)
        write_session(file, session, overwrite=True)
    about = wanted.about
    write_labels(path, wanted.array, about.file_axes, about.scale, unit=about.unit, overwrite=True)
    return OnDisk(digest, _stamp(path))


def write_and_read(
    wanted: Wanted | None,
    files: SeriesFiles,
    number: int | None,
    search: bool,
    _context: JobContext | None = None,
) -> tuple[OnDisk | None, Read | ReadError | None]:
    """Write the labels of an image, then read another one and its labels.

    Parameters
    ----------
    wanted
        Labels to be written; None: there are none.
    files, number
        The image to read; None: it was read already.
    search
        Pass over images that are damaged.

    Returns
    -------
    tuple
        What the file of labels holds now, and what was read, or why not: labels are written all
        the same.

    Raises
    ------
    WriteError
        If the labels cannot be written; nothing is read then.
    """
    known = None if wanted is None else write_changed(wanted)
    if number is None:
        return known, None
    count = len(files.images)
    skipped: list[str] = []
    for at in range(number, number + (count if search else 1)):
        try:
            return known, replace(read_one(files, at % count), skipped=tuple(skipped))
        except ReadError as error:
            reason = error
            skipped.append(f"{files.images[at % count].name}: {error}")
    return known, reason


def read_one(files: SeriesFiles, number: int, _context: JobContext | None = None) -> Read:
    """Read an image and its labels.

    Raises
    ------
    ReadError
        If a file is damaged.
    """
    image, path = read_image(files.images[number]), files.labels[number]
    stamp = _stamp(path)
    if stamp is None:
        return Read(number, image, None, OnDisk())
    array = read_labels(path).array
    # Files hold the smallest type; there has to be room for more ids.
    kind = array.dtype if array.dtype.itemsize > 2 else np.int32
    labels = np.array(array, dtype=kind)
    return Read(number, image, labels, OnDisk(_digest(labels), stamp))


def _digest(labels: Any) -> bytes:
    """Digest of the ids, whatever the type of the array."""
    found = hashlib.blake2b(repr(tuple(labels.shape)).encode(), digest_size=16)
    for part in labels if labels.ndim > 2 else [labels]:
        found.update(np.ascontiguousarray(part, dtype=np.int64).tobytes())
    return found.digest()


def _stamp(path: Path) -> tuple[int, int] | None:
    """Time and size of a file; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
