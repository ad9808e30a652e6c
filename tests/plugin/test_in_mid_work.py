"""What users do while something runs: cancel within a tile, other devices, other orders of layers;
and files that they write with the real dialog.
"""

from __future__ import annotations

import csv
import json
import threading
import time
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QDialogButtonBox, QFileDialog, QLineEdit

from engine.threshold_predictor import CENTRES, ThresholdPredictor
from litesam.io import read_labels
from litesam.predictors.lite_sam import LiteSamPredictor
from litesam.samples import sample_path
from napari_litesam.reasons import Situation

CONTROL = Qt.KeyboardModifier.ControlModifier
FIRST, SECOND, THIRD = CENTRES


def test_cancel_in_the_middle_of_a_tile_keeps_the_others(open_panel, monkeypatch) -> None:
    """The shipped model, a plane of many tiles: stopped within a second, and gone on with."""
    begun: list[int] = []
    ended: list[int] = []
    encode = LiteSamPredictor.encode

    def noted(self: Any, *args: Any, **options: Any) -> Any:
        begun.append(1)
        result = encode(self, *args, **options)
        ended.append(1)
        return result

    monkeypatch.setattr(LiteSamPredictor, "encode", noted)
    nuclei = np.asarray(read_labels(sample_path("nuclei")).array)[:512, :512]
    hands = open_panel(np.tile(nuclei, (2, 3)))
    hands.press("embed")
    hands.until(lambda: len(ended) >= 2 and len(begun) > len(ended), timeout=60_000)
    lane = hands.widget.controller._planes.lane
    start = time.perf_counter()
    hands.press("cancel")
    hands.until(lambda: lane.idle)
    assert time.perf_counter() - start < 1.0
    assert len(begun) == len(ended) + 1, "the tile was left in its middle"
    assert "Cancelled" in hands.status
    kept = len(ended)
    tiles = len(hands.widget.controller._pool.get(_source(hands), None).tiles)
    assert tiles > kept
    hands.press("embed")
    hands.until(lambda: lane.idle, timeout=120_000)
    windows = hands.widget.controller._pool.get(_source(hands), None).closer_windows()
    assert len(ended) == tiles + min(len(windows), 16), "no tile was encoded twice"


def test_everything_is_left_in_its_middle(open_panel) -> None:
    """The shipped model, a plane of many tiles: stopped within a second; nothing is half done."""
    nuclei = np.asarray(read_labels(sample_path("nuclei")).array)[:512, :512]
    hands = open_panel(np.tile(nuclei, (1, 3)))
    hands.press("everything")
    hands.until(lambda: "tile" in hands.status.lower(), timeout=60_000)
    hands.qtbot.wait(300)
    lane = hands.widget.controller._planes.lane
    assert lane.busy
    start = time.perf_counter()
    hands.press("cancel")
    hands.until(lambda: lane.idle)
    assert time.perf_counter() - start < 1.0
    assert "Cancelled" in hands.status
    assert not hands.widget.review.isVisible()
    assert hands.objects is None
    hands.press("everything")
    hands.until(lambda: hands.widget.review.isVisible(), timeout=120_000)


def _source(hands: Any) -> Any:
    """What the panel embeds."""
    from napari_litesam.requests import resolve_plane

    controller = hands.widget.controller
    return resolve_plane(hands.widget.state.settings, controller._scene()).source


def test_another_device_in_mid_work(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    predictor.gate.clear()
    hands.click(FIRST)
    hands.until(predictor.waiting.is_set)
    chooser = hands.widget.device
    chooser.setFocus()
    hands.qtbot.keyClick(chooser, Qt.Key.Key_Down)  # from Automatic to the CPU
    hands.until(lambda: hands.widget.state.settings.device == "cpu")
    predictor.gate.set()
    hands.settle()
    assert chooser.currentData() == "cpu"
    np.testing.assert_array_equal(hands.preview, cells[1] == 1)
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data, cells[1] == 1)


def test_layers_in_another_order_hidden_and_doubled(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel(image)
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    layers = hands.viewer.layers
    layers.reverse()  # prompts at the bottom, the image on top
    hands.click(SECOND)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 2)
    hands.objects.visible = False
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data > 0, np.isin(labels, (1, 2)))
    # A copy of the objects is another layer: it is offered, and left alone.
    copy = hands.viewer.add_labels(hands.objects.data.copy(), name=hands.objects.name)
    hands.settle()
    before = copy.data.copy()
    layers.selection.active = hands.points
    hands.click(THIRD)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects is not copy
    np.testing.assert_array_equal(copy.data, before)
    np.testing.assert_array_equal(hands.objects.data > 0, labels > 0)
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert set(np.unique(hands.objects.data)) == {0, 1, 2}


def test_only_the_free_part(predictor, open_panel, cells) -> None:
    """A bar through the object cuts it; the larger part is written."""
    image, labels = cells
    hands = open_panel(image)
    bar = np.zeros(image.shape, np.int32)
    bar[:, FIRST[1] + 2 : FIRST[1] + 4] = 7
    hands.viewer.add_labels(bar.copy(), name="bar")
    hands.pick("target", "bar")
    policy = hands.widget.policy
    policy.setFocus()
    for _ in range(2):
        hands.qtbot.keyClick(policy, Qt.Key.Key_Down)
    assert policy.currentText() == "Only the free part"
    hands.press("positive")
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    left = (labels == 1) & (np.arange(image.shape[1]) < FIRST[1] + 2)
    np.testing.assert_array_equal(hands.objects.data == 8, left)
    np.testing.assert_array_equal(hands.objects.data == 7, bar == 7)


def type_into_dialog(hands: Any, path: str, kind: str) -> None:
    """Choose a kind of file in the dialog that is about to open, type a name and press *Save*."""

    def answer() -> None:
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, QFileDialog):
            QTimer.singleShot(50, answer)
            return
        filters = dialog.nameFilters()
        dialog.selectNameFilter(next(one for one in filters if one.startswith(kind)))
        edit = dialog.findChild(QLineEdit)
        # Until Qt has read the folder it takes back what was typed.
        for _ in range(20):
            hands.qtbot.wait(300)
            if edit.text() == path:
                break
            edit.clear()
            hands.qtbot.keyClicks(edit, path)
        buttons, roles = dialog.findChild(QDialogButtonBox), QDialogButtonBox.ButtonRole
        (ready,) = (one for one in buttons.buttons() if buttons.buttonRole(one) == roles.AcceptRole)
        hands.qtbot.mouseClick(ready, Qt.MouseButton.LeftButton)
        if dialog.isVisible():
            dialog.reject()  # or the test would never end

    QTimer.singleShot(50, answer)


def test_export_with_the_dialog(three, tmp_path) -> None:
    """The button, a kind of file, a name without an ending: the file is there and right."""
    hands = three
    section = hands.widget.objects
    section.expand(animate=False)
    hands.until(lambda: section.buttons["export"].height() > 10)
    for kind in ("TIFF labels", "OME-Zarr labels", "PNG labels", "Table", "COCO"):
        folder = tmp_path / kind
        folder.mkdir()
        type_into_dialog(hands, str(folder / "my v1.5 cells"), kind)
        hands.qtbot.mouseClick(section.buttons["export"], Qt.MouseButton.LeftButton)
        hands.settle()
        (written,) = folder.glob("my*")
        assert written.name.startswith("my v1.5 cells.")
        assert written.name in hands.status.replace("\u200b", "")
        if kind == "Table":
            rows = list(csv.DictReader(written.read_text().splitlines()))
            assert [row["id"] for row in rows] == ["1", "2", "3"]
        elif kind == "COCO":
            assert len(json.loads(written.read_text())["annotations"]) == 3
        else:
            np.testing.assert_array_equal(
                np.asarray(read_labels(written).array), hands.objects.data, err_msg=kind
            )


def test_a_session_is_saved_and_opened_with_the_dialogs(three, tmp_path) -> None:
    """Into a name without an ending; opened again, what was done since is gone."""
    hands, before = three, three.objects.data.copy()
    type_into_dialog(hands, str(tmp_path / "my work"), "Session")
    hands.press("session.save")
    hands.settle()
    assert "saved" in hands.status
    assert (tmp_path / "my work.json").is_file()
    hands.hover(FIRST)
    hands.key(Qt.Key.Key_X)
    hands.settle()
    assert not (hands.objects.data == 1).any()
    type_into_dialog(hands, str(tmp_path / "my work.json"), "Session")
    hands.press("session.open")
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data, before)


STATES: list[dict[str, Any]] = [
    {},
    {"computing": True},
    {"decoding": True},
    {"comparing": True},
    {"shown": True, "asked": True, "candidates": 3},
    {"asked": True},
]


def test_whatever_is_disabled_says_why(predictor, open_panel, cells, monkeypatch) -> None:
    """Every control with a name, in every state of work."""
    hands = open_panel(np.stack([cells[0]] * 4), axis_labels=("z", "y", "x"))
    hands.settle()
    for state in STATES:
        monkeypatch.setattr(
            "napari_litesam.controller.Situation",
            lambda state=state, **now: Situation(**{**now, **state}),
        )
        hands.widget.controller._update_disabled()
        disabled = [name for name, one in hands.widget._named.items() if not one.isEnabled()]
        assert disabled, state
        for name in disabled:
            reason = hands.widget._named[name].toolTip().partition("Not now: ")[2]
            assert len(reason.split()) >= 3, (state, name, reason)
            assert reason.rstrip().endswith("."), (state, name, reason)


def test_commit_pressed_while_another_model_takes_over(
    predictor, open_panel, cells, present
) -> None:
    """The old model still works; the object is committed as soon as the new one has it."""
    present("mobile_sam")
    hands = open_panel(cells[0])
    predictor.gate.clear()
    hands.click(FIRST)
    hands.until(predictor.waiting.is_set)
    hands.choose_model("mobile_sam")
    hands.until(lambda: hands.in_use == "mobile_sam")
    hands.until(hands.widget.cancel.isEnabled)
    hands.key(Qt.Key.Key_C)
    assert "will be committed" in hands.status
    predictor.gate.set()
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data == 1, cells[1] == 1)


def choose_image(hands, name: str) -> None:
    """Go to another image with the keys of the chooser."""
    chooser = hands.widget.image
    chooser.setFocus()
    for key in (Qt.Key.Key_Up, Qt.Key.Key_Down):
        if hands.image.name != name:
            hands.qtbot.keyClick(chooser, key)
    assert hands.image.name == name
    hands.settle()


def test_each_image_keeps_its_prompts_and_its_steps(predictor, open_panel, cells) -> None:
    """A look at another image costs nothing: what was begun is there on the way back."""
    image, labels = cells
    hands = open_panel(image)
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.click(SECOND)
    hands.settle()
    first = hands.objects
    hands.viewer.add_image(image[::-1].copy(), name="other", translate=(0, 140))
    hands.viewer.reset_view()
    hands.settle()
    choose_image(hands, "other")
    assert len(hands.points.data) == 0
    assert not hands.widget.undo.isEnabled(), "nothing was done to this image"
    hands.click((127 - THIRD[0], THIRD[1]))
    hands.settle()
    assert hands.preview.sum() == 149
    choose_image(hands, "cells")
    np.testing.assert_array_equal(hands.preview, labels == 2)
    assert hands.objects is first
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(first.data, np.where(labels == 3, 0, labels))
    choose_image(hands, "other")
    assert hands.preview.sum() == 149
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert len(hands.points.data) == 0
    np.testing.assert_array_equal(first.data, np.where(labels == 3, 0, labels))
    choose_image(hands, "cells")
    for _ in range(4):
        hands.key(Qt.Key.Key_Z, CONTROL)
        hands.settle()
    assert not first.data.any()
    assert not hands.widget.undo.isEnabled()
    for _ in range(4):
        hands.press("redo")
        hands.settle()
    np.testing.assert_array_equal(first.data, np.where(labels == 3, 0, labels))


@pytest.mark.parametrize("which", ["points", "boxes"])
def test_removing_a_layer_of_prompts_loses_no_step(predictor, open_panel, cells, which) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.click(SECOND)
    hands.settle()
    hands.viewer.layers.remove(getattr(hands.widget.controller.prompts, which))
    hands.settle()
    assert not hands.widget.clear.isEnabled()
    hands.press("undo")
    hands.settle()
    assert hands.points in hands.viewer.layers, "the removal is a step as well"
    np.testing.assert_array_equal(hands.preview, cells[1] == 2)
    for _ in range(2):
        hands.key(Qt.Key.Key_Z, CONTROL)
        hands.settle()
    assert not hands.objects.data.any()
    for _ in range(2):
        hands.press("redo")
        hands.settle()
    np.testing.assert_array_equal(hands.preview, cells[1] == 2)
    np.testing.assert_array_equal(hands.objects.data > 0, cells[1] == 1)


def test_a_click_while_another_model_loads(open_panel, cells, monkeypatch) -> None:
    """It loads the model in use, at the same time as the one that is to take its place."""
    gate, inside = threading.Event(), []

    def load(name: str, **_: Any) -> ThresholdPredictor:
        inside.append(name)
        assert gate.wait(60)
        return ThresholdPredictor()

    monkeypatch.setattr("litesam.predictors.load_predictor", load)
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.until(lambda: inside == ["lite_sam"])
    hands.tick("hq")
    hands.until(lambda: inside == ["lite_sam", "lite_sam_hq"])
    gate.set()
    hands.until(lambda: hands.in_use == "lite_sam_hq")
    hands.settle()
    np.testing.assert_array_equal(hands.preview, cells[1] == 1)
