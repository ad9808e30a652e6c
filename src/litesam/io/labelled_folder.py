"""Folders of images with label images, as used for training and evaluation.

A data set is a folder with ``images/ID.png``, ``labels/ID.png`` (integers, 0 = background, 1 … N
objects) and ``index.csv`` with the columns ``id`` and ``split``.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from litesam.errors import ReadError
from litesam.types import AnyArray, LabelArray

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """An image (H, W) or (H, W, 3) as stored, and its label image (H, W) int32."""

    name: str
    image: AnyArray
    labels: LabelArray


def read_labelled_folder(folder: Path, split: str) -> Iterator[LabelledImage]:
    """Yield the images of one split of a data set folder, in order of their names.

    Raises
    ------
    ReadError
        If the folder has no usable ``index.csv``, the split is empty, or a file is missing or
        damaged.
    """
    index = folder / "index.csv"
    try:
        with index.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        names = sorted(row["id"] for row in rows if row["split"] == split)
    except (OSError, KeyError) as error:
        raise ReadError(
            f"{folder} is not a data set: {index.name} with the columns id and split is needed "
            f"({error})."
        ) from error
    if not names:
        raise ReadError(f"{index} lists no image of the split {split!r}.")
    for name in names:
        yield _read(folder, name)


def _read(folder: Path, name: str) -> LabelledImage:
    arrays = []
    for kind in ("images", "labels"):
        path = folder / kind / f"{name}.png"
        if path.parent.resolve() != (folder / kind).resolve():
            raise ReadError(f"{name!r} in index.csv leads out of the folder {folder}.")
        try:
            arrays.append(np.asarray(Image.open(path)))
        except OSError as error:
            raise ReadError(f"{path} cannot be read: {error}.") from error
    image, labels = arrays
    if labels.shape != image.shape[:2]:
        raise ReadError(
            f"Image {name!r} is {image.shape[:2]} and its labels are {labels.shape}; "
            "they must have one size."
        )
    return LabelledImage(name, image, labels.astype(np.int32))
