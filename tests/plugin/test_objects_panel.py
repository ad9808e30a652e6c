"""Committed objects in a real window: opened again, deleted, merged, split, mended, painted,
exported; all in one history.
"""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from engine.threshold_predictor import CENTRES
from litesam.io import read_labels
from litesam.samples import sample_path
from litesam.session import read_session, replay

CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
FIRST, SECOND, THIRD = CENTRES


def press(hands, name: str) -> None:
    """Click a button of the section of objects with the mouse."""
    section = hands.widget.objects
    section.expand(animate=False)
    hands.qtbot.wait(20)
    button = section.buttons[name]
    hands.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    hands.settle()


def choose_row(hands, number: int, modifier=Qt.KeyboardModifier.NoModifier) -> None:
    """Click on the row of an object in the table."""
    section = hands.widget.objects
    section.expand(animate=False)
    hands.qtbot.wait(20)
    table = section.table
    index = section._sorted.mapFromSource(section._rows.index(section._rows.place_of(number), 0))
    table.scrollTo(index)
    position = table.visualRect(index).center()
    hands.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, modifier, pos=position)
    hands.settle()


def test_table_shows_what_is_there(three, cells) -> None:
    rows = {row.id: row for row in three.widget.state.objects}
    assert set(rows) == {1, 2, 3}
    assert rows[1].area_px == (cells[1] == 1).sum()
    assert rows[1].details.predicted_iou == pytest.approx(0.95)
    assert rows[1].details.model == "lite_sam"
    model = three.widget.objects.table.model()
    shown = [model.index(0, column).data() for column in range(model.columnCount())]
    stability = f"{rows[1].details.stability:.2f}"
    assert shown == ["1", f"{rows[1].area_px:,}", "0.95", stability, "lite_sam", ""]
    assert three.widget.objects.text() == "Objects · 3"


def test_every_column_is_to_be_read_at_300_pixels(three) -> None:
    section = three.widget.objects
    section.expand(animate=False)
    three.viewer.window._qt_window.resizeDocks(
        [three.widget.parent()], [300], Qt.Orientation.Horizontal
    )
    three.until(lambda: three.widget.width() <= 300 and section.table.isVisible())
    three.qtbot.wait(50)
    table, model = section.table, section.table.model()
    assert table.horizontalHeader().length() <= table.viewport().width()
    for column in range(model.columnCount()):
        for row in range(model.rowCount()):
            text = str(model.index(row, column).data())
            assert table.columnWidth(column) > table.fontMetrics().horizontalAdvance(text), text


def test_a_click_on_a_head_sorts(three) -> None:
    """By number and not by letter; once more turns it round."""
    for centre, side in ((FIRST, 5), (SECOND, 12)):
        corner = np.indices((side, side)).reshape(2, -1) + np.reshape(centre, (2, 1)) - side // 2
        three.objects.data_setitem(tuple(corner), 0)  # as an eraser does it
    three.settle()
    rows = {row.id: row.area_px for row in three.widget.state.objects}
    section = three.widget.objects
    section.expand(animate=False)
    three.until(section.table.isVisible)
    header = section.table.horizontalHeader()
    assert sorted(rows.values()) == [18, 124, 149], "by letter 124 comes first"
    orders = []
    for _ in range(2):
        place = QPoint(header.sectionPosition(1) + 8, header.height() // 2)
        three.qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=place)
        model = section.table.model()
        ids = [int(model.index(row, 0).data()) for row in range(3)]
        orders.append([rows[number] for number in ids])
    assert sorted(orders) == sorted([sorted(rows.values()), sorted(rows.values(), reverse=True)]), (
        "up and down"
    )
    choose_row(three, 3)
    assert three.widget.state.selected == {3}, "rows mean the same objects in any order"


def test_row_and_layer_choose_each_other(three) -> None:
    three.viewer.scene.camera.center = (5, 5)
    choose_row(three, 2)
    assert three.widget.state.selected == {2}
    assert three.viewer.scene.camera.center[-2:] == pytest.approx(SECOND, abs=1.5)
    # napari's own picking in the layer chooses the row.
    three.objects.selected_label = 3
    assert three.widget.state.selected == {3}
    section = three.widget.objects
    chosen = section.table.selectionModel().selectedRows()
    assert [index.data() for index in chosen] == ["3"]


def test_opened_again_and_committed_under_its_id(three, cells, predictor) -> None:
    before = three.objects.data.copy()
    three.hover(SECOND)
    three.key(Qt.Key.Key_R)
    three.settle()
    assert "Object 2 opened again with its prompts" in three.status or three.preview.any()
    np.testing.assert_allclose(three.points.data, [SECOND], atol=1.0)
    np.testing.assert_array_equal(three.preview, cells[1] == 2)
    three.key(Qt.Key.Key_N)  # another of its masks: a smaller one
    three.settle()
    smaller = three.preview
    assert 0 < smaller.sum() < (cells[1] == 2).sum()
    three.key(Qt.Key.Key_C)
    three.settle()
    np.testing.assert_array_equal(three.objects.data == 2, smaller)
    assert set(np.unique(three.objects.data)) == {0, 1, 2, 3}
    assert len(three.points.data) == 0
    three.key(Qt.Key.Key_Z, CONTROL)
    three.settle()
    np.testing.assert_array_equal(three.objects.data, before)
    np.testing.assert_array_equal(three.preview, smaller)
    # The steps go on: choice, reopening, and then the commit of the third.
    three.key(Qt.Key.Key_Z, CONTROL)
    three.key(Qt.Key.Key_Z, CONTROL)
    three.settle()
    assert len(three.points.data) == 0
    # After the reopening was taken back, a click makes a new object again.
    np.testing.assert_array_equal(three.objects.data, before)
    for _ in range(3):
        three.key(Qt.Key.Key_Z, CONTROL | SHIFT)
    three.settle()
    np.testing.assert_array_equal(three.objects.data == 2, smaller)


def test_hq_is_a_matter_of_each_object(predictor, open_panel, cells) -> None:
    """It is committed with HQ or without, opened as it was made, and changed alone."""
    hands = open_panel(cells[0])
    box = hands.widget.hq

    def marks() -> list[str]:
        return ["hq" if row.details.hq else "" for row in hands.widget.state.objects]

    for number, centre in enumerate((FIRST, SECOND)):
        if number:
            hands.tick("hq")
            hands.until(box.isChecked)
        hands.click(centre)
        hands.settle()
        hands.key(Qt.Key.Key_C)
        hands.settle()
    hands.tick("hq")
    hands.until(lambda: not box.isChecked())
    assert marks() == ["", "hq"]
    hands.hover(SECOND)
    hands.key(Qt.Key.Key_R)
    hands.until(box.isChecked)
    hands.settle()
    assert hands.preview[SECOND]
    hands.key(Qt.Key.Key_C)
    hands.until(lambda: not box.isChecked())
    hands.settle()
    assert marks() == ["", "hq"], "the next object is as before"
    hands.hover(FIRST)
    hands.key(Qt.Key.Key_R)
    hands.settle()
    assert not box.isChecked()
    hands.tick("hq")
    hands.until(box.isChecked)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.until(lambda: not box.isChecked())
    hands.settle()
    assert marks() == ["hq", "hq"]
    np.testing.assert_array_equal(hands.objects.data == 1, cells[1] == 1)
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert marks() == ["", "hq"]
    hands.key(Qt.Key.Key_C, SHIFT)
    hands.settle()
    assert not box.isChecked()


def test_object_without_prompts_is_opened_by_its_mask(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.everything()
    hands.hover(FIRST)
    hands.key(Qt.Key.Key_R)
    hands.settle()
    assert len(hands.points.data) == 1
    assert len(hands.widget.controller.prompts.boxes.data) == 1
    assert hands.preview[FIRST]
    number = int(hands.objects.data[FIRST])
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects.data[FIRST] == number


def test_delete_under_the_mouse_and_undo(three) -> None:
    before = three.objects.data.copy()
    three.hover(FIRST)
    three.key(Qt.Key.Key_X)
    three.settle()
    assert set(np.unique(three.objects.data)) == {0, 2, 3}
    assert "Deleted: object 1" in three.status
    three.hover((2, 2))
    three.key(Qt.Key.Key_X)
    three.settle()
    assert "no object there" in three.status
    three.key(Qt.Key.Key_Z, CONTROL)
    three.settle()
    np.testing.assert_array_equal(three.objects.data, before)
    assert {row.id for row in three.widget.state.objects} == {1, 2, 3}


@pytest.mark.parametrize("outside", [(30, 140), (30, -38)], ids=["beyond", "before"])
@pytest.mark.parametrize("order", [1, -1], ids=["second", "first"])
def test_split_with_a_point_outside_says_so(three, outside, order) -> None:
    """(30, -38) is no pixel, and not (30, 90) either, which is on an object."""
    three.viewer.scene.camera.zoom /= 2
    three.qtbot.wait(50)
    before = three.objects.data.copy()
    y, x = CENTRES[0]
    three.press("positive")
    for place in [(y, x - 4), outside][::order]:
        three.click(place)
        three.settle()
    np.testing.assert_allclose(three.points.data[[0, 1][::order][1]], outside, atol=1)
    press(three, "split_object")
    assert "outside the image" in three.status
    np.testing.assert_array_equal(three.objects.data, before)
    assert len(three.points.data) == 2, "nothing is lost"


def test_merge_and_split(three) -> None:
    before = three.objects.data.copy()
    three.hover(FIRST)
    three.key(Qt.Key.Key_E)
    choose_row(three, 2, CONTROL)
    press(three, "merge_objects")
    assert three.objects.data[SECOND] == 1
    assert three.widget.state.selected == {1}
    three.click(FIRST)
    three.click(SECOND)
    three.settle()
    press(three, "split_object")
    first, second = three.objects.data[FIRST], three.objects.data[SECOND]
    assert {int(first), int(second)} == {1, 4}
    assert len(three.points.data) == 0
    press_undo = three.widget.undo
    three.qtbot.mouseClick(press_undo, Qt.MouseButton.LeftButton)
    three.settle()
    assert len(three.points.data) == 2, "the two clicks come back"
    for _ in range(3):
        three.qtbot.mouseClick(press_undo, Qt.MouseButton.LeftButton)
    three.settle()
    np.testing.assert_array_equal(three.objects.data, before)


def test_mending_is_one_step(three) -> None:
    holed = three.objects.data.copy()
    holed[FIRST], holed[SECOND] = 0, 0
    for centre in (FIRST, SECOND):
        three.paint(0, centre)
    np.testing.assert_array_equal(three.objects.data, holed)
    for _ in range(2):
        three.press("undo")
        three.settle()
    assert three.objects.data[FIRST] == 1
    for _ in range(2):
        three.press("redo")
        three.settle()
    np.testing.assert_array_equal(three.objects.data, holed)
    for number in (1, 2):
        choose_row(three, number, CONTROL)
    press(three, "fill_holes")
    assert three.objects.data[FIRST] == 1
    assert three.objects.data[SECOND] == 2
    assert "Holes filled: objects 1, 2" in three.status
    three.press("undo")
    three.settle()
    np.testing.assert_array_equal(three.objects.data, holed)
    press(three, "remove_islands")
    assert "Nothing to do" in three.status


def test_brush_of_napari_is_a_step(three, cells) -> None:
    before = three.objects.data.copy()
    layer = three.objects
    three.paint(7, (60, 4), (60, 20), size=5)
    assert (layer.data == 7).sum() > 20
    painted = layer.data.copy()
    three.key(Qt.Key.Key_Z, CONTROL)
    three.settle()
    np.testing.assert_array_equal(layer.data, before)
    three.key(Qt.Key.Key_Z, CONTROL | SHIFT)
    three.settle()
    np.testing.assert_array_equal(layer.data, painted)
    assert "a stroke" in three.status
    three.press("positive")
    three.click((100, 100))
    three.settle()


def test_overwriting_is_a_choice(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.viewer.add_labels(np.full(cells[0].shape, 9, np.int32), name="taken")
    target = hands.viewer.layers["taken"]
    hands.pick("target", "taken")
    hands.press("positive")
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert "nothing was written" in hands.status
    hands.pick("policy", "Overwrite")
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(target.data == 10, cells[1] == 1)
    assert "took pixels of 9" in hands.status


def test_exports(three, tmp_path) -> None:
    """By the ending of the name; without one nothing is written."""
    for name in ("o.tif", "o.ome.zarr", "o.csv", "o.json", "o.txt"):
        path = tmp_path / name
        three.widget.objects.exported.emit(str(path))  # with the dialog: `test_in_mid_work`
        three.settle()
        if name.endswith("txt"):
            assert "no ending" in three.status
            assert not path.exists()
            continue
        assert name in three.status
        if name.endswith("csv"):
            rows = list(csv.DictReader(path.read_text().splitlines()))
            assert [row["id"] for row in rows] == ["1", "2", "3"]
            assert {row["model"] for row in rows} == {"lite_sam"}
        elif name.endswith("json"):
            assert len(json.loads(path.read_text())["annotations"]) == 3
        else:
            np.testing.assert_array_equal(
                np.asarray(read_labels(path).array), three.objects.data, err_msg=name
            )


def test_time_is_time_in_files(predictor, open_panel, cells, tmp_path) -> None:
    image, labels = cells
    movie = np.broadcast_to(image, (8, *image.shape)).copy()
    hands = open_panel(
        movie, scale=(30.0, 0.5, 0.5), axis_labels=("t", "y", "x"), units=("s", "um", "um")
    )
    for time in (2, 5):
        hands.viewer.dims.set_current_step(0, time)
        hands.settle()
        hands.click(FIRST)
        hands.settle()
        hands.key(Qt.Key.Key_C if time == 2 else Qt.Key.Key_J)
        hands.settle()
        hands.hover(FIRST)
        hands.key(Qt.Key.Key_E)
        hands.settle()
    assert hands.objects.data[5].max() == 1, "the same object"
    area = (labels == 1).sum() / 4
    table = hands.widget.objects.table.model()
    assert float(table.index(0, 1).data().replace(",", "")) == pytest.approx(area, abs=1)
    for name in ("o.csv", "o.ome.tif", "o.ome.zarr"):
        hands.widget.objects.exported.emit(str(tmp_path / name))
        hands.settle()
    rows = list(csv.DictReader((tmp_path / "o.csv").read_text().splitlines()))
    assert [(row["id"], row["t"]) for row in rows] == [("1", "2"), ("1", "5")]
    for row in rows:
        assert float(row["area"]) == pytest.approx(area)
        assert row["volume"] == ""
        assert float(row["centroid_y"]) == pytest.approx(np.nonzero(labels == 1)[0].mean())
    assert "centroid_z" not in rows[0]
    with tifffile.TiffFile(tmp_path / "o.ome.tif") as file:
        assert file.series[0].axes == "TYX"
        assert 'SizeT="8"' in file.ome_metadata
        assert 'SizeZ="1"' in file.ome_metadata
    assert read_labels(tmp_path / "o.ome.zarr").axes == "TYX"


def test_five_axes_are_measured(predictor, open_panel, cells, tmp_path) -> None:
    image, labels = cells
    hands = open_panel(np.broadcast_to(image, (2, 3, 6, *image.shape)).copy())
    assert hands.viewer.dims.ndim == 5
    for axis, at in enumerate((1, 2, 4)):
        hands.viewer.dims.set_current_step(axis, at)
    hands.pick(hands.widget.axes.choosers[0], "P")
    hands.settle()
    hands.pick(hands.widget.axes.choosers[1], "T")
    hands.settle()
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    (row,) = hands.widget.state.objects
    assert (row.planes, row.area_px) == (((1, 2, 4),), (labels == 1).sum())
    hands.widget.objects.exported.emit(str(tmp_path / "o.csv"))
    hands.settle()
    (row,) = csv.DictReader((tmp_path / "o.csv").read_text().splitlines())
    assert (row["t"], row["planes"]) == ("2", "1:4")
    hands.widget.objects.exported.emit(str(tmp_path / "o.ome.tif"))
    hands.settle()
    assert "PTZYX" in hands.status
    assert not (tmp_path / "o.ome.tif").exists()


def test_coco_names_the_file_of_the_image(predictor, open_panel, cells, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "field 1.tif", cells[0])
    hands = open_panel()
    hands.viewer.open(str(tmp_path / "field 1.tif"), plugin="napari")
    hands.viewer.add_image(cells[0], name="in memory")
    for layer, name in (("field 1", "field 1.tif"), ("in memory", "in memory")):
        hands.pick("image", layer)
        hands.settle()
        hands.press("positive")
        hands.click(FIRST)
        hands.settle()
        hands.key(Qt.Key.Key_C)
        hands.settle()
        hands.widget.objects.exported.emit(str(tmp_path / "o.json"))
        hands.settle()
        document = json.loads((tmp_path / "o.json").read_text())
        assert [one["file_name"] for one in document["images"]] == [name]


def test_escape_of_keys_to_napari_is_given_back(three) -> None:
    """A closed panel leaves napari's own undo on the layer."""
    layer = three.objects
    three.viewer.window.remove_dock_widget(three.widget.parent())
    three.qtbot.wait(50)
    assert not layer.keymap
    QTest.qWait(20)


def test_an_object_goes_on_in_the_next_slice_under_its_id(predictor, open_panel, cells) -> None:
    """Chosen once, then a click and a key in each slice; a part in the same slice joins it, too."""
    image, labels = cells
    hands = open_panel(np.stack([image] * 3), axis_labels=("z", "y", "x"))
    for z in range(3):
        hands.viewer.dims.set_current_step(0, z)
        hands.settle()
        hands.click(FIRST)
        hands.settle()
        if z == 0:
            hands.key(Qt.Key.Key_J)
            hands.settle()
            assert "Choose one object" in hands.status
            hands.key(Qt.Key.Key_C)
            hands.settle()
            hands.hover(FIRST)
            hands.key(Qt.Key.Key_E)
            hands.settle()
        else:
            hands.key(Qt.Key.Key_J)
            hands.settle()
            assert "149 px added to object 1" in hands.status
            assert len(hands.points.data) == 0
    np.testing.assert_array_equal(hands.objects.data, np.stack([labels == 1] * 3))
    before = hands.objects.data.copy()
    # Asked for before the mask is there, with the button.
    hands.widget.objects.expand(animate=False)
    button = hands.widget.objects.buttons["commit_into"]
    hands.until(lambda: button.height() > 10)
    hands.press("embedding.clear_cache")
    hands.until(lambda: hands.widget.controller.ahead.idle)
    predictor.gate.clear()
    hands.click(SECOND)
    hands.until(predictor.waiting.is_set)
    hands.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert "will be committed" in hands.status
    predictor.gate.set()
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data[2] == 1, np.isin(labels, (1, 2)))
    session = hands.widget.controller.keeper.session(hands.objects)
    assert [action.id for action in session.actions] == [1] * 4
    assert not any(action.reopened for action in session.actions)
    assert set(session.objects()) == {1}
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data, before)
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects.data[2][SECOND] == 2, "C gives a new id as ever"


def test_an_addition_replays_to_the_same_labels(open_panel, tmp_path) -> None:
    hands = open_panel()
    hands.viewer.open(sample_path("nuclei"))
    hands.settle()
    for yx in ((100, 110), (200, 300)):
        hands.click(yx)
        hands.settle()
        hands.key(Qt.Key.Key_C if hands.objects is None else Qt.Key.Key_J)
        hands.settle()
        if not hands.widget.state.selected:
            choose_row(hands, 1)
    assert set(np.unique(hands.objects.data)) == {0, 1}
    file = tmp_path / "work.json"
    hands.widget.session.saved.emit(str(file))
    done = replay(read_session(file), folder=tmp_path)
    np.testing.assert_array_equal(done.labels, hands.objects.data)
    assert not done.different
