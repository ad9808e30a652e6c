"""Folders of images with label images, as used for training and evaluation.

A data set is a folder with ``images/ID.*`` and ``labels/ID.*`` (integers, 0 = background, 1 … N
objects), in any format that `litesam.io.read_image` reads, and, to tell splits apart, ``index.csv``
with the columns ``id`` and ``split``.
"""

from __future__ import annotations

import csv
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from litesam.errors import ReadError
from litesam.io.readers import read_image, read_labels, stem
from litesam.types import AnyArray, LabelArray

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

#: Files that count; others, such as notes beside the images, are left alone.
_ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".npy", ".zarr")


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """An image (H, W) or (H, W, 3) as stored, and its label image (H, W) int32."""

    name: str
    image: AnyArray
    labels: LabelArray


def read_labelled_folder(folder: Path, split: str | None = None) -> Iterator[LabelledImage]:
    """Yield the images of a data set folder, in order of their names.

    Parameters
    ----------
    folder
        The folder.
    split
        Only this split of ``index.csv``; None: all images that have labels. A folder without
        ``index.csv`` has no splits: all are yielded.

    Raises
    ------
    ReadError
        If the folder is no data set, the split is empty, or a file is missing, damaged, or not one
        plane; or an image and its labels have different sizes.
    """
    index = folder / "index.csv"
    images, labels = _files(folder / "images"), _files(folder / "labels")
    names = sorted(images.keys() & labels.keys())
    if not names:
        raise ReadError(
            f"{folder} is not a data set: images/ and labels/ with files of equal names are "
            f"needed{_lack(folder, images, labels)}."
        )
    if split is not None and index.exists():
        names = split_names(index, split)
    elif alone := sorted(images.keys() - labels.keys()):
        logger.warning(
            "%s: %d images have no labels and are left out (%s …).", folder, len(alone), alone[0]
        )
    for name in names:
        for kind, files in (("images", images), ("labels", labels)):
            if name not in files:
                raise ReadError(f"There is no {folder / kind / name}.*, which {index} lists.")
        yield _read(name, images[name], labels[name])


def _files(folder: Path) -> dict[str, Path]:
    """Files of a folder by their names without endings."""
    found = sorted(
        path
        for path in folder.glob("*")
        if path.suffix.lower() in _ENDINGS and not path.name.startswith(".")
    )
    files: dict[str, Path] = {}
    for path in found:
        if (other := files.setdefault(stem(path), path)) != path:
            raise ReadError(
                f"{other} and {path.name} have one name, so it is not clear which of them counts; "
                "move one of them away."
            )
    return files


def _lack(folder: Path, images: dict[str, Path], labels: dict[str, Path]) -> str:
    """What a folder has instead, as the end of a sentence."""
    if not folder.exists():
        return "; there is no such folder"
    if not images or not labels:
        empty = "labels/" if images else "images/"
        return f"; {empty} is missing or holds no image ({', '.join(_ENDINGS)})"
    return f"; here are {next(iter(images.values())).name} and {next(iter(labels.values())).name}"


def split_names(index: Path, split: str) -> list[str]:
    """Return the names of a split in an ``index.csv``, sorted.

    Raises
    ------
    ReadError
        If the file cannot be used, or lists no image of the split.
    """
    try:
        with index.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        names = sorted(row["id"] for row in rows if row["split"] == split)
        known = sorted({row["split"] for row in rows})
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise ReadError(
            f"{index} cannot be used: the columns id and split are needed ({error})."
        ) from error
    if not names:
        raise ReadError(
            f"{index} lists no image of the split {split!r}; it has {', '.join(known) or 'none'}."
        )
    return names


def _read(name: str, image_path: Path, labels_path: Path) -> LabelledImage:
    image = np.asarray(read_image(image_path).array)
    labels = np.asarray(read_labels(labels_path).array)
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] > 4):
        raise ReadError(
            f"{image_path} has the shape {image.shape}; one plane is needed, (H, W) or (H, W, 3). "
            "Save the planes of a stack as files of their own."
        )
    if image.dtype.kind == "f" and not np.isfinite(image).any():
        raise ReadError(f"{image_path} has no finite value, only NaN or infinity; leave it out.")
    if labels.ndim == 3 and labels.shape[2] in (3, 4):
        raise ReadError(
            f"{labels_path} is a colour picture of shape {labels.shape}; labels are one whole "
            "number for each pixel, 0 for the background and another one for each object."
        )
    if labels.size and (labels.min() < 0 or labels.max() > np.iinfo(np.int32).max):
        raise ReadError(
            f"{labels_path} has labels from {labels.min()} to {labels.max()}; they must be 0 "
            f"(background) to {np.iinfo(np.int32).max}."
        )
    if labels.shape != image.shape[:2]:
        raise ReadError(
            f"Image {name!r} is {image.shape[:2]} and its labels are {labels.shape}; "
            "they must have one size."
        )
    return LabelledImage(name, image, labels.astype(np.int32))
