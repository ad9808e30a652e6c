"""Which Labels layers can receive objects, and why others cannot; napari's button for a new one."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES
from litesam.errors import ImageError
from napari_litesam.label_layer import caution
from napari_litesam.pyramid_labels import PyramidLabels

CONTROL = Qt.KeyboardModifier.ControlModifier
FIRST, SECOND, _ = CENTRES


def choose(hands: Any, name: str) -> None:
    """Open the chooser of layers with the mouse and click on a row."""
    hands.click_entry(hands.widget.target, name)
    hands.settle()


def why(hands: Any, name: str) -> str:
    """What the tooltip of a row says, in one line; the row has to be one that cannot be chosen."""
    combo = hands.widget.target
    row = combo.findText(name)
    assert not combo.model().item(row).isEnabled()
    return " ".join(combo.itemData(row, Qt.ItemDataRole.ToolTipRole).split())


def press_new_labels(hands: Any) -> Any:
    """Press napari's own button and return the layer that it made."""
    before = set(hands.viewer.layers)
    button = hands.viewer.window._qt_viewer.layerButtons.newLabelsButton
    hands.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    hands.settle()
    (made,) = set(hands.viewer.layers) - before
    return made


def test_new_labels_layer_of_napari_receives_objects(predictor, open_panel, cells) -> None:
    image, labels = cells
    hands = open_panel([image, image[::2, ::2]], multiscale=True, contrast_limits=(0, 255))
    # Made while the prompts are in use it has the size of the prompts, which is of no use.
    odd = press_new_labels(hands)
    assert odd.data.shape != image.shape
    text = why(hands, odd.name)
    assert "objects of 'cells' need 128 × 128" in text
    assert "choose the image in the layer list" in text
    choose(hands, odd.name)
    assert hands.objects is None, "a click on the row chooses nothing"
    hands.viewer.layers.selection.active = hands.image
    made = press_new_labels(hands)
    assert hands.objects is None, "the user has not said so yet"
    choose(hands, made.name)
    assert hands.objects is made
    assert "ids up to 255" in hands.status
    hands.press("positive")
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(made.data == 1, labels == 1)
    hands.viewer.layers.selection.active = made
    made.mode, made.brush_size, made.selected_label = "paint", 9, 4
    hands.qtbot.wait(50)
    hands.drag((60, 100), (60, 110))
    hands.settle()
    assert made.data[60, 105] == 4
    for _step in range(2):
        hands.key(Qt.Key.Key_Z, CONTROL)
        hands.settle()
    assert not made.data.any()
    assert not odd.data.any()


def test_the_new_layer_of_the_panel_is_there_beside_it(predictor, open_panel, cells) -> None:
    """*New layer* after another one was used: the next commit makes one, with room for all ids."""
    hands = open_panel(cells[0])
    hands.viewer.layers.selection.active = hands.image
    made = press_new_labels(hands)
    choose(hands, made.name)
    choose(hands, "New layer")
    hands.press("positive")
    hands.click(SECOND)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects is not made
    assert hands.objects.data.dtype == np.int32
    assert not made.data.any()


@pytest.mark.parametrize("kind", ["read-only", "dask", "separate"])
def test_what_cannot_be_written_to_is_not_chosen(predictor, open_panel, cells, kind) -> None:
    image, labels = cells
    hands = open_panel(image)
    zeros = np.zeros(image.shape, np.int32)
    data: Any = {
        "read-only": np.broadcast_to(zeros[:1], zeros.shape),
        "dask": da.from_array(zeros, chunks=64),
        "separate": [zeros, zeros[::2, ::2].copy()],
    }[kind]
    hands.viewer.add_labels(data, name="theirs", multiscale=kind == "separate")
    hands.settle()
    word = {"read-only": "read-only", "dask": "computed by dask", "separate": "pyramid"}[kind]
    assert word in why(hands, "theirs")
    hands.press("positive")
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects.name == "Lite-SAM objects"
    np.testing.assert_array_equal(hands.objects.data, labels == 1)


def test_a_full_layer_says_so(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    full = np.zeros(cells[0].shape, np.uint8)
    full[0, 0] = 255
    hands.viewer.add_labels(full, name="full")
    choose(hands, "full")
    hands.press("positive")
    hands.click(FIRST)
    hands.settle()
    with pytest.raises(ImageError, match="no room for the id 256"):
        hands.widget.controller._committer.commit(hands.widget.controller._current.ready)
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert "no room for the id 256" in hands.status
    assert full.sum() == 255


def test_caution_about_a_large_plain_layer() -> None:
    large = np.zeros((4200, 4200), np.int32)
    image = Image(large)
    assert "4,200 × 4,200" in caution(Labels(large), image)
    views = PyramidLabels([large, large[::4, ::4]], multiscale=True)
    assert caution(views, image) == ""
    small = np.zeros((64, 64), np.uint16)
    assert caution(Labels(small), Image(small)) == ""


def test_a_layer_that_was_never_shown_receives_objects(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hidden = hands.viewer.add_labels(np.zeros((128, 128), np.int32), name="mine", visible=False)
    choose(hands, "mine")
    hands.press("positive")
    hands.click(CENTRES[0])
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(hidden.data == 1, cells[1] == 1)
    hands.press("undo")
    hands.settle()
    assert not hidden.data.any()
    hands.press("redo")
    hidden.visible = True
    hands.settle()
    assert hidden.get_value(hands.image.data_to_world(CENTRES[0])) == 1
