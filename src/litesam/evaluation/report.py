"""Scores as a file that other programs read."""

from __future__ import annotations

import csv
from dataclasses import astuple
from typing import TYPE_CHECKING

from litesam.evaluation.benchmark import ImageScores
from litesam.io.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def write_scores(
    path: Path, sets: Mapping[str, Iterable[ImageScores]], *, overwrite: bool = False
) -> None:
    """Write a CSV file with one row for each image.

    Parameters
    ----------
    path
        The file.
    sets
        Scores by the name of the data set. Columns are ``set`` and the fields of `ImageScores`;
        what was not measured is empty.
    overwrite
        Whether an existing file may be replaced.

    Raises
    ------
    WriteError
        If the file exists and may not be replaced, or cannot be written.
    """
    with (
        atomic_path(path, overwrite=overwrite) as part,
        part.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["set", *ImageScores.__dataclass_fields__])
        for name, scores in sets.items():
            writer.writerows([name, *astuple(row)] for row in scores)
