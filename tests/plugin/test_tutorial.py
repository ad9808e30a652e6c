"""The steps of docs/tutorials/annotate.md, done with mouse and keys in a real window."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from skimage.measure import regionprops

from litesam.io import read_image, read_labels
from litesam.samples import SAMPLES, sample_path

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "annotate.md"
CONTROL = Qt.KeyboardModifier.ControlModifier


class Reader:
    """Does what the page says."""

    def __init__(self, hands: Any, folder: Path) -> None:
        self.hands, self.folder = hands, folder
        truth = sample_path("nuclei").with_name(SAMPLES["nuclei"].labels_file)
        self.truth = np.asarray(read_image(truth).array)
        self.nuclei = sorted(regionprops(self.truth), key=lambda one: -one.area)[1:12]

    def commit(self) -> None:
        self.hands.settle()
        self.hands.key(Qt.Key.Key_C)
        self.hands.settle()

    def number_at(self, nucleus: Any) -> int:
        y, x = map(round, nucleus.centroid)
        return int(self.hands.objects.data[y, x])

    def point_at(self, nucleus: Any) -> None:
        hands = self.hands
        hands.qtbot.mouseMove(hands.canvas.native, hands.at(hands.image, nucleus.centroid))
        hands.qtbot.wait(20)

    def open_the_sample(self) -> None:
        self.hands.viewer.open_sample("napari-litesam", "nuclei")
        self.hands.qtbot.wait(100)
        self.hands.viewer.reset_view()
        self.hands.settle()
        assert self.hands.widget.image.currentText() == "Nuclei, fluorescence"

    def click_on_a_nucleus(self) -> None:
        self.hands.click(self.nuclei[0].centroid)
        self.hands.settle()
        assert self.hands.preview.any()
        self.commit()
        assert self.number_at(self.nuclei[0]) == 1

    def draw_a_box(self) -> None:
        y0, x0, y1, x1 = self.nuclei[1].bbox
        self.hands.press("box")
        self.hands.drag((y0 - 3, x0 - 3), (y1 + 3, x1 + 3))
        self.commit()
        assert self.number_at(self.nuclei[1]) == 2
        self.hands.press("positive")

    def several_at_once(self) -> None:
        self.hands.tick("each")
        for nucleus in self.nuclei[2:5]:
            self.hands.click(nucleus.centroid)
        self.hands.settle()
        self.commit()
        assert sorted(map(self.number_at, self.nuclei[2:5])) == [3, 4, 5]
        self.hands.tick("each")

    def find_the_rest(self) -> None:
        hands, before = self.hands, self.hands.objects.data.copy()
        hands.press("everything")
        hands.settle()
        review = hands.widget.review
        assert review.isVisible()
        slider = review.sliders["min_area"]
        hands.qtbot.mouseClick(slider, Qt.MouseButton.LeftButton)
        hands.settle()
        assert "candidates kept" in review.count.text()
        self.commit()
        data = hands.objects.data
        np.testing.assert_array_equal(data[before > 0], before[before > 0])
        assert data.max() > 20

    def look_at_the_table(self) -> None:
        section = self.hands.widget.objects
        section.expand(animate=False)
        self.hands.qtbot.wait(50)
        index = section._sorted.index(0, 0)
        self.hands.qtbot.mouseClick(
            section.table.viewport(),
            Qt.MouseButton.LeftButton,
            pos=section.table.visualRect(index).center(),
        )
        assert self.hands.widget.state.selected == {1}
        centre = self.hands.viewer.scene.camera.center[-2:]
        np.testing.assert_allclose(centre, self.nuclei[0].centroid, atol=10)
        self.hands.viewer.reset_view()
        self.hands.qtbot.wait(50)

    def refine_one(self) -> None:
        hands = self.hands
        self.point_at(self.nuclei[0])
        hands.key(Qt.Key.Key_R)
        hands.settle()
        assert len(hands.points.data) == 1
        y, x = self.nuclei[0].centroid
        hands.click((y + 3, x + 3))
        hands.settle()
        self.commit()
        assert self.number_at(self.nuclei[0]) == 1

    def delete_one(self) -> None:
        number = self.number_at(self.nuclei[1])
        self.point_at(self.nuclei[1])
        self.hands.key(Qt.Key.Key_X)
        self.hands.settle()
        assert self.number_at(self.nuclei[1]) == 0
        self.hands.key(Qt.Key.Key_Z, CONTROL)
        self.hands.settle()
        assert self.number_at(self.nuclei[1]) == number

    def paint_by_hand(self) -> None:
        hands, layer = self.hands, self.hands.objects
        before = layer.data.copy()
        hands.viewer.layers.selection.active = layer
        layer.mode = "paint"
        layer.selected_label = 1
        hands.qtbot.wait(50)
        y, x = self.nuclei[0].centroid
        hands.drag((y, x), (y, x + 30))
        hands.settle()
        assert (layer.data != before).any()
        hands.key(Qt.Key.Key_Z, CONTROL)
        hands.settle()
        np.testing.assert_array_equal(layer.data, before)

    def save(self) -> None:
        section, labels = self.hands.widget.objects, self.folder / "nuclei.tif"
        for path in (labels, self.folder / "nuclei.csv"):
            section.exported.emit(str(path))  # the dialog asks for no more than the name
            self.hands.settle()
        np.testing.assert_array_equal(
            np.asarray(read_labels(labels).array), self.hands.objects.data
        )
        rows = list(csv.DictReader((self.folder / "nuclei.csv").read_text().splitlines()))
        assert len(rows) == len(self.hands.widget.state.objects)
        self.hands.widget.session.saved.emit(str(self.folder / "nuclei.json"))
        assert (self.folder / "nuclei.json").exists()


def test_every_step_of_the_page(open_panel, tmp_path) -> None:
    steps = re.findall(r"^\d+\. \*\*([^*]+?)[.:]?\*\*", PAGE.read_text(encoding="utf-8"), re.M)
    assert len(steps) == 10
    reader = Reader(open_panel(), tmp_path)
    for step in steps:
        print("step:", step)
        getattr(reader, re.sub(r"\W+", "_", step.lower()).strip("_"))()
