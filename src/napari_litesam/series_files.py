"""Files of a folder of images and of their labels, and the bodies of jobs on them. No Qt."""

from __future__ import annotations

import hashlib
import itertools
import logging
import threading
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.errors import ReadError, WriteError
from litesam.io import ImageData, image_files, read_image, read_labels, stem, write_labels
from litesam.session import Session, sessions_dir, take_copies_along, write_session
from napari_litesam.image_files import AboutLabels
from napari_litesam.session_images import committed

if TYPE_CHECKING:
    from napari_litesam.jobs import JobContext

logger = logging.getLogger(__name__)

#: Folder of the labels: in that of the images, or beside it if that is called so, as in data sets.
_LABELS, _IMAGES = "labels", "images"
#: Endings of files of labels; the first is that of new ones.
_ENDINGS = (".tif", ".tiff", ".png")
_LARGEST_IN_PNG = 65_535
#: Larger labels would keep the window waiting, bytes.
_LARGEST_TO_COMPARE = 64_000_000


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
        doubled = Counter(names)
        names = [
            one.name if doubled[name] > 1 else name
            for name, one in zip(names, self.images, strict=True)
        ]
        self.labels = [
            self.labels_folder
            / next((name + one for one in _ENDINGS if name + one in there), name + _ENDINGS[0])
            for name in names
        ]
        self.labelled = [file.name in there for file in self.labels]


class LabelFile:
    """The file of the labels of the image that is open, and what it held when it was read or
    written last. Workers write it one after the other.

    Attributes
    ----------
    path
        The file; it may not be there.
    digest
        Of the ids of all pixels; None: there was no file.
    stamp
        Time and size of the file then.
    others
        What is to be written next is of another layer than what the file holds: the file is kept
        under another name.
    kept
        Under which it was kept the last time; None: it was not.
    """

    def __init__(
        self, path: Path, digest: bytes | None = None, stamp: tuple[int, int] | None = None
    ) -> None:
        self.path, self.digest, self.stamp = path, digest, stamp
        self.others = False
        self.kept: Path | None = None
        self.lock = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """Labels that are to be in a file: a worker needs no layer for it."""

    array: Any
    about: AboutLabels
    file: LabelFile
    session: Session | None


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """An image and its labels, from their files.

    Attributes
    ----------
    number, image
        The image.
    labels, axes
        Array of its labels, and its axes as the file says; None: there are none.
    digest, stamp
        Of the labels, and of their file.
    seen
        Time and size of the image's file when it was read.
    skipped
        Images before it that are damaged, and why.
    """

    number: int
    image: ImageData
    labels: Any = None
    axes: str | None = None
    digest: bytes | None = None
    stamp: tuple[int, int] | None = None
    seen: tuple[int, int] | None = None
    skipped: tuple[str, ...] = ()


def write_changed(wanted: Wanted, _context: JobContext | None = None) -> None:
    """Write labels, and the session beside them, unless the file has them already.

    Raises
    ------
    WriteError
        If the disk refuses, or the file was changed by somebody else.
    """
    with wanted.file.lock:
        _write_changed(wanted)


def _write_changed(wanted: Wanted) -> None:
    file, path = wanted.file, wanted.file.path
    labels = np.array(wanted.array)  # the user goes on meanwhile
    digest, there = digest_of(labels), stamp_of(path)
    if file.digest is None and not labels.any():
        return
    if digest == file.digest and there is not None:
        return
    if there is not None and there != file.stamp:
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
    if file.others and there is not None:
        file.kept = _put_aside(path)
    file.others = False
    if path.suffix.lower() == ".png" and labels.max(initial=0) > _LARGEST_IN_PNG:
        path = _free(path, _ENDINGS[0])  # which is found before the PNG from now on
    about = wanted.about
    write_labels(path, labels, about.file_axes, about.scale, unit=about.unit, overwrite=True)
    file.path, file.digest, file.stamp = path, digest, stamp_of(path)
    if wanted.session is not None:
        beside = path.with_suffix(".session.json")
        try:
            session = take_copies_along(committed(wanted.session), sessions_dir(), beside)
            write_session(beside, session, overwrite=True)
        except WriteError:
            # The labels are what counts; those that were there before may still be being copied.
            logger.warning("The session beside %s could not be written", path, exc_info=True)


def _put_aside(path: Path) -> Path:
    """Rename a file, so that nothing takes its place; return where it is now."""
    numbers = itertools.count(1)
    names = (path.with_name(f"{path.stem}.old-{number}{path.suffix}") for number in numbers)
    free = next(name for name in names if not name.exists())
    try:
        path.rename(free)
    except OSError as error:
        raise WriteError(
            f"{path} holds labels of a layer that is gone, and cannot be renamed: "
            f"{error.strerror or error}. These labels are not written; what is open stays open."
        ) from error
    return free


def _free(path: Path, ending: str) -> Path:
    """Return the file of another ending beside one.

    Raises
    ------
    WriteError
        If it is there already.
    """
    other = path.with_suffix(ending)
    if other.exists():
        raise WriteError(
            f"{path} cannot hold ids above {_LARGEST_IN_PNG:,}, and {other.name} is there already. "
            "Put that elsewhere; then these labels are written."
        )
    return other


def write_and_read(
    wanted: Wanted | None,
    files: SeriesFiles,
    number: int,
    ready: Read | None,
    search: int,
    _context: JobContext | None = None,
) -> Read | ReadError:
    """Write the labels of an image, then read another one and its labels.

    Parameters
    ----------
    wanted
        Labels to be written; None: there are none.
    files, number, ready
        The image to read; ``ready``: it was read before, its labels are read in any case.
    search
        So many images are tried, one after the other, if they are damaged.

    Returns
    -------
    Read or ReadError
        What was read, or why not: labels are written all the same.

    Raises
    ------
    WriteError
        If the labels cannot be written; nothing is read then.
    """
    if wanted is not None:
        write_changed(wanted)
    count = len(files.images)
    skipped: list[str] = []
    for at in range(number, number + search):
        try:
            read = read_one(files, at % count, ready)
            return replace(read, skipped=tuple(skipped))
        except ReadError as error:
            reason = error
            skipped.append(f"{files.images[at % count].name}: {error}")
    return reason


def read_one(
    files: SeriesFiles,
    number: int,
    ready: Read | None = None,
    _context: JobContext | None = None,
) -> Read:
    """Read an image, unless it is ready and its file still the same, and its labels.

    Raises
    ------
    ReadError
        If a file is damaged, or its labels cannot be gone on with.
    """
    seen = stamp_of(files.images[number])
    fresh = ready is not None and ready.number == number and ready.seen == seen
    image = ready.image if ready is not None and fresh else read_image(files.images[number])
    path = files.labels[number]
    stamp = stamp_of(path)
    if stamp is None:
        return Read(number, image, seen=seen)
    found = read_labels(path)
    least = np.min(found.array, initial=0)
    if least < 0:
        raise ReadError(
            f"{path} holds ids below 0 (the smallest is {least}); labels are 0 for background and "
            "1, 2, 3 … for objects. Change it, or put it elsewhere."
        )
    # Files hold the smallest type; there has to be room for more ids.
    kind = found.array.dtype if found.array.dtype.itemsize > 2 else np.int32
    labels = np.array(found.array, dtype=kind)
    return Read(number, image, labels, found.axes, digest_of(labels), stamp, seen)


def laid_out(labels: Any, said: str | None, axes: str, shape: tuple[int, ...]) -> Any:
    """Return labels as those of an image: files keep axes in an order of their own, and leave out
    those of length 1.

    Parameters
    ----------
    labels, said
        The labels, and their axes as the file says; None: it does not.
    axes, shape
        Axes and shape of the labels of the image.
    """
    if said is not None and said != axes and sorted(said) == sorted(axes):
        labels = np.ascontiguousarray(labels.transpose([said.index(one) for one in axes]))
    without = tuple(size for size in shape if size != 1)
    if labels.shape != shape and tuple(n for n in labels.shape if n != 1) == without:
        labels = labels.reshape(shape)
    return labels


def holds(labels: Any, others: Any) -> bool:
    """Whether labels have all that others have; large ones are not looked at: False."""
    if labels.shape != others.shape or others.nbytes > _LARGEST_TO_COMPARE:
        return False
    others = np.asarray(others)
    return not np.any((others != 0) & (np.asarray(labels) != others))


def digest_of(labels: Any) -> bytes:
    """Digest of the ids, whatever the type of the array."""
    found = hashlib.blake2b(repr(tuple(labels.shape)).encode(), digest_size=16)
    for part in labels if labels.ndim > 2 else [labels]:
        found.update(np.ascontiguousarray(part, dtype=np.int64).tobytes())
    return found.digest()


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Time and size of a file; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
