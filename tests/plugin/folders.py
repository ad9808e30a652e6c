"""Folders of images, opened with the panel."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Picture
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from litesam.io import read_labels
from napari_litesam import series_files

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NEXT, BEFORE = Qt.Key.Key_PageDown, Qt.Key.Key_PageUp


def plate(place: Path, image: np.ndarray) -> Path:
    """Three images; their names in the order of numbers, not of letters."""
    place.mkdir()
    for number in (1, 2, 10):
        shifted = np.roll(image, number, axis=1)
        Picture.fromarray(shifted).save(place / f"cell {number}.png")
    (place / "notes.txt").write_text("not an image")
    return place


def open_folder(hands: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    if not hands.widget.series.isExpanded():  # it is as it was left
        hands.unfold("series_section")
    hands.press("series.open_folder")
    rest(hands)
    return hands


def rest(hands: Any) -> None:
    """Wait until everything is written and prepared."""
    hands.settle()
    hands.until(lambda: hands.widget.controller.series.idle)
    hands.settle()


def commit(hands: Any, centre: tuple[int, int]) -> None:
    hands.click(centre)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()


def at(number: int, centre: tuple[int, int]) -> tuple[int, int]:
    """Where a cell is in the image of a number."""
    return (centre[0], centre[1] + number)


def written(folder: Path, number: int) -> np.ndarray:
    return np.asarray(read_labels(folder / "labels" / f"cell {number}.tif").array)


def slow_writes(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Labels are written when the first event is set; the second says that they are about to be."""
    gate, begun, write = threading.Event(), threading.Event(), series_files.write_labels

    def wait(*args: Any, **options: Any) -> Any:
        begun.set()
        gate.wait(20)
        return write(*args, **options)

    monkeypatch.setattr(series_files, "write_labels", wait)
    return gate, begun
