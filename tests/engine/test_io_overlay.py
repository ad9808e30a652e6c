"""Overlay pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from litesam.errors import ImageError, WriteError
from litesam.io import draw_overlay, write_gallery, write_overlay
from litesam.io.overlay import label_color

if TYPE_CHECKING:
    from pathlib import Path

GREY = np.full((40, 60, 3), 100, dtype=np.uint8)


def _square() -> np.ndarray:
    labels = np.zeros((40, 60), dtype=np.int32)
    labels[10:30, 20:40] = 3
    return labels


def test_background_is_untouched_and_objects_are_tinted() -> None:
    picture = draw_overlay(GREY, _square(), zoom=4, fill=0.5)
    assert picture.shape == (160, 240, 3)
    assert (picture[:36] == 100).all()
    inside = picture[80, 120].astype(int)
    expected = (100 + np.array(label_color(3))) / 2
    np.testing.assert_allclose(inside, expected, atol=2)  # 8-bit blending rounds


def test_outline_has_the_pure_colour_at_the_edge() -> None:
    picture = draw_overlay(GREY, _square(), zoom=4, line_px=3)
    # Rows 10–29 cover the picture's rows 40–119; the outline runs along row 40.
    edge = picture[38:43, 120].astype(int)
    assert np.abs(edge - np.array(label_color(3))).sum(axis=1).min() < 10


def test_a_hole_stays_clear() -> None:
    labels = _square()
    labels[15:25, 25:35] = 0
    picture = draw_overlay(GREY, labels, zoom=4)
    assert (picture[80, 120] == 100).all()


def test_object_inside_a_hole_is_drawn() -> None:
    labels = _square()
    labels[13:27, 23:37] = 0
    labels[17:23, 27:33] = 1
    picture = draw_overlay(GREY, labels, zoom=4)
    assert not (picture[80, 120] == 100).all()


def test_extreme_labels() -> None:
    assert (draw_overlay(GREY, np.zeros((40, 60), dtype=np.uint8), zoom=1) == 100).all()
    full = draw_overlay(GREY, np.full((40, 60), 7, dtype=np.int64), zoom=1)
    assert not (full == 100).any(axis=2).all()
    one = np.zeros((40, 60), dtype=np.int32)
    one[0, 0] = one[39, 59] = 2_000_000
    assert draw_overlay(GREY, one).shape[0] >= 40


def test_grey_planes_are_accepted() -> None:
    assert draw_overlay(GREY[..., 0], _square(), zoom=1).shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("rgb", "labels"),
    [
        (GREY.astype(float), _square()),
        (GREY[..., :2], _square()),
        (GREY, _square()[:10]),
        (GREY, _square().astype(float)),
    ],
)
def test_wrong_input(rgb: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ImageError):
        draw_overlay(rgb, labels)


def test_files(tmp_path: Path) -> None:
    write_overlay(tmp_path / "a.png", GREY, _square())
    with pytest.raises(WriteError, match="exists already"):
        write_overlay(tmp_path / "a.png", GREY, _square())
    write_gallery(tmp_path / "b.png", [("One", GREY, _square()), ("Two", GREY, _square())])
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.width > picture.height
    with pytest.raises(ImageError, match="at least one"):
        write_gallery(tmp_path / "c.png", [])


def test_neighbouring_labels_differ_in_colour() -> None:
    for label in range(1, 200):
        difference = np.abs(np.subtract(label_color(label), label_color(label + 1)))
        assert difference.sum() > 100
