"""Layers that napari itself saves are read as prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Points, Shapes

from litesam.io import read_napari_csv
from litesam.types import BoxPrompt, PointLabel, PointPrompt

if TYPE_CHECKING:
    from pathlib import Path


def test_saved_points_and_shapes(make_napari_viewer, tmp_path: Path) -> None:
    make_napari_viewer()  # brings napari's own writers
    points = Points(
        np.array([[2, 10.5, 20], [2, 30, 40]]), features={"label": ["positive", "negative"]}
    )
    points.save(str(tmp_path / "points.csv"))
    (drawing,) = read_napari_csv(tmp_path / "points.csv")[(2,)]
    assert drawing.points == (PointPrompt(10.5, 20), PointPrompt(30, 40, PointLabel.BACKGROUND))
    Points(np.array([[1.0, 2.0], [3.0, 4.0]])).save(str(tmp_path / "plain.csv"))
    assert len(read_napari_csv(tmp_path / "plain.csv")[()]) == 2
    shapes = Shapes()
    shapes.add_rectangles(np.array([[9.5, 19.5], [14.5, 29.5]]))
    shapes.add_paths(np.array([[1, 1], [5, 9], [7, 7]]))
    shapes.add_ellipses(np.array([[20, 20], [10, 5]]))
    shapes.save(str(tmp_path / "shapes.csv"))
    box, path, ellipse = read_napari_csv(tmp_path / "shapes.csv")[()]
    assert box.box == BoxPrompt(10, 20, 15, 30)
    assert path.scribbles[0].path == ((1, 1), (5, 9), (7, 7))
    assert np.ptp(ellipse.polygons[0].path, axis=0).max() > 9
